ALTER VIEW holdings RENAME TO holdings_of_positions;
CREATE TABLE holdings (
    market_id uuid NOT NULL,
    user_id uuid NOT NULL,
    outcome bigint NOT NULL CONSTRAINT holdings_outcome CHECK (outcome BETWEEN 0 AND 19),
    quantity bigint NOT NULL CONSTRAINT holdings_quantity CHECK (quantity >= 0),
    held bigint NOT NULL CONSTRAINT holdings_held CHECK (held >= 0 AND held <= quantity),
    PRIMARY KEY (market_id, user_id, outcome),
    FOREIGN KEY (market_id, user_id) REFERENCES positions (market_id, user_id)
);
INSERT INTO holdings SELECT market_id, user_id, outcome, quantity, held FROM holdings_of_positions;
DROP VIEW holdings_of_positions;
DROP INDEX positions_by_user;
ALTER TABLE positions DROP COLUMN free, DROP COLUMN held;
CREATE INDEX positions_by_user ON positions (user_id, spent, market_id);
CREATE INDEX positions_by_market ON positions (market_id, spent, user_id);

ALTER TABLE markets
    ADD COLUMN volume bigint NOT NULL DEFAULT 0,
    ADD COLUMN trade_count bigint NOT NULL DEFAULT 0,
    ADD COLUMN sequence bigint NOT NULL DEFAULT 0;
UPDATE markets SET (volume, trade_count, sequence) =
    (SELECT volume, trade_count, sequence FROM market_counters WHERE market_id = markets.id);
ALTER TABLE markets
    ALTER COLUMN volume DROP DEFAULT,
    ALTER COLUMN trade_count DROP DEFAULT,
    ALTER COLUMN sequence DROP DEFAULT,
    ADD CONSTRAINT markets_volume CHECK (volume >= 0),
    ADD CONSTRAINT markets_trade_count CHECK (trade_count >= 0),
    ADD CONSTRAINT markets_sequence CHECK (sequence >= 0);
DROP TABLE market_counters;
CREATE INDEX markets_by_volume ON markets (volume, id);

ALTER TABLE transfers
    ADD FOREIGN KEY (from_account) REFERENCES accounts (id),
    ADD FOREIGN KEY (to_account) REFERENCES accounts (id);
ALTER TABLE trades
    ADD FOREIGN KEY (market_id) REFERENCES markets (id),
    ADD FOREIGN KEY (taker_order) REFERENCES orders (id),
    ADD FOREIGN KEY (maker_order) REFERENCES orders (id);
ALTER TABLE orders
    ADD FOREIGN KEY (user_id) REFERENCES users (id),
    ADD FOREIGN KEY (market_id) REFERENCES markets (id);

CREATE INDEX transfers_by_created_at ON transfers (created_at, id);
CREATE INDEX transfers_by_market ON transfers (market_id, created_at, id) WHERE market_id IS NOT NULL;
CREATE INDEX trades_by_outcome ON trades (market_id, outcome, created_at);
CREATE INDEX orders_open_by_market ON orders (market_id, id) WHERE status = 'open';
