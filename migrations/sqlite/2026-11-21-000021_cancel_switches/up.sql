CREATE TABLE cancel_switches (
    -- A timer's is that of the API key or of the user whose orders it cancels.
    id BLOB NOT NULL PRIMARY KEY CONSTRAINT cancel_switches_id CHECK (length(id) = 16),
    user_id BLOB NOT NULL REFERENCES users (id),
    key_id BLOB REFERENCES api_keys (id),
    kind TEXT NOT NULL CONSTRAINT cancel_switches_kind CHECK (kind IN ('timer', 'stream')),
    timeout_s INTEGER NOT NULL CONSTRAINT cancel_switches_timeout_s CHECK (timeout_s > 0),
    due_at INTEGER,
    fired_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX cancel_switches_by_user ON cancel_switches (user_id, id);
CREATE INDEX cancel_switches_due ON cancel_switches (due_at, id) WHERE due_at IS NOT NULL;

ALTER TABLE orders ADD COLUMN placed_by BLOB;

-- There are more reasons now for which an order ends. A check goes with its column alone.
ALTER TABLE orders ADD COLUMN ended_because TEXT CONSTRAINT orders_end_reason CHECK (
    ended_because IN (
        'requested', 'time_in_force', 'self_trade', 'market_closed', 'expired', 'user_deactivated', 'disconnected',
        'group_full'
    )
);
UPDATE orders SET ended_because = end_reason WHERE end_reason IS NOT NULL;
ALTER TABLE orders DROP COLUMN end_reason;
ALTER TABLE orders RENAME COLUMN ended_because TO end_reason;
