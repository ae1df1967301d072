//! Orders and books.

use std::collections::HashSet;

use async_trait::async_trait;
use bellwether_domain::ids::{ApiKeyId, MarketId, OrderGroupId, OrderId, UserId};
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
use crate::timelines::{self, What};
use crate::unit::SqliteUnitOfWork;

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

/// Reads an order.
pub(crate) fn read(row: &mut Row) -> Result<Order, StoreError> {
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
    // Open orders and client ids have indexes of their own.
    let is_found_otherwise = filter.status == Some(OrderStatus::Open) || filter.client_order_id.is_some();
    let (mut list, at) = match filter.user.filter(|_| !is_found_otherwise) {
        Some(user) => (What::Orders.list(user.0), timelines::AT),
        None => {
            let mut list = List::of(ORDERS.name, ORDERS.columns, "id");
            list.filter("user_id = ?", filter.user);
            (list, "created_at")
        }
    };
    list.filter("market_id = ?", filter.market);
    match filter.status {
        // Written out, so that SQLite sees that the indexes of open orders fit.
        Some(OrderStatus::Open) => list.always("status = 'open'"),
        status => list.filter("status = ?", status.map(OrderStatus::as_str)),
    }
    list.filter("client_order_id = ?", filter.client_order_id.as_ref());
    let keys = |sort: &OrderSort| match sort {
        OrderSort::CreatedAt => (at, TIME),
        OrderSort::UpdatedAt => ("updated_at", TIME),
    };
    list.page(connection, page, keys, |connection, sql| connection.read("an order", sql, read))
}

/// The best orders of one side of one book, each side by its own index.
fn best_of(side: Side) -> String {
    let best = match side {
        Side::Buy => {
            "book_side = 'buy' AND status = 'open' AND book_price >= ? ORDER BY book_price DESC, sequence LIMIT ? + 0"
        }
        Side::Sell => {
            "book_side = 'sell' AND status = 'open' AND book_price <= ? ORDER BY book_price, sequence LIMIT ? + 0"
        }
    };
    format!("SELECT {} FROM orders WHERE market_id = ? AND book = ? AND {best}", ORDERS.columns)
}

/// The sides of books that are asked for, in the order of asking: one statement for those that buy, one for
/// those that sell.
pub(crate) fn books(connection: &mut Connection, requests: &[BookRequest]) -> Result<Vec<Vec<Order>>, StoreError> {
    let mut books = vec![Vec::new(); requests.len()];
    if requests.is_empty() {
        return Ok(books);
    }
    for (side, widest) in [(Side::Buy, Price::MIN), (Side::Sell, Price::MAX)] {
        let of_side = || requests.iter().enumerate().filter(|(_, request)| request.side == side);
        let found = connection.rows_each(&best_of(side), of_side(), |(_, request), row| {
            row.add(request.market).add(request.book).add(request.limit.unwrap_or(widest)).add(request.depth);
        })?;
        for ((index, _), rows) in of_side().zip(found) {
            let orders = rows.into_iter().map(|mut row| read(&mut row)).collect::<Result<Vec<_>, _>>()?;
            if let Some(book) = books.get_mut(index) {
                *book = orders;
            }
        }
    }
    Ok(books)
}

/// The levels of one book and its market's sequence, in one snapshot.
pub(crate) fn levels(
    connection: &mut Connection,
    market: MarketId,
    book: OutcomeId,
    depth: u32,
) -> Result<(Vec<BookLevel>, i64), StoreError> {
    connection.snapshot(|connection| {
        let sequence =
            connection.one(Sql::new("SELECT sequence FROM market_counters WHERE market_id = ?").bind(market))?;
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

/// Triggers keep the levels, so that a look at a book does not read all of its orders.
const BIDS: &str = "SELECT book_price, quantity, orders FROM book_levels \
                    WHERE market_id = ? AND book = ? AND book_side = 'buy' ORDER BY book_price DESC LIMIT ? + 0";
const ASKS: &str = "SELECT book_price, quantity, orders FROM book_levels \
                    WHERE market_id = ? AND book = ? AND book_side = 'sell' ORDER BY book_price LIMIT ? + 0";

const BEST_PRICES: &str = "SELECT \
                           (SELECT max(book_price) FROM orders \
                            WHERE market_id = ? AND book = ? AND book_side = 'buy' AND status = 'open'), \
                           (SELECT min(book_price) FROM orders \
                            WHERE market_id = ? AND book = ? AND book_side = 'sell' AND status = 'open')";

/// The best prices of these books, as far as they have open orders: each a look into the book's index.
pub(crate) fn best_prices(
    connection: &mut Connection,
    books: &[(MarketId, OutcomeId)],
) -> Result<Vec<BestPrices>, StoreError> {
    let bind = |(market, book): &(MarketId, OutcomeId), row: &mut Values| {
        row.add(*market).add(*book).add(*market).add(*book);
    };
    let read = |row: &mut Row| Ok((row.opt_price()?, row.opt_price()?));
    let prices = connection.read_each("a best price", BEST_PRICES, books, bind, read)?;
    let best = books.iter().zip(prices).map(|((market, book), (bid, ask))| BestPrices {
        market: *market,
        book: *book,
        bid,
        ask,
    });
    Ok(best.filter(|best| best.bid.is_some() || best.ask.is_some()).collect())
}

const COUNT_OPEN: &str = "SELECT count(*) FROM orders WHERE user_id = ? AND market_id = ? AND status = 'open'";

pub(crate) fn count_open(connection: &mut Connection, pairs: &[(UserId, MarketId)]) -> Result<Vec<u64>, StoreError> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let bind = |(user, market): &(UserId, MarketId), row: &mut Values| {
        row.add(*user).add(*market);
    };
    connection.read_each("a count", COUNT_OPEN, pairs, bind, Row::count)
}

pub(crate) fn with_client_ids(
    connection: &mut Connection,
    pairs: &[(UserId, String)],
) -> Result<Vec<Order>, StoreError> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let distinct: HashSet<&(UserId, String)> = pairs.iter().collect();
    let text = format!("SELECT {} FROM orders WHERE user_id = ? AND client_order_id = ?", ORDERS.columns);
    let bind = |(user, id): &(UserId, String), row: &mut Values| {
        row.add(*user).add(id);
    };
    connection.read_each("an order", &text, distinct, bind, read)
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
            let sql = Sql::new(ORDERS.select())
                .then(" WHERE market_id = ? AND status = 'open' AND book_side = 'buy' UNION ALL ")
                .then(&ORDERS.select())
                .then(" WHERE market_id = ? AND status = 'open' AND book_side = 'sell' LIMIT ? + 0");
            connection.read("an order", sql.bind(market).bind(market).bind(limit), read)
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
