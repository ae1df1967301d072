//! How users have traded.

use bellwether_domain::ids::UserId;
use bellwether_domain::ports::{StoreError, UserStatistics};

use crate::connection::Connection;
use crate::sql::{Row, Sql};

/// Every trade of the user once, and its positions. Only what it took in resolved markets is scored.
const STATISTICS: &str = "\
    SELECT trades, volume, profit, open_positions, score FROM \
        (SELECT count(*) AS trades, coalesce(sum(cost), 0) AS volume, \
            CASE WHEN total(scored) > 0 THEN total(scored * miss * miss) / total(scored) END / 1000000.0 AS score FROM \
            (SELECT cost, CASE WHEN status = 'resolved' THEN quantity END AS scored, price - weight AS miss \
                FROM trades JOIN markets ON markets.id = trades.market_id \
                JOIN outcomes ON outcomes.market_id = trades.market_id AND outcomes.outcome = trades.outcome \
                WHERE taker_id = ? \
            UNION ALL \
            SELECT cost, NULL, NULL FROM trades WHERE maker_id = ? AND maker_id <> taker_id) AS traded) AS of_trades, \
        (SELECT coalesce(sum(CASE WHEN settled_at IS NOT NULL THEN received - spent END), 0) AS profit, \
            count(CASE WHEN settled_at IS NULL AND EXISTS (SELECT 1 FROM holdings WHERE holdings.market_id = positions.market_id \
                    AND holdings.user_id = positions.user_id AND quantity > 0) THEN 1 END) AS open_positions \
            FROM positions WHERE user_id = ?) AS of_positions";

fn statistics(user: UserId) -> Sql {
    Sql::new(STATISTICS).bind(user).bind(user).bind(user)
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
