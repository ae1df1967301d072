ALTER TABLE market_counters DROP COLUMN stamp;
