-- Each index took time, and a page more, with every order, or with every side of it.

-- Orders in the order of their changes are those of one user, sorted.
DROP INDEX orders_by_user_updated;
-- All orders of a market are looked for where it is deleted, which has no trades then.
DROP INDEX orders_by_market;
CREATE INDEX orders_unfilled_by_market ON orders (market_id) WHERE filled = 0;
-- A payout goes on after the user that was paid last.
DROP INDEX positions_unsettled;
-- No number of a payer, and none of a market's trades, is given twice where accounts and markets are written as below; the audit
-- follows each chain in the order of time.
ALTER TABLE transfers DROP CONSTRAINT transfers_from_account_paid_number_key;
ALTER TABLE trades DROP CONSTRAINT trades_market_id_sequence_key;

-- How many transfers an account had paid before, and how many trades a market had: it is written only where that is so.
ALTER TYPE account_change ADD ATTRIBUTE paid_before bigint;
ALTER TYPE market_counters_change ADD ATTRIBUTE traded_before bigint;

-- The last trade that was counted, in the order of time. What was not counted to the end is begun anew.
DELETE FROM market_scores WHERE market_id IN (
    SELECT market_id FROM countings WHERE NOT done AND users_through = '00000000-0000-0000-0000-000000000000'
);
ALTER TABLE countings ADD COLUMN last_traded_at timestamptz;
ALTER TABLE countings ADD COLUMN last_trade uuid;
UPDATE countings SET
    last_traded_at = (SELECT created_at FROM trades WHERE trades.market_id = countings.market_id ORDER BY created_at DESC, id DESC LIMIT 1),
    last_trade = (SELECT id FROM trades WHERE trades.market_id = countings.market_id ORDER BY created_at DESC, id DESC LIMIT 1)
WHERE done OR users_through <> '00000000-0000-0000-0000-000000000000';
ALTER TABLE countings DROP COLUMN trades_through;
