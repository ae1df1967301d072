DROP TABLE market_tags;
DROP TABLE outcomes;
DROP TABLE markets;
