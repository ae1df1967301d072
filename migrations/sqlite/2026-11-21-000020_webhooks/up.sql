CREATE TABLE webhooks (
    id BLOB NOT NULL PRIMARY KEY CONSTRAINT webhooks_id CHECK (length(id) = 16),
    user_id BLOB NOT NULL REFERENCES users (id),
    url TEXT NOT NULL,
    description TEXT,
    -- Names and ids, joined by commas; empty for all.
    events TEXT NOT NULL,
    markets TEXT NOT NULL,
    state TEXT NOT NULL CONSTRAINT webhooks_state CHECK (state IN ('enabled', 'disabled', 'gone', 'failing')),
    -- The secrets themselves are kept nowhere: they follow from the id and this number.
    secret_number INTEGER NOT NULL CONSTRAINT webhooks_secret_number CHECK (secret_number >= 0),
    overlap_until INTEGER,
    failing_since INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX webhooks_by_user ON webhooks (user_id, id);
CREATE INDEX webhooks_enabled ON webhooks (id) WHERE state = 'enabled';

CREATE TABLE webhook_deliveries (
    id BLOB NOT NULL PRIMARY KEY CONSTRAINT webhook_deliveries_id CHECK (length(id) = 16),
    webhook_id BLOB NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    -- The event's; 0 for a test.
    sequence INTEGER NOT NULL,
    kind TEXT NOT NULL,
    -- Nil for none: what is of one market, or of none, is sent in its order.
    market_id BLOB NOT NULL,
    body TEXT NOT NULL,
    state TEXT NOT NULL CONSTRAINT webhook_deliveries_state CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts INTEGER NOT NULL CONSTRAINT webhook_deliveries_attempts CHECK (attempts >= 0),
    next_at INTEGER NOT NULL,
    -- Of the last attempt.
    attempted_at INTEGER,
    took_ms INTEGER,
    status INTEGER,
    said TEXT,
    created_at INTEGER NOT NULL,
    pending_since INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX webhook_deliveries_once ON webhook_deliveries (webhook_id, sequence) WHERE sequence > 0;
CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (webhook_id, sequence, id) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_in_pause ON webhook_deliveries (webhook_id, market_id, next_at)
    WHERE state = 'pending' AND attempts > 0;
CREATE INDEX webhook_deliveries_by_webhook ON webhook_deliveries (webhook_id, created_at, id);
CREATE INDEX webhook_deliveries_by_created_at ON webhook_deliveries (created_at);
