-- What is in it is hashed as it stands, so JSON is kept as text.
CREATE TABLE audit_log (
    number INTEGER PRIMARY KEY CONSTRAINT audit_log_number CHECK (number > 0),
    id BLOB NOT NULL UNIQUE CONSTRAINT audit_log_id CHECK (length(id) = 16),
    created_at INTEGER NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_id BLOB CONSTRAINT audit_log_actor_id CHECK (length(actor_id) = 16),
    action TEXT NOT NULL,
    target_kind TEXT,
    target_id BLOB CONSTRAINT audit_log_target_id CHECK (length(target_id) = 16),
    address TEXT,
    agent TEXT,
    request_id TEXT,
    before TEXT,
    after TEXT,
    hash BLOB NOT NULL CONSTRAINT audit_log_hash CHECK (length(hash) = 32),
    CONSTRAINT audit_log_actor CHECK (actor_kind IN ('user', 'stranger', 'system') AND (actor_kind = 'user') = (actor_id IS NOT NULL)),
    CONSTRAINT audit_log_target CHECK ((target_kind IS NULL) = (target_id IS NULL))
) STRICT;

CREATE INDEX audit_log_by_created_at ON audit_log (created_at, id);
CREATE INDEX audit_log_by_actor ON audit_log (actor_id, created_at, id) WHERE actor_id IS NOT NULL;
CREATE INDEX audit_log_by_action ON audit_log (action, created_at, id);
CREATE INDEX audit_log_by_target ON audit_log (target_id, created_at, id) WHERE target_id IS NOT NULL;

CREATE TRIGGER audit_log_is_never_updated BEFORE UPDATE ON audit_log BEGIN
    SELECT RAISE(ABORT, 'audit_log is append-only');
END;
CREATE TRIGGER audit_log_is_never_deleted BEFORE DELETE ON audit_log BEGIN
    SELECT RAISE(ABORT, 'audit_log is append-only');
END;

-- The end of the chain.
CREATE TABLE audit_head (
    id INTEGER PRIMARY KEY CONSTRAINT audit_head_id CHECK (id = 1),
    entries INTEGER NOT NULL CONSTRAINT audit_head_entries CHECK (entries >= 0),
    hash BLOB NOT NULL CONSTRAINT audit_head_hash CHECK (length(hash) = 32)
) STRICT;

INSERT INTO audit_head (id, entries, hash) VALUES (1, 0, zeroblob(32));

-- Of failed sign-ins the log tells in sums. No reference to users: those with addresses that nobody has
-- are counted under a nil id.
CREATE TABLE failed_sign_ins (
    user_id BLOB NOT NULL CONSTRAINT failed_sign_ins_user_id CHECK (length(user_id) = 16),
    place TEXT NOT NULL,
    since INTEGER NOT NULL,
    count INTEGER NOT NULL CONSTRAINT failed_sign_ins_count CHECK (count > 0),
    last_at INTEGER NOT NULL,
    PRIMARY KEY (since, user_id, place)
) STRICT, WITHOUT ROWID;
