//! Work that time makes due.

use bellwether_domain::ids::{MarketId, OrderId};
use bellwether_domain::ports::{DueWork, StoreError};
use jiff::Timestamp;
use uuid::Uuid;

use crate::connection::Connection;
use crate::sql::Sql;

const TO_CLOSE: &str =
    "SELECT id FROM markets WHERE status IN ('open', 'halted') AND closes_at <= ? ORDER BY closes_at, id LIMIT ?";
const TO_EXPIRE: &str = "SELECT market_id, id FROM orders WHERE status = 'open' AND expires_at IS NOT NULL AND expires_at <= ? ORDER BY expires_at, id LIMIT ?";
const TO_DECIDE: &str =
    "SELECT id FROM markets WHERE status = 'proposed' AND challenge_until <= ? ORDER BY challenge_until, id LIMIT ?";
/// Each side is asked for by itself, since the index of open orders is one for each.
const TO_SETTLE: &str = "SELECT id FROM markets WHERE settled_at IS NULL AND status NOT IN ('open', 'halted') \
                         AND (status IN ('resolved', 'voided') \
                              OR EXISTS (SELECT 1 FROM orders WHERE market_id = markets.id AND status = 'open' \
                                         AND book_side = 'buy') \
                              OR EXISTS (SELECT 1 FROM orders WHERE market_id = markets.id AND status = 'open' \
                                         AND book_side = 'sell')) \
                         ORDER BY id LIMIT ?";
/// Each deactivated user is asked for open orders: they are few beside the open orders of all, and seldom have any.
const OF_DEACTIVATED: &str = "SELECT held.market_id, held.id FROM users, \
                              LATERAL (SELECT market_id, id FROM orders WHERE user_id = users.id AND status = 'open' OFFSET 0) \
                              AS held \
                              WHERE users.status = 'deactivated' AND users.status <> 'active' LIMIT ?";

/// Work that is due at `now`, at most `limit` of each sort.
pub(crate) async fn work(connection: &mut Connection, now: Timestamp, limit: u32) -> Result<DueWork, StoreError> {
    Ok(DueWork {
        markets_to_close: ids(connection, Sql::new(TO_CLOSE).bind(now), limit).await?.map(MarketId).collect(),
        orders_to_expire: orders(connection, Sql::new(TO_EXPIRE).bind(now), limit).await?,
        proposals_to_decide: ids(connection, Sql::new(TO_DECIDE).bind(now), limit).await?.map(MarketId).collect(),
        markets_to_settle: ids(connection, Sql::new(TO_SETTLE), limit).await?.map(MarketId).collect(),
        orders_of_deactivated: orders(connection, Sql::new(OF_DEACTIVATED), limit).await?,
    })
}

async fn ids(
    connection: &mut Connection,
    sql: Sql,
    limit: u32,
) -> Result<impl Iterator<Item = Uuid> + use<>, StoreError> {
    Ok(connection.read("due work", sql.bind(limit), |row| row.id()).await?.into_iter())
}

/// Orders with their markets.
async fn orders(connection: &mut Connection, sql: Sql, limit: u32) -> Result<Vec<(MarketId, OrderId)>, StoreError> {
    connection.read("due work", sql.bind(limit), |row| Ok((MarketId(row.id()?), OrderId(row.id()?)))).await
}
