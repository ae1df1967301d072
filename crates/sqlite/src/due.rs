//! Work that time makes due. Where SQLite would rather read all markets of a status at every tick,
//! the index that holds only what can be due is named.

use bellwether_domain::ids::{MarketId, OrderId};
use bellwether_domain::ports::{DueWork, StoreError};
use jiff::Timestamp;
use uuid::Uuid;

use crate::connection::Connection;
use crate::sql::Sql;

const TO_CLOSE: &str = "SELECT id FROM markets INDEXED BY markets_to_close WHERE status IN ('open', 'halted') AND closes_at <= ? ORDER BY closes_at, id LIMIT ? + 0";
const TO_EXPIRE: &str = "SELECT market_id, id FROM orders WHERE status = 'open' AND expires_at IS NOT NULL AND expires_at <= ? ORDER BY expires_at, id LIMIT ? + 0";
const TO_DECIDE: &str = "SELECT id FROM markets INDEXED BY markets_to_decide WHERE status = 'proposed' AND challenge_until <= ? ORDER BY challenge_until, id LIMIT ? + 0";
/// Each side is asked for by itself, since the index of open orders is one for each.
const TO_SETTLE: &str = "SELECT id FROM markets WHERE settled_at IS NULL AND status NOT IN ('open', 'halted') \
                         AND (status IN ('resolved', 'voided') \
                              OR EXISTS (SELECT 1 FROM orders WHERE market_id = markets.id AND status = 'open' \
                                         AND book_side = 'buy') \
                              OR EXISTS (SELECT 1 FROM orders WHERE market_id = markets.id AND status = 'open' \
                                         AND book_side = 'sell')) \
                         ORDER BY id LIMIT ? + 0";
const OF_DEACTIVATED: &str = "SELECT orders.market_id, orders.id FROM users CROSS JOIN orders ON orders.user_id = users.id AND orders.status = 'open' \
                              WHERE users.status = 'deactivated' AND users.status <> 'active' LIMIT ? + 0";

/// Work that is due at `now`, at most `limit` of each sort, in one snapshot.
pub(crate) fn work(connection: &mut Connection, now: Timestamp, limit: u32) -> Result<DueWork, StoreError> {
    let orders_to_expire = orders(connection, Sql::new(TO_EXPIRE).bind(now), limit)?;
    let orders_of_deactivated = orders(connection, Sql::new(OF_DEACTIVATED), limit)?;
    let mut ids =
        |sql: Sql| -> Result<Vec<Uuid>, StoreError> { connection.read("due work", sql.bind(limit), |row| row.id()) };
    Ok(DueWork {
        markets_to_close: ids(Sql::new(TO_CLOSE).bind(now))?.into_iter().map(MarketId).collect(),
        orders_to_expire,
        proposals_to_decide: ids(Sql::new(TO_DECIDE).bind(now))?.into_iter().map(MarketId).collect(),
        markets_to_settle: ids(Sql::new(TO_SETTLE))?.into_iter().map(MarketId).collect(),
        orders_of_deactivated,
    })
}

/// Orders with their markets.
fn orders(connection: &mut Connection, sql: Sql, limit: u32) -> Result<Vec<(MarketId, OrderId)>, StoreError> {
    connection.read("due work", sql.bind(limit), |row| Ok((MarketId(row.id()?), OrderId(row.id()?))))
}
