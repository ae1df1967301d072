ALTER TABLE orders ADD COLUMN ended_because TEXT CONSTRAINT orders_end_reason CHECK (
    ended_because IN ('requested', 'time_in_force', 'self_trade', 'market_closed', 'expired', 'user_deactivated')
);
UPDATE orders SET ended_because = CASE WHEN end_reason IN ('disconnected', 'group_full') THEN 'requested' ELSE end_reason END
    WHERE end_reason IS NOT NULL;
ALTER TABLE orders DROP COLUMN end_reason;
ALTER TABLE orders RENAME COLUMN ended_because TO end_reason;
ALTER TABLE orders DROP COLUMN placed_by;
DROP TABLE cancel_switches;
