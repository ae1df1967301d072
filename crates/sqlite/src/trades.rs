//! Trades and candles.

use bellwether_domain::ids::{MarketId, OrderId, TradeId, UserId};
use bellwether_domain::order::Side;
use bellwether_domain::ports::{Candle, CandleRequest, Page, PageRequest, StoreError, TradeFilter, TradeSort};
use bellwether_domain::trade::{Settlement, Trade};
use jiff::Timestamp;

use crate::connection::Connection;
use crate::lists::{List, TIME};
use crate::schema::TRADES;
use crate::sql::{Row, Sql, Values, time_of};
use crate::timelines::{self, What};

/// The columns of a trade.
pub(crate) fn bind(trade: &Trade, row: &mut Values) {
    row.add(trade.id)
        .add(trade.market)
        .add(trade.sequence)
        .add(trade.outcome)
        .add(trade.price)
        .add(trade.quantity)
        .add(trade.cost)
        .add(trade.taker_side.as_str())
        .add(trade.settlement.as_str())
        .add(trade.taker_order)
        .add(trade.taker)
        .add(trade.maker_order)
        .add(trade.maker)
        .add(trade.fee)
        .add(trade.created_at);
}

fn read(row: &mut Row) -> Result<Trade, StoreError> {
    Ok(Trade {
        id: TradeId(row.id()?),
        market: MarketId(row.id()?),
        sequence: row.int()?,
        outcome: row.outcome()?,
        price: row.price()?,
        quantity: row.shares()?,
        cost: row.credits()?,
        taker_side: row.text_as("a side", Side::from_name)?,
        settlement: row.text_as("a settlement", Settlement::from_name)?,
        taker_order: OrderId(row.id()?),
        taker: UserId(row.id()?),
        maker_order: row.opt_id()?.map(OrderId),
        maker: row.opt_id()?.map(UserId),
        fee: row.credits()?,
        created_at: row.time()?,
    })
}

/// A page of trades.
pub(crate) fn list(
    connection: &mut Connection,
    filter: &TradeFilter,
    page: &PageRequest<TradeSort>,
) -> Result<Page<Trade>, StoreError> {
    let (mut list, at) = match (filter.order, filter.user, filter.market) {
        (None, Some(user), _) => (What::TradesOfUser.list(user.0), timelines::AT),
        (None, None, Some(market)) => (What::TradesInMarket.list(market.0), timelines::AT),
        (Some(_), _, _) | (None, None, None) => {
            let mut list = List::of(TRADES.name, TRADES.columns, "id");
            // No row is in both halves.
            list.either(["taker_order = ?", "maker_order = ? AND maker_order <> taker_order"], filter.order);
            list.filter_twice("(taker_id = ? OR maker_id = ?)", filter.user);
            (list, "created_at")
        }
    };
    list.filter("market_id = ?", filter.market);
    let keys = |TradeSort::CreatedAt: &TradeSort| (at, TIME);
    list.page(connection, page, keys, |connection, sql| connection.read("a trade", sql, read))
}

/// The trades of a market in the order of time and id, after one.
pub(crate) fn of_market_after(
    connection: &mut Connection,
    market: MarketId,
    after: Option<(Timestamp, TradeId)>,
    limit: u32,
) -> Result<Vec<Trade>, StoreError> {
    let sql = Sql::new(What::TradesInMarket.select()).then(" AND owner = ?").bind(market);
    let sql = match after {
        Some((at, id)) => sql.then(" AND (at, entry) > (?, ?)").bind(at).bind(id),
        None => sql,
    };
    let sql = sql.then(" ORDER BY at, entry LIMIT ? + 0").bind(limit);
    connection.read("a trade", sql, read)
}

/// The candles of a book. `/` rounds towards zero; the correction puts moments before 1970 into the interval that they are in.
const CANDLES: &str = "\
    SELECT start, min(first), max(price), min(price), min(last), sum(cost), count(*) FROM (\
        SELECT start, price, cost, first_value(price) OVER interval AS first, last_value(price) OVER interval AS last FROM (\
            SELECT price, cost, created_at, sequence, created_at / ?1 - (created_at % ?1 < 0) AS start \
            FROM timelines CROSS JOIN trades ON trades.id = entry \
            WHERE owner = ?2 AND what = 2 AND outcome = ?3 AND at >= ?4 AND at < ?5\
        ) WINDOW interval AS (\
            PARTITION BY start ORDER BY created_at, sequence ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING\
        )\
    ) GROUP BY start ORDER BY start LIMIT ?6 + 0";

/// The first trade in the last of so many intervals with trades, where there are as many: it goes from the first trade of
/// one to that of the next, however many trades are in between.
const LAST_BEGUN: &str = "\
    WITH RECURSIVE begun (moment, number) AS (\
        SELECT (SELECT at FROM timelines CROSS JOIN trades ON trades.id = entry \
            WHERE owner = ?2 AND what = 2 AND outcome = ?3 AND at >= ?4 AND at < ?5 ORDER BY at LIMIT 1), 1 \
        UNION ALL \
        SELECT (SELECT at FROM timelines CROSS JOIN trades ON trades.id = entry \
            WHERE owner = ?2 AND what = 2 AND outcome = ?3 AND at >= (moment / ?1 - (moment % ?1 < 0) + 1) * ?1 \
                AND at < ?5 ORDER BY at LIMIT 1), number + 1 \
        FROM begun WHERE moment IS NOT NULL AND number < ?6\
    ) SELECT moment FROM begun WHERE number = ?6 AND moment IS NOT NULL";

/// Candles, only for intervals with trades. Of a long time only what is shown is summed up.
pub(crate) fn candles(connection: &mut Connection, request: &CandleRequest) -> Result<Vec<Candle>, StoreError> {
    let length = request.interval_s.checked_mul(1_000_000).filter(|length| *length > 0);
    let length =
        length.ok_or_else(|| StoreError::Corrupt(format!("{} s is no interval of candles", request.interval_s)))?;
    if request.is_beyond_limit() {
        let last = connection.read("a trade", asking(LAST_BEGUN, length, request), Row::time)?.pop();
        let shown = last.map_or(*request, |moment| request.to_end_of_interval_at(moment));
        return summed(connection, length, &shown);
    }
    summed(connection, length, request)
}

fn asking(text: &'static str, length: i64, request: &CandleRequest) -> Sql {
    Sql::new(text)
        .bind(length)
        .bind(request.market)
        .bind(request.book)
        .bind(request.from)
        .bind(request.to)
        .bind(request.limit)
}

fn summed(connection: &mut Connection, length: i64, request: &CandleRequest) -> Result<Vec<Candle>, StoreError> {
    connection.read("a candle", asking(CANDLES, length, request), |row| {
        let begins = |start: i64| start.checked_mul(length).and_then(time_of);
        Ok(Candle {
            start: row.int_as("the start of an interval", begins)?,
            open: row.price()?,
            high: row.price()?,
            low: row.price()?,
            close: row.price()?,
            volume: row.credits()?,
            trades: row.count()?,
        })
    })
}
