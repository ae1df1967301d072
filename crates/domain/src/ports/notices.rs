//! What processes on one store tell each other at once, that all of them look for now and then besides.

use async_trait::async_trait;

use crate::job::JobKind;

/// What was heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// Another process has put jobs of that kind aside.
    Jobs(JobKind),
    /// In another process something has happened: there are events.
    Events,
    /// Nobody was heard for a while: anything may have happened.
    Missed,
}

/// Hears of what other processes do in the same store, and tells them.
///
/// Nothing depends on it: what is told while nobody can be heard is never told again, so who listens looks for
/// itself now and then all the same.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait Notices: Send {
    /// Waits for the next; what this one tells is not among them. Dropping the future loses nothing.
    async fn next(&mut self) -> Notice;

    /// Tells the others that there are events, if they can be reached right now. Takes a second at most.
    async fn tell_of_events(&mut self);
}
