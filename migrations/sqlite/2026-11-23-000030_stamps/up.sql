-- Drawn at random whenever the market's row, an order, a position or a trade of it is written: what a process remembers of a market is
-- good as long as it finds the same. None where nothing has been written since.
ALTER TABLE market_counters ADD COLUMN stamp BLOB CONSTRAINT market_counters_stamp CHECK (length(stamp) = 16);
