//! Work that time makes due. Each question goes by an index that holds only what can be due, which is named where
//! SQLite would rather read all markets or users, or all orders that one ever had, at every tick.

use bellwether_domain::ids::{MarketId, OrderId, UserId};
use bellwether_domain::ports::{Look, StoreError};
use jiff::Timestamp;
use uuid::Uuid;

use crate::connection::Connection;
use crate::sql::Sql;

const TO_CLOSE: &str = "SELECT id FROM markets INDEXED BY markets_to_close WHERE status IN ('open', 'halted') AND closes_at <= ? \
                        ORDER BY closes_at, id LIMIT ? + 0";
const TO_EXPIRE: &str = "SELECT market_id, id FROM orders WHERE status = 'open' AND expires_at IS NOT NULL AND expires_at <= ? \
                         ORDER BY expires_at, id LIMIT ? + 0";
const TO_DECIDE: &str = "SELECT id FROM markets INDEXED BY markets_to_decide WHERE status = 'proposed' AND challenge_until <= ? \
                         ORDER BY challenge_until, id LIMIT ? + 0";
const TO_PAY: &str = "SELECT id FROM markets INDEXED BY markets_to_pay WHERE settled_at IS NULL AND status IN ('resolved', 'voided') \
                      ORDER BY id LIMIT ? + 0";
/// Each market with an open order of it, if there is one. Each side is asked for by itself, since the index of open
/// orders is one for each.
const CLOSED: &str = "SELECT id, coalesce(\
                        (SELECT id FROM orders INDEXED BY orders_bids WHERE market_id = few.id AND status = 'open' \
                         AND book_side = 'buy' LIMIT 1), \
                        (SELECT id FROM orders INDEXED BY orders_asks WHERE market_id = few.id AND status = 'open' \
                         AND book_side = 'sell' LIMIT 1)) \
                      FROM (SELECT id FROM markets INDEXED BY markets_to_settle WHERE settled_at IS NULL \
                            AND status NOT IN ('open', 'halted') AND id > ? ORDER BY id LIMIT ? + 0) AS few";
/// Each deactivated user with an open order of it, if there is one.
const DEACTIVATED: &str = "SELECT id, (SELECT id FROM orders INDEXED BY orders_open_by_user WHERE user_id = few.id \
                             AND status = 'open' LIMIT 1) \
                           FROM (SELECT id FROM users INDEXED BY users_deactivated WHERE status = 'deactivated' AND id > ? \
                                 ORDER BY id LIMIT ? + 0) AS few";

/// Markets past their closing time.
pub(crate) fn to_close(connection: &mut Connection, now: Timestamp, limit: u32) -> Result<Vec<MarketId>, StoreError> {
    markets(connection, Sql::new(TO_CLOSE).bind(now), limit)
}

/// Orders past their date, with their markets.
pub(crate) fn to_expire(
    connection: &mut Connection,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<(MarketId, OrderId)>, StoreError> {
    let sql = Sql::new(TO_EXPIRE).bind(now).bind(limit);
    connection.read("due work", sql, |row| Ok((MarketId(row.id()?), OrderId(row.id()?))))
}

/// Proposals past their challenge window.
pub(crate) fn to_decide(connection: &mut Connection, now: Timestamp, limit: u32) -> Result<Vec<MarketId>, StoreError> {
    markets(connection, Sql::new(TO_DECIDE).bind(now), limit)
}

/// Decided markets that are not settled.
pub(crate) fn to_pay(connection: &mut Connection, limit: u32) -> Result<Vec<MarketId>, StoreError> {
    markets(connection, Sql::new(TO_PAY), limit)
}

/// Markets with open orders, of the next that no longer trade.
pub(crate) fn closed_with_orders(
    connection: &mut Connection,
    after: Option<MarketId>,
    limit: u32,
) -> Result<Look<MarketId>, StoreError> {
    look(connection, CLOSED, after.map(|market| market.0), limit, MarketId)
}

/// Users with open orders, of the next that were deactivated.
pub(crate) fn deactivated_with_orders(
    connection: &mut Connection,
    after: Option<UserId>,
    limit: u32,
) -> Result<Look<UserId>, StoreError> {
    look(connection, DEACTIVATED, after.map(|user| user.0), limit, UserId)
}

fn markets(connection: &mut Connection, sql: Sql, limit: u32) -> Result<Vec<MarketId>, StoreError> {
    connection.read("due work", sql.bind(limit), |row| Ok(MarketId(row.id()?)))
}

fn look<T: Copy + Ord>(
    connection: &mut Connection,
    text: &'static str,
    after: Option<Uuid>,
    limit: u32,
    id: fn(Uuid) -> T,
) -> Result<Look<T>, StoreError> {
    let sql = Sql::new(text).bind(after.unwrap_or(Uuid::nil())).bind(limit);
    let mut looked = connection.read("due work", sql, |row| Ok((id(row.id()?), row.opt_id()?.is_some())))?;
    looked.sort_unstable();
    Ok(Look::at(&looked, limit))
}
