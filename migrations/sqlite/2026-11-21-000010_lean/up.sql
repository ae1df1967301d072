-- What every order writes, made smaller.

-- Each was upkept by every order or trade, and another index answers the same questions.
DROP INDEX orders_open_by_market;
DROP INDEX trades_by_outcome;
DROP INDEX transfers_by_market;
DROP INDEX transfers_by_created_at;

-- What trades change of a market: a narrow row, many to a page.
CREATE TABLE market_counters (
    market_id BLOB NOT NULL PRIMARY KEY REFERENCES markets (id),
    volume INTEGER NOT NULL CONSTRAINT market_counters_volume CHECK (volume >= 0),
    trade_count INTEGER NOT NULL CONSTRAINT market_counters_trade_count CHECK (trade_count >= 0),
    sequence INTEGER NOT NULL CONSTRAINT market_counters_sequence CHECK (sequence >= 0)
) STRICT, WITHOUT ROWID;

INSERT INTO market_counters SELECT id, volume, trade_count, sequence FROM markets;
CREATE INDEX market_counters_by_volume ON market_counters (volume, market_id);
DROP INDEX markets_by_volume;
ALTER TABLE markets DROP COLUMN volume;
ALTER TABLE markets DROP COLUMN trade_count;
ALTER TABLE markets DROP COLUMN sequence;

-- `spent` changes with every trade; in no index, so that changing it changes none.
DROP INDEX positions_by_user;
DROP INDEX positions_by_market;
CREATE INDEX positions_by_user ON positions (user_id, market_id);
