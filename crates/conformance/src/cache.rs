//! One test suite for caches: what [`Cache`] promises, every implementation is held to.
//!
//! Say how one is made, and [`cache_conformance!`](crate::cache_conformance) makes one test of each promise.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use async_trait::async_trait;
use bellwether_domain::ports::{Cache, CacheKey, CacheKind, Cached, Lease, Lookup, get_or_load};
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::Barrier;
use tokio::time::{Instant, sleep};

/// Makes the caches that the suite runs against.
#[async_trait]
pub trait CacheHarness: Send + Sync + 'static {
    /// A cache that remembers nothing. [`Skip`](crate::Skip) as the error declines.
    async fn fresh(&self) -> anyhow::Result<CacheSubject>;
}

/// The cache that a case tests.
pub struct CacheSubject {
    /// The cache.
    pub cache: Arc<dyn Cache>,
    /// The same one as another process sees it; or just the same one, where it is a process's own.
    pub other: Arc<dyn Cache>,
    /// What must live until the case has ended.
    pub guard: Box<dyn Any + Send>,
}

impl fmt::Debug for CacheSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheSubject").finish_non_exhaustive()
    }
}

/// Runs one case: what each test that [`cache_conformance!`](crate::cache_conformance) makes calls.
#[doc(hidden)]
pub fn run<H, C, F>(harness: H, case: C) -> anyhow::Result<()>
where
    H: CacheHarness,
    C: FnOnce(Caches) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    crate::run_within_limits(harness.fresh(), |subject| {
        let (outcome, guard) = (case(Caches { one: subject.cache, other: subject.other }), subject.guard);
        async move {
            let outcome = outcome.await;
            drop(guard);
            outcome
        }
    })
}

/// Makes one `#[test]` for each case of the suite. Takes an expression that makes the [`CacheHarness`].
/// Call it inside a module of its own.
#[macro_export]
macro_rules! cache_conformance {
    ($harness:expr $(,)?) => {
        $crate::cache_conformance! { @ $harness,
            what_is_put_is_found,
            keys_are_kept_apart_whatever_they_are_made_of,
            who_read_before_a_write_cannot_put_after_its_invalidation,
            a_void_lease_does_not_disturb_its_successor,
            a_refresh_that_read_before_a_write_cannot_put_after_its_invalidation,
            what_is_read_after_an_invalidation_is_never_older_than_it,
            a_lease_is_good_for_one_put,
            a_thousand_who_miss_at_once_make_one_load,
            what_is_known_to_be_absent_is_found_once_it_is_made,
            an_invalidation_forgets_its_keys_and_no_others,
            who_waits_in_vain_may_load_for_himself,
            a_lease_that_is_released_goes_to_who_waits,
            a_lease_that_is_left_behind_ends_by_itself,
            an_entry_expires_and_is_loaded_anew,
            one_reader_refreshes_what_will_soon_expire,
            a_load_that_fails_leaves_everything_as_it_was,
            a_long_value_comes_back_whole,
        }
    };
    (@ $harness:expr, $($case:ident,)+) => {
        $(#[test]
        fn $case() -> $crate::anyhow::Result<()> {
            $crate::cache::run($harness, $crate::cache::$case)
        })+
    };
}

/// A cache, as one process and as another see it.
#[doc(hidden)]
pub struct Caches {
    one: Arc<dyn Cache>,
    other: Arc<dyn Cache>,
}

/// Long enough that no entry expires in a test.
const LONG: Duration = Duration::from_secs(300);
/// What is promised of those who wait holds where the machine is not held up for so long meanwhile: nobody waits for
/// ever, and leases end by themselves.
const SOON: Duration = Duration::from_secs(2);
/// The same for one who loads while others wait, which they do for a moment only.
const A_MOMENT: Duration = Duration::from_millis(400);
/// How often such a case is tried again.
const TRIES: usize = 20;

fn market(id: &str) -> CacheKey {
    CacheKey::new(CacheKind::Market, id)
}

fn value(text: &str) -> Cached {
    Some(Bytes::copy_from_slice(text.as_bytes()))
}

/// The lease of a key that is not there.
async fn lease_of(cache: &Arc<dyn Cache>, key: &CacheKey) -> anyhow::Result<Lease> {
    match cache.get(key).await {
        Lookup::Miss(Some(lease)) => Ok(lease),
        other => bail!("{key} should be missing, with a lease: {other:?}"),
    }
}

async fn fill(cache: &Arc<dyn Cache>, key: &CacheKey, value: Cached) -> anyhow::Result<()> {
    let lease = lease_of(cache, key).await?;
    cache.put(lease, value, LONG).await;
    Ok(())
}

async fn ensure_hit(cache: &Arc<dyn Cache>, key: &CacheKey, value: Cached) -> anyhow::Result<()> {
    let found = cache.get(key).await;
    ensure!(found == Lookup::Hit(value.clone(), None), "{key}: {found:?}, not {value:?}");
    Ok(())
}

/// A load that must not happen.
async fn no_load() -> anyhow::Result<Cached> {
    bail!("the store was asked")
}

/// Asks until the answer is of the wanted kind; the suite's time limit ends it.
async fn until<T>(cache: &Arc<dyn Cache>, key: &CacheKey, wanted: impl Fn(Lookup) -> Option<T>) -> T {
    loop {
        if let Some(found) = wanted(cache.get(key).await) {
            return found;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Of any length and content, and nothing at all.
pub async fn what_is_put_is_found(caches: Caches) -> anyhow::Result<()> {
    let every_byte = Some((0..=255).collect::<Bytes>());
    for (id, value) in [("a", value("text")), ("b", value("")), ("c", None), ("d", every_byte)] {
        fill(&caches.one, &market(id), value.clone()).await?;
        ensure_hit(&caches.one, &market(id), value.clone()).await?;
        ensure_hit(&caches.other, &market(id), value.clone()).await?;
        ensure!(get_or_load(&*caches.other, &market(id), no_load()).await? == value);
    }
    Ok(())
}

/// The same id under every kind, and ids with all that a driver could give a meaning to.
pub async fn keys_are_kept_apart_whatever_they_are_made_of(caches: Caches) -> anyhow::Result<()> {
    let ids = ["", "a", "a:b", "{a}", "{", "}", "}l", "a}l", "a\r\nDEL *", "*", "ä\u{0}🦀", " "];
    let keys: Vec<_> = CacheKind::ALL.iter().flat_map(|kind| ids.map(|id| CacheKey::new(*kind, id))).collect();
    for key in &keys {
        fill(&caches.one, key, value(&key.to_string())).await?;
    }
    for key in &keys {
        ensure_hit(&caches.other, key, value(&key.to_string())).await?;
    }
    Ok(())
}

/// Threat 40: read, then another's write and invalidation, then put.
pub async fn who_read_before_a_write_cannot_put_after_its_invalidation(caches: Caches) -> anyhow::Result<()> {
    let key = market("a");
    let lease = lease_of(&caches.one, &key).await?;
    caches.other.invalidate(std::slice::from_ref(&key)).await?;
    caches.one.put(lease, value("old"), LONG).await;

    let lease = lease_of(&caches.one, &key).await.context("the old value was put")?;
    caches.one.put(lease, value("new"), LONG).await;
    ensure_hit(&caches.other, &key, value("new")).await
}

/// Threat 40: the next reader has his lease already when the late one puts or releases.
pub async fn a_void_lease_does_not_disturb_its_successor(caches: Caches) -> anyhow::Result<()> {
    for is_put in [true, false] {
        let key = market(&is_put.to_string());
        let void = lease_of(&caches.one, &key).await?;
        caches.one.invalidate(std::slice::from_ref(&key)).await?;
        let good = lease_of(&caches.other, &key).await?;
        match is_put {
            true => caches.one.put(void, value("old"), LONG).await,
            false => caches.one.release(void).await,
        }
        caches.other.put(good, value("new"), LONG).await;
        ensure_hit(&caches.one, &key, value("new")).await?;
    }
    Ok(())
}

/// An entry that is about to be refreshed, and a time to live with which it soon is.
fn leaderboard() -> (CacheKey, Duration) {
    let key = CacheKey::new(CacheKind::Leaderboard, "a");
    // A tenth may be taken off; it is due some 100 to 700 ms after it was put.
    (key, CacheKind::Leaderboard.refresh_ahead() + Duration::from_millis(700))
}

/// The lease that comes with a hit when it is time.
async fn refresh_lease(cache: &Arc<dyn Cache>, key: &CacheKey, old: &Cached) -> Lease {
    until(cache, key, |found| match found {
        Lookup::Hit(value, lease) if value == *old => lease,
        _ => None,
    })
    .await
}

/// Threat 40, with an entry still there.
pub async fn a_refresh_that_read_before_a_write_cannot_put_after_its_invalidation(
    caches: Caches,
) -> anyhow::Result<()> {
    let (key, ttl) = leaderboard();
    let lease = lease_of(&caches.one, &key).await?;
    caches.one.put(lease, value("old"), ttl).await;
    let lease = refresh_lease(&caches.one, &key, &value("old")).await;
    caches.other.invalidate(std::slice::from_ref(&key)).await?;
    caches.one.put(lease, value("old"), LONG).await;
    lease_of(&caches.other, &key).await.context("the old value was put")?;
    Ok(())
}

/// Threat 40, with readers and writers at work at once. What the store has, is a number that grows.
pub async fn what_is_read_after_an_invalidation_is_never_older_than_it(caches: Caches) -> anyhow::Result<()> {
    const TASKS: usize = 8;
    let (key, barrier) = (market("a"), Arc::new(Barrier::new(TASKS)));
    // What it has, and what of it has been announced.
    let (store, announced) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let tasks = (0..TASKS).map(|task| {
        let cache = Arc::clone(if task % 2 == 0 { &caches.one } else { &caches.other });
        let (key, barrier) = (key.clone(), Arc::clone(&barrier));
        let (store, announced) = (Arc::clone(&store), Arc::clone(&announced));
        tokio::spawn(async move {
            barrier.wait().await;
            for _ in 0..100 {
                // Half of them read all the time; the others write while somebody loads.
                if task % 4 < 2 {
                    sleep(Duration::from_millis(1)).await;
                    let written = store.fetch_add(1, Ordering::SeqCst) + 1;
                    cache.invalidate(std::slice::from_ref(&key)).await?;
                    announced.fetch_max(written, Ordering::SeqCst);
                }
                let least = announced.load(Ordering::SeqCst);
                let read = get_or_load(&*cache, &key, async {
                    let now = store.load(Ordering::SeqCst);
                    sleep(Duration::from_millis(2)).await;
                    anyhow::Ok(Some(Bytes::copy_from_slice(&now.to_be_bytes())))
                });
                let read = read.await?.context("it is never absent")?;
                let read = u64::from_be_bytes(read.as_ref().try_into()?);
                ensure!(read >= least, "read {read} after {least} had been written and announced");
            }
            anyhow::Ok(())
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await??;
    }
    Ok(())
}

/// Used or released, it is over.
pub async fn a_lease_is_good_for_one_put(caches: Caches) -> anyhow::Result<()> {
    let key = market("a");
    let lease = lease_of(&caches.one, &key).await?;
    let again = || Lease::new(key.clone(), lease.token());
    caches.one.put(again(), value("first"), LONG).await;
    caches.one.put(again(), value("second"), LONG).await;
    ensure_hit(&caches.one, &key, value("first")).await?;

    let key = market("b");
    let lease = lease_of(&caches.one, &key).await?;
    caches.one.release(Lease::new(key.clone(), lease.token())).await;
    caches.one.put(lease, value("released"), LONG).await;
    lease_of(&caches.one, &key).await.context("it was put with a lease that had been released")?;

    let stranger = lease_of(&caches.one, &market("c")).await?;
    for number in 0..TRIES {
        let (key, began) = (market(&format!("d{number}")), Instant::now());
        lease_of(&caches.one, &key).await?;
        caches.one.put(Lease::new(key.clone(), stranger.token() ^ (1 << 100)), value("made up"), LONG).await;
        let found = caches.one.get(&key).await;
        if found == Lookup::Miss(None) {
            return Ok(());
        }
        let is_over = matches!(found, Lookup::Miss(_)) && began.elapsed() >= SOON;
        ensure!(is_over, "it was put with a lease that never was, or that ended the other: {found:?}");
    }
    bail!("leases do not stand for so long as it takes")
}

/// Threat 42.
pub async fn a_thousand_who_miss_at_once_make_one_load(caches: Caches) -> anyhow::Result<()> {
    for number in 0..TRIES {
        let began = Instant::now();
        let loads = loads_of_a_thousand(&caches, market(&number.to_string())).await?;
        if loads == 1 {
            return Ok(());
        }
        // Who waited in vain has loaded for himself.
        ensure!(began.elapsed() >= A_MOMENT, "{loads} loads");
    }
    bail!("there is more than one load each time")
}

/// How often something is loaded for which a thousand ask at once.
async fn loads_of_a_thousand(caches: &Caches, key: CacheKey) -> anyhow::Result<u64> {
    const READERS: u64 = 1000;
    let loads = Arc::new(AtomicU64::new(0));
    let readers = (0..READERS).map(|reader| {
        let cache = Arc::clone(if reader % 2 == 0 { &caches.one } else { &caches.other });
        let (key, loads) = (key.clone(), Arc::clone(&loads));
        tokio::spawn(async move {
            let load = async {
                let number = loads.fetch_add(1, Ordering::SeqCst) + 1;
                sleep(Duration::from_millis(50)).await;
                anyhow::Ok(value(&number.to_string()))
            };
            get_or_load(&*cache, &key, load).await
        })
    });
    let mut answers = Vec::new();
    for reader in join_all(readers.collect::<Vec<_>>()).await {
        answers.push(reader??);
    }
    let loads = loads.load(Ordering::SeqCst);
    let is_one_answer = answers.iter().all(|answer| *answer == value("1"));
    ensure!(loads != 1 || is_one_answer, "somebody got another's answer");
    Ok(loads)
}

/// Threat 41.
pub async fn what_is_known_to_be_absent_is_found_once_it_is_made(caches: Caches) -> anyhow::Result<()> {
    let key = market("a");
    ensure!(get_or_load(&*caches.one, &key, async { anyhow::Ok(None) }).await?.is_none());
    ensure!(get_or_load(&*caches.other, &key, no_load()).await?.is_none(), "absence is remembered");
    caches.other.invalidate(std::slice::from_ref(&key)).await?;
    let found = get_or_load(&*caches.one, &key, async { anyhow::Ok(value("made")) }).await?;
    ensure!(found == value("made"), "{found:?}");
    Ok(())
}

/// Of one kind or of several, known or not, none at all too.
pub async fn an_invalidation_forgets_its_keys_and_no_others(caches: Caches) -> anyhow::Result<()> {
    let keys: Vec<_> =
        (0..60).map(|i| CacheKey::new(if i % 3 == 0 { CacheKind::Book } else { CacheKind::Market }, &i)).collect();
    for key in &keys {
        fill(&caches.one, key, value("x")).await?;
    }
    caches.one.invalidate(&[]).await?;
    let mut gone: Vec<_> = keys.iter().step_by(2).cloned().collect();
    gone.push(market("never seen"));
    gone.extend(keys.first().cloned());
    caches.other.invalidate(&gone).await?;
    for key in &keys {
        match gone.contains(key) {
            true => drop(lease_of(&caches.one, key).await?),
            false => ensure_hit(&caches.one, key, value("x")).await?,
        }
    }
    Ok(())
}

/// Nobody hangs because another does.
pub async fn who_waits_in_vain_may_load_for_himself(caches: Caches) -> anyhow::Result<()> {
    for number in 0..TRIES {
        let (key, began) = (market(&number.to_string()), Instant::now());
        let lease = lease_of(&caches.one, &key).await?;
        let found = caches.other.get(&key).await;
        if began.elapsed() >= SOON {
            continue;
        }
        ensure!(found == Lookup::Miss(None), "{found:?}");
        caches.one.put(lease, value("late"), LONG).await;
        return ensure_hit(&caches.other, &key, value("late")).await;
    }
    bail!("each time somebody waited in vain for longer than {SOON:?}")
}

/// At once, and to one of them.
pub async fn a_lease_that_is_released_goes_to_who_waits(caches: Caches) -> anyhow::Result<()> {
    for number in 0..TRIES {
        let (key, began) = (market(&number.to_string()), Instant::now());
        let lease = lease_of(&caches.one, &key).await?;
        let (waiting, released) = tokio::join!(caches.other.get(&key), async {
            sleep(Duration::from_millis(50)).await;
            caches.one.release(lease).await;
        });
        let () = released;
        if matches!(waiting, Lookup::Miss(Some(_))) {
            return Ok(());
        }
        // It was released too late for who waited.
        ensure!(waiting == Lookup::Miss(None) && began.elapsed() >= A_MOMENT, "{waiting:?}");
    }
    bail!("a lease that is released goes to nobody")
}

/// And what is put with it then is refused: nobody knows what happened since.
pub async fn a_lease_that_is_left_behind_ends_by_itself(caches: Caches) -> anyhow::Result<()> {
    let key = market("a");
    let left = lease_of(&caches.one, &key).await?;
    let began = Instant::now();
    let fresh = until(&caches.other, &key, |found| match found {
        Lookup::Miss(lease) => lease,
        Lookup::Hit(..) => None,
    })
    .await;
    ensure!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    caches.one.put(left, value("old"), LONG).await;
    caches.other.put(fresh, value("new"), LONG).await;
    ensure_hit(&caches.one, &key, value("new")).await
}

/// After its time or a little less, not more.
pub async fn an_entry_expires_and_is_loaded_anew(caches: Caches) -> anyhow::Result<()> {
    let ttl = Duration::from_millis(800);
    for (id, value) in [("a", value("x")), ("b", None)] {
        let lease = lease_of(&caches.one, &market(id)).await?;
        let began = Instant::now();
        caches.one.put(lease, value.clone(), ttl).await;
        let put = Instant::now();
        let lease = loop {
            // When it was asked for counts, and not when a machine that was held up came to answer.
            let age = put.elapsed();
            match caches.other.get(&market(id)).await {
                Lookup::Miss(Some(lease)) => break lease,
                Lookup::Miss(None) => {}
                Lookup::Hit(..) => ensure!(age < ttl + Duration::from_secs(2), "it was there after {age:?}"),
            }
            sleep(Duration::from_millis(10)).await;
        };
        ensure!(began.elapsed() >= ttl.mul_f64(0.85), "it was gone after {:?}", began.elapsed());
        caches.other.put(lease, value, LONG).await;
    }
    Ok(())
}

/// Threat 42: the others get the old one meanwhile, and at the end nobody misses.
pub async fn one_reader_refreshes_what_will_soon_expire(caches: Caches) -> anyhow::Result<()> {
    let (key, ttl) = leaderboard();
    let lease = lease_of(&caches.one, &key).await?;
    caches.one.put(lease, value("old"), ttl).await;
    let lease = refresh_lease(&caches.one, &key, &value("old")).await;
    for _ in 0..20 {
        ensure_hit(&caches.one, &key, value("old")).await?;
        ensure_hit(&caches.other, &key, value("old")).await?;
    }
    caches.one.put(lease, value("new"), LONG).await;
    ensure_hit(&caches.other, &key, value("new")).await
}

/// The next one may try at once.
pub async fn a_load_that_fails_leaves_everything_as_it_was(caches: Caches) -> anyhow::Result<()> {
    for number in 0..TRIES {
        let key = market(&number.to_string());
        for _ in 0..2 {
            let error = get_or_load(&*caches.one, &key, no_load()).await.err().context("the load failed")?;
            ensure!(error.to_string() == "the store was asked");
        }
        let began = Instant::now();
        fill(&caches.other, &key, value("x")).await?;
        if began.elapsed() < Duration::from_secs(1) {
            return Ok(());
        }
    }
    bail!("the leases of failed loads stood in the way")
}

/// A megabyte.
pub async fn a_long_value_comes_back_whole(caches: Caches) -> anyhow::Result<()> {
    let long: Bytes = (0..1_u32 << 18).flat_map(u32::to_le_bytes).collect();
    fill(&caches.one, &market("a"), Some(long.clone())).await?;
    ensure_hit(&caches.other, &market("a"), Some(long)).await
}
