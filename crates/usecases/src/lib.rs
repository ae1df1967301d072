//! One imperative for each thing that can be done, over ports only.
//!
//! Each use case validates, loads under lock, lets the domain decide, saves and commits:
//! [`users`], [`bots`], [`sessions`], [`api_keys`], [`recovery`], [`mail`], [`jobs`], [`webhooks`], [`transfers`], [`markets`], [`trading`], [`settling`], [`scoring`], [`audit_log`] that tells
//! of it, [`events`] and [`live`] streams that others follow, and [`audit`] that checks the result.
//! Reads that decide nothing go to [`Queries`](bellwether_domain::ports::Queries) directly.

mod access;
pub mod api_keys;
mod atomically;
pub mod audit;
pub mod audit_log;
pub mod bots;
pub mod cache_follower;
pub mod caching;
pub mod candles;
pub mod context;
pub mod ends;
pub mod error;
pub mod event_schemas;
pub mod events;
mod forgetting;
mod groups;
pub mod idempotency;
pub mod jobs;
pub mod limits;
pub mod live;
pub mod mail;
pub mod markets;
pub mod order_groups;
pub mod recovery;
pub mod relay;
mod remembered;
pub mod scoring;
pub mod sessions;
pub mod settling;
mod stale;
pub mod switches;
pub mod trading;
pub mod transfers;
mod turns;
pub mod users;
mod view;
pub mod webhooks;

pub use context::{Caller, CallerKey, Context, Policy};
pub use error::Error;
pub use idempotency::{Answered, Keyed, Rendered};
pub use view::TradePart;
