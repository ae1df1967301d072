//! The newest candles are those that all trades sum up to, whatever of them was remembered.

use std::sync::{Arc, Mutex};

use bellwether_domain::market::{Market, MarketStatus, OutcomeId};
use bellwether_domain::money::{Credits, Price};
use bellwether_domain::ports::{Candle, CandleRequest, MockClock, MockQueries, MockStore};
use bellwether_usecases::Context;
use bellwether_usecases::candles::{CandleMemory, newest};
use jiff::{SignedDuration, Timestamp};

use crate::mocks::*;

/// A trade each minute since this second, which begins an hour.
const FIRST_S: i64 = 1_794_996_000;
/// Later trades are not there yet.
const HOURS: i64 = 100;

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_second(FIRST_S + 60 * minutes).unwrap()
}

/// What a store answers in which the trade of the minute `m` has the price `1 + m % 997`.
fn summed(request: &CandleRequest) -> Vec<Candle> {
    let mut candles: Vec<Candle> = Vec::new();
    for minute in 0..HOURS * 60 {
        let time = at(minute);
        if time < request.from || time >= request.to {
            continue;
        }
        let price = Price::from_mills(1 + minute % 997).unwrap();
        let second = time.as_second();
        let start = Timestamp::from_second(second - second % request.interval_s).unwrap();
        match candles.last_mut().filter(|candle| candle.start == start) {
            Some(candle) => {
                (candle.high, candle.low) = (candle.high.max(price), candle.low.min(price));
                candle.close = price;
                candle.volume = Credits::from_mills(candle.volume.mills() + 5);
                candle.trades += 1;
            }
            None => candles.push(Candle {
                start,
                open: price,
                high: price,
                low: price,
                close: price,
                volume: Credits::from_mills(5),
                trades: 1,
            }),
        }
    }
    candles
}

/// What was asked for of a store, from when till when in minutes.
type Asked = Arc<Mutex<Vec<(i64, i64)>>>;

fn minutes(time: Timestamp) -> i64 {
    (time.as_second() - FIRST_S) / 60
}

/// At that minute, with that memory.
fn context_at(minute: i64, memory: &CandleMemory, asked: &Asked) -> Context {
    let (mut clock, mut queries, asked) = (MockClock::new(), MockQueries::new(), Arc::clone(asked));
    clock.expect_now().returning(move || at(minute) + SignedDuration::from_secs(7));
    queries.expect_candles().returning(move |request| {
        asked.lock().unwrap().push((minutes(request.from), minutes(request.to)));
        Ok(summed(request))
    });
    let ctx = context(MockStore::new());
    Context { clock: Arc::new(clock), queries: Arc::new(queries), candle_memory: memory.clone(), ..ctx }
}

fn busy() -> Market {
    Market { trade_count: 5000, ..market(1, MarketStatus::Open) }
}

/// The newest hours, of which the last has begun at that minute.
fn hours(count: i64, minute: i64) -> CandleRequest {
    let to = at(minute - minute.rem_euclid(60) + 60);
    let from = to - SignedDuration::from_hours(count);
    let limit = u32::try_from(count).unwrap();
    CandleRequest { market: market_id(1), book: OutcomeId::FIRST, interval_s: 3600, from, to, limit }
}

#[tokio::test]
async fn what_is_over_for_an_hour_is_read_once() {
    let (memory, asked) = (CandleMemory::default(), Asked::default());
    for minute in [1000, 1001, 1012, 1075, 1300, 2900] {
        let request = hours(20, minute);
        let candles = newest(&context_at(minute, &memory, &asked), &busy(), &request).await.unwrap();
        assert_eq!(candles, summed(&request), "at minute {minute}");
    }
    let reads = [
        (-180, 940),
        (940, 1020),
        (940, 1020),
        (940, 952),
        (952, 1020),
        (952, 1015),
        (1015, 1080),
        (1015, 1240),
        (1240, 1320),
        // What was remembered is over for so long that nothing of it is shown.
        (1740, 2840),
        (2840, 2940),
    ];
    assert_eq!(*asked.lock().unwrap(), reads);
}

#[tokio::test]
async fn more_than_is_remembered_is_read_whole_and_less_is_cut() {
    let (memory, asked) = (CandleMemory::default(), Asked::default());
    for count in [10, 30, 5, 30] {
        let request = hours(count, 3000);
        let candles = newest(&context_at(3000, &memory, &asked), &busy(), &request).await.unwrap();
        assert_eq!(candles, summed(&request), "{count} hours");
    }
    let whole = [(2460, 2940), (2940, 3060), (1260, 2940), (2940, 3060), (2940, 3060), (2940, 3060)];
    assert_eq!(*asked.lock().unwrap(), whole);
}

#[tokio::test]
async fn a_market_with_few_trades_is_read_at_once_and_not_remembered() {
    let (memory, asked) = (CandleMemory::default(), Asked::default());
    let quiet = Market { trade_count: 1999, ..busy() };
    for _ in 0..2 {
        let request = hours(20, 1000);
        let candles = newest(&context_at(1000, &memory, &asked), &quiet, &request).await.unwrap();
        assert_eq!(candles, summed(&request));
    }
    assert_eq!(*asked.lock().unwrap(), [(-180, 1020), (-180, 1020)]);
}
