CREATE TABLE positions (
    market_id uuid NOT NULL REFERENCES markets (id),
    user_id uuid NOT NULL REFERENCES users (id),
    spent bigint NOT NULL CONSTRAINT positions_spent CHECK (spent >= 0),
    received bigint NOT NULL CONSTRAINT positions_received CHECK (received >= 0),
    settled_at timestamptz,
    PRIMARY KEY (market_id, user_id)
);

CREATE INDEX positions_by_user ON positions (user_id, spent, market_id);
CREATE INDEX positions_by_market ON positions (market_id, spent, user_id);
CREATE INDEX positions_unsettled ON positions (market_id, user_id) WHERE settled_at IS NULL;

-- After a market is settled its holdings keep their quantities, as history.
CREATE TABLE holdings (
    market_id uuid NOT NULL,
    user_id uuid NOT NULL,
    outcome bigint NOT NULL CONSTRAINT holdings_outcome CHECK (outcome BETWEEN 0 AND 19),
    quantity bigint NOT NULL CONSTRAINT holdings_quantity CHECK (quantity >= 0),
    held bigint NOT NULL CONSTRAINT holdings_held CHECK (held >= 0 AND held <= quantity),
    PRIMARY KEY (market_id, user_id, outcome),
    FOREIGN KEY (market_id, user_id) REFERENCES positions (market_id, user_id)
);
