-- What happened, a row for each unit of work: its events as a list of JSON. Positions have gaps, and
-- become visible in another order than they were drawn in; the reader knows.
CREATE SEQUENCE event_positions;
CREATE TABLE event_batches (
    position bigint PRIMARY KEY,
    created_at timestamptz NOT NULL,
    payload text NOT NULL
);
-- It is written with every order, and read once or twice: not compressed, and kept in the row where it fits.
ALTER TABLE event_batches ALTER COLUMN payload SET STORAGE EXTERNAL, SET (toast_tuple_target = 8160);

-- The last batch that each consumer has acted on.
CREATE TABLE event_cursors (
    consumer text PRIMARY KEY,
    position bigint NOT NULL CONSTRAINT event_cursors_position CHECK (position >= 0)
);
