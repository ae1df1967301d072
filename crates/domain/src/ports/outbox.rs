//! Reading what happened.

use async_trait::async_trait;
use jiff::Timestamp;

use super::StoreError;
use crate::event::EventBatch;

/// The outbox, for those who follow what happened. [`UnitOfWork::write`](super::UnitOfWork::write) fills it.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Committed batches with a position above that one, in the order of their positions, at most `limit`.
    ///
    /// Whoever goes on from the last of them misses none, ever: a batch is not given while one before it may
    /// still be committed. That one may keep later batches back, for as long as its unit of work takes. What
    /// is given is on the disk, and survives a crash of the store.
    async fn after(&self, position: i64, limit: u32) -> Result<Vec<EventBatch>, StoreError>;
    /// The positions of the oldest batch that is kept and of the newest that would be given, if there is any. What is
    /// there and may still have something before it is not waited for, but where nothing is known that would be given.
    async fn span(&self) -> Result<Option<Span>, StoreError>;
    /// When the first batch above that position was written, also where it would not be given yet; none where there is
    /// none.
    async fn waiting_since(&self, position: i64) -> Result<Option<Timestamp>, StoreError>;
    /// The consumers that have a cursor, and the position of the last batch that each has acted on, by name.
    async fn cursors(&self) -> Result<Vec<(String, i64)>, StoreError>;
    /// Forgets batches of before a moment, at most `limit`, the oldest first; returns how many. Never the
    /// newest of all, and none that a consumer has yet to act on.
    async fn forget_before(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}

/// What the outbox holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The position of the oldest batch.
    pub oldest: i64,
    /// The position of the newest that would be given.
    pub newest: i64,
}
