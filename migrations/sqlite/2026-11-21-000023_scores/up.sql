-- What users did in markets that have paid, kept so that nobody has to add up every trade again.

-- For each user in each market: sums over trades. `missed` is that of (price - weight)^2 over the shares taken.
CREATE TABLE market_scores (
    market_id BLOB NOT NULL,
    user_id BLOB NOT NULL,
    trades INTEGER NOT NULL,
    volume INTEGER NOT NULL,
    judged_shares INTEGER NOT NULL,
    missed INTEGER NOT NULL,
    PRIMARY KEY (market_id, user_id)
) STRICT, WITHOUT ROWID;

-- For each user, over the markets that are counted.
CREATE TABLE scores (
    user_id BLOB NOT NULL PRIMARY KEY REFERENCES users (id),
    trades INTEGER NOT NULL,
    volume INTEGER NOT NULL,
    judged_shares INTEGER NOT NULL,
    missed INTEGER NOT NULL,
    profit INTEGER NOT NULL,
    markets INTEGER NOT NULL,
    judged_markets INTEGER NOT NULL,
    -- The mean, in millionths.
    brier INTEGER GENERATED ALWAYS AS (CASE WHEN judged_shares > 0
        THEN missed / judged_shares + CASE WHEN missed % judged_shares >= judged_shares - missed % judged_shares THEN 1 ELSE 0 END END) STORED
) STRICT, WITHOUT ROWID;

CREATE INDEX scores_by_profit ON scores (profit, user_id);
CREATE INDEX scores_by_brier ON scores (brier, user_id) WHERE judged_markets >= 5;

-- How far each market that has paid is counted.
CREATE TABLE countings (
    market_id BLOB NOT NULL PRIMARY KEY,
    trades_through INTEGER NOT NULL,
    users_through BLOB NOT NULL,
    done INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX countings_to_do ON countings (market_id) WHERE done = 0;

INSERT INTO countings (market_id, trades_through, users_through, done)
SELECT id, -1, zeroblob(16), 0 FROM markets WHERE settled_at IS NOT NULL;

-- Whether a position is counted in its user's score.
ALTER TABLE positions ADD COLUMN counted INTEGER NOT NULL DEFAULT 0;
CREATE INDEX positions_uncounted ON positions (user_id, market_id) WHERE counted = 0;
