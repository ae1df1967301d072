//! Orders and books.

use std::collections::HashSet;

use async_trait::async_trait;
use bellwether_domain::ids::{MarketId, OrderId, UserId};
use bellwether_domain::market::OutcomeId;
use bellwether_domain::money::Price;
use bellwether_domain::order::{
    Backing, EndReason, Order, OrderStatus, OrderType, SelfTradePrevention, Side, TimeInForce,
};
use bellwether_domain::ports::{
    BestPrices, BookLevel, BookRequest, OrderFilter, OrderSort, Orders, Page, PageRequest, StoreError,
};

use crate::connection::Connection;
use crate::lists::{List, TIME};
use crate::schema::ORDERS;
use crate::sql::{Row, Sql, Values};
use crate::unit::SqliteUnitOfWork;

/// SQLite takes at most 500 `SELECT`s in one statement.
const MOST_BOOKS: usize = 400;

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
        .add(order.status.as_str())
        .add(order.end_reason.map(EndReason::as_str))
        .add(order.book)
        .add(order.book_side.as_str())
        .add(order.book_price)
        .add(order.sequence)
        .add(order.created_at)
        .add(order.updated_at);
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
        status: row.text_as("an order's status", OrderStatus::from_name)?,
        end_reason: row.opt_text_as("a reason", EndReason::from_name)?,
        book: row.outcome()?,
        book_side: row.text_as("a side", Side::from_name)?,
        book_price: row.opt_price()?,
        sequence: row.int()?,
        created_at: row.time()?,
        updated_at: row.time()?,
    })
}

/// Orders by ids, in id order.
pub(crate) fn by_ids(connection: &mut Connection, ids: &[OrderId]) -> Result<Vec<Order>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = Sql::new(ORDERS.select()).then(" WHERE id IN ").list(ids.iter().copied()).then(" ORDER BY id");
    connection.read("an order", sql, read)
}

/// A page of orders.
pub(crate) fn list(
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
    list.page(connection, page, keys, |connection, sql| connection.read("an order", sql, read))
}

/// The text after the columns that finds the best orders of one side of one book, each side by its own index.
const fn best_of(side: Side) -> &'static str {
    match side {
        Side::Buy => {
            " FROM orders WHERE market_id = ? AND book = ? AND book_side = 'buy' AND status = 'open' AND book_price >= ? \
              ORDER BY book_price DESC, sequence LIMIT ?)"
        }
        Side::Sell => {
            " FROM orders WHERE market_id = ? AND book = ? AND book_side = 'sell' AND status = 'open' AND book_price <= ? \
              ORDER BY book_price, sequence LIMIT ?)"
        }
    }
}

fn books(connection: &mut Connection, requests: &[BookRequest]) -> Result<Vec<Vec<Order>>, StoreError> {
    let mut books = Vec::with_capacity(requests.len());
    for requests in requests.chunks(MOST_BOOKS) {
        let mut found = vec![Vec::new(); requests.len()];
        let mut sql = Sql::new("");
        for (number, request) in requests.iter().enumerate() {
            sql.push(if number == 0 {
                "SELECT * FROM (SELECT ? AS request, "
            } else {
                " UNION ALL SELECT * FROM (SELECT ?, "
            });
            sql.push(ORDERS.columns);
            sql.push(best_of(request.side));
            let widest = match request.side {
                Side::Buy => Price::MIN,
                Side::Sell => Price::MAX,
            };
            sql.values()
                .add(i64::try_from(number).unwrap_or(i64::MAX))
                .add(request.market)
                .add(request.book)
                .add(request.limit.unwrap_or(widest))
                .add(request.depth);
        }
        let rows = connection
            .read("an order", sql, |row| Ok((row.int_as("a number", |n| usize::try_from(n).ok())?, read(row)?)))?;
        for (number, order) in rows {
            if let Some(book) = found.get_mut(number) {
                book.push(order);
            }
        }
        books.append(&mut found);
    }
    // The order within a merged query is not promised.
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

/// The levels of one book and its market's sequence, in one snapshot.
pub(crate) fn levels(
    connection: &mut Connection,
    market: MarketId,
    book: OutcomeId,
    depth: u32,
) -> Result<(Vec<BookLevel>, i64), StoreError> {
    connection.snapshot(|connection| {
        let sequence = connection.one(Sql::new("SELECT sequence FROM markets WHERE id = ?").bind(market))?;
        let sequence = sequence.map(|mut row| row.int()).transpose()?.unwrap_or(0);
        let mut levels = Vec::new();
        for (side, text) in [(Side::Buy, BIDS), (Side::Sell, ASKS)] {
            let sql = Sql::new(text).bind(market).bind(book).bind(depth);
            levels.extend(connection.read("a level of a book", sql, |row| {
                Ok(BookLevel { book, side, price: row.price()?, quantity: row.shares()?, orders: row.count()? })
            })?);
        }
        Ok((levels, sequence))
    })
}

const BIDS: &str = "SELECT book_price, sum(remaining), count(*) FROM orders \
                    WHERE market_id = ? AND book = ? AND book_side = 'buy' AND status = 'open' \
                    GROUP BY book_price ORDER BY book_price DESC LIMIT ?";
const ASKS: &str = "SELECT book_price, sum(remaining), count(*) FROM orders \
                    WHERE market_id = ? AND book = ? AND book_side = 'sell' AND status = 'open' \
                    GROUP BY book_price ORDER BY book_price LIMIT ?";

/// The best prices of every book with open orders of these markets: each a look into the book's index.
pub(crate) fn best_prices(connection: &mut Connection, markets: &[MarketId]) -> Result<Vec<BestPrices>, StoreError> {
    if markets.is_empty() {
        return Ok(Vec::new());
    }
    let sql = Sql::new(
        "SELECT * FROM (SELECT market_id, outcome, \
         (SELECT max(book_price) FROM orders WHERE market_id = outcomes.market_id AND book = outcomes.outcome \
          AND book_side = 'buy' AND status = 'open') AS bid, \
         (SELECT min(book_price) FROM orders WHERE market_id = outcomes.market_id AND book = outcomes.outcome \
          AND book_side = 'sell' AND status = 'open') AS ask \
         FROM outcomes WHERE market_id IN ",
    )
    .list(markets.iter().copied())
    .then(") WHERE bid IS NOT NULL OR ask IS NOT NULL ORDER BY market_id, outcome");
    connection.read("a best price", sql, |row| {
        Ok(BestPrices {
            market: MarketId(row.id()?),
            book: row.outcome()?,
            bid: row.opt_price()?,
            ask: row.opt_price()?,
        })
    })
}

const COUNT_OPEN: &str = "SELECT (SELECT count(*) FROM orders WHERE user_id = pair.column2 AND market_id = pair.column3 \
                          AND status = 'open') FROM (VALUES ";

fn count_open(connection: &mut Connection, pairs: &[(UserId, MarketId)]) -> Result<Vec<u64>, StoreError> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let sql = Sql::new(COUNT_OPEN).rows(3, (0_i64..).zip(pairs), |(number, (user, market)), row| {
        row.add(number).add(*user).add(*market);
    });
    connection.read("a count", sql.then(") AS pair ORDER BY pair.column1"), Row::count)
}

fn with_client_ids(connection: &mut Connection, pairs: &[(UserId, String)]) -> Result<Vec<Order>, StoreError> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let distinct: HashSet<&(UserId, String)> = pairs.iter().collect();
    let sql = Sql::new(format!("SELECT {} FROM (VALUES ", ORDERS.columns))
        .rows(2, distinct, |(user, id), row| {
            row.add(*user).add(id);
        })
        .then(
            ") AS pair CROSS JOIN orders ON user_id = pair.column1 AND client_order_id = pair.column2 \
             AND client_order_id IS NOT NULL",
        );
    connection.read("an order", sql, read)
}

#[async_trait]
impl Orders for SqliteUnitOfWork {
    async fn load(&mut self, ids: &[OrderId]) -> Result<Vec<Order>, StoreError> {
        let ids = ids.to_vec();
        self.call(move |connection| by_ids(connection, &ids)).await
    }

    async fn book(&mut self, requests: &[BookRequest]) -> Result<Vec<Vec<Order>>, StoreError> {
        let requests = requests.to_vec();
        self.call(move |connection| books(connection, &requests)).await
    }

    async fn open_in_market(&mut self, market: MarketId, limit: u32) -> Result<Vec<Order>, StoreError> {
        self.call(move |connection| {
            let sql = Sql::new(ORDERS.select()).then(" WHERE market_id = ? AND status = 'open' ORDER BY id LIMIT ?");
            connection.read("an order", sql.bind(market).bind(limit), read)
        })
        .await
    }

    async fn count_open(&mut self, pairs: &[(UserId, MarketId)]) -> Result<Vec<u64>, StoreError> {
        let pairs = pairs.to_vec();
        self.call(move |connection| count_open(connection, &pairs)).await
    }

    async fn with_client_ids(&mut self, pairs: &[(UserId, String)]) -> Result<Vec<Order>, StoreError> {
        let pairs = pairs.to_vec();
        self.call(move |connection| with_client_ids(connection, &pairs)).await
    }
}
