CREATE TABLE order_groups (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id),
    market_id uuid NOT NULL REFERENCES markets (id),
    fill_cap bigint NOT NULL CONSTRAINT order_groups_fill_cap CHECK (fill_cap > 0),
    window_s bigint CONSTRAINT order_groups_window_s CHECK (window_s > 0),
    filled bigint NOT NULL CONSTRAINT order_groups_filled CHECK (filled >= 0),
    -- What was filled within the window, joined by commas: first and last moment in µs since 1970, and shares.
    recent text COLLATE "C" NOT NULL,
    full_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT order_groups_within_cap CHECK (window_s IS NOT NULL OR filled <= fill_cap)
);

CREATE INDEX order_groups_by_user ON order_groups (user_id, id);
CREATE INDEX order_groups_by_market ON order_groups (market_id);

ALTER TABLE orders ADD COLUMN group_id uuid;
ALTER TYPE order_row ADD ATTRIBUTE group_id uuid;
