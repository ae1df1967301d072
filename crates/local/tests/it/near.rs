//! The suite of caches for one in front of another, and what becomes of a change in other processes.

#![expect(clippy::expect_used, reason = "in a test, what is not as expected must stop it, in its helpers too")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bellwether_conformance::cache::{CacheHarness, CacheSubject};
use bellwether_conformance::{anyhow, async_trait};
use bellwether_domain::ports::*;
use bellwether_local::{LocalBus, LocalCache, NearCache};
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

const MEGABYTE: u64 = 1 << 20;
const LONG: Duration = Duration::from_secs(300);

struct Near;

#[async_trait]
impl CacheHarness for Near {
    async fn fresh(&self) -> anyhow::Result<CacheSubject> {
        let far: Arc<dyn Cache> = Arc::new(LocalCache::new(16 * MEGABYTE));
        let near = LocalCache::with_longest_life(16 * MEGABYTE, Duration::from_millis(200));
        let cache: Arc<dyn Cache> = Arc::new(near_of(near, &far, &bus()).await);
        Ok(CacheSubject { other: Arc::clone(&cache), cache, guard: Box::new(far) })
    }
}

mod conformance {
    bellwether_conformance::cache_conformance!(super::Near);
}

fn bus() -> Arc<dyn EventBus> {
    Arc::new(LocalBus::new())
}

async fn near_of(near: LocalCache, far: &Arc<dyn Cache>, bus: &Arc<dyn EventBus>) -> NearCache {
    NearCache::open(near, Arc::clone(far), LONG, Arc::clone(bus)).await
}

fn market(id: &str) -> CacheKey {
    CacheKey::new(CacheKind::Market, id)
}

fn value(text: &str) -> Cached {
    Some(Bytes::copy_from_slice(text.as_bytes()))
}

/// Loads through a cache; the value, and whether the store was asked.
async fn read(cache: &dyn Cache, key: &CacheKey, stored: &str) -> (Cached, bool) {
    let was_asked = AtomicBool::new(false);
    let loaded = get_or_load(cache, key, async {
        was_asked.store(true, Ordering::SeqCst);
        anyhow::Ok(value(stored))
    });
    (loaded.await.expect("the load does not fail"), was_asked.load(Ordering::SeqCst))
}

/// A cache that counts questions, and can be out of reach.
struct Far {
    cache: LocalCache,
    questions: AtomicU32,
    is_away: AtomicBool,
}

impl Far {
    fn new() -> Arc<Self> {
        let (questions, is_away) = (AtomicU32::new(0), AtomicBool::new(false));
        Arc::new(Self { cache: LocalCache::new(MEGABYTE), questions, is_away })
    }
}

#[async_trait]
impl Cache for Far {
    async fn get(&self, key: &CacheKey) -> Lookup {
        self.questions.fetch_add(1, Ordering::SeqCst);
        match self.is_away.load(Ordering::SeqCst) {
            true => Lookup::Miss(None),
            false => self.cache.get(key).await,
        }
    }
    async fn put(&self, lease: Lease, value: Cached, ttl: Duration) {
        self.cache.put(lease, value, ttl).await;
    }
    async fn release(&self, lease: Lease) {
        self.cache.release(lease).await;
    }
    async fn invalidate(&self, keys: &[CacheKey]) -> Result<(), CacheUnreachable> {
        match self.is_away.load(Ordering::SeqCst) {
            true => Err(CacheUnreachable),
            false => self.cache.invalidate(keys).await,
        }
    }
}

#[tokio::test]
async fn what_is_known_near_is_asked_for_once_in_a_process_and_loaded_once_for_all() {
    let (far, bus, key) = (Far::new(), bus(), market("a"));
    let shared: Arc<dyn Cache> = far.clone();
    let one = near_of(LocalCache::new(MEGABYTE), &shared, &bus).await;
    let other = near_of(LocalCache::new(MEGABYTE), &shared, &bus).await;
    assert_eq!(read(&one, &key, "v").await, (value("v"), true));
    for _ in 0..10 {
        assert_eq!(read(&one, &key, "w").await, (value("v"), false));
        assert_eq!(read(&other, &key, "w").await, (value("v"), false));
    }
    assert_eq!(far.questions.load(Ordering::SeqCst), 2);
}

/// Threats 40 and 41: by the notice alone, since no entry here ends in time by itself.
#[tokio::test]
async fn a_change_is_heard_of_in_other_processes() {
    let (far, bus): (Arc<dyn Cache>, _) = (Far::new(), bus());
    let one = near_of(LocalCache::new(MEGABYTE), &far, &bus).await;
    let other = near_of(LocalCache::new(MEGABYTE), &far, &bus).await;
    for round in 0..50 {
        let (key, old, new) = (market(&(round % 3).to_string()), format!("old {round}"), format!("new {round}"));
        one.invalidate(std::slice::from_ref(&key)).await.unwrap();
        read(&other, &key, &old).await;
        one.invalidate(std::slice::from_ref(&key)).await.unwrap();
        assert_eq!(read(&one, &key, &new).await.0, value(&new));
        let heard = async {
            while read(&other, &key, &new).await.0 != value(&new) {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), heard).await.expect("it is heard");
    }
}

/// A bus that says what it is told to.
struct Scripted(Arc<Notify>, Received);

#[async_trait]
impl EventBus for Scripted {
    async fn publish(&self, _: &Topic, _: Bytes) -> Result<(), BusUnreachable> {
        Err(BusUnreachable)
    }
    async fn subscribe(&self, _: &Topic) -> Box<dyn Subscription> {
        Box::new(Script(Arc::clone(&self.0), self.1.clone()))
    }
}

struct Script(Arc<Notify>, Received);

#[async_trait]
impl Subscription for Script {
    async fn next(&mut self) -> Option<Received> {
        self.0.notified().await;
        Some(self.1.clone())
    }
}

#[tokio::test]
async fn whoever_may_have_missed_a_notice_drops_everything() {
    let nonsense = Received::Message(Bytes::from("nonsense"));
    for received in [Received::Lagged(3), Received::Interrupted, Received::Resumed, nonsense] {
        let (far, go) = (Far::new(), Arc::new(Notify::new()));
        let bus: Arc<dyn EventBus> = Arc::new(Scripted(Arc::clone(&go), received));
        let near = NearCache::open(LocalCache::new(MEGABYTE), far.clone(), LONG, bus).await;
        let key = market("a");
        read(&near, &key, "v").await;
        // Somebody else's doing, unheard of here.
        far.cache.invalidate(std::slice::from_ref(&key)).await.unwrap();
        assert_eq!(read(&near, &key, "w").await, (value("v"), false));
        go.notify_one();
        let dropped = async {
            while read(&near, &key, "w").await.0 != value("w") {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), dropped).await.expect("it is dropped");
    }
}

/// Threats 40 and 44: the far cache comes back with what was stale before it could be told.
#[tokio::test]
async fn whoever_wrote_reads_what_he_wrote_although_the_far_cache_does_not_know_of_it() {
    // Longer than a busy machine takes to read once more.
    let (far, life, key) = (Far::new(), Duration::from_secs(4), market("a"));
    let near = NearCache::open(LocalCache::new(MEGABYTE), far.clone(), life, bus()).await;
    read(&near, &key, "old").await;
    far.is_away.store(true, Ordering::SeqCst);
    assert_eq!(near.invalidate(std::slice::from_ref(&key)).await, Err(CacheUnreachable));
    far.is_away.store(false, Ordering::SeqCst);
    let before = far.questions.load(Ordering::SeqCst);
    assert_eq!(read(&near, &key, "new").await, (value("new"), true));
    assert_eq!(far.questions.load(Ordering::SeqCst), before);
    // When all that was in the far cache has ended, it is asked again.
    sleep(life).await;
    read(&near, &market("b"), "b").await;
    assert_eq!(far.questions.load(Ordering::SeqCst), before + 1);
}

/// Somebody else holds the far lease, and is slow, or gone.
#[tokio::test]
async fn who_waited_for_another_process_in_vain_loads_once_for_all_in_his_own() {
    let far = Far::new();
    let shared: Arc<dyn Cache> = far.clone();
    // Less than one waits for the far cache.
    let life = Duration::from_millis(400);
    let near = near_of(LocalCache::with_longest_life(MEGABYTE, life), &shared, &bus()).await;
    // A machine that is held up makes an entry as old as it may be before it is looked for: then it is tried again.
    let mut is_kept = false;
    for number in 0..5 {
        let key = market(&number.to_string());
        let _held = far.cache.get(&key).await;
        assert_eq!(read(&near, &key, "v").await, (value("v"), true));
        is_kept = read(&near, &key, "w").await == (value("v"), false);
        if is_kept {
            break;
        }
    }
    assert!(is_kept, "what was loaded is not kept");
}

#[tokio::test]
async fn who_is_dropped_while_the_far_cache_is_asked_is_in_nobodys_way() {
    let (far, key) = (Far::new(), market("a"));
    let shared: Arc<dyn Cache> = far.clone();
    let near = near_of(LocalCache::new(MEGABYTE), &shared, &bus()).await;
    let Lookup::Miss(Some(held)) = far.cache.get(&key).await else { panic!("it is there") };
    assert!(timeout(Duration::ZERO, near.get(&key)).await.is_err(), "the far one has him wait");
    far.cache.release(held).await;
    let next = near.get(&key).await;
    assert!(matches!(next, Lookup::Miss(Some(_))), "{next:?}");
}

/// Where nothing is heard of a change, nothing is shown that is older than the longest life, however long
/// it took to load.
#[tokio::test]
async fn an_entry_is_as_old_as_its_lease() {
    let life = Duration::from_millis(400);
    let cache = LocalCache::with_longest_life(MEGABYTE, life);
    // A machine that is held up makes an entry as old as it may be before it is looked for: then it is tried again.
    let mut is_kept = false;
    for number in 0..20 {
        let (key, began) = (market(&format!("quick {number}")), Instant::now());
        let Lookup::Miss(Some(lease)) = cache.get(&key).await else { panic!("it is there") };
        cache.put(lease, value("v"), LONG).await;
        is_kept = matches!(cache.get(&key).await, Lookup::Hit(..));
        // Something may be taken off.
        if is_kept || began.elapsed() < life.mul_f64(0.85) {
            break;
        }
    }
    assert!(is_kept, "it is not kept");

    let key = market("slow");
    let Lookup::Miss(Some(lease)) = cache.get(&key).await else { panic!("it is there") };
    sleep(life).await;
    cache.put(lease, value("v"), LONG).await;
    let found = cache.get(&key).await;
    assert!(matches!(found, Lookup::Miss(Some(_))), "it is shown for longer than it may be: {found:?}");
}
