CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id),
    created_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    address text COLLATE "C",
    agent text COLLATE "C",
    ended_at timestamptz,
    end_reason text COLLATE "C" CONSTRAINT sessions_end_reason CHECK (
        end_reason IN ('logged_out', 'revoked', 'replayed', 'user_changed', 'too_many')
    ),
    CONSTRAINT sessions_end_has_reason CHECK ((ended_at IS NULL) = (end_reason IS NULL))
);

CREATE INDEX sessions_by_user ON sessions (user_id, last_seen_at, id) WHERE ended_at IS NULL;
CREATE INDEX sessions_by_expires_at ON sessions (expires_at);
CREATE INDEX sessions_by_ended_at ON sessions (ended_at) WHERE ended_at IS NOT NULL;

-- Of a token only its SHA-256 is kept.
CREATE TABLE refresh_tokens (
    hash bytea PRIMARY KEY CONSTRAINT refresh_tokens_hash CHECK (length(hash) = 32),
    session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    issued_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    spent_at timestamptz
);

CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);
CREATE INDEX refresh_tokens_by_expires_at ON refresh_tokens (expires_at);
