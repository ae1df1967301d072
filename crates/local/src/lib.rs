//! What one process keeps to itself: the rate limiter of a server that has no other beside it.

mod limiter;
mod window;

pub use limiter::LocalLimiter;
