-- Money is in mills. Texts compare by their bytes, as in every store.

CREATE TABLE users (
    id uuid PRIMARY KEY,
    email text COLLATE "C",
    -- What addresses are compared by; folded by the domain, so that every store agrees.
    email_key text COLLATE "C" UNIQUE,
    display_name text COLLATE "C" NOT NULL,
    password_hash text COLLATE "C",
    role text COLLATE "C" NOT NULL CONSTRAINT users_role CHECK (role IN ('user', 'moderator', 'admin')),
    status text COLLATE "C" NOT NULL CONSTRAINT users_status CHECK (status IN ('active', 'suspended', 'deactivated')),
    email_verified boolean NOT NULL,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT users_email_has_key CHECK ((email IS NULL) = (email_key IS NULL))
);

CREATE INDEX users_by_created_at ON users (created_at, id);
CREATE INDEX users_by_display_name ON users (display_name, id);
CREATE INDEX users_by_role ON users (role, created_at, id) WHERE role <> 'user';
CREATE INDEX users_by_status ON users (status, created_at, id) WHERE status <> 'active';

CREATE TABLE accounts (
    id uuid PRIMARY KEY,
    owner_kind text COLLATE "C" NOT NULL CONSTRAINT accounts_owner_kind CHECK (owner_kind IN ('user', 'market', 'maker', 'treasury', 'fees')),
    owner_id uuid,
    balance bigint NOT NULL,
    held bigint NOT NULL,
    paid_count bigint NOT NULL CONSTRAINT accounts_paid_count CHECK (paid_count >= 0),
    chain bytea NOT NULL CONSTRAINT accounts_chain CHECK (length(chain) = 32),
    created_at timestamptz NOT NULL,
    CONSTRAINT accounts_owner CHECK ((owner_id IS NULL) = (owner_kind IN ('treasury', 'fees'))),
    CONSTRAINT accounts_balance CHECK (owner_kind = 'treasury' OR balance >= 0),
    CONSTRAINT accounts_held CHECK (held >= 0 AND CASE owner_kind WHEN 'treasury' THEN held = 0 ELSE held <= balance END),
    UNIQUE (owner_kind, owner_id)
);

-- NULLs are distinct in the rule above.
CREATE UNIQUE INDEX accounts_of_the_house ON accounts (owner_kind) WHERE owner_id IS NULL;

INSERT INTO accounts (id, owner_kind, owner_id, balance, held, paid_count, chain, created_at) VALUES
    ('00000000000070008000000000000001', 'treasury', NULL, 0, 0, 0, decode(repeat('00', 32), 'hex'), '2026-01-01T00:00:00Z'),
    ('00000000000070008000000000000002', 'fees', NULL, 0, 0, 0, decode(repeat('00', 32), 'hex'), '2026-01-01T00:00:00Z');

CREATE TABLE transfers (
    id uuid PRIMARY KEY,
    from_account uuid NOT NULL REFERENCES accounts (id),
    to_account uuid NOT NULL REFERENCES accounts (id),
    amount bigint NOT NULL CONSTRAINT transfers_amount CHECK (amount > 0),
    kind text COLLATE "C" NOT NULL CONSTRAINT transfers_kind CHECK (
        kind IN ('grant', 'payment', 'trade', 'fee', 'mint', 'redeem', 'payout', 'subsidy', 'refund')
    ),
    market_id uuid,
    trade_id uuid,
    memo text COLLATE "C",
    paid_number bigint NOT NULL CONSTRAINT transfers_paid_number CHECK (paid_number > 0),
    hash bytea NOT NULL CONSTRAINT transfers_hash CHECK (length(hash) = 32),
    created_at timestamptz NOT NULL,
    CONSTRAINT transfers_parties CHECK (from_account <> to_account),
    UNIQUE (from_account, paid_number)
);

CREATE INDEX transfers_by_payer ON transfers (from_account, created_at, id);
CREATE INDEX transfers_by_payee ON transfers (to_account, created_at, id);
CREATE INDEX transfers_by_market ON transfers (market_id, created_at, id) WHERE market_id IS NOT NULL;
CREATE INDEX transfers_by_created_at ON transfers (created_at, id);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% are append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;

CREATE TRIGGER transfers_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON transfers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
