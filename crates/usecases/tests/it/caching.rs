//! What a commit makes stale is ended in the cache, whatever came of the commit and of the cache.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bellwether_domain::ids::MarketId;
use bellwether_domain::market::{Market, MarketStatus};
use bellwether_domain::order::Order;
use bellwether_domain::ports::*;
use bellwether_usecases::caching::{InvalidatingStore, book_key, front_page_key, market_key};
use tokio::sync::Notify;

use crate::mocks::*;
use crate::orders::resting;

/// Notes what is ended in it, once it can be reached.
#[derive(Default)]
pub(crate) struct Recorder {
    /// So many calls fail first.
    pub(crate) failures: AtomicU32,
    ended: Mutex<Vec<CacheKey>>,
    told: Notify,
}

impl Recorder {
    /// What was ended of single markets.
    pub(crate) fn ended(&self) -> Vec<CacheKey> {
        self.take().into_iter().filter(|key| key.kind() != CacheKind::MarketList).collect()
    }

    /// What was ended of lists.
    fn ended_lists(&self) -> Vec<CacheKey> {
        self.take().into_iter().filter(|key| key.kind() == CacheKind::MarketList).collect()
    }

    /// What was ended since this was last asked.
    pub(crate) fn take(&self) -> Vec<CacheKey> {
        std::mem::take(&mut self.ended.lock().unwrap())
    }
}

#[async_trait]
impl Cache for Recorder {
    async fn get(&self, _: &CacheKey) -> Lookup {
        Lookup::Miss(None)
    }
    async fn put(&self, _: Lease, _: Cached, _: Duration) {}
    async fn release(&self, _: Lease) {}
    async fn invalidate(&self, keys: &[CacheKey]) -> Result<(), CacheUnreachable> {
        if self.failures.load(Ordering::SeqCst) > 0 {
            self.failures.fetch_sub(1, Ordering::SeqCst);
            return Err(CacheUnreachable);
        }
        self.ended.lock().unwrap().extend_from_slice(keys);
        self.told.notify_one();
        Ok(())
    }
}

fn keys(ids: &[MarketId]) -> Vec<CacheKey> {
    let mut keys: Vec<CacheKey> = ids.iter().flat_map(|id| [market_key(*id), book_key(*id)]).collect();
    keys.sort();
    keys
}

/// A store whose units write and then end like that.
pub(crate) fn store(cache: &Arc<Recorder>, end: impl Fn(Unit) -> Unit + Send + Sync + 'static) -> InvalidatingStore {
    let mut inner = MockStore::new();
    inner.expect_begin().returning(move || {
        let mut unit = Unit::default();
        unit.unit.expect_write().returning(|_| Ok(()));
        Ok(end(unit).boxed())
    });
    InvalidatingStore::new(Arc::new(inner), Arc::clone(cache) as Arc<dyn Cache>)
}

fn changes() -> Changes {
    let (new, changed) = (market(1, MarketStatus::Open), market(2, MarketStatus::Open));
    Changes {
        new_markets: vec![new],
        markets: vec![changed],
        deleted_markets: vec![market_id(3)],
        ..Changes::default()
    }
}

#[tokio::test]
async fn what_was_changed_is_ended_after_the_commit_and_not_before() {
    let cache = Arc::new(Recorder::default());
    let mut unit = store(&cache, Unit::commits).begin().await.unwrap();
    unit.write(&changes()).await.unwrap();
    assert_eq!(cache.ended(), []);
    unit.commit().await.unwrap();
    let mut ended = cache.ended();
    ended.sort();
    assert_eq!(ended, keys(&[market_id(1), market_id(2), market_id(3)]));
}

/// A job that is stopped while it commits, say; the store goes through with it.
#[tokio::test]
async fn what_was_changed_is_ended_though_whoever_commits_is_stopped_meanwhile() {
    let (cache, durable) = (Arc::new(Recorder::default()), Arc::new(Notify::new()));
    let waits = Arc::clone(&durable);
    let held = move |unit: Unit| Unit { durable: Some(Arc::clone(&waits)), ..unit.commits() };
    let mut unit = store(&cache, held).begin().await.unwrap();
    unit.write(&changes()).await.unwrap();
    let (decided, is_decided) = tokio::sync::oneshot::channel();
    let committing = tokio::spawn(unit.commit_telling(Box::new(move || decided.send(()).unwrap())));
    is_decided.await.unwrap();
    committing.abort();
    assert!(committing.await.unwrap_err().is_cancelled());
    assert_eq!(cache.ended(), []);
    durable.notify_one();
    cache.told.notified().await;
    assert_eq!(cache.ended().len(), 6);
}

#[tokio::test]
async fn what_may_have_been_committed_is_ended_too_and_what_was_undone_is_not() {
    let cache = Arc::new(Recorder::default());
    let unknown = |mut unit: Unit| {
        unit.unit.expect_commit().returning(|| Err(StoreError::OutcomeUnknown("the line is dead".into())));
        unit
    };
    let mut unit = store(&cache, unknown).begin().await.unwrap();
    unit.write(&changes()).await.unwrap();
    assert!(unit.commit().await.is_err());
    assert_eq!(cache.ended().len(), 6);

    let undone = |mut unit: Unit| {
        unit.unit.expect_rollback().returning(|| Ok(()));
        unit
    };
    let mut unit = store(&cache, undone).begin().await.unwrap();
    unit.write(&changes()).await.unwrap();
    unit.rollback().await.unwrap();
    assert_eq!(cache.ended(), []);
}

/// Threat 44.
#[tokio::test]
async fn a_cache_that_cannot_be_reached_fails_no_commit_and_is_told_when_it_can() {
    let cache = Arc::new(Recorder { failures: AtomicU32::new(4), ..Recorder::default() });
    let store = store(&cache, Unit::commits);
    for _ in 0..2 {
        let mut unit = store.begin().await.unwrap();
        unit.write(&changes()).await.unwrap();
        unit.commit().await.unwrap();
    }
    cache.told.notified().await;
    let mut ended = cache.ended();
    ended.sort();
    assert_eq!(ended, keys(&[market_id(1), market_id(2), market_id(3)]));
}

/// Threat 41: what was not in a list is found in it when it is there; though not every trade ends all lists.
#[tokio::test]
async fn lists_are_ended_by_what_opens_changes_or_deletes_a_market_and_not_by_trading() {
    let open = || market(2, MarketStatus::Open);
    let edited = Market { version: 2, ..open() };
    let traded = vec![Order { market: market_id(2), ..resting(1, 500, 1) }];
    let changes = |markets| Changes { markets, ..Changes::default() };
    let cases = [
        (Changes { new_markets: vec![open()], ..Changes::default() }, None, true),
        (Changes { deleted_markets: vec![market_id(3)], ..Changes::default() }, None, true),
        (changes(vec![edited.clone()]), Some(open()), true),
        (changes(vec![edited]), None, true),
        (changes(vec![open()]), Some(open()), false),
        (Changes { new_orders: traded.clone(), ..changes(vec![open()]) }, None, false),
        (Changes { orders: traded, ..changes(vec![market(2, MarketStatus::Closed)]) }, None, true),
    ];
    for (number, (changes, loaded, are_ended)) in cases.into_iter().enumerate() {
        let cache = Arc::new(Recorder::default());
        let found = loaded.clone();
        let with_load = move |mut unit: Unit| {
            let markets = found.clone().into_iter().collect::<Vec<_>>();
            unit.markets.expect_lock().returning(move |_| Ok(markets.clone()));
            unit.commits()
        };
        let mut unit = store(&cache, with_load).begin().await.unwrap();
        if loaded.is_some() {
            unit.load(Wanted { lock_markets: vec![market_id(2)], ..Wanted::default() }).await.unwrap();
        }
        unit.write(&changes).await.unwrap();
        unit.commit().await.unwrap();
        let lists = cache.ended_lists();
        assert_eq!(!lists.is_empty(), are_ended, "case {number}");
        for status in [None, Some(MarketStatus::Open)] {
            let key = front_page_key(status, &[(MarketSort::CreatedAt, Direction::Descending)]).unwrap();
            assert_eq!(lists.contains(&key), are_ended, "case {number}: {key}");
        }
    }
}
