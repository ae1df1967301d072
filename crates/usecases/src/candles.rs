//! The newest candles of a market with many trades, without summing up again what has been over for long.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bellwether_domain::ids::MarketId;
use bellwether_domain::market::{Market, OutcomeId};
use bellwether_domain::money::Credits;
use bellwether_domain::ports::{Candle, CandleRequest, StoreError};
use jiff::{SignedDuration, Timestamp};

use crate::Context;

/// A market with fewer trades is summed up anew.
const MANY_TRADES: i64 = 2000;
/// A trade bears the moment of its decision, and is seen when that is committed, by the clock of another server maybe: so
/// long after a moment no trade comes any more that is from before it.
const SETTLED_AFTER: SignedDuration = SignedDuration::from_hours(1);
/// What is remembered grows by so much at a time.
const STEP: SignedDuration = SignedDuration::from_mins(10);
/// So many lists of candles are remembered; with one more, none of those before.
const MOST_REMEMBERED: usize = 256;

/// What this process remembers of candles. Clones are the same memory.
#[derive(Debug, Clone, Default)]
pub struct CandleMemory(Arc<Mutex<HashMap<Of, Past>>>);

/// Of what candles are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Of {
    market: MarketId,
    book: OutcomeId,
    interval_s: i64,
}

/// The trades between two moments, after which none comes any more that is from between them.
#[derive(Debug, Clone)]
struct Past {
    from: Timestamp,
    until: Timestamp,
    candles: Vec<Candle>,
}

/// The candles of a market that end with now. They begin with an interval, and there are as many intervals as the limit at
/// most. Of a market with many trades only those of the last hour are read, and all once.
///
/// # Errors
/// Those of the store.
pub async fn newest(ctx: &Context, market: &Market, request: &CandleRequest) -> Result<Vec<Candle>, StoreError> {
    if market.trade_count < MANY_TRADES {
        return ctx.queries.candles(request).await;
    }
    let of = Of { market: market.id, book: request.book, interval_s: request.interval_s };
    let mut past = ctx.candle_memory.known(&of, request.from);
    let settled = settled_at(ctx.clock.now()).clamp(request.from, request.to);
    if settled >= past.until.saturating_add(STEP).unwrap_or(Timestamp::MAX) {
        past.append(ctx.queries.candles(&CandleRequest { from: past.until, to: settled, ..*request }).await?);
        past.until = settled;
        ctx.candle_memory.remember(of, past.clone());
    }
    past.append(ctx.queries.candles(&CandleRequest { from: past.until, ..*request }).await?);
    Ok(past.candles)
}

/// A whole minute, and so at the same place in an interval for all who ask within it.
fn settled_at(now: Timestamp) -> Timestamp {
    let second = now.saturating_sub(SETTLED_AFTER).unwrap_or(Timestamp::MIN).as_second();
    Timestamp::from_second(second - second.rem_euclid(60)).unwrap_or(Timestamp::MIN)
}

impl CandleMemory {
    /// What is known from a moment on, at which an interval begins.
    fn known(&self, of: &Of, from: Timestamp) -> Past {
        let memory = self.memory();
        let past = memory.get(of).filter(|past| past.from <= from && from < past.until);
        let candles = past.into_iter().flat_map(|past| past.candles.iter().filter(|candle| candle.start >= from));
        Past { from, until: past.map_or(from, |past| past.until), candles: candles.cloned().collect() }
    }

    fn remember(&self, of: Of, past: Past) {
        let mut memory = self.memory();
        if memory.len() >= MOST_REMEMBERED && !memory.contains_key(&of) {
            memory.clear();
        }
        memory.insert(of, past);
    }

    fn memory(&self) -> MutexGuard<'_, HashMap<Of, Past>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Past {
    /// Adds candles of later trades, of which the first may be of the same interval as the last that is here.
    fn append(&mut self, later: Vec<Candle>) {
        let mut later = later.into_iter().peekable();
        if let Some(last) = self.candles.last_mut()
            && let Some(more) = later.next_if(|candle| candle.start == last.start)
        {
            last.high = last.high.max(more.high);
            last.low = last.low.min(more.low);
            last.close = more.close;
            last.volume = Credits::from_mills(last.volume.mills().saturating_add(more.volume.mills()));
            last.trades = last.trades.saturating_add(more.trades);
        }
        self.candles.extend(later);
    }
}
