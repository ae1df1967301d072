//! How users have traded.

use bellwether_domain::ids::UserId;
use bellwether_domain::ports::{StoreError, UserStatistics};

use crate::connection::Connection;
use crate::sql::{Row, Sql};

/// From when on a trade may be one that is not counted.
macro_rules! since {
    () => {
        "(SELECT min(markets.created_at) - 86400000000 FROM positions JOIN markets ON markets.id = market_id \
            WHERE user_id = ? AND counted = 0)"
    };
}

/// What is kept of markets that have paid and are counted, and with it what the others come to: of the trades since the first
/// of those was opened, or a day before by whatever clock, each whose position is not counted.
const STATISTICS: &str = concat!(
    "SELECT kept.trades + fresh.trades, kept.volume + fresh.volume, kept.profit + held.profit, open_positions, \
        CASE WHEN kept.scored + fresh.scored > 0 THEN (kept.missed + fresh.missed) / (kept.scored + fresh.scored) END / 1000000.0 \
    FROM (SELECT coalesce(sum(trades), 0) AS trades, coalesce(sum(volume), 0) AS volume, coalesce(sum(profit), 0) AS profit, \
            total(judged_shares) AS scored, total(missed) AS missed FROM scores WHERE user_id = ?) AS kept, \
        (SELECT count(*) AS trades, coalesce(sum(cost), 0) AS volume, total(scored) AS scored, \
            total(scored * miss * miss) AS missed FROM \
            (SELECT cost, CASE WHEN status = 'resolved' THEN quantity END AS scored, price - weight AS miss \
                FROM timelines CROSS JOIN trades ON trades.id = entry AND taker_id = owner \
                JOIN markets ON markets.id = trades.market_id \
                JOIN outcomes ON outcomes.market_id = trades.market_id AND outcomes.outcome = trades.outcome \
                WHERE owner = ? AND what = 1 AND at >= ",
    since!(),
    " AND (SELECT counted = 0 FROM positions WHERE positions.market_id = trades.market_id AND user_id = taker_id) \
            UNION ALL \
            SELECT cost, NULL, NULL FROM timelines CROSS JOIN trades ON trades.id = entry AND taker_id <> owner AND maker_id = owner \
                WHERE owner = ? AND what = 1 AND at >= ",
    since!(),
    " AND (SELECT counted = 0 FROM positions WHERE positions.market_id = trades.market_id AND user_id = maker_id)) \
            AS traded) AS fresh, \
        (SELECT coalesce(sum(CASE WHEN settled_at IS NOT NULL THEN received - spent END), 0) AS profit, \
            count(CASE WHEN settled_at IS NULL AND (free GLOB '*[1-9]*' OR held GLOB '*[1-9]*') THEN 1 END) AS open_positions \
            FROM positions WHERE user_id = ? AND counted = 0) AS held"
);

fn statistics(user: UserId) -> Sql {
    (0..6).fold(Sql::new(STATISTICS), |sql, _| sql.bind(user))
}

fn read(row: &mut Row) -> Result<UserStatistics, StoreError> {
    Ok(UserStatistics {
        trades: row.count()?,
        volume: row.credits()?,
        profit: row.credits()?,
        open_positions: row.count()?,
        brier_score: row.opt_real()?,
    })
}

/// How a user has traded.
pub(crate) fn of_user(connection: &mut Connection, user: UserId) -> Result<UserStatistics, StoreError> {
    Ok(connection.read("statistics", statistics(user), read)?.pop().unwrap_or_default())
}
