ALTER TABLE positions RENAME TO positions_in_a_row;
CREATE TABLE positions (
    market_id BLOB NOT NULL REFERENCES markets (id),
    user_id BLOB NOT NULL REFERENCES users (id),
    spent INTEGER NOT NULL CONSTRAINT positions_spent CHECK (spent >= 0),
    received INTEGER NOT NULL CONSTRAINT positions_received CHECK (received >= 0),
    settled_at INTEGER,
    counted INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (market_id, user_id)
) STRICT, WITHOUT ROWID;

INSERT INTO positions (market_id, user_id, spent, received, settled_at, counted)
SELECT market_id, user_id, spent, received, settled_at, counted FROM positions_in_a_row;

CREATE TABLE holdings_of_outcomes (
    market_id BLOB NOT NULL,
    user_id BLOB NOT NULL,
    outcome INTEGER NOT NULL CONSTRAINT holdings_outcome CHECK (outcome BETWEEN 0 AND 19),
    quantity INTEGER NOT NULL CONSTRAINT holdings_quantity CHECK (quantity >= 0),
    held INTEGER NOT NULL CONSTRAINT holdings_held CHECK (held >= 0 AND held <= quantity),
    PRIMARY KEY (market_id, user_id, outcome),
    FOREIGN KEY (market_id, user_id) REFERENCES positions (market_id, user_id)
) STRICT, WITHOUT ROWID;

INSERT INTO holdings_of_outcomes SELECT market_id, user_id, outcome, quantity, held FROM holdings;
DROP VIEW holdings;
DROP TABLE positions_in_a_row;
ALTER TABLE holdings_of_outcomes RENAME TO holdings;

CREATE INDEX positions_unsettled ON positions (market_id, user_id) WHERE settled_at IS NULL;
CREATE INDEX positions_by_user ON positions (user_id, market_id);
CREATE INDEX positions_uncounted ON positions (user_id, market_id) WHERE counted = 0;
