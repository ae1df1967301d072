//! What the service is better with, and can do without.

use async_trait::async_trait;

/// A server beside the database that makes things faster, or several servers one. While it is away everything is
/// right all the same, so its absence is told and refuses nothing.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait Auxiliary: Send + Sync {
    /// Whether it is there. Answers soon, whatever the state it is in.
    async fn is_up(&self) -> bool;
}
