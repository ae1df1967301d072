CREATE TABLE order_groups (
    id BLOB NOT NULL PRIMARY KEY CONSTRAINT order_groups_id CHECK (length(id) = 16),
    user_id BLOB NOT NULL REFERENCES users (id),
    market_id BLOB NOT NULL REFERENCES markets (id),
    fill_cap INTEGER NOT NULL CONSTRAINT order_groups_fill_cap CHECK (fill_cap > 0),
    window_s INTEGER CONSTRAINT order_groups_window_s CHECK (window_s > 0),
    filled INTEGER NOT NULL CONSTRAINT order_groups_filled CHECK (filled >= 0),
    -- What was filled within the window, joined by commas: first and last moment in µs since 1970, and shares.
    recent TEXT NOT NULL,
    full_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    CONSTRAINT order_groups_within_cap CHECK (window_s IS NOT NULL OR filled <= fill_cap)
) STRICT, WITHOUT ROWID;

CREATE INDEX order_groups_by_user ON order_groups (user_id, id);
CREATE INDEX order_groups_by_market ON order_groups (market_id);

ALTER TABLE orders ADD COLUMN group_id BLOB;
