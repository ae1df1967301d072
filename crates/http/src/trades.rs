//! Trades and candles.

use std::collections::HashMap;
use std::sync::Arc;

use bellwether_domain::ids::{MarketId, OrderId};
use bellwether_domain::market::Market;
use bellwether_domain::ports::{CandleRequest, MarketKey, Page, Queries, TradeFilter, TradeSort};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::trade::Trade;
use bellwether_usecases::caching::candles_key;
use bellwether_usecases::candles::newest;
use bellwether_usecases::{Context, Error, markets};
use jiff::{SignedDuration, Timestamp};

use crate::books::{Viewed, outcome_name};
use crate::call::Call;
use crate::envelope::Reply;
use crate::faults::Fault;
use crate::fields::{Fields, Node};
use crate::paging::{Paging, Wanted};
use crate::remembered::{Answer, remembered};
use crate::wire::trade::{CandleWire, OwnTradeWire, TradeWire};

/// `GET /markets/{id}/trades`: as the books keep them, those of a two-outcome market by its first.
pub(crate) async fn list_of_market(call: Call) -> Result<Reply, Fault> {
    let key = call.market_key()?;
    let wanted = call.query(Wanted::<TradeSort>::read)?;
    let ctx = call.ctx();
    let market = call.app().run::<_, Error, _>(async move { markets::get_market(&ctx, &key).await }).await?;
    let filter = TradeFilter { market: Some(market.id), ..TradeFilter::default() };
    let paging = wanted.bind("trades", &filter, call.sealer())?;
    let (page, markets) = find(&call, filter, &paging).await?;
    let shown: Vec<TradeWire<'_>> =
        page.items.iter().map(|trade| TradeWire::of(trade, markets.get(&trade.market))).collect();
    Ok(paged(&call, Reply::ok(&shown)?, &paging, &page).public())
}

/// `GET /trades`: the caller's own.
pub(crate) async fn list(call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let ((market, order), wanted) = call.query(|query| {
        let wanted = Wanted::<TradeSort>::read(query);
        Some((narrowed(query)?, wanted?))
    })?;
    let filter = TradeFilter { market, user: Some(caller.user), order };
    let paging = wanted.bind("trades", &filter, call.sealer())?;
    let (page, markets) = find(&call, filter, &paging).await?;
    let of = |trade: &Trade| OwnTradeWire::of(trade, markets.get(&trade.market), caller.user);
    let shown: Option<Vec<OwnTradeWire<'_>>> = page.items.iter().map(of).collect();
    let shown = shown.ok_or_else(|| Fault::internal("a trade of others is among one's own"))?;
    Ok(paged(&call, Reply::ok(&shown)?, &paging, &page))
}

/// Reads in which market, and of which order.
pub(crate) fn narrowed(query: &Fields<'_>) -> Option<(Option<MarketId>, Option<OrderId>)> {
    let market = query.optional("marketId", |n| n.id().map(MarketId));
    let order = query.optional("orderId", |n| n.id().map(OrderId));
    Some((market?, order?))
}

/// A page of trades, with the markets that they are in.
async fn find(
    call: &Call,
    filter: TradeFilter,
    paging: &Paging<TradeSort>,
) -> Result<(Page<Trade>, HashMap<MarketId, Market>), Fault> {
    let (lists, request) = (call.lists(), paging.request.clone());
    let work = async move {
        let page = lists.trades(&filter, &request).await?;
        let markets = markets_of(&*lists, page.items.iter().map(|trade| trade.market)).await?;
        Ok::<_, Error>((page, markets))
    };
    call.app().run(work).await
}

fn paged(call: &Call, reply: Reply, paging: &Paging<TradeSort>, page: &Page<Trade>) -> Reply {
    reply.paged(paging.describe(page, |trade| trade.id.0, call.sealer()))
}

/// The markets that some rows are in, each once, with one statement.
pub(crate) async fn markets_of(
    queries: &dyn Queries,
    ids: impl Iterator<Item = MarketId>,
) -> Result<HashMap<MarketId, Market>, Error> {
    let mut ids: Vec<MarketId> = ids.collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let markets = queries.markets_by_ids(&ids).await?;
    Ok(markets.into_iter().map(|market| (market.id, market)).collect())
}

/// The intervals of candles, in seconds.
const INTERVALS: [(&str, i64); 6] =
    [("1m", 60), ("5m", 300), ("15m", 900), ("1h", 3_600), ("4h", 14_400), ("1d", 86_400)];
const CANDLES: i64 = 500;
const MOST_CANDLES: i64 = 1_000;

/// Which candles are asked for.
pub(crate) struct Asked {
    outcome: Option<String>,
    interval_s: i64,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    limit: i64,
}

/// Reads which candles are wanted.
pub(crate) fn asked(query: &Fields<'_>) -> Option<Asked> {
    let outcome = outcome_name(query);
    let interval = query.or("interval", ("1h", 3_600), |n| n.one_of(&INTERVALS, |(name, _)| name));
    let from = query.optional("from", Node::time);
    let to = query.optional("to", Node::time);
    let limit = query.or("limit", CANDLES, |n| n.whole(1, MOST_CANDLES));
    let (from, to) = (from?, to?);
    if from.zip(to).is_some_and(|(from, to)| from >= to) {
        return query.fail("from", "invalid", "must be before to");
    }
    Some(Asked { outcome: outcome?, interval_s: interval?.1, from, to, limit: limit? })
}

/// `GET /markets/{id}/candles`: up to now, and as many intervals back as the limit allows, the one that it ends in
/// included, where `from` and `to` say nothing else.
pub(crate) async fn candles(call: Call) -> Result<Reply, Fault> {
    let key = call.market_key()?;
    let asked = call.query(asked)?;
    let limit = u32::try_from(asked.limit).map_err(Fault::internal)?;
    // Up to the end of the interval that has begun: all who ask in it ask for the same.
    let now = call.app().ctx().clock.now();
    let to = asked.to.unwrap_or_else(|| later(begin_of_interval(now, asked.interval_s), asked.interval_s));
    let from = asked.from.unwrap_or_else(|| begin_of_last(asked.limit, asked.interval_s, to));
    let is_newest = asked.from.is_none() && asked.to.is_none();
    let remembered_as = match key {
        MarketKey::Id(id) if is_newest => Some(candles_key(id, asked.outcome.as_deref(), asked.interval_s, to, limit)),
        _ => None,
    };
    // What goes into the cache is read from where writes go.
    let load = |ctx: Context, lists: Option<Arc<dyn Queries>>| async move {
        let Some(market) = ctx.queries.market(&key).await? else { return Ok(None) };
        let viewed = Viewed::named(&market, asked.outcome.as_deref())?;
        let request =
            CandleRequest { market: market.id, book: viewed.book, interval_s: asked.interval_s, from, to, limit };
        let candles = match lists {
            Some(lists) => lists.candles(&request).await?,
            None => newest(&ctx, &market, &request).await?,
        };
        let shown: Vec<CandleWire> = candles.iter().map(|candle| CandleWire::of(candle, viewed.mirrored)).collect();
        Ok::<_, Fault>(Some(Answer::of(0, serde_json::to_string(&shown).map_err(Fault::internal)?)))
    };
    let reply = match remembered_as {
        Some(remembered_as) => remembered(&call, remembered_as, |ctx| load(ctx, None)).await?,
        None => {
            let load = call.app().sums().in_turn(load(call.ctx(), Some(call.lists())));
            call.app().run(load).await?.map(Answer::reply)
        }
    };
    reply.ok_or_else(|| Refusal::MarketNotFound.into())
}

/// When the first of so many intervals began of which the last is the one that ends with that moment, or has it within.
fn begin_of_last(number: i64, seconds: i64, to: Timestamp) -> Timestamp {
    let before = to.checked_sub(SignedDuration::from_micros(1)).unwrap_or(to);
    later(begin_of_interval(before, seconds), -seconds.saturating_mul(number.saturating_sub(1)))
}

/// When the interval began that a moment is in.
fn begin_of_interval(time: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_second(time.as_second() - time.as_second().rem_euclid(seconds.max(1))).unwrap_or(time)
}

/// So many seconds later, within the times that are kept.
fn later(time: Timestamp, seconds: i64) -> Timestamp {
    let moved = time.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(time);
    moved.max(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> Timestamp {
        format!("2026-11-21T{time}Z").parse().unwrap()
    }

    #[test]
    fn the_last_interval_is_whole_wherever_it_ends() {
        for (number, to, from) in [
            (1, "12:30:00", "12:00:00"),
            (1, "13:00:00", "12:00:00"),
            (3, "12:00:00.000001", "10:00:00"),
            (3, "12:00:00", "09:00:00"),
        ] {
            assert_eq!(begin_of_last(number, 3_600, at(to)), at(from), "{number} to {to}");
        }
        assert_eq!(begin_of_last(2, 3_600, Timestamp::UNIX_EPOCH), Timestamp::UNIX_EPOCH);
    }
}
