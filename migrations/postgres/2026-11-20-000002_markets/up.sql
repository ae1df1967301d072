CREATE TABLE markets (
    id uuid PRIMARY KEY,
    slug text COLLATE "C" NOT NULL UNIQUE,
    question text COLLATE "C" NOT NULL,
    description text COLLATE "C" NOT NULL,
    category text COLLATE "C",
    creator_id uuid NOT NULL REFERENCES users (id),
    status text COLLATE "C" NOT NULL CONSTRAINT markets_status CHECK (
        status IN ('open', 'halted', 'closed', 'proposed', 'disputed', 'resolved', 'voided')
    ),
    closes_at timestamptz NOT NULL,
    fee_bps bigint NOT NULL CONSTRAINT markets_fee_bps CHECK (fee_bps BETWEEN 0 AND 1000),
    fee_recipient text COLLATE "C" NOT NULL CONSTRAINT markets_fee_recipient CHECK (fee_recipient IN ('house', 'creator')),
    maker_account uuid,
    maker_funder uuid,
    maker_subsidy bigint,
    liquidity double precision,
    volume bigint NOT NULL CONSTRAINT markets_volume CHECK (volume >= 0),
    trade_count bigint NOT NULL CONSTRAINT markets_trade_count CHECK (trade_count >= 0),
    sequence bigint NOT NULL CONSTRAINT markets_sequence CHECK (sequence >= 0),
    evidence_url text COLLATE "C",
    proposed_by uuid,
    proposed_at timestamptz,
    challenge_until timestamptz,
    disputed_by uuid,
    dispute_reason text COLLATE "C",
    decided_by uuid,
    decided_at timestamptz,
    decision_reason text COLLATE "C",
    settled_at timestamptz,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT markets_maker CHECK (
        (maker_account IS NULL) = (maker_funder IS NULL)
        AND (maker_account IS NULL) = (maker_subsidy IS NULL)
        AND (maker_account IS NULL) = (liquidity IS NULL)
    ),
    CONSTRAINT markets_proposal CHECK (
        (proposed_at IS NULL) = (proposed_by IS NULL) AND (proposed_at IS NULL) = (challenge_until IS NULL)
    ),
    CONSTRAINT markets_settled CHECK (settled_at IS NULL OR decided_at IS NOT NULL)
);

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
    market_id uuid NOT NULL REFERENCES markets (id),
    outcome bigint NOT NULL CONSTRAINT outcomes_outcome CHECK (outcome BETWEEN 0 AND 19),
    name text COLLATE "C" NOT NULL,
    last_price bigint CONSTRAINT outcomes_last_price CHECK (last_price BETWEEN 1 AND 999),
    -- The maker's opening probability, in mills.
    probability bigint CONSTRAINT outcomes_probability CHECK (probability BETWEEN 0 AND 1000),
    sold bigint NOT NULL DEFAULT 0,
    proposed_weight bigint CONSTRAINT outcomes_proposed_weight CHECK (proposed_weight BETWEEN 0 AND 1000),
    weight bigint CONSTRAINT outcomes_weight CHECK (weight BETWEEN 0 AND 1000),
    PRIMARY KEY (market_id, outcome)
);

CREATE TABLE market_tags (
    market_id uuid NOT NULL REFERENCES markets (id),
    position bigint NOT NULL,
    tag text COLLATE "C" NOT NULL,
    PRIMARY KEY (market_id, position)
);

CREATE INDEX market_tags_by_tag ON market_tags (tag, market_id);
