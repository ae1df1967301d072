DROP INDEX positions_uncounted;
ALTER TABLE positions DROP COLUMN counted;
DROP TABLE countings;
DROP TABLE scores;
DROP TABLE market_scores;
