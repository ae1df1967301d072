CREATE TABLE markets (
    id BLOB NOT NULL PRIMARY KEY CONSTRAINT markets_id CHECK (length(id) = 16),
    slug TEXT NOT NULL UNIQUE,
    question TEXT NOT NULL,
    description TEXT NOT NULL,
    category TEXT,
    creator_id BLOB NOT NULL REFERENCES users (id),
    status TEXT NOT NULL CONSTRAINT markets_status CHECK (
        status IN ('open', 'halted', 'closed', 'proposed', 'disputed', 'resolved', 'voided')
    ),
    closes_at INTEGER NOT NULL,
    fee_bps INTEGER NOT NULL CONSTRAINT markets_fee_bps CHECK (fee_bps BETWEEN 0 AND 1000),
    fee_recipient TEXT NOT NULL CONSTRAINT markets_fee_recipient CHECK (fee_recipient IN ('house', 'creator')),
    maker_account BLOB,
    maker_funder BLOB,
    maker_subsidy INTEGER,
    liquidity REAL,
    volume INTEGER NOT NULL CONSTRAINT markets_volume CHECK (volume >= 0),
    trade_count INTEGER NOT NULL CONSTRAINT markets_trade_count CHECK (trade_count >= 0),
    sequence INTEGER NOT NULL CONSTRAINT markets_sequence CHECK (sequence >= 0),
    evidence_url TEXT,
    proposed_by BLOB,
    proposed_at INTEGER,
    challenge_until INTEGER,
    disputed_by BLOB,
    dispute_reason TEXT,
    decided_by BLOB,
    decided_at INTEGER,
    decision_reason TEXT,
    settled_at INTEGER,
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    CONSTRAINT markets_maker CHECK (
        (maker_account IS NULL) = (maker_funder IS NULL)
        AND (maker_account IS NULL) = (maker_subsidy IS NULL)
        AND (maker_account IS NULL) = (liquidity IS NULL)
    ),
    CONSTRAINT markets_proposal CHECK (
        (proposed_at IS NULL) = (proposed_by IS NULL) AND (proposed_at IS NULL) = (challenge_until IS NULL)
    ),
    CONSTRAINT markets_settled CHECK (settled_at IS NULL OR decided_at IS NOT NULL)
) STRICT;

CREATE INDEX markets_by_created_at ON markets (created_at, id);
CREATE INDEX markets_by_closes_at ON markets (closes_at, id);
CREATE INDEX markets_by_volume ON markets (volume, id);
CREATE INDEX markets_by_category ON markets (category, created_at, id);
CREATE INDEX markets_by_creator ON markets (creator_id, created_at, id);
CREATE INDEX markets_by_status ON markets (status, created_at, id);
CREATE INDEX markets_to_close ON markets (closes_at) WHERE status IN ('open', 'halted');
CREATE INDEX markets_to_decide ON markets (challenge_until) WHERE status = 'proposed';
CREATE INDEX markets_to_settle ON markets (id, status) WHERE settled_at IS NULL AND status NOT IN ('open', 'halted');

CREATE TABLE outcomes (
    market_id BLOB NOT NULL REFERENCES markets (id),
    outcome INTEGER NOT NULL CONSTRAINT outcomes_outcome CHECK (outcome BETWEEN 0 AND 19),
    name TEXT NOT NULL,
    last_price INTEGER CONSTRAINT outcomes_last_price CHECK (last_price BETWEEN 1 AND 999),
    -- The maker's opening probability, in mills.
    probability INTEGER CONSTRAINT outcomes_probability CHECK (probability BETWEEN 0 AND 1000),
    sold INTEGER NOT NULL DEFAULT 0,
    proposed_weight INTEGER CONSTRAINT outcomes_proposed_weight CHECK (proposed_weight BETWEEN 0 AND 1000),
    weight INTEGER CONSTRAINT outcomes_weight CHECK (weight BETWEEN 0 AND 1000),
    PRIMARY KEY (market_id, outcome)
) STRICT, WITHOUT ROWID;

CREATE TABLE market_tags (
    market_id BLOB NOT NULL REFERENCES markets (id),
    position INTEGER NOT NULL,
    tag TEXT NOT NULL,
    PRIMARY KEY (market_id, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX market_tags_by_tag ON market_tags (tag, market_id);
