CREATE TABLE sessions (
    id BLOB NOT NULL PRIMARY KEY CONSTRAINT sessions_id CHECK (length(id) = 16),
    user_id BLOB NOT NULL REFERENCES users (id),
    created_at INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    address TEXT,
    agent TEXT,
    ended_at INTEGER,
    end_reason TEXT CONSTRAINT sessions_end_reason CHECK (
        end_reason IN ('logged_out', 'revoked', 'replayed', 'user_changed', 'too_many')
    ),
    CONSTRAINT sessions_end_has_reason CHECK ((ended_at IS NULL) = (end_reason IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_user ON sessions (user_id, last_seen_at, id) WHERE ended_at IS NULL;
CREATE INDEX sessions_by_expires_at ON sessions (expires_at);
CREATE INDEX sessions_by_ended_at ON sessions (ended_at) WHERE ended_at IS NOT NULL;

-- Of a token only its SHA-256 is kept.
CREATE TABLE refresh_tokens (
    hash BLOB NOT NULL PRIMARY KEY CONSTRAINT refresh_tokens_hash CHECK (length(hash) = 32),
    session_id BLOB NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    issued_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    spent_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);
CREATE INDEX refresh_tokens_by_expires_at ON refresh_tokens (expires_at);
