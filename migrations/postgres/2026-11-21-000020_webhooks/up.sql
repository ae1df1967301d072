CREATE TABLE webhooks (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id),
    url text COLLATE "C" NOT NULL,
    description text COLLATE "C",
    -- Names and ids, joined by commas; empty for all.
    events text COLLATE "C" NOT NULL,
    markets text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL CONSTRAINT webhooks_state CHECK (state IN ('enabled', 'disabled', 'gone', 'failing')),
    -- The secrets themselves are kept nowhere: they follow from the id and this number.
    secret_number bigint NOT NULL CONSTRAINT webhooks_secret_number CHECK (secret_number >= 0),
    overlap_until timestamptz,
    failing_since timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL
);

CREATE INDEX webhooks_by_user ON webhooks (user_id, id);
CREATE INDEX webhooks_enabled ON webhooks (id) WHERE state = 'enabled';

CREATE TABLE webhook_deliveries (
    id uuid PRIMARY KEY,
    webhook_id uuid NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    -- The event's; 0 for a test.
    sequence bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    -- Nil for none: what is of one market, or of none, is sent in its order.
    market_id uuid NOT NULL,
    body text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL CONSTRAINT webhook_deliveries_state CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts bigint NOT NULL CONSTRAINT webhook_deliveries_attempts CHECK (attempts >= 0),
    next_at timestamptz NOT NULL,
    -- Of the last attempt.
    attempted_at timestamptz,
    took_ms bigint,
    status bigint,
    said text COLLATE "C",
    created_at timestamptz NOT NULL,
    pending_since timestamptz NOT NULL
);

CREATE UNIQUE INDEX webhook_deliveries_once ON webhook_deliveries (webhook_id, sequence) WHERE sequence > 0;
CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (webhook_id, sequence, id) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_in_pause ON webhook_deliveries (webhook_id, market_id, next_at)
    WHERE state = 'pending' AND attempts > 0;
CREATE INDEX webhook_deliveries_by_webhook ON webhook_deliveries (webhook_id, created_at, id);
CREATE INDEX webhook_deliveries_by_created_at ON webhook_deliveries (created_at);
