//! The cache: entries in moka, bounded by bytes, and leases beside them.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bellwether_domain::ports::{Cache, CacheKey, CacheUnreachable, Cached, Lease, Lookup};
use moka::Expiry;
use tokio::time::{Instant, timeout_at};

use crate::leases::{Asked, Ended, Leases};

/// How long to wait for who loads what is missing.
const PATIENCE: Duration = Duration::from_millis(500);
const SHARDS: usize = 32;
/// About what an entry takes besides its key and its value, in bytes.
const OVERHEAD: usize = 256;

#[derive(Debug, Clone)]
struct Entry {
    value: Cached,
    ttl: Duration,
    refresh_at: Option<Instant>,
    generation: u64,
}

/// An entry's own time to live.
struct OwnTtl;

impl Expiry<CacheKey, Entry> for OwnTtl {
    fn expire_after_create(&self, _: &CacheKey, entry: &Entry, _: std::time::Instant) -> Option<Duration> {
        Some(entry.ttl)
    }

    fn expire_after_update(
        &self,
        _: &CacheKey,
        entry: &Entry,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.ttl)
    }
}

/// Remembers in this process alone.
#[derive(Debug)]
pub struct LocalCache {
    entries: moka::sync::Cache<CacheKey, Entry>,
    /// Whoever puts or invalidates a key holds the lock of its shard: so a lease that stood when an entry was
    /// put was not voided before.
    leases: Vec<Mutex<Leases>>,
    hasher: RandomState,
    /// Entries of earlier ones are forgotten.
    generation: AtomicU64,
    /// No entry lives longer.
    longest_life: Duration,
}

impl LocalCache {
    /// Takes about that many bytes at most.
    #[must_use]
    pub fn new(most_bytes: u64) -> Self {
        Self::with_longest_life(most_bytes, Duration::MAX)
    }

    /// The same, with entries that live no longer than that from when their lease was given, however long they are
    /// put for: where others write to the same store, whom this cache may not hear.
    #[must_use]
    pub fn with_longest_life(most_bytes: u64, longest_life: Duration) -> Self {
        let entries = moka::sync::Cache::builder()
            .max_capacity(most_bytes)
            .weigher(|key: &CacheKey, entry: &Entry| {
                let bytes = OVERHEAD + key.id().len() + entry.value.as_ref().map_or(0, bytes::Bytes::len);
                u32::try_from(bytes).unwrap_or(u32::MAX)
            })
            .expire_after(OwnTtl)
            .build();
        let leases = (0..SHARDS).map(|_| Mutex::new(Leases::new())).collect();
        Self { entries, leases, hasher: RandomState::new(), generation: AtomicU64::new(0), longest_life }
    }

    /// Forgets everything, and ends all leases: for a cache in front of another, which has missed invalidations.
    pub fn clear(&self) {
        // From here on no older entry is shown, nor one that is put by an older lease.
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.entries.invalidate_all();
        for shard in &self.leases {
            lock(shard).void_all();
        }
    }

    /// Puts an entry, and says whether its lease stood.
    pub(crate) fn put_now(&self, lease: &Lease, value: Cached, ttl: Duration) -> bool {
        let key = lease.key();
        let ahead = key.kind().refresh_ahead().min(self.longest_life / 2);
        let jitter = rand::random_range(0.9..=1.0);
        let mut leases = self.leases(key);
        let Some(Ended { generation, age }) = leases.end(key, lease.token()) else { return false };
        let ttl = ttl.min(self.longest_life.saturating_sub(age)).mul_f64(jitter);
        if ttl.is_zero() {
            return true;
        }
        let refresh_at =
            (value.is_some() && ahead > Duration::ZERO && ahead < ttl).then(|| Instant::now() + ttl - ahead);
        self.entries.insert(key.clone(), Entry { value, ttl, refresh_at, generation });
        true
    }

    /// Counts the age of a lease from now, if it stands: for who waited since it was given, and has read nothing yet.
    pub(crate) fn renew(&self, lease: &Lease) {
        self.leases(lease.key()).renew(lease.key(), lease.token());
    }

    /// Ends a lease that will not be used.
    pub(crate) fn end(&self, lease: &Lease) {
        self.leases(lease.key()).end(lease.key(), lease.token());
    }

    /// Forgets these keys and ends their leases.
    pub(crate) fn forget(&self, keys: &[CacheKey]) {
        for key in keys {
            let mut leases = self.leases(key);
            leases.void(key);
            self.entries.invalidate(key);
        }
    }

    /// How many bytes are taken, about.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.entries.run_pending_tasks();
        self.entries.weighted_size()
    }

    #[expect(clippy::indexing_slicing, reason = "the index is a remainder by the length, which is never zero")]
    fn leases(&self, key: &CacheKey) -> MutexGuard<'_, Leases> {
        let place = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or(0) % self.leases.len();
        lock(&self.leases[place])
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn entry(&self, key: &CacheKey) -> Option<Entry> {
        self.entries.get(key).filter(|entry| entry.generation == self.generation())
    }

    /// A hit; with a lease where it is time to refresh, and nobody else does.
    fn hit(&self, key: &CacheKey, entry: Entry) -> Lookup {
        let is_due = entry.refresh_at.is_some_and(|at| at <= Instant::now());
        let lease = match is_due.then(|| self.leases(key).ask(key, entry.generation)) {
            Some(Asked::Given(token)) => Some(Lease::new(key.clone(), token)),
            Some(Asked::Taken(..)) | None => None,
        };
        Lookup::Hit(entry.value, lease)
    }
}

#[async_trait]
impl Cache for LocalCache {
    async fn get(&self, key: &CacheKey) -> Lookup {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(entry) = self.entry(key) {
                return self.hit(key, entry);
            }
            let asked = {
                let mut leases = self.leases(key);
                // It may have been put since.
                match self.entry(key) {
                    Some(_) => continue,
                    None => leases.ask(key, self.generation()),
                }
            };
            let (mut ended, ends_at) = match asked {
                Asked::Given(token) => return Lookup::Miss(Some(Lease::new(key.clone(), token))),
                Asked::Taken(ended, ends_at) => (ended, ends_at),
            };
            // Nothing is ever sent: it answers when the lease has gone.
            let waited = timeout_at(deadline.min(ends_at), ended.changed()).await;
            if waited.is_err() && deadline <= Instant::now() {
                return Lookup::Miss(None);
            }
        }
    }

    async fn put(&self, lease: Lease, value: Cached, ttl: Duration) {
        self.put_now(&lease, value, ttl);
    }

    async fn release(&self, lease: Lease) {
        self.end(&lease);
    }

    async fn invalidate(&self, keys: &[CacheKey]) -> Result<(), CacheUnreachable> {
        self.forget(keys);
        Ok(())
    }
}

/// What a panic left behind are leases, which end by themselves.
fn lock(shard: &Mutex<Leases>) -> MutexGuard<'_, Leases> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
