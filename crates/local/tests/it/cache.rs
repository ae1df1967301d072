//! The suite of caches, and what is this one's own.

use std::sync::Arc;
use std::time::Duration;

use bellwether_conformance::cache::{CacheHarness, CacheSubject};
use bellwether_conformance::{anyhow, async_trait};
use bellwether_domain::ports::{Cache, CacheKey, CacheKind, Cached, Lease, Lookup};
use bellwether_local::LocalCache;
use bytes::Bytes;

const MEGABYTE: u64 = 1 << 20;
const LONG: Duration = Duration::from_secs(300);

struct Local;

#[async_trait]
impl CacheHarness for Local {
    async fn fresh(&self) -> anyhow::Result<CacheSubject> {
        let cache: Arc<dyn Cache> = Arc::new(LocalCache::new(16 * MEGABYTE));
        Ok(CacheSubject { other: Arc::clone(&cache), cache, guard: Box::new(()) })
    }
}

mod conformance {
    bellwether_conformance::cache_conformance!(super::Local);
}

async fn lease_of(cache: &LocalCache, key: &CacheKey) -> Option<Lease> {
    match cache.get(key).await {
        Lookup::Miss(lease) => lease,
        Lookup::Hit(..) => None,
    }
}

async fn fill(cache: &LocalCache, key: &CacheKey, value: Cached) {
    let lease = lease_of(cache, key).await;
    assert!(lease.is_some(), "{key} is there");
    if let Some(lease) = lease {
        cache.put(lease, value, LONG).await;
    }
}

/// Threat 41: nor do those that there is nothing of come free.
#[tokio::test]
async fn it_takes_the_room_that_it_was_given_and_no_more() {
    for value in [Some(Bytes::from(vec![1; 1000])), None] {
        let cache = LocalCache::new(MEGABYTE);
        for i in 0..50_000 {
            fill(&cache, &CacheKey::new(CacheKind::Market, &i), value.clone()).await;
        }
        let size = cache.size_bytes();
        assert!((MEGABYTE / 2..=MEGABYTE).contains(&size), "{size} bytes");
    }
}

#[tokio::test]
async fn clearing_forgets_all_and_ends_the_leases() {
    let cache = LocalCache::new(MEGABYTE);
    let [known, loading] = ["a", "b"].map(|id| CacheKey::new(CacheKind::Market, id));
    fill(&cache, &known, None).await;
    let lease = lease_of(&cache, &loading).await.expect("nobody put it");
    cache.clear();
    cache.put(lease, None, LONG).await;
    for key in [known, loading] {
        fill(&cache, &key, None).await;
        assert_eq!(cache.get(&key).await, Lookup::Hit(None, None));
    }
}
