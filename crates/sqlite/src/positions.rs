//! Positions, each with its shares of all outcomes in one row.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use bellwether_domain::ids::{MarketId, UserId};
use bellwether_domain::market::Market;
use bellwether_domain::ports::{
    Page, PageRequest, PositionFilter, PositionInMarket, PositionSort, Positions, StoreError,
};
use bellwether_domain::position::Position;

use crate::connection::Connection;
use crate::lists::{List, NUMBER};
use crate::markets;
use crate::schema::POSITIONS;
use crate::sql::{Row, Sql, Values};
use crate::unit::SqliteUnitOfWork;

/// The columns of a position. The lists of shares are JSON.
pub(crate) fn bind(position: &Position, row: &mut Values) {
    let (free, held) = position.free_and_held();
    row.add(position.market).add(position.user).add(position.spent).add(position.received).add(position.settled_at);
    row.add(text_of(&free)).add(text_of(&held));
}

fn read(row: &mut Row) -> Result<Position, StoreError> {
    let (market, user) = (MarketId(row.id()?), UserId(row.id()?));
    let (spent, received, settled_at) = (row.credits()?, row.credits()?, row.opt_time()?);
    let (free, held) = (row.text_as("free shares", counts)?, row.text_as("held shares", counts)?);
    let holdings = Position::holdings_of(&free, &held)
        .ok_or_else(|| StoreError::Corrupt(format!("user {user} has too many shares in {market}")))?;
    Ok(Position { user, market, spent, received, settled_at, holdings })
}

/// A list's text, `[1,2]`.
fn text_of(counts: &[i64]) -> String {
    let counts: Vec<String> = counts.iter().map(i64::to_string).collect();
    format!("[{}]", counts.join(","))
}

/// What [`text_of`] makes a text of.
fn counts(text: &str) -> Option<Vec<i64>> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    inner.split_terminator(',').map(|count| count.parse().ok()).collect()
}

/// Positions by their users and markets.
pub(crate) fn by_pairs(connection: &mut Connection, pairs: &[(UserId, MarketId)]) -> Result<Vec<Position>, StoreError> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let distinct: HashSet<&(UserId, MarketId)> = pairs.iter().collect();
    let text = format!("{} WHERE market_id = ? AND user_id = ?", POSITIONS.select());
    let rows = connection.rows_each(&text, distinct, |(user, market), row| {
        row.add(*market).add(*user);
    })?;
    let mut positions = rows.into_iter().flatten().map(|mut row| read(&mut row)).collect::<Result<Vec<_>, _>>()?;
    positions.sort_by_key(|position| (position.market, position.user));
    Ok(positions)
}

fn unsettled(
    connection: &mut Connection,
    market: MarketId,
    after: UserId,
    limit: u32,
) -> Result<Vec<Position>, StoreError> {
    let sql = Sql::new(POSITIONS.select())
        .then(" WHERE market_id = ? AND user_id > ? AND settled_at IS NULL ORDER BY user_id LIMIT ? + 0");
    connection.read("a position", sql.bind(market).bind(after).bind(limit), read)
}

/// A page of positions with their markets: a bounded number of statements in one snapshot.
pub(crate) fn list(
    connection: &mut Connection,
    filter: &PositionFilter,
    page: &PageRequest<PositionSort>,
) -> Result<Page<PositionInMarket>, StoreError> {
    let id = if filter.user.is_some() { "market_id" } else { "user_id" };
    let mut list = List::of(POSITIONS.name, POSITIONS.columns, id);
    list.filter("user_id = ?", filter.user);
    list.filter("market_id = ?", filter.market);
    let keys = |PositionSort::Spent: &PositionSort| ("spent", NUMBER);
    connection.snapshot(|connection| {
        let page = list.page(connection, page, keys, |connection, sql| connection.read("a position", sql, read))?;
        let ids: HashSet<MarketId> = page.items.iter().map(|position| position.market).collect();
        let ids: Vec<MarketId> = ids.into_iter().collect();
        let markets: HashMap<MarketId, Market> =
            markets::by_ids(connection, &ids)?.into_iter().map(|m| (m.id, m)).collect();
        let join = |position: Position| {
            let market = markets.get(&position.market).cloned();
            let missing = || StoreError::Corrupt(format!("a position of user {} has no market", position.user));
            let market = market.ok_or_else(missing)?;
            Ok(PositionInMarket { position, market })
        };
        let items = page.items.into_iter().map(join).collect::<Result<Vec<_>, StoreError>>()?;
        Ok(Page { items, total: page.total, has_more: page.has_more })
    })
}

#[async_trait]
impl Positions for SqliteUnitOfWork {
    async fn load(&mut self, pairs: &[(UserId, MarketId)]) -> Result<Vec<Position>, StoreError> {
        let pairs = pairs.to_vec();
        self.call(move |connection| by_pairs(connection, &pairs)).await
    }

    async fn unsettled(&mut self, market: MarketId, after: UserId, limit: u32) -> Result<Vec<Position>, StoreError> {
        self.call(move |connection| unsettled(connection, market, after, limit)).await
    }
}
