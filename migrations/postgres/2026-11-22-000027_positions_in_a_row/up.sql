-- One index has a user's positions, those that are not counted beside each other.
DROP INDEX positions_uncounted;
DROP INDEX positions_by_user;
CREATE INDEX positions_by_user ON positions (user_id, counted, market_id);
