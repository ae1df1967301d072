-- What users did in markets that have paid, kept so that nobody has to add up every trade again.

-- For each user in each market: sums over trades. `missed` is that of (price - weight)^2 over the shares taken.
CREATE TABLE market_scores (
    market_id uuid NOT NULL,
    user_id uuid NOT NULL,
    trades bigint NOT NULL,
    volume bigint NOT NULL,
    judged_shares bigint NOT NULL,
    missed bigint NOT NULL,
    PRIMARY KEY (market_id, user_id)
);

-- For each user, over the markets that are counted.
CREATE TABLE scores (
    user_id uuid PRIMARY KEY REFERENCES users (id),
    trades bigint NOT NULL,
    volume bigint NOT NULL,
    judged_shares bigint NOT NULL,
    missed bigint NOT NULL,
    profit bigint NOT NULL,
    markets bigint NOT NULL,
    judged_markets bigint NOT NULL,
    -- The mean, in millionths.
    brier bigint GENERATED ALWAYS AS (CASE WHEN judged_shares > 0
        THEN missed / judged_shares + CASE WHEN missed % judged_shares >= judged_shares - missed % judged_shares THEN 1 ELSE 0 END END) STORED
);

CREATE INDEX scores_by_profit ON scores (profit, user_id);
CREATE INDEX scores_by_brier ON scores (brier, user_id) WHERE judged_markets >= 5;

-- How far each market that has paid is counted.
CREATE TABLE countings (
    market_id uuid PRIMARY KEY,
    trades_through bigint NOT NULL,
    users_through uuid NOT NULL,
    done boolean NOT NULL
);

CREATE INDEX countings_to_do ON countings (market_id) WHERE NOT done;

INSERT INTO countings (market_id, trades_through, users_through, done)
SELECT id, -1, '00000000-0000-0000-0000-000000000000', false FROM markets WHERE settled_at IS NOT NULL;

-- Whether a position is counted in its user's score.
ALTER TABLE positions ADD COLUMN counted boolean NOT NULL DEFAULT false;
CREATE INDEX positions_uncounted ON positions (user_id, market_id) WHERE NOT counted;
