//! The rate limiter: a window for each key, in one value, changed by one script.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bellwether_domain::ports::{LimitKey, Quota, RateLimiter, Standing};
use bytes::Bytes;
use fred::interfaces::KeysInterface as _;
use fred::types::scripts::Script;
use fred::types::{Key, Value};
use jiff::{SignedDuration, Timestamp};

use crate::link::RedisLink;

/// The most moments that are told apart within one window.
const MOST_MOMENTS: i64 = 64;

/// By which clock a window slides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimiterClock {
    /// By that of the Redis server: all processes count alike, however their own clocks stand.
    Server,
    /// By the times that callers give.
    Caller,
}

/// Counts in Redis, for all processes.
///
/// What it lets through it has counted by another limiter in this process too. That one decides while
/// Redis does not: it knows what this process has let through lately, so that who has used up his limit here
/// gains nothing when Redis goes. What is counted in that time stays unknown to Redis.
pub struct RedisLimiter {
    link: Arc<RedisLink>,
    clock: LimiterClock,
    fallback: Arc<dyn RateLimiter>,
    script: Script,
}

impl RedisLimiter {
    /// Over these connections; `fallback` counts in this process.
    #[must_use]
    pub fn new(link: Arc<RedisLink>, clock: LimiterClock, fallback: Arc<dyn RateLimiter>) -> Self {
        Self { link, clock, fallback, script: Script::from_lua(include_str!("lua/limit.lua")) }
    }

    fn key(&self, key: LimitKey) -> Key {
        let mut name = format!("{}:l:", self.link.options().prefix).into_bytes();
        name.extend_from_slice(key.as_bytes());
        Bytes::from(name).into()
    }

    async fn run(&self, what: &'static str, key: LimitKey, quota: Quota, time: Timestamp) -> Option<Standing> {
        let clock = match self.clock {
            LimiterClock::Server => "server",
            LimiterClock::Caller => "caller",
        };
        let length = i64::try_from(quota.window.as_micros()).unwrap_or(i64::MAX);
        let args: Vec<Value> = vec![
            what.into(),
            i64::from(quota.limit).into(),
            length.into(),
            time.as_microsecond().into(),
            clock.into(),
            MOST_MOMENTS.into(),
        ];
        let answer: (i64, i64, i64) = self.link.run(&self.script, vec![self.key(key)], args).await?;
        let (is_allowed, remaining, frees_in) = answer;
        Some(Standing {
            is_allowed: is_allowed == 1,
            remaining: u32::try_from(remaining).unwrap_or(0),
            frees_in: SignedDuration::from_micros(frees_in),
        })
    }
}

#[async_trait]
impl RateLimiter for RedisLimiter {
    async fn take(&self, key: LimitKey, quota: Quota, now: Timestamp) -> Standing {
        match self.run("take", key, quota, now).await {
            Some(standing) => {
                if standing.is_allowed {
                    self.fallback.take(key, quota, now).await;
                }
                standing
            }
            None => self.fallback.take(key, quota, now).await,
        }
    }

    async fn look(&self, key: LimitKey, quota: Quota, now: Timestamp) -> Standing {
        match self.run("look", key, quota, now).await {
            Some(standing) => standing,
            None => self.fallback.look(key, quota, now).await,
        }
    }

    async fn give_back(&self, key: LimitKey, quota: Quota, taken_at: Timestamp) {
        self.run("give_back", key, quota, taken_at).await;
        self.fallback.give_back(key, quota, taken_at).await;
    }

    async fn forget(&self, key: LimitKey) {
        let name = self.key(key);
        let _: Option<i64> = self.link.call(|client| async move { client.unlink(name).await }).await;
        self.fallback.forget(key).await;
    }
}

impl fmt::Debug for RedisLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLimiter").field("link", &self.link).field("clock", &self.clock).finish_non_exhaustive()
    }
}
