//! Cache, rate limiter, event bus and log of events on Redis, shared by every process that uses the same server or cluster.
//!
//! [`RedisLink`] holds the connections. It makes up its own mind whether Redis is there: while it is not,
//! everything fails at once rather than after a timeout, and it finds by itself when Redis is back. Whoever
//! asks never waits longer than [`RedisOptions::timeout`], and never sees an error: [`RedisCache`] misses,
//! and [`RedisLimiter`] counts in the process.
//!
//! It needs version 7 or later of Redis, or Valkey.

mod bus;
mod cache;
mod connection;
mod gate;
mod limiter;
mod link;
mod options;
mod polls;
mod strays;
mod stream;

pub use bus::RedisBus;
pub use cache::RedisCache;
pub use limiter::{LimiterClock, RedisLimiter};
pub use link::RedisLink;
pub use options::{InvalidRedisUrl, RedisOptions};
pub use stream::RedisEventLog;
