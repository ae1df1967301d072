-- What is in it is hashed as it stands, so JSON is kept as text.
CREATE TABLE audit_log (
    number bigint PRIMARY KEY CONSTRAINT audit_log_number CHECK (number > 0),
    id uuid NOT NULL UNIQUE,
    created_at timestamptz NOT NULL,
    actor_kind text COLLATE "C" NOT NULL,
    actor_id uuid,
    action text COLLATE "C" NOT NULL,
    target_kind text COLLATE "C",
    target_id uuid,
    address text COLLATE "C",
    agent text COLLATE "C",
    request_id text COLLATE "C",
    before text COLLATE "C",
    after text COLLATE "C",
    hash bytea NOT NULL CONSTRAINT audit_log_hash CHECK (length(hash) = 32),
    CONSTRAINT audit_log_actor CHECK (actor_kind IN ('user', 'stranger', 'system') AND (actor_kind = 'user') = (actor_id IS NOT NULL)),
    CONSTRAINT audit_log_target CHECK ((target_kind IS NULL) = (target_id IS NULL))
);

CREATE INDEX audit_log_by_created_at ON audit_log (created_at, id);
CREATE INDEX audit_log_by_actor ON audit_log (actor_id, created_at, id) WHERE actor_id IS NOT NULL;
CREATE INDEX audit_log_by_action ON audit_log (action, created_at, id);
CREATE INDEX audit_log_by_target ON audit_log (target_id, created_at, id) WHERE target_id IS NOT NULL;

CREATE TRIGGER audit_log_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The end of the chain: one row, locked by whoever writes to the log.
CREATE TABLE audit_head (
    id bigint PRIMARY KEY CONSTRAINT audit_head_id CHECK (id = 1),
    entries bigint NOT NULL CONSTRAINT audit_head_entries CHECK (entries >= 0),
    hash bytea NOT NULL CONSTRAINT audit_head_hash CHECK (length(hash) = 32)
);

INSERT INTO audit_head (id, entries, hash) VALUES (1, 0, decode(repeat('00', 32), 'hex'));

-- Of failed sign-ins the log tells in sums. No reference to users: those with addresses that nobody has
-- are counted under a nil id.
CREATE TABLE failed_sign_ins (
    user_id uuid NOT NULL,
    place text COLLATE "C" NOT NULL,
    since timestamptz NOT NULL,
    count bigint NOT NULL CONSTRAINT failed_sign_ins_count CHECK (count > 0),
    last_at timestamptz NOT NULL,
    PRIMARY KEY (since, user_id, place)
);
