//! What one process keeps to itself: the rate limiter, the cache and the event bus of a server that has no
//! other beside it; and the cache that stands before one which is shared.

mod bus;
mod cache;
mod leases;
mod limiter;
mod near;
mod notice;
mod window;

pub use bus::LocalBus;
pub use cache::LocalCache;
pub use limiter::LocalLimiter;
pub use near::NearCache;
