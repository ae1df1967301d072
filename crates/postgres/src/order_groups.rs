//! Groups of orders.

use async_trait::async_trait;
use bellwether_domain::ids::{MarketId, OrderGroupId, UserId};
use bellwether_domain::money::Shares;
use bellwether_domain::order::Order;
use bellwether_domain::order_group::{OrderGroup, RecentFills};
use bellwether_domain::ports::{OrderGroups, StoreError};
use jiff::Timestamp;

use crate::connection::read_rows;
use crate::orders;
use crate::schema::{ORDER_GROUPS, ORDERS};
use crate::sql::{Row, Sql, Values};
use crate::unit::PgUnitOfWork;

const WHAT: &str = "an order group";

/// The columns of a new group.
pub(crate) fn bind(group: &OrderGroup, row: &mut Values) {
    row.add(group.id)
        .add(group.user)
        .add(group.market)
        .add(group.fill_cap)
        .add(group.window_s)
        .add(group.filled)
        .add(text_of(&group.recent))
        .add(group.full_at)
        .add(group.created_at)
        .add(group.updated_at);
}

/// The columns of a group that change.
pub(crate) fn bind_change(group: &OrderGroup, row: &mut Values) {
    row.add(group.id).add(group.filled).add(text_of(&group.recent)).add(group.full_at).add(group.updated_at);
}

fn text_of(recent: &[RecentFills]) -> String {
    let part = |fills: &RecentFills| {
        format!("{}:{}:{}", fills.first_at.as_microsecond(), fills.last_at.as_microsecond(), fills.quantity.count())
    };
    recent.iter().map(part).collect::<Vec<_>>().join(",")
}

fn recent_of(text: &str) -> Option<Vec<RecentFills>> {
    let part = |part: &str| {
        let mut numbers = part.split(':').map(|number| number.parse::<i64>().ok());
        let mut moment = || Timestamp::from_microsecond(numbers.next()??).ok();
        let (first_at, last_at) = (moment()?, moment()?);
        let quantity = Shares::new(numbers.next()??);
        numbers.next().is_none().then_some(RecentFills { first_at, last_at, quantity })
    };
    text.split(',').filter(|part| !part.is_empty()).map(part).collect()
}

fn read(row: &mut Row) -> Result<OrderGroup, StoreError> {
    Ok(OrderGroup {
        id: OrderGroupId(row.id()?),
        user: UserId(row.id()?),
        market: MarketId(row.id()?),
        fill_cap: row.shares()?,
        window_s: row.opt_int_as("a window", Some)?,
        filled: row.shares()?,
        recent: row.text_as("a list of fills", recent_of)?,
        full_at: row.opt_time()?,
        created_at: row.time()?,
        updated_at: row.time()?,
    })
}

/// The columns of orders, with the table named.
fn order_columns() -> String {
    ORDERS.columns.split(',').map(|column| format!("orders.{}", column.trim())).collect::<Vec<_>>().join(", ")
}

/// The query for groups by ids, in id order.
pub(crate) fn wanted(ids: &[OrderGroupId]) -> Sql {
    Sql::new(ORDER_GROUPS.select()).then(" WHERE id = ANY(?) ORDER BY id").ids(ids.iter().map(|id| id.0))
}

/// The query for the open orders of groups. They are found among those of their user in their market, so that no order
/// has to be in one index more.
pub(crate) fn wanted_orders(ids: &[OrderGroupId]) -> Sql {
    let text = format!(
        "SELECT {} FROM order_groups JOIN orders ON orders.user_id = order_groups.user_id \
         AND orders.market_id = order_groups.market_id AND orders.status = 'open' AND orders.group_id = order_groups.id \
         WHERE order_groups.id = ANY(?) ORDER BY orders.id",
        order_columns()
    );
    Sql::new(text).ids(ids.iter().map(|id| id.0))
}

/// The query for the groups of a user.
pub(crate) fn wanted_of(user: UserId) -> Sql {
    Sql::new(ORDER_GROUPS.select()).then(" WHERE user_id = ? ORDER BY id").bind(user)
}

/// Groups that a query found.
pub(crate) fn found(rows: Vec<Row>) -> Result<Vec<OrderGroup>, StoreError> {
    read_rows(WHAT, rows, read)
}

#[async_trait]
impl OrderGroups for PgUnitOfWork {
    async fn load(&mut self, ids: &[OrderGroupId]) -> Result<Vec<OrderGroup>, StoreError> {
        found(self.connection.rows(wanted(ids)).await?)
    }

    async fn open_orders(&mut self, ids: &[OrderGroupId]) -> Result<Vec<Order>, StoreError> {
        orders::found(self.connection.rows(wanted_orders(ids)).await?)
    }

    async fn count_of(&mut self, user: UserId) -> Result<u64, StoreError> {
        let sql = Sql::new("SELECT count(*) FROM order_groups WHERE user_id = ?").bind(user);
        Ok(self.connection.read(WHAT, sql, |row| row.count()).await?.pop().unwrap_or_default())
    }
}
