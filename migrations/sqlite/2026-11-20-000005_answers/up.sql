-- No reference to users: callers without an account keep their answers under a nil id.
CREATE TABLE answers (
    user_id BLOB NOT NULL CONSTRAINT answers_user_id CHECK (length(user_id) = 16),
    route TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL CONSTRAINT answers_fingerprint CHECK (length(fingerprint) = 32),
    status INTEGER NOT NULL CONSTRAINT answers_status CHECK (status BETWEEN 0 AND 65535),
    location TEXT,
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, route, key)
) STRICT;

CREATE INDEX answers_by_created_at ON answers (created_at);
