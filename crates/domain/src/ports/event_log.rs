//! What happened, handed on to a log beside the store.

use async_trait::async_trait;

use crate::event::Recorded;

/// The log could not be reached, or it is not known whether it took what it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log of events cannot be reached")]
pub struct EventLogUnreachable;

/// A log of events for programs that follow from outside, each at its own pace. It is a copy: the outbox remains what
/// is true, and a log that lost its entries is filled again from there.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Appends events, which must be in their order and all those that there are from the first to the last of them;
    /// those that it has already are left out, so the same may be given again, and by several servers at once.
    ///
    /// Returns the sequence of the newest event that the log was ever given, 0 for none. Where that is below `after` it has lost
    /// what it had, and took nothing: go on from what is returned.
    ///
    /// Not atomic: some of the first may have been taken where it fails.
    async fn append(&self, after: i64, events: &[Recorded]) -> Result<i64, EventLogUnreachable>;
}
