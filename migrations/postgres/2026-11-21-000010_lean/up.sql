-- What every order writes, made smaller.

-- Each was upkept by every order or trade, and another index answers the same questions.
DROP INDEX orders_open_by_market;
DROP INDEX trades_by_outcome;
DROP INDEX transfers_by_market;
DROP INDEX transfers_by_created_at;

-- References among rows that are never deleted, or only together. A reference costs a query for each
-- row; the statements that insert check the same for all of their rows at once.
ALTER TABLE orders DROP CONSTRAINT orders_user_id_fkey, DROP CONSTRAINT orders_market_id_fkey;
ALTER TABLE trades
    DROP CONSTRAINT trades_market_id_fkey,
    DROP CONSTRAINT trades_taker_order_fkey,
    DROP CONSTRAINT trades_maker_order_fkey;
ALTER TABLE transfers DROP CONSTRAINT transfers_from_account_fkey, DROP CONSTRAINT transfers_to_account_fkey;

-- What trades change of a market: a narrow row with two indexes, rather than a wide one with nine.
CREATE TABLE market_counters (
    market_id uuid PRIMARY KEY REFERENCES markets (id),
    volume bigint NOT NULL CONSTRAINT market_counters_volume CHECK (volume >= 0),
    trade_count bigint NOT NULL CONSTRAINT market_counters_trade_count CHECK (trade_count >= 0),
    sequence bigint NOT NULL CONSTRAINT market_counters_sequence CHECK (sequence >= 0)
);

INSERT INTO market_counters SELECT id, volume, trade_count, sequence FROM markets;
CREATE INDEX market_counters_by_volume ON market_counters (volume, market_id);
ALTER TABLE markets DROP COLUMN volume, DROP COLUMN trade_count, DROP COLUMN sequence;

-- A position with all of its shares in one row, by outcome: those that are free, and those held.
ALTER TABLE positions
    ADD COLUMN free bigint[] NOT NULL DEFAULT '{}',
    ADD COLUMN held bigint[] NOT NULL DEFAULT '{}';
UPDATE positions SET (free, held) = (
    SELECT coalesce(array_agg(quantity - h.held ORDER BY outcome), '{}'), coalesce(array_agg(h.held ORDER BY outcome), '{}')
    FROM holdings AS h WHERE h.market_id = positions.market_id AND h.user_id = positions.user_id
);
DROP TABLE holdings;
ALTER TABLE positions
    ALTER COLUMN free DROP DEFAULT,
    ALTER COLUMN held DROP DEFAULT,
    ADD CONSTRAINT positions_shares CHECK (cardinality(free) = cardinality(held) AND 0 <= ALL (free) AND 0 <= ALL (held));
-- `spent` changes with every trade; in no index, so that changing it changes none.
DROP INDEX positions_by_user;
DROP INDEX positions_by_market;
CREATE INDEX positions_by_user ON positions (user_id, market_id);

CREATE VIEW holdings AS
    SELECT market_id, user_id, number - 1 AS outcome, of_outcome.free + of_outcome.held AS quantity, of_outcome.held AS held
    FROM positions, UNNEST(positions.free, positions.held) WITH ORDINALITY AS of_outcome (free, held, number);
