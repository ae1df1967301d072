ALTER TYPE position_row ALTER ATTRIBUTE free TYPE text, ALTER ATTRIBUTE held TYPE text;
ALTER TYPE market_counters_change DROP ATTRIBUTE stamp;
ALTER TABLE market_counters DROP COLUMN stamp;
