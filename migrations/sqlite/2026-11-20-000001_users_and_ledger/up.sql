-- Ids are the 16 bytes of a UUID, times are microseconds since 1970, money is in mills.

CREATE TABLE users (
    id BLOB NOT NULL PRIMARY KEY CONSTRAINT users_id CHECK (length(id) = 16),
    email TEXT,
    -- What addresses are compared by; folded by the domain, since lower() knows ASCII alone.
    email_key TEXT UNIQUE,
    display_name TEXT NOT NULL,
    password_hash TEXT,
    role TEXT NOT NULL CONSTRAINT users_role CHECK (role IN ('user', 'moderator', 'admin')),
    status TEXT NOT NULL CONSTRAINT users_status CHECK (status IN ('active', 'suspended', 'deactivated')),
    email_verified INTEGER NOT NULL CONSTRAINT users_email_verified CHECK (email_verified IN (0, 1)),
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    CONSTRAINT users_email_has_key CHECK ((email IS NULL) = (email_key IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX users_by_created_at ON users (created_at, id);
CREATE INDEX users_by_display_name ON users (display_name, id);
CREATE INDEX users_by_role ON users (role, created_at, id) WHERE role <> 'user';
CREATE INDEX users_by_status ON users (status, created_at, id) WHERE status <> 'active';

CREATE TABLE accounts (
    id BLOB NOT NULL PRIMARY KEY CONSTRAINT accounts_id CHECK (length(id) = 16),
    owner_kind TEXT NOT NULL CONSTRAINT accounts_owner_kind CHECK (owner_kind IN ('user', 'market', 'maker', 'treasury', 'fees')),
    owner_id BLOB,
    balance INTEGER NOT NULL,
    held INTEGER NOT NULL,
    paid_count INTEGER NOT NULL CONSTRAINT accounts_paid_count CHECK (paid_count >= 0),
    chain BLOB NOT NULL CONSTRAINT accounts_chain CHECK (length(chain) = 32),
    created_at INTEGER NOT NULL,
    CONSTRAINT accounts_owner CHECK ((owner_id IS NULL) = (owner_kind IN ('treasury', 'fees'))),
    CONSTRAINT accounts_balance CHECK (owner_kind = 'treasury' OR balance >= 0),
    CONSTRAINT accounts_held CHECK (held >= 0 AND CASE owner_kind WHEN 'treasury' THEN held = 0 ELSE held <= balance END),
    UNIQUE (owner_kind, owner_id)
) STRICT, WITHOUT ROWID;

-- NULLs are distinct in the rule above.
CREATE UNIQUE INDEX accounts_of_the_house ON accounts (owner_kind) WHERE owner_id IS NULL;

INSERT INTO accounts (id, owner_kind, owner_id, balance, held, paid_count, chain, created_at) VALUES
    (X'00000000000070008000000000000001', 'treasury', NULL, 0, 0, 0, zeroblob(32), 1767225600000000),
    (X'00000000000070008000000000000002', 'fees', NULL, 0, 0, 0, zeroblob(32), 1767225600000000);

CREATE TABLE transfers (
    id BLOB NOT NULL PRIMARY KEY CONSTRAINT transfers_id CHECK (length(id) = 16),
    from_account BLOB NOT NULL REFERENCES accounts (id),
    to_account BLOB NOT NULL REFERENCES accounts (id),
    amount INTEGER NOT NULL CONSTRAINT transfers_amount CHECK (amount > 0),
    kind TEXT NOT NULL CONSTRAINT transfers_kind CHECK (
        kind IN ('grant', 'payment', 'trade', 'fee', 'mint', 'redeem', 'payout', 'subsidy', 'refund')
    ),
    market_id BLOB,
    trade_id BLOB,
    memo TEXT,
    paid_number INTEGER NOT NULL CONSTRAINT transfers_paid_number CHECK (paid_number > 0),
    hash BLOB NOT NULL CONSTRAINT transfers_hash CHECK (length(hash) = 32),
    created_at INTEGER NOT NULL,
    CONSTRAINT transfers_parties CHECK (from_account <> to_account),
    UNIQUE (from_account, paid_number)
) STRICT, WITHOUT ROWID;

CREATE INDEX transfers_by_payer ON transfers (from_account, created_at, id);
CREATE INDEX transfers_by_payee ON transfers (to_account, created_at, id);
CREATE INDEX transfers_by_market ON transfers (market_id, created_at, id) WHERE market_id IS NOT NULL;
CREATE INDEX transfers_by_created_at ON transfers (created_at, id);

CREATE TRIGGER transfers_are_never_updated BEFORE UPDATE ON transfers BEGIN
    SELECT RAISE(ABORT, 'transfers are append-only');
END;
CREATE TRIGGER transfers_are_never_deleted BEFORE DELETE ON transfers BEGIN
    SELECT RAISE(ABORT, 'transfers are append-only');
END;
