-- No reference to users: callers without an account keep their answers under a nil id.
CREATE TABLE answers (
    user_id uuid NOT NULL,
    route text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    fingerprint bytea NOT NULL CONSTRAINT answers_fingerprint CHECK (length(fingerprint) = 32),
    status bigint NOT NULL CONSTRAINT answers_status CHECK (status BETWEEN 0 AND 65535),
    location text COLLATE "C",
    body text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, route, key)
);

CREATE INDEX answers_by_created_at ON answers (created_at);
