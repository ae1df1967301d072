//! The suites of the three ports, and what is these adapters' own.

mod bus;
mod cache;
mod near;

use std::sync::Arc;

use bellwether_conformance::limiter::{LimiterHarness, LimiterSubject};
use bellwether_conformance::{anyhow, async_trait};
use bellwether_domain::ports::{LimitKey, Quota, RateLimiter as _};
use bellwether_local::LocalLimiter;
use jiff::{SignedDuration, Timestamp};

/// Of few keys, so that it forgets.
struct Small;

#[async_trait]
impl LimiterHarness for Small {
    async fn fresh(&self) -> anyhow::Result<LimiterSubject> {
        Ok(LimiterSubject { limiter: Arc::new(LocalLimiter::new(1000)), guard: Box::new(()) })
    }
}

/// Of many shards.
struct Large;

#[async_trait]
impl LimiterHarness for Large {
    async fn fresh(&self) -> anyhow::Result<LimiterSubject> {
        Ok(LimiterSubject { limiter: Arc::new(LocalLimiter::new(100_000)), guard: Box::new(()) })
    }
}

mod small {
    bellwether_conformance::limiter_conformance!(super::Small);
}

mod large {
    bellwether_conformance::limiter_conformance!(super::Large);
}

/// The key of a number.
fn nth(number: u32) -> LimitKey {
    LimitKey::of("test", &number.to_be_bytes())
}

fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(second)
}

const FIVE: Quota = Quota::new(5, SignedDuration::from_secs(60));

async fn use_each_once(limiter: &LocalLimiter, count: u32, second: i64) {
    for number in 0..count {
        limiter.take(nth(number), FIVE, at(second)).await;
    }
}

/// Threat 57.
#[tokio::test]
async fn a_million_keys_take_the_room_that_there_is_and_no_more() {
    let limiter = LocalLimiter::new(10_000);
    use_each_once(&limiter, 1_000_000, 0).await;
    assert!((9_000..=10_100).contains(&limiter.len()), "{} keys are remembered", limiter.len());
}

#[tokio::test]
async fn keys_whose_windows_are_over_make_room_before_it_is_needed() {
    let limiter = LocalLimiter::new(1_000_000);
    use_each_once(&limiter, 10_000, 0).await;
    for number in 10_000..20_000 {
        limiter.take(nth(number), FIVE, at(60)).await;
    }
    assert!(limiter.len() <= 15_000, "{} keys are remembered", limiter.len());
}

/// Threat 57: forgetting one at its limit would be a gift, and refusing everybody else worse.
#[tokio::test]
async fn where_all_are_at_their_limits_the_one_that_is_free_soonest_is_forgotten() {
    let limiter = LocalLimiter::new(50);
    for number in 0..50_u32 {
        for _ in 0..5 {
            limiter.take(nth(number), FIVE, at(number.into())).await;
        }
    }
    assert!(limiter.take(nth(50), FIVE, at(55)).await.is_allowed);
    assert_eq!(limiter.len(), 50);
    let mut free = Vec::new();
    for number in 0..50 {
        if limiter.look(nth(number), FIVE, at(55)).await.is_allowed {
            free.push(number);
        }
    }
    assert_eq!(free, [0]);
}
