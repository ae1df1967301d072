-- Drawn at random whenever the market's row, an order, a position or a trade of it is written: what a server remembers of a market is
-- good as long as it finds the same. None where nothing has been written since.
ALTER TABLE market_counters ADD COLUMN stamp uuid;
ALTER TYPE market_counters_change ADD ATTRIBUTE stamp uuid;

-- The lists themselves, rather than texts that are read into them.
ALTER TYPE position_row ALTER ATTRIBUTE free TYPE bigint[], ALTER ATTRIBUTE held TYPE bigint[];
