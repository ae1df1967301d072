DROP INDEX positions_by_user;
CREATE INDEX positions_by_user ON positions (user_id, spent, market_id);
CREATE INDEX positions_by_market ON positions (market_id, spent, user_id);

ALTER TABLE markets ADD COLUMN volume INTEGER NOT NULL DEFAULT 0 CONSTRAINT markets_volume CHECK (volume >= 0);
ALTER TABLE markets ADD COLUMN trade_count INTEGER NOT NULL DEFAULT 0 CONSTRAINT markets_trade_count CHECK (trade_count >= 0);
ALTER TABLE markets ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0 CONSTRAINT markets_sequence CHECK (sequence >= 0);
UPDATE markets SET (volume, trade_count, sequence) =
    (SELECT volume, trade_count, sequence FROM market_counters WHERE market_id = markets.id);
DROP TABLE market_counters;
CREATE INDEX markets_by_volume ON markets (volume, id);

CREATE INDEX transfers_by_created_at ON transfers (created_at, id);
CREATE INDEX transfers_by_market ON transfers (market_id, created_at, id) WHERE market_id IS NOT NULL;
CREATE INDEX trades_by_outcome ON trades (market_id, outcome, created_at);
CREATE INDEX orders_open_by_market ON orders (market_id, id) WHERE status = 'open';
