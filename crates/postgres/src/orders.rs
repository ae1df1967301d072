//! Orders and books.

use std::collections::HashSet;

use async_trait::async_trait;
use bellwether_domain::ids::{ApiKeyId, MarketId, OrderGroupId, OrderId, UserId};
use bellwether_domain::market::OutcomeId;
use bellwether_domain::money::{Price, Shares};
use bellwether_domain::order::{
    Backing, EndReason, Order, OrderStatus, OrderType, SelfTradePrevention, Side, TimeInForce,
};
use bellwether_domain::ports::{
    BestPrices, BookLevel, BookRequest, OrderFilter, OrderSort, Orders, Page, PageRequest, StoreError,
};

use crate::connection::{Connection, read_rows};
use crate::lists::{List, TIME};
use crate::schema::{BOOK_REQUEST, CLIENT_ORDER_ID, ORDERS, USER_IN_MARKET};
use crate::sql::{Row, Sql, Values};
use crate::unit::PgUnitOfWork;

/// The columns of a new order.
pub(crate) fn bind(order: &Order, row: &mut Values) {
    row.add(order.id)
        .add(order.market)
        .add(order.user)
        .add(order.outcome)
        .add(order.side.as_str())
        .add(order.order_type.as_str())
        .add(order.price)
        .add(order.max_spend)
        .add(order.backing.as_str())
        .add(order.quantity)
        .add(order.filled)
        .add(order.remaining)
        .add(order.reserved)
        .add(order.cost)
        .add(order.fee)
        .add(order.time_in_force.as_str())
        .add(order.expires_at)
        .add(order.post_only)
        .add(order.self_trade_prevention.as_str())
        .add(order.client_order_id.as_ref())
        .add(order.counted_by)
        .add(order.status.as_str())
        .add(order.end_reason.map(EndReason::as_str))
        .add(order.book)
        .add(order.book_side.as_str())
        .add(order.book_price)
        .add(order.sequence)
        .add(order.created_at)
        .add(order.updated_at)
        .add(order.placed_by)
        .add(order.group);
}

/// The columns of an order that change.
pub(crate) fn bind_change(order: &Order, row: &mut Values) {
    row.add(order.id)
        .add(order.price)
        .add(order.max_spend)
        .add(order.quantity)
        .add(order.filled)
        .add(order.remaining)
        .add(order.reserved)
        .add(order.cost)
        .add(order.fee)
        .add(order.expires_at)
        .add(order.counted_by)
        .add(order.status.as_str())
        .add(order.end_reason.map(EndReason::as_str))
        .add(order.book_price)
        .add(order.sequence)
        .add(order.updated_at);
}

fn read(row: &mut Row) -> Result<Order, StoreError> {
    Ok(Order {
        id: OrderId(row.id()?),
        market: MarketId(row.id()?),
        user: UserId(row.id()?),
        outcome: row.outcome()?,
        side: row.text_as("a side", Side::from_name)?,
        order_type: row.text_as("an order's type", OrderType::from_name)?,
        price: row.opt_price()?,
        max_spend: row.opt_int_as("money", |mills| Some(bellwether_domain::money::Credits::from_mills(mills)))?,
        backing: row.text_as("a backing", Backing::from_name)?,
        quantity: row.shares()?,
        filled: row.shares()?,
        remaining: row.shares()?,
        reserved: row.credits()?,
        cost: row.credits()?,
        fee: row.credits()?,
        time_in_force: row.text_as("a time in force", TimeInForce::from_name)?,
        expires_at: row.opt_time()?,
        post_only: row.flag()?,
        self_trade_prevention: row.text_as("a prevention of self-trades", SelfTradePrevention::from_name)?,
        client_order_id: row.opt_text()?,
        counted_by: row.opt_id()?.map(ApiKeyId),
        status: row.text_as("an order's status", OrderStatus::from_name)?,
        end_reason: row.opt_text_as("a reason", EndReason::from_name)?,
        book: row.outcome()?,
        book_side: row.text_as("a side", Side::from_name)?,
        book_price: row.opt_price()?,
        sequence: row.int()?,
        created_at: row.time()?,
        updated_at: row.time()?,
        placed_by: row.opt_id()?.map(ApiKeyId),
        group: row.opt_id()?.map(OrderGroupId),
    })
}

/// Orders by ids, in id order.
pub(crate) async fn by_ids(connection: &mut Connection, ids: &[OrderId]) -> Result<Vec<Order>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    found(connection.rows(wanted(ids)).await?)
}

/// The query for orders by ids, in id order.
pub(crate) fn wanted(ids: &[OrderId]) -> Sql {
    Sql::new(ORDERS.select()).then(" WHERE id = ANY(?) ORDER BY id").ids(ids.iter().map(|id| id.0))
}

/// Orders that a query found.
pub(crate) fn found(rows: Vec<Row>) -> Result<Vec<Order>, StoreError> {
    read_rows("an order", rows, read)
}

/// A page of orders.
pub(crate) async fn list(
    connection: &mut Connection,
    filter: &OrderFilter,
    page: &PageRequest<OrderSort>,
) -> Result<Page<Order>, StoreError> {
    let mut list = List::of(ORDERS.name, ORDERS.columns, "id");
    list.filter("user_id = ?", filter.user);
    list.filter("market_id = ?", filter.market);
    match filter.status {
        // Written out, so that SQLite sees that the indexes of open orders fit.
        Some(OrderStatus::Open) => list.always("status = 'open'"),
        status => list.filter("status = ?", status.map(OrderStatus::as_str)),
    }
    list.filter("client_order_id = ?", filter.client_order_id.as_ref());
    let keys = |sort: &OrderSort| match sort {
        OrderSort::CreatedAt => ("created_at", TIME),
        OrderSort::UpdatedAt => ("updated_at", TIME),
    };
    list.page(connection, page, keys, "an order", read).await
}

/// The best orders of the sides that are asked for, each found by its own index. A request is a row
/// of an array: one statement, however many.
const BEST: &str = " AS request (number, market, book, side, worst, depth) \
    CROSS JOIN LATERAL (\
        (SELECT * FROM orders WHERE request.side = 'buy' AND market_id = request.market AND orders.book = request.book \
            AND book_side = 'buy' AND status = 'open' AND book_price >= request.worst \
            ORDER BY book_price DESC, sequence LIMIT request.depth) \
        UNION ALL \
        (SELECT * FROM orders WHERE request.side = 'sell' AND market_id = request.market AND orders.book = request.book \
            AND book_side = 'sell' AND status = 'open' AND book_price <= request.worst \
            ORDER BY book_price, sequence LIMIT request.depth)\
    ) AS best";

/// The query for sides of books.
pub(crate) fn wanted_books(requests: &[BookRequest]) -> Result<Sql, StoreError> {
    let columns: Vec<String> = ORDERS.columns.split(", ").map(|column| format!("best.{column}")).collect();
    let sql = Sql::new(format!("SELECT request.number, {} FROM ", columns.join(", ")));
    let sql = sql.rows(BOOK_REQUEST, (0_i64..).zip(requests), |(number, request), row| {
        let widest = match request.side {
            Side::Buy => Price::MIN,
            Side::Sell => Price::MAX,
        };
        row.add(number)
            .add(request.market)
            .add(request.book)
            .add(request.side.as_str())
            .add(request.limit.unwrap_or(widest))
            .add(request.depth);
    })?;
    Ok(sql.then(BEST))
}

/// What it found, in the order of the requests.
pub(crate) fn found_books(rows: Vec<Row>, requests: &[BookRequest]) -> Result<Vec<Vec<Order>>, StoreError> {
    let mut books = vec![Vec::new(); requests.len()];
    let read_numbered = |row: &mut Row| Ok((row.int_as("a number", |n| usize::try_from(n).ok())?, read(row)?));
    for (number, order) in read_rows("an order", rows, read_numbered)? {
        if let Some(book) = books.get_mut(number) {
            book.push(order);
        }
    }
    // The order of a join is not promised.
    for (book, request) in books.iter_mut().zip(requests) {
        book.sort_by_key(|order| (price_rank(request.side, order.book_price), order.sequence));
    }
    Ok(books)
}

/// Smaller is better for whoever takes from that side.
fn price_rank(side: Side, price: Option<Price>) -> i64 {
    let mills = price.map_or(0, Price::mills);
    match side {
        Side::Buy => mills.saturating_neg(),
        Side::Sell => mills,
    }
}

/// One statement, and so one snapshot; the market's own row comes first.
const LEVELS: &str = "\
    SELECT 'market', NULL::bigint, NULL::bigint, sequence FROM market_counters WHERE market_id = ? \
    UNION ALL (SELECT 'buy', book_price, sum(remaining)::bigint, count(*) FROM orders \
        WHERE market_id = ? AND book = ? AND book_side = 'buy' AND status = 'open' \
        GROUP BY book_price ORDER BY book_price DESC LIMIT ?) \
    UNION ALL (SELECT 'sell', book_price, sum(remaining)::bigint, count(*) FROM orders \
        WHERE market_id = ? AND book = ? AND book_side = 'sell' AND status = 'open' \
        GROUP BY book_price ORDER BY book_price LIMIT ?)";

/// The levels of one book and its market's sequence, in one snapshot.
pub(crate) async fn levels(
    connection: &mut Connection,
    market: MarketId,
    book: OutcomeId,
    depth: u32,
) -> Result<(Vec<BookLevel>, i64), StoreError> {
    let sql = Sql::new(LEVELS).bind(market).bind(market).bind(book).bind(depth).bind(market).bind(book).bind(depth);
    let (mut levels, mut sequence) = (Vec::new(), 0);
    for mut row in connection.rows(sql).await? {
        let what = row.text()?;
        let (price, quantity) = (row.opt_price()?, row.opt_int()?);
        match (Side::from_name(&what), price, quantity) {
            (Some(side), Some(price), Some(quantity)) => {
                let orders = row.count()?;
                levels.push(BookLevel { book, side, price, quantity: Shares::new(quantity), orders });
            }
            _ => sequence = row.int()?,
        }
    }
    levels.sort_by_key(|level| (level.side, price_rank(level.side, Some(level.price))));
    Ok((levels, sequence))
}

/// The best prices of these books, as far as they have open orders: each a look into the book's index.
pub(crate) async fn best_prices(
    connection: &mut Connection,
    books: &[(MarketId, OutcomeId)],
) -> Result<Vec<BestPrices>, StoreError> {
    if books.is_empty() {
        return Ok(Vec::new());
    }
    let sql = Sql::new(
        "SELECT wanted.market_id, wanted.book, \
         (SELECT max(book_price) FROM orders WHERE market_id = wanted.market_id AND book = wanted.book \
          AND book_side = 'buy' AND status = 'open'), \
         (SELECT min(book_price) FROM orders WHERE market_id = wanted.market_id AND book = wanted.book \
          AND book_side = 'sell' AND status = 'open') FROM ",
    );
    let sql = sql.unnest("ui", books, |(market, book), row| {
        row.add(*market).add(*book);
    })?;
    let sql = sql.then(" WITH ORDINALITY AS wanted (market_id, book, number) ORDER BY wanted.number");
    let mut best = connection
        .read("a best price", sql, |row| {
            Ok(BestPrices {
                market: MarketId(row.id()?),
                book: row.outcome()?,
                bid: row.opt_price()?,
                ask: row.opt_price()?,
            })
        })
        .await?;
    best.retain(|best| best.bid.is_some() || best.ask.is_some());
    Ok(best)
}

/// The query for numbers of open orders.
pub(crate) fn wanted_counts(pairs: &[(UserId, MarketId)]) -> Result<Sql, StoreError> {
    let sql = Sql::new(
        "SELECT (SELECT count(*) FROM orders WHERE orders.user_id = pair.user_id AND orders.market_id = pair.market_id \
         AND status = 'open') FROM ",
    );
    let sql = sql.rows(USER_IN_MARKET, (0_i64..).zip(pairs), |(number, (user, market)), row| {
        row.add(number).add(*user).add(*market);
    })?;
    Ok(sql.then(" AS pair (number, user_id, market_id) ORDER BY pair.number"))
}

/// What it found, in the order of the pairs.
pub(crate) fn found_counts(rows: Vec<Row>) -> Result<Vec<u64>, StoreError> {
    read_rows("a count", rows, Row::count)
}

/// The query for orders with client order ids.
pub(crate) fn wanted_client_ids(pairs: &[(UserId, String)]) -> Result<Sql, StoreError> {
    let distinct: HashSet<&(UserId, String)> = pairs.iter().collect();
    let sql = Sql::new(ORDERS.select())
        .then(" WHERE client_order_id IS NOT NULL AND (user_id, client_order_id) IN (SELECT * FROM ")
        .rows(CLIENT_ORDER_ID, distinct, |(user, id), row| {
            row.add(*user).add(id);
        })?
        .then(")");
    Ok(sql)
}

#[async_trait]
impl Orders for PgUnitOfWork {
    async fn load(&mut self, ids: &[OrderId]) -> Result<Vec<Order>, StoreError> {
        by_ids(&mut self.connection, ids).await
    }

    async fn book(&mut self, requests: &[BookRequest]) -> Result<Vec<Vec<Order>>, StoreError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        found_books(self.connection.rows(wanted_books(requests)?).await?, requests)
    }

    async fn open_in_market(&mut self, market: MarketId, limit: u32) -> Result<Vec<Order>, StoreError> {
        let sql = Sql::new(ORDERS.select())
            .then(" WHERE market_id = ? AND status = 'open' AND book_side = 'buy' UNION ALL ")
            .then(&ORDERS.select())
            .then(" WHERE market_id = ? AND status = 'open' AND book_side = 'sell' LIMIT ?");
        self.connection.read("an order", sql.bind(market).bind(market).bind(limit), read).await
    }

    async fn count_open(&mut self, pairs: &[(UserId, MarketId)]) -> Result<Vec<u64>, StoreError> {
        if pairs.is_empty() {
            return Ok(Vec::new());
        }
        found_counts(self.connection.rows(wanted_counts(pairs)?).await?)
    }

    async fn with_client_ids(&mut self, pairs: &[(UserId, String)]) -> Result<Vec<Order>, StoreError> {
        if pairs.is_empty() {
            return Ok(Vec::new());
        }
        found(self.connection.rows(wanted_client_ids(pairs)?).await?)
    }
}
