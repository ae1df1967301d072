//! What a list must be, worked out from its rows: their order, and what each page holds.

use std::cmp::Ordering;

use anyhow::{Context, ensure};
use bellwether_domain::audit_log::Entry;
use bellwether_domain::ledger::Transfer;
use bellwether_domain::market::Market;
use bellwether_domain::order::Order;
use bellwether_domain::ports::Direction::{self, Ascending, Descending};
use bellwether_domain::ports::{
    AuditSort, MarketSort, OrderSort, Page, PageRequest, PositionInMarket, PositionSort, SortValue, Start, StoreError,
    TradeSort, TransferSort, UserSort,
};
use bellwether_domain::trade::Trade;
use bellwether_domain::user::User;
use uuid::Uuid;

/// The first hundred rows in order of ids, counted.
pub(crate) fn first_page<K>() -> PageRequest<K> {
    PageRequest { sort: Vec::new(), start: Start::Offset(0), limit: 100 }
}

/// A row of a list that can be sorted by `K`.
pub(crate) trait Row<K>: Clone {
    /// What a cursor carries for that sort key.
    fn value(&self, key: K) -> SortValue;
    /// The id that breaks ties.
    fn id(&self) -> Uuid;
}

impl Row<UserSort> for User {
    fn value(&self, key: UserSort) -> SortValue {
        match key {
            UserSort::CreatedAt => SortValue::Int(self.created_at.as_microsecond()),
            UserSort::DisplayName => SortValue::Text(self.display_name.as_str().to_owned()),
        }
    }
    fn id(&self) -> Uuid {
        self.id.0
    }
}

impl Row<AuditSort> for Entry {
    fn value(&self, AuditSort::CreatedAt: AuditSort) -> SortValue {
        SortValue::Int(self.event.at.as_microsecond())
    }
    fn id(&self) -> Uuid {
        self.event.id.0
    }
}

impl Row<MarketSort> for Market {
    fn value(&self, key: MarketSort) -> SortValue {
        SortValue::Int(match key {
            MarketSort::CreatedAt => self.created_at.as_microsecond(),
            MarketSort::ClosesAt => self.closes_at.as_microsecond(),
            MarketSort::Volume => self.volume.mills(),
        })
    }
    fn id(&self) -> Uuid {
        self.id.0
    }
}

impl Row<OrderSort> for Order {
    fn value(&self, key: OrderSort) -> SortValue {
        SortValue::Int(match key {
            OrderSort::CreatedAt => self.created_at.as_microsecond(),
            OrderSort::UpdatedAt => self.updated_at.as_microsecond(),
        })
    }
    fn id(&self) -> Uuid {
        self.id.0
    }
}

impl Row<TradeSort> for Trade {
    fn value(&self, TradeSort::CreatedAt: TradeSort) -> SortValue {
        SortValue::Int(self.created_at.as_microsecond())
    }
    fn id(&self) -> Uuid {
        self.id.0
    }
}

impl Row<TransferSort> for Transfer {
    fn value(&self, TransferSort::CreatedAt: TransferSort) -> SortValue {
        SortValue::Int(self.created_at.as_microsecond())
    }
    fn id(&self) -> Uuid {
        self.id.0
    }
}

/// A position in a list of one user's: its id is its market's.
#[derive(Debug, Clone)]
pub(crate) struct OfOneUser(pub(crate) PositionInMarket);

impl Row<PositionSort> for OfOneUser {
    fn value(&self, PositionSort::Spent: PositionSort) -> SortValue {
        SortValue::Int(self.0.position.spent.mills())
    }
    fn id(&self) -> Uuid {
        self.0.position.market.0
    }
}

/// A position in a list of one market's: its id is its user's.
#[derive(Debug, Clone)]
pub(crate) struct InOneMarket(pub(crate) PositionInMarket);

impl Row<PositionSort> for InOneMarket {
    fn value(&self, PositionSort::Spent: PositionSort) -> SortValue {
        SortValue::Int(self.0.position.spent.mills())
    }
    fn id(&self) -> Uuid {
        self.0.position.user.0
    }
}

fn compare(a: &SortValue, b: &SortValue) -> Ordering {
    match (a, b) {
        (SortValue::Int(a), SortValue::Int(b)) => a.cmp(b),
        (SortValue::Text(a), SortValue::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (SortValue::Int(_), SortValue::Text(_)) => Ordering::Less,
        (SortValue::Text(_), SortValue::Int(_)) => Ordering::Greater,
    }
}

fn directed(ordering: Ordering, direction: Direction) -> Ordering {
    if direction == Descending { ordering.reverse() } else { ordering }
}

/// The ids of the rows in the order that is asked for.
pub(crate) fn in_order<K: Copy, R: Row<K>>(rows: &[R], sort: &[(K, Direction)]) -> Vec<Uuid> {
    let ties = sort.last().map_or(Ascending, |(_, direction)| *direction);
    let mut sorted = rows.to_vec();
    sorted.sort_by(|a, b| {
        let by_keys = sort.iter().map(|(key, direction)| directed(compare(&a.value(*key), &b.value(*key)), *direction));
        by_keys.fold(Ordering::Equal, Ordering::then).then(directed(a.id().cmp(&b.id()), ties))
    });
    sorted.iter().map(R::id).collect()
}

/// The start that follows a row.
pub(crate) fn after<K: Copy, R: Row<K>>(row: &R, sort: &[(K, Direction)]) -> Start {
    Start::After(sort.iter().map(|(key, _)| row.value(*key)).collect(), row.id())
}

/// All orders by one or two of these keys, in every combination of directions, and by the id alone.
fn every_sort<K: Copy + PartialEq>(keys: &[K]) -> Vec<Vec<(K, Direction)>> {
    const BOTH: [Direction; 2] = [Ascending, Descending];
    let mut sorts = vec![Vec::new()];
    for first in keys {
        for direction in BOTH {
            sorts.push(vec![(*first, direction)]);
            for second in keys.iter().filter(|k| *k != first) {
                sorts.extend(BOTH.map(|other| vec![(*first, direction), (*second, other)]));
            }
        }
    }
    sorts
}

/// Holds the list that `fetch` answers to `rows`: every order, both kinds of pages, several lengths.
pub(crate) async fn holds<K, R>(
    rows: &[R],
    keys: &[K],
    fetch: impl AsyncFn(PageRequest<K>) -> Result<Page<R>, StoreError>,
) -> anyhow::Result<()>
where
    K: Copy + PartialEq + std::fmt::Debug,
    R: Row<K>,
{
    for sort in every_sort(keys) {
        let wanted = in_order(rows, &sort);
        for limit in [1, 3, 7, 100] {
            let walked = walk(&sort, limit, rows.len(), &fetch)
                .await
                .with_context(|| format!("by cursor, {sort:?}, pages of {limit}"))?;
            ensure!(walked == wanted, "by cursor, {sort:?}, pages of {limit}: {walked:?} where {wanted:?} was right");
            let leafed = leaf(&sort, limit, rows.len(), &fetch)
                .await
                .with_context(|| format!("by offset, {sort:?}, pages of {limit}"))?;
            ensure!(leafed == wanted, "by offset, {sort:?}, pages of {limit}: {leafed:?} where {wanted:?} was right");
        }
    }
    Ok(())
}

/// Follows the cursors to the end.
async fn walk<K: Copy, R: Row<K>>(
    sort: &[(K, Direction)],
    limit: u32,
    count: usize,
    fetch: &impl AsyncFn(PageRequest<K>) -> Result<Page<R>, StoreError>,
) -> anyhow::Result<Vec<Uuid>> {
    let mut ids = Vec::new();
    let mut start = Start::First;
    loop {
        let page = fetch(PageRequest { sort: sort.to_vec(), start, limit }).await?;
        ensure!(page.total.is_none(), "a page by cursor is not counted");
        ensure!(page.items.len() <= usize::try_from(limit)?, "a page is longer than was asked for");
        ids.extend(page.items.iter().map(R::id));
        ensure!(
            page.has_more == (ids.len() < count),
            "has_more is {} after {} of {count} rows",
            page.has_more,
            ids.len()
        );
        match page.items.last() {
            Some(last) if page.has_more => start = after(last, sort),
            _ => return Ok(ids),
        }
    }
}

/// Counts the offset up to the end, and one page beyond it.
async fn leaf<K: Copy, R: Row<K>>(
    sort: &[(K, Direction)],
    limit: u32,
    count: usize,
    fetch: &impl AsyncFn(PageRequest<K>) -> Result<Page<R>, StoreError>,
) -> anyhow::Result<Vec<Uuid>> {
    let mut ids = Vec::new();
    let mut offset = 0;
    loop {
        let page = fetch(PageRequest { sort: sort.to_vec(), start: Start::Offset(offset), limit }).await?;
        ensure!(page.total == Some(u64::try_from(count)?), "the total is {:?} where there are {count}", page.total);
        if page.items.is_empty() {
            ensure!(!page.has_more, "an empty page says that more follows");
            return Ok(ids);
        }
        ids.extend(page.items.iter().map(R::id));
        ensure!(
            page.has_more == (ids.len() < count),
            "has_more is {} after {} of {count} rows",
            page.has_more,
            ids.len()
        );
        offset += u64::from(limit);
    }
}
