//! Positions and their holdings.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use bellwether_domain::ids::{MarketId, UserId};
use bellwether_domain::market::Market;
use bellwether_domain::ports::{
    Page, PageRequest, PositionFilter, PositionInMarket, PositionSort, Positions, StoreError,
};
use bellwether_domain::position::{Holding, Position};

use crate::connection::Connection;
use crate::lists::{List, NUMBER};
use crate::markets;
use crate::schema::POSITIONS;
use crate::sql::{Row, Sql, Values};
use crate::unit::SqliteUnitOfWork;

/// The columns of a position.
pub(crate) fn bind(position: &Position, row: &mut Values) {
    row.add(position.market).add(position.user).add(position.spent).add(position.received).add(position.settled_at);
}

/// The columns of a holding of a position.
pub(crate) fn bind_holding((position, outcome, holding): (&Position, i64, &Holding), row: &mut Values) {
    row.add(position.market).add(position.user).add(outcome).add(holding.quantity).add(holding.held);
}

/// A position as its own row has it.
fn read(row: &mut Row) -> Result<Position, StoreError> {
    let market = MarketId(row.id()?);
    Ok(Position {
        user: UserId(row.id()?),
        market,
        spent: row.credits()?,
        received: row.credits()?,
        settled_at: row.opt_time()?,
        holdings: Vec::new(),
    })
}

/// The columns of a position and of one of its holdings; each position is in as many rows as it has holdings.
const WITH_HOLDINGS: &str =
    "SELECT p.market_id, p.user_id, p.spent, p.received, p.settled_at, h.outcome, h.quantity, h.held FROM ";
const JOIN_HOLDINGS: &str = " LEFT JOIN holdings AS h ON h.market_id = p.market_id AND h.user_id = p.user_id";

/// Reads rows of [`WITH_HOLDINGS`], in which the positions may come in any order but each's
/// holdings by outcome.
fn read_with_holdings(rows: impl IntoIterator<Item = Row>) -> Result<Vec<Position>, StoreError> {
    let mut positions: Vec<Position> = Vec::new();
    let mut row_of: HashMap<(MarketId, UserId), usize> = HashMap::new();
    for mut row in rows {
        let position = read(&mut row)?;
        let index = *row_of.entry((position.market, position.user)).or_insert(positions.len());
        if index == positions.len() {
            positions.push(position);
        }
        let Some(position) = positions.get_mut(index) else { continue };
        if let Some(outcome) = row.opt_int()? {
            if i64::try_from(position.holdings.len()) != Ok(outcome) {
                return Err(StoreError::Corrupt(format!(
                    "user {} lacks a holding in market {}",
                    position.user, position.market
                )));
            }
            position.holdings.push(Holding { quantity: row.shares()?, held: row.shares()? });
        }
    }
    Ok(positions)
}

/// Positions by their users and markets.
pub(crate) fn by_pairs(connection: &mut Connection, pairs: &[(UserId, MarketId)]) -> Result<Vec<Position>, StoreError> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let distinct: HashSet<&(UserId, MarketId)> = pairs.iter().collect();
    let text = format!(
        "{WITH_HOLDINGS} positions AS p {JOIN_HOLDINGS} WHERE p.market_id = ? AND p.user_id = ? ORDER BY h.outcome"
    );
    let rows = connection.rows_each(&text, distinct, |(user, market), row| {
        row.add(*market).add(*user);
    })?;
    let mut positions = read_with_holdings(rows.into_iter().flatten())?;
    positions.sort_by_key(|position| (position.market, position.user));
    Ok(positions)
}

/// The index that is named keeps every batch of a payout from passing over all that are settled.
fn unsettled(connection: &mut Connection, market: MarketId, limit: u32) -> Result<Vec<Position>, StoreError> {
    let sql = Sql::new(WITH_HOLDINGS)
        .then("(SELECT * FROM positions INDEXED BY positions_unsettled WHERE market_id = ? AND settled_at IS NULL ORDER BY user_id LIMIT ? + 0) AS p")
        .bind(market)
        .bind(limit)
        .then(JOIN_HOLDINGS)
        .then(" ORDER BY p.user_id, h.outcome");
    read_with_holdings(connection.rows(sql)?)
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
        let pairs: Vec<(UserId, MarketId)> = page.items.iter().map(|p| (p.user, p.market)).collect();
        let mut whole: HashMap<(UserId, MarketId), Position> =
            by_pairs(connection, &pairs)?.into_iter().map(|p| ((p.user, p.market), p)).collect();
        let ids: HashSet<MarketId> = pairs.iter().map(|(_, market)| *market).collect();
        let ids: Vec<MarketId> = ids.into_iter().collect();
        let markets: HashMap<MarketId, Market> =
            markets::by_ids(connection, &ids)?.into_iter().map(|m| (m.id, m)).collect();
        let join = |pair: &(UserId, MarketId)| {
            let joined = whole.remove(pair).zip(markets.get(&pair.1).cloned());
            let joined = joined.map(|(position, market)| PositionInMarket { position, market });
            joined
                .ok_or_else(|| StoreError::Corrupt(format!("the position of user {} has no market {}", pair.0, pair.1)))
        };
        let items = pairs.iter().map(join).collect::<Result<Vec<_>, _>>()?;
        Ok(Page { items, total: page.total, has_more: page.has_more })
    })
}

#[async_trait]
impl Positions for SqliteUnitOfWork {
    async fn load(&mut self, pairs: &[(UserId, MarketId)]) -> Result<Vec<Position>, StoreError> {
        let pairs = pairs.to_vec();
        self.call(move |connection| by_pairs(connection, &pairs)).await
    }

    async fn unsettled(&mut self, market: MarketId, limit: u32) -> Result<Vec<Position>, StoreError> {
        self.call(move |connection| unsettled(connection, market, limit)).await
    }
}
