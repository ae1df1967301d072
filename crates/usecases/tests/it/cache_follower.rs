//! What the outbox tells of is ended in the cache, also where nobody else ended it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bellwether_domain::event::{Event, EventBatch, MarketData, UserData, batch};
use bellwether_domain::market::MarketStatus;
use bellwether_domain::ports::*;
use bellwether_usecases::Context;
use bellwether_usecases::cache_follower::CacheFollower;
use bellwether_usecases::caching::{book_key, leaderboard_key, market_key, user_key};
use bellwether_usecases::events::Progress;

use crate::caching::{Recorder, store as invalidating};
use crate::mocks::*;

/// The row of the outbox that these changes come to.
fn row(position: i64, changes: &Changes) -> EventBatch {
    let new = batch(changes).unwrap().unwrap();
    EventBatch { position, at: new.at, payload: new.payloads[0].clone() }
}

/// A store in which these rows were committed, beside a cache.
fn with_rows(rows: Vec<EventBatch>, cache: &Arc<Recorder>) -> Context {
    let mut outbox = MockOutbox::new();
    let newest = rows.last().map(|row| row.position);
    outbox.expect_span().returning(move || Ok(newest.map(|newest| Span { oldest: 1, newest })));
    outbox.expect_after().returning(move |after, limit| {
        let later = rows.iter().filter(|row| row.position > after);
        Ok(later.take(usize::try_from(limit).unwrap()).cloned().collect())
    });
    Context { outbox: Arc::new(outbox), cache: cache.clone(), ..context(MockStore::new()) }
}

/// A market that was opened, one whose trading was stopped, somebody with another name, and somebody new.
fn changes() -> Changes {
    let (opened, halted, somebody) = (market(1, MarketStatus::Open), market(2, MarketStatus::Halted), user(3));
    Changes {
        news: vec![Event::MarketHalted(MarketData::of(&halted)), Event::UserUpdated(UserData::of(&somebody))],
        new_markets: vec![opened],
        markets: vec![halted],
        users: vec![somebody],
        new_users: vec![user(4)],
        at: Some(now()),
        ..Changes::default()
    }
}

#[tokio::test]
async fn who_hears_of_a_commit_ends_what_the_commit_ended() {
    let cache = Arc::new(Recorder::default());
    let mut unit = invalidating(&cache, Unit::commits).begin().await.unwrap();
    unit.write(&changes()).await.unwrap();
    unit.commit().await.unwrap();
    let mut ended = cache.take();
    ended.sort();
    let wanted =
        [leaderboard_key(StandingSort::Profit), market_key(market_id(2)), user_key(user_id(3)), user_key(user_id(4))];
    assert!(wanted.iter().all(|key| ended.contains(key)), "{ended:?}");

    let ctx = with_rows(vec![row(9, &changes())], &cache);
    assert_eq!(CacheFollower::default().follow(&ctx).await.unwrap(), Progress::Some);
    let mut heard = cache.take();
    heard.sort();
    assert_eq!(heard, ended);
}

#[tokio::test]
async fn what_was_heard_is_not_ended_again_and_what_is_nobodys_business_not_at_all() {
    let cache = Arc::new(Recorder::default());
    let own = Changes { new_accounts: vec![account(1, 5)], at: Some(now()), ..Changes::default() };
    let halted = market(2, MarketStatus::Halted);
    let halting =
        Changes { news: vec![Event::MarketHalted(MarketData::of(&halted))], at: Some(now()), ..Changes::default() };
    let mut follower = CacheFollower::default();
    let ctx = with_rows(vec![row(9, &own)], &cache);
    assert_eq!(follower.follow(&ctx).await.unwrap(), Progress::Some);
    assert_eq!(cache.take(), []);
    let ctx = with_rows(vec![row(9, &halting), row(12, &halting)], &cache);
    assert_eq!(follower.follow(&ctx).await.unwrap(), Progress::Some);
    assert_eq!(cache.ended(), [market_key(market_id(2)), book_key(market_id(2))]);
    assert_eq!(follower.follow(&ctx).await.unwrap(), Progress::Nothing);
    assert_eq!(cache.take(), []);
}

#[tokio::test]
async fn what_could_not_be_ended_is_ended_when_the_cache_is_back() {
    let cache = Arc::new(Recorder::default());
    let ctx = with_rows(vec![row(9, &changes())], &cache);
    let mut follower = CacheFollower::default();
    cache.failures.store(1, Ordering::SeqCst);
    assert!(follower.follow(&ctx).await.is_err());
    assert_eq!(cache.take(), []);
    assert_eq!(follower.follow(&ctx).await.unwrap(), Progress::Some);
    assert!(cache.take().contains(&market_key(market_id(1))));
}

/// It says so in the log; what is cached of it is a second old at most.
#[tokio::test]
async fn what_a_later_version_wrote_is_passed_over() {
    let cache = Arc::new(Recorder::default());
    let later = EventBatch { payload: r#"[{"type":"market.moved","data":{}}]"#.to_owned(), ..row(9, &changes()) };
    let ctx = with_rows(vec![later, row(10, &changes())], &cache);
    assert_eq!(CacheFollower::default().follow(&ctx).await.unwrap(), Progress::Some);
    assert!(cache.take().contains(&market_key(market_id(1))));
}
