//! Positions, each with its shares of all outcomes in one row.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use bellwether_domain::ids::{MarketId, UserId};
use bellwether_domain::market::Market;
use bellwether_domain::ports::{
    Page, PageRequest, PositionFilter, PositionInMarket, PositionSort, Positions, StoreError,
};
use bellwether_domain::position::Position;

use crate::connection::{Connection, read_rows};
use crate::lists::{List, NUMBER};
use crate::markets;
use crate::schema::{POSITIONS, USER_IN_MARKET};
use crate::sql::{Column, Row, Sql, Value, Values};
use crate::unit::PgUnitOfWork;

/// The columns of a position.
pub(crate) fn bind(position: &Position, row: &mut Values) {
    let list = |counts: Vec<i64>| Value::Column(Column::Ints(counts.into_iter().map(Some).collect()));
    let (free, held) = position.free_and_held();
    row.add(position.market).add(position.user).add(position.spent).add(position.received).add(position.settled_at);
    row.add(list(free)).add(list(held));
}

/// The columns that [`read`] reads.
const COLUMNS: &str = "market_id, user_id, spent, received, settled_at, free::text, held::text";

fn read(row: &mut Row) -> Result<Position, StoreError> {
    let (market, user) = (MarketId(row.id()?), UserId(row.id()?));
    let (spent, received, settled_at) = (row.credits()?, row.credits()?, row.opt_time()?);
    let (free, held) = (row.text_as("free shares", counts)?, row.text_as("held shares", counts)?);
    let holdings = Position::holdings_of(&free, &held)
        .ok_or_else(|| StoreError::Corrupt(format!("user {user} has too many shares in {market}")))?;
    Ok(Position { user, market, spent, received, settled_at, holdings })
}

/// What is in an array, by its text, `{1,2}`.
fn counts(text: &str) -> Option<Vec<i64>> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    inner.split_terminator(',').map(|count| count.parse().ok()).collect()
}

/// What [`wanted`] found.
pub(crate) fn found(rows: Vec<Row>) -> Result<Vec<Position>, StoreError> {
    read_rows("a position", rows, read)
}

/// Positions by their users and markets.
pub(crate) async fn by_pairs(
    connection: &mut Connection,
    pairs: &[(UserId, MarketId)],
) -> Result<Vec<Position>, StoreError> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    found(connection.rows(wanted(pairs)?).await?)
}

/// The query for positions by their users and markets.
pub(crate) fn wanted(pairs: &[(UserId, MarketId)]) -> Result<Sql, StoreError> {
    let distinct: HashSet<&(UserId, MarketId)> = pairs.iter().collect();
    let sql = Sql::new(format!("SELECT {COLUMNS} FROM "))
        .rows(USER_IN_MARKET, (0_i64..).zip(distinct), |(number, (user, market)), row| {
            row.add(number).add(*user).add(*market);
        })?
        .then(" AS pair (number, of_user, in_market) JOIN positions ON market_id = in_market AND user_id = of_user ORDER BY market_id, user_id");
    Ok(sql)
}

async fn unsettled(
    connection: &mut Connection,
    market: MarketId,
    after: UserId,
    limit: u32,
) -> Result<Vec<Position>, StoreError> {
    let sql = Sql::new(format!("SELECT {COLUMNS} FROM positions"))
        .then(" WHERE market_id = ? AND user_id > ? AND settled_at IS NULL ORDER BY user_id LIMIT ?");
    connection.read("a position", sql.bind(market).bind(after).bind(limit), read).await
}

/// A page of positions with their markets: a bounded number of statements. A market that is deleted between them, in which
/// nobody has anything, is left out.
pub(crate) async fn list(
    connection: &mut Connection,
    filter: &PositionFilter,
    page: &PageRequest<PositionSort>,
) -> Result<Page<PositionInMarket>, StoreError> {
    let id = if filter.user.is_some() { "market_id" } else { "user_id" };
    let mut list = List::of(POSITIONS.name, COLUMNS, id);
    list.filter("user_id = ?", filter.user);
    list.filter("market_id = ?", filter.market);
    let keys = |PositionSort::Spent: &PositionSort| ("spent", NUMBER);
    let page = list.page(connection, page, keys, "a position", read).await?;
    let ids: HashSet<MarketId> = page.items.iter().map(|position| position.market).collect();
    let ids: Vec<MarketId> = ids.into_iter().collect();
    let markets: HashMap<MarketId, Market> =
        markets::by_ids(connection, &ids).await?.into_iter().map(|m| (m.id, m)).collect();
    let join = |position: Position| {
        let market = markets.get(&position.market).cloned()?;
        Some(PositionInMarket { position, market })
    };
    let items = page.items.into_iter().filter_map(join).collect();
    Ok(Page { items, total: page.total, has_more: page.has_more })
}

#[async_trait]
impl Positions for PgUnitOfWork {
    async fn load(&mut self, pairs: &[(UserId, MarketId)]) -> Result<Vec<Position>, StoreError> {
        by_pairs(&mut self.connection, pairs).await
    }

    async fn unsettled(&mut self, market: MarketId, after: UserId, limit: u32) -> Result<Vec<Position>, StoreError> {
        unsettled(&mut self.connection, market, after, limit).await
    }
}
