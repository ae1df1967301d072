CREATE TABLE cancel_switches (
    -- A timer's is that of the API key or of the user whose orders it cancels.
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id),
    key_id uuid REFERENCES api_keys (id),
    kind text COLLATE "C" NOT NULL CONSTRAINT cancel_switches_kind CHECK (kind IN ('timer', 'stream')),
    timeout_s bigint NOT NULL CONSTRAINT cancel_switches_timeout_s CHECK (timeout_s > 0),
    due_at timestamptz,
    fired_at timestamptz
);

CREATE INDEX cancel_switches_by_user ON cancel_switches (user_id, id);
CREATE INDEX cancel_switches_due ON cancel_switches (due_at, id) WHERE due_at IS NOT NULL;

ALTER TABLE orders ADD COLUMN placed_by uuid;
ALTER TYPE order_row ADD ATTRIBUTE placed_by uuid;
