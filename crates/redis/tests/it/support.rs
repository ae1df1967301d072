//! Where Redis is.

use std::sync::Arc;
use std::time::Duration;

use bellwether_conformance::{Skip, anyhow};
use bellwether_domain::ports::{LimitKey, Quota, RateLimiter, Standing};
use bellwether_redis::{RedisLink, RedisOptions};
use jiff::{SignedDuration, Timestamp};

/// Which Redis a case runs on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    Server,
    Cluster,
}

impl Place {
    /// Options with keys of their own.
    ///
    /// # Errors
    /// [`Skip`] where there is none.
    pub(crate) fn options(self) -> anyhow::Result<RedisOptions> {
        let variable = match self {
            Self::Server => "REDIS_URL",
            Self::Cluster => "REDIS_CLUSTER_URL",
        };
        let url = std::env::var(variable).ok().filter(|url| !url.is_empty());
        let url = url.ok_or_else(|| Skip::because(format!("{variable} is not set; see `cargo xtask services`")))?;
        let mut options = RedisOptions::parse(&url)?;
        options.prefix = format!("test-{:032x}", rand::random::<u128>());
        // Whether it is in time is tested elsewhere: here a busy machine is no failure.
        options.timeout = Duration::from_secs(5);
        Ok(options)
    }
}

/// A link that is connected.
pub(crate) async fn connected(options: RedisOptions) -> anyhow::Result<Arc<RedisLink>> {
    let link = RedisLink::open(options);
    anyhow::ensure!(link.wait_until_connected(Duration::from_secs(10)).await, "Redis cannot be reached");
    Ok(link)
}

/// A limiter that refuses all, for where it must not be asked.
pub(crate) struct Refusing;

const REFUSED: Standing = Standing { is_allowed: false, remaining: 77, frees_in: SignedDuration::ZERO };

#[bellwether_conformance::async_trait]
impl RateLimiter for Refusing {
    async fn take(&self, _: LimitKey, _: Quota, _: Timestamp) -> Standing {
        REFUSED
    }

    async fn look(&self, _: LimitKey, _: Quota, _: Timestamp) -> Standing {
        REFUSED
    }

    async fn give_back(&self, _: LimitKey, _: Quota, _: Timestamp) {}

    async fn forget(&self, _: LimitKey) {}
}
