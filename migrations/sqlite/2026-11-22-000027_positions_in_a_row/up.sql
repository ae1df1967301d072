-- A position with all of its shares in one row, as JSON lists by outcome: those that are free, and those held.
-- The patterns let nothing but lists of numbers without a sign pass.
CREATE TABLE positions_in_a_row (
    market_id BLOB NOT NULL REFERENCES markets (id),
    user_id BLOB NOT NULL REFERENCES users (id),
    spent INTEGER NOT NULL CONSTRAINT positions_spent CHECK (spent >= 0),
    received INTEGER NOT NULL CONSTRAINT positions_received CHECK (received >= 0),
    settled_at INTEGER,
    free TEXT NOT NULL CONSTRAINT positions_free CHECK (free GLOB '[[]*]' AND free NOT GLOB '*[^][0-9,]*'),
    held TEXT NOT NULL CONSTRAINT positions_held CHECK (held GLOB '[[]*]' AND held NOT GLOB '*[^][0-9,]*'),
    -- Whether it is counted in its user's score.
    counted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (market_id, user_id),
    CONSTRAINT positions_shares CHECK (json_array_length(free) = json_array_length(held))
) STRICT, WITHOUT ROWID;

INSERT INTO positions_in_a_row (market_id, user_id, spent, received, settled_at, free, held, counted)
SELECT
    market_id, user_id, spent, received, settled_at,
    (SELECT json_group_array(quantity - h.held ORDER BY outcome) FROM holdings AS h
        WHERE h.market_id = positions.market_id AND h.user_id = positions.user_id),
    (SELECT json_group_array(h.held ORDER BY outcome) FROM holdings AS h
        WHERE h.market_id = positions.market_id AND h.user_id = positions.user_id),
    counted
FROM positions;
DROP TABLE holdings;
DROP TABLE positions;
ALTER TABLE positions_in_a_row RENAME TO positions;

CREATE INDEX positions_unsettled ON positions (market_id, user_id) WHERE settled_at IS NULL;
-- One index has a user's positions, those that are not counted beside each other.
CREATE INDEX positions_by_user ON positions (user_id, counted, market_id);

CREATE VIEW holdings AS
    SELECT market_id, user_id, of_outcome.key AS outcome,
        of_outcome.value + json_extract(positions.held, '$[' || of_outcome.key || ']') AS quantity,
        json_extract(positions.held, '$[' || of_outcome.key || ']') AS held
    FROM positions, json_each(positions.free) AS of_outcome;
