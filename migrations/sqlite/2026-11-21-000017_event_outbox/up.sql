-- What happened, a row for each unit of work: its events as a list of JSON. The newest row is never
-- deleted, so no position is given twice.
CREATE TABLE event_batches (
    position INTEGER PRIMARY KEY CONSTRAINT event_batches_position CHECK (position > 0),
    created_at INTEGER NOT NULL,
    payload TEXT NOT NULL
) STRICT;

-- The last batch that each consumer has acted on.
CREATE TABLE event_cursors (
    consumer TEXT PRIMARY KEY,
    position INTEGER NOT NULL CONSTRAINT event_cursors_position CHECK (position >= 0)
) STRICT, WITHOUT ROWID;
