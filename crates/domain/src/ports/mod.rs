//! The ports: what the domain needs of the world, in its own words.
//!
//! Storage comes in two halves. [`Store`] opens a [`UnitOfWork`], one database transaction, for
//! everything that decides; [`Queries`] answers reads that decide nothing. `conformance` holds every
//! implementation to what is promised here. With the feature `test-support` there is a mock of each.

mod auxiliary;
mod cache;
mod calls;
mod event_log;
mod events;
mod jobs;
mod limits;
mod meter;
mod notices;
mod outbox;
mod queries;
mod security;
mod store;
mod webhooks;

pub use auxiliary::*;
pub use cache::*;
pub use calls::*;
pub use event_log::*;
pub use events::*;
pub use jobs::*;
pub use limits::*;
pub use meter::*;
pub use notices::*;
pub use outbox::*;
pub use queries::*;
pub use security::*;
pub use store::*;
pub use webhooks::*;
