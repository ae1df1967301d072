DELETE FROM market_scores WHERE market_id IN (
    SELECT market_id FROM countings WHERE NOT done AND users_through = '00000000-0000-0000-0000-000000000000'
);
ALTER TABLE countings ADD COLUMN trades_through bigint NOT NULL DEFAULT -1;
UPDATE countings SET
    trades_through = coalesce((SELECT max(sequence) FROM trades WHERE trades.market_id = countings.market_id), -1)
WHERE done OR users_through <> '00000000-0000-0000-0000-000000000000';
ALTER TABLE countings DROP COLUMN last_traded_at;
ALTER TABLE countings DROP COLUMN last_trade;

ALTER TYPE market_counters_change DROP ATTRIBUTE traded_before;
ALTER TYPE account_change DROP ATTRIBUTE paid_before;

ALTER TABLE trades ADD CONSTRAINT trades_market_id_sequence_key UNIQUE (market_id, sequence);
ALTER TABLE transfers ADD CONSTRAINT transfers_from_account_paid_number_key UNIQUE (from_account, paid_number);
CREATE INDEX positions_unsettled ON positions (market_id, user_id) WHERE settled_at IS NULL;
DROP INDEX orders_unfilled_by_market;
CREATE INDEX orders_by_market ON orders (market_id, created_at, id);
CREATE INDEX orders_by_user_updated ON orders (user_id, updated_at, id);
