//! Two levels: this process's own cache in front of one that all processes share.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bellwether_domain::ports::{
    Cache, CacheKey, CacheUnreachable, Cached, EventBus, Lease, Lookup, Received, Subscription, Topic,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::cache::LocalCache;
use crate::notice::Notice;

/// So many notices wait to be sent. More are dropped: then entries elsewhere end when their time is up.
const MOST_WAITING: usize = 1024;
/// No lease of the near cache has it: for one of the far cache alone.
const NO_TOKEN: u128 = 0;
/// How many keys one notice has at most, about.
const MOST_KEYS: usize = 256;

/// A small cache in front of a shared one.
///
/// What is found in the shared cache is kept here for a short time, so that what is read most costs no
/// question at all. An invalidation ends an entry in the shared cache, then here, and then tells the other
/// processes by the bus, which drop theirs; who may have missed a notice drops everything.
///
/// Nothing depends on a notice's arriving: give both caches a longest life, and what is shown was in the
/// store at most the sum of the two ago. When the shared cache could not be told of an invalidation, this
/// process does not ask it until all that was in it has come to its end, so whoever wrote reads what he wrote.
pub struct NearCache {
    shared: Arc<Shared>,
    notices: mpsc::Sender<Vec<CacheKey>>,
    tasks: [JoinHandle<()>; 2],
}

struct Shared {
    near: LocalCache,
    far: Arc<dyn Cache>,
    far_life: Duration,
    /// Until then the far cache is not asked, since it may not know of an invalidation.
    doubted_until: Mutex<Option<Instant>>,
}

impl NearCache {
    /// `near` in front of `far`, in which no entry lives longer than `far_life`. Within a Tokio runtime, on which it
    /// listens to the bus.
    pub async fn open(near: LocalCache, far: Arc<dyn Cache>, far_life: Duration, bus: Arc<dyn EventBus>) -> Self {
        let shared = Arc::new(Shared { near, far, far_life, doubted_until: Mutex::default() });
        let (topic, sender) = (Topic::new("cache"), rand::random());
        let subscription = bus.subscribe(&topic).await;
        let (notices, waiting) = mpsc::channel(MOST_WAITING);
        let tasks = [
            tokio::spawn(listen(Arc::clone(&shared), subscription, sender)),
            tokio::spawn(tell(bus, topic, sender, waiting)),
        ];
        Self { shared, notices, tasks }
    }
}

impl Drop for NearCache {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl fmt::Debug for NearCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NearCache").field("near", &self.shared.near).finish_non_exhaustive()
    }
}

/// Drops what others say that they have changed.
async fn listen(shared: Arc<Shared>, mut subscription: Box<dyn Subscription>, own: u128) {
    while let Some(received) = subscription.next().await {
        match received {
            Received::Message(message) => match Notice::read(message) {
                // One's own were heeded before they were sent.
                Some(notice) if notice.sender == own => {}
                Some(notice) => shared.near.forget(&notice.keys),
                None => {
                    tracing::warn!("a notice for the cache makes no sense: everything near is dropped");
                    shared.near.clear();
                }
            },
            Received::Lagged(_) | Received::Interrupted | Received::Resumed => shared.near.clear(),
        }
    }
}

/// Tells others what was changed here, what has gathered meanwhile together.
async fn tell(bus: Arc<dyn EventBus>, topic: Topic, sender: u128, mut waiting: mpsc::Receiver<Vec<CacheKey>>) {
    while let Some(mut keys) = waiting.recv().await {
        while keys.len() < MOST_KEYS
            && let Ok(more) = waiting.try_recv()
        {
            keys.extend(more);
        }
        // Where it fails, entries elsewhere end by themselves before it could be tried again.
        bus.publish(&topic, Notice { sender, keys }.written()).await.ok();
    }
}

/// A lease of the near cache while the far one is asked. Whoever is dropped meanwhile leaves none behind, for which
/// others would wait.
struct Held<'a> {
    near: &'a LocalCache,
    lease: Option<&'a Lease>,
}

impl Held<'_> {
    fn keep(mut self) {
        self.lease = None;
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(lease) = self.lease {
            self.near.end(lease);
        }
    }
}

impl Shared {
    /// Keeps here what was found in the far cache. Where the far one wants it refreshed, the caller is to do that.
    fn found(&self, lease: Lease, value: Cached, refresh: Option<Lease>) -> Lookup {
        let key = lease.key().clone();
        self.near.put_now(&lease, value.clone(), key.kind().ttl());
        Lookup::Hit(value, refresh.map(|behind| Lease::new(key, NO_TOKEN).before(Some(behind))))
    }

    fn is_doubted(&self) -> bool {
        self.doubted_until().is_some_and(|until| Instant::now() < until)
    }

    fn doubted_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.doubted_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Cache for NearCache {
    async fn get(&self, key: &CacheKey) -> Lookup {
        let Shared { near, far, .. } = &*self.shared;
        let (known, lease) = match near.get(key).await {
            Lookup::Hit(value, Some(lease)) => (Some(value), lease),
            Lookup::Miss(Some(lease)) => (None, lease),
            found => return found,
        };
        let held = Held { near, lease: Some(&lease) };
        let asked = if self.shared.is_doubted() { Lookup::Miss(None) } else { far.get(key).await };
        held.keep();
        if matches!(asked, Lookup::Miss(_)) {
            // The far cache may have kept him waiting for longer than an entry may live here. The store is asked from now
            // on, so one load serves all in this process even then.
            near.renew(&lease);
        }
        match (asked, known) {
            (Lookup::Hit(value, refresh), _) => self.shared.found(lease, value, refresh),
            (Lookup::Miss(behind), Some(known)) => Lookup::Hit(known, Some(lease.before(behind))),
            (Lookup::Miss(behind), None) => Lookup::Miss(Some(lease.before(behind))),
        }
    }

    async fn put(&self, mut lease: Lease, value: Cached, ttl: Duration) {
        let Shared { near, far, .. } = &*self.shared;
        let behind = lease.take_behind();
        if lease.token() == NO_TOKEN {
            if let Some(behind) = behind {
                far.put(behind, value, ttl).await;
            }
            // What was refreshed is asked for anew.
            near.forget(std::slice::from_ref(lease.key()));
            return;
        }
        // Two leases that were given together are void together.
        match (near.put_now(&lease, value.clone(), ttl), behind) {
            (true, Some(behind)) => far.put(behind, value, ttl).await,
            (false, Some(behind)) => far.release(behind).await,
            (_, None) => {}
        }
    }

    async fn release(&self, mut lease: Lease) {
        if let Some(behind) = lease.take_behind() {
            self.shared.far.release(behind).await;
        }
        self.shared.near.release(lease).await;
    }

    async fn invalidate(&self, keys: &[CacheKey]) -> Result<(), CacheUnreachable> {
        let Shared { near, far, far_life, .. } = &*self.shared;
        // The far one first: what is found in it after that, and kept here, is new.
        let result = far.invalidate(keys).await;
        if result.is_err() {
            *self.shared.doubted_until() = Some(Instant::now() + *far_life);
        }
        near.forget(keys);
        // Where there are too many, those elsewhere end by themselves.
        drop(self.notices.try_send(keys.to_vec()));
        result
    }
}
