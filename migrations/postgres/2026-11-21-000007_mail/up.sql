CREATE TABLE jobs (
    id uuid PRIMARY KEY,
    kind text COLLATE "C" NOT NULL,
    -- JSON, of a form that the kind decides.
    payload text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL CONSTRAINT jobs_state CHECK (state IN ('waiting', 'running', 'dead')),
    -- When it is due; while it runs, when its lease ends; of a dead one, when it died.
    run_at timestamptz NOT NULL,
    attempts bigint NOT NULL CONSTRAINT jobs_attempts CHECK (attempts >= 0),
    last_error text COLLATE "C",
    created_at timestamptz NOT NULL
);

CREATE INDEX jobs_due ON jobs (kind, run_at, id) WHERE state <> 'dead';
CREATE INDEX jobs_dead ON jobs (kind, run_at, id) WHERE state = 'dead';
CREATE INDEX jobs_dead_by_run_at ON jobs (run_at) WHERE state = 'dead';

-- Of a token only its SHA-256 is kept.
CREATE TABLE mail_tokens (
    hash bytea PRIMARY KEY CONSTRAINT mail_tokens_hash CHECK (length(hash) = 32),
    user_id uuid NOT NULL REFERENCES users (id),
    purpose text COLLATE "C" NOT NULL CONSTRAINT mail_tokens_purpose CHECK (purpose IN ('reset_password', 'verify_email')),
    -- The key of the address that it was sent to.
    sent_to text COLLATE "C" NOT NULL,
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE INDEX mail_tokens_by_user ON mail_tokens (user_id);
CREATE INDEX mail_tokens_by_expires_at ON mail_tokens (expires_at);
