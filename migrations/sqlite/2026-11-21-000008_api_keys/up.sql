-- Of a key only its SHA-256 is kept. Keys are revoked, never deleted.
CREATE TABLE api_keys (
    id BLOB NOT NULL PRIMARY KEY CONSTRAINT api_keys_id CHECK (length(id) = 16),
    user_id BLOB NOT NULL REFERENCES users (id),
    name TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE CONSTRAINT api_keys_hash CHECK (length(hash) = 32),
    scopes TEXT NOT NULL CONSTRAINT api_keys_scopes CHECK (scopes <> ''),
    -- Ids of markets, joined by commas. No references: a list that shrank to nothing would mean all markets.
    markets TEXT CONSTRAINT api_keys_markets CHECK (markets <> ''),
    spend_per_day INTEGER CONSTRAINT api_keys_spend_per_day CHECK (spend_per_day >= 0),
    max_open_orders INTEGER CONSTRAINT api_keys_max_open_orders CHECK (max_open_orders >= 0),
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    last_used_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX api_keys_by_user ON api_keys (user_id, id) WHERE revoked_at IS NULL;

-- What left an account by a key on the last day on which something did; the day is counted from 1970.
CREATE TABLE api_key_spending (
    key_id BLOB NOT NULL PRIMARY KEY REFERENCES api_keys (id),
    day INTEGER NOT NULL,
    spent INTEGER NOT NULL CONSTRAINT api_key_spending_spent CHECK (spent >= 0)
) STRICT, WITHOUT ROWID;

ALTER TABLE orders ADD COLUMN counted_by BLOB REFERENCES api_keys (id);
CREATE INDEX orders_open_by_key ON orders (counted_by) WHERE counted_by IS NOT NULL AND status = 'open';
