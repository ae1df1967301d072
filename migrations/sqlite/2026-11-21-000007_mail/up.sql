CREATE TABLE jobs (
    id BLOB NOT NULL PRIMARY KEY CONSTRAINT jobs_id CHECK (length(id) = 16),
    kind TEXT NOT NULL,
    -- JSON, of a form that the kind decides.
    payload TEXT NOT NULL,
    state TEXT NOT NULL CONSTRAINT jobs_state CHECK (state IN ('waiting', 'running', 'dead')),
    -- When it is due; while it runs, when its lease ends; of a dead one, when it died.
    run_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL CONSTRAINT jobs_attempts CHECK (attempts >= 0),
    last_error TEXT,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX jobs_due ON jobs (kind, run_at, id) WHERE state <> 'dead';
CREATE INDEX jobs_dead ON jobs (kind, run_at, id) WHERE state = 'dead';
CREATE INDEX jobs_dead_by_run_at ON jobs (run_at) WHERE state = 'dead';

-- Of a token only its SHA-256 is kept.
CREATE TABLE mail_tokens (
    hash BLOB NOT NULL PRIMARY KEY CONSTRAINT mail_tokens_hash CHECK (length(hash) = 32),
    user_id BLOB NOT NULL REFERENCES users (id),
    purpose TEXT NOT NULL CONSTRAINT mail_tokens_purpose CHECK (purpose IN ('reset_password', 'verify_email')),
    -- The key of the address that it was sent to.
    sent_to TEXT NOT NULL,
    issued_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX mail_tokens_by_user ON mail_tokens (user_id);
CREATE INDEX mail_tokens_by_expires_at ON mail_tokens (expires_at);
