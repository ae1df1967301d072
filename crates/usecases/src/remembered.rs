//! What this process remembers of what lets callers in, so that not every request asks the store.
//!
//! A thing is read again when what is known of it is older than a second: so long may another
//! process's word that it ended take to arrive, where no message brings it. This process's own word counts at once.

use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether_domain::ports::StoreError;
use moka::Expiry;
use moka::policy::EvictionPolicy;

/// How old what is remembered may be.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(1);
/// So many are remembered; the one asked for longest ago is forgotten first.
const CAPACITY: u64 = 100_000;
/// How long it is remembered that one was ended here: longer than any read of the store takes that
/// began before the end.
const ENDED_KEPT: Duration = Duration::from_secs(300);

/// What the store said: none for what is good for nothing.
#[derive(Debug, Clone, Copy)]
struct Known<V> {
    value: Option<V>,
    /// When the question was asked, since what happened after that may not be in the answer.
    asked_at: Instant,
}

struct UntilTooOld(Duration);

impl<K, V> Expiry<K, Known<V>> for UntilTooOld {
    fn expire_after_create(&self, _: &K, known: &Known<V>, created_at: Instant) -> Option<Duration> {
        Some(self.0.saturating_sub(created_at.saturating_duration_since(known.asked_at)))
    }
}

/// A memory of things by their keys. Clones are the same memory.
#[derive(Clone)]
pub(crate) struct Remembered<K, V> {
    known: moka::future::Cache<K, Known<V>>,
    ended: moka::sync::Cache<K, ()>,
}

impl<K, V> Remembered<K, V>
where
    K: Hash + Eq + Copy + Send + Sync + 'static,
    V: Copy + Send + Sync + 'static,
{
    /// A memory whose knowledge may be so old.
    pub(crate) fn with_max_age(max_age: Duration) -> Self {
        let known = moka::future::Cache::builder()
            .max_capacity(CAPACITY)
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(UntilTooOld(max_age))
            .build();
        let ended = moka::sync::Cache::builder()
            .max_capacity(CAPACITY)
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(ENDED_KEPT)
            .build();
        Self { known, ended }
    }

    /// What is remembered; none where the store must be asked.
    pub(crate) async fn recall(&self, key: K) -> Option<Option<V>> {
        let known = self.known.get(&key).await?;
        Some(self.unless_ended(key, known))
    }

    /// What is remembered, or else loaded. However many ask at the same time, it is loaded once.
    pub(crate) async fn get(
        &self,
        key: K,
        load: impl Future<Output = Result<Option<V>, StoreError>>,
    ) -> Result<Option<V>, StoreError> {
        let load = async {
            let asked_at = Instant::now();
            Ok(Known { value: load.await?, asked_at })
        };
        let known = self.known.try_get_with(key, load).await.map_err(shared)?;
        Ok(self.unless_ended(key, known))
    }

    /// Notes that some have ended: from now on they are good for nothing here.
    pub(crate) async fn end(&self, keys: &[K]) {
        for key in keys {
            self.ended.insert(*key, ());
            self.known.invalidate(key).await;
        }
    }

    /// Asks the store anew for everything.
    pub(crate) fn forget_all(&self) {
        self.known.invalidate_all();
    }

    /// Looked at last: a read that began before the end may have been answered after it.
    fn unless_ended(&self, key: K, known: Known<V>) -> Option<V> {
        known.value.filter(|_| !self.ended.contains_key(&key))
    }
}

/// An error that several who asked at the same time got together.
fn shared(error: Arc<StoreError>) -> StoreError {
    match Arc::try_unwrap(error) {
        Ok(error) => error,
        Err(error) => match &*error {
            StoreError::Corrupt(what) => StoreError::Corrupt(what.clone()),
            _ => StoreError::Unavailable(Box::new(error)),
        },
    }
}
