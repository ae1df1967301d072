//! The suites, on one server and on a cluster. Two processes are two links.

use std::sync::Arc;
use std::time::Duration;

use bellwether_conformance::bus::{BusHarness, BusSubject};
use bellwether_conformance::cache::{CacheHarness, CacheSubject};
use bellwether_conformance::limiter::{LimiterHarness, LimiterSubject};
use bellwether_conformance::{anyhow, async_trait};
use bellwether_redis::{LimiterClock, RedisBus, RedisCache, RedisLimiter};

use crate::support::{Place, Refusing, connected};

struct Harness(Place);

#[async_trait]
impl CacheHarness for Harness {
    async fn fresh(&self) -> anyhow::Result<CacheSubject> {
        let options = self.0.options()?;
        let cache = Arc::new(RedisCache::new(connected(options.clone()).await?));
        let other = Arc::new(RedisCache::new(connected(options).await?));
        Ok(CacheSubject { cache, other, guard: Box::new(()) })
    }
}

#[async_trait]
impl LimiterHarness for Harness {
    async fn fresh(&self) -> anyhow::Result<LimiterSubject> {
        let link = connected(self.0.options()?).await?;
        let limiter = Arc::new(RedisLimiter::new(link, LimiterClock::Caller, Arc::new(Refusing)));
        Ok(LimiterSubject { limiter, guard: Box::new(()) })
    }
}

#[async_trait]
impl BusHarness for Harness {
    async fn fresh(&self) -> anyhow::Result<BusSubject> {
        let options = self.0.options()?;
        let mut buses = Vec::new();
        for _ in 0..2 {
            let bus = RedisBus::open(connected(options.clone()).await?);
            anyhow::ensure!(bus.wait_until_connected(Duration::from_secs(10)).await, "no events arrive");
            buses.push(Arc::new(bus));
        }
        let [bus, other] = <[_; 2]>::try_from(buses).map_err(|_| anyhow::anyhow!("there are two"))?;
        Ok(BusSubject { bus, other, guard: Box::new(()) })
    }
}

mod cache_on_a_server {
    bellwether_conformance::cache_conformance!(super::Harness(super::Place::Server));
}

mod limiter_on_a_server {
    bellwether_conformance::limiter_conformance!(super::Harness(super::Place::Server));
}

mod bus_on_a_server {
    bellwether_conformance::bus_conformance!(super::Harness(super::Place::Server));
}

mod cache_on_a_cluster {
    bellwether_conformance::cache_conformance!(super::Harness(super::Place::Cluster));
}

mod limiter_on_a_cluster {
    bellwether_conformance::limiter_conformance!(super::Harness(super::Place::Cluster));
}

mod bus_on_a_cluster {
    bellwether_conformance::bus_conformance!(super::Harness(super::Place::Cluster));
}
