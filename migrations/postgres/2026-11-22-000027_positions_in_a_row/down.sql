DROP INDEX positions_by_user;
CREATE INDEX positions_by_user ON positions (user_id, market_id);
CREATE INDEX positions_uncounted ON positions (user_id, market_id) WHERE NOT counted;
