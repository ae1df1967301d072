//! Work that was put aside, and who sends the mail among it.

use async_trait::async_trait;
use jiff::Timestamp;
use thiserror::Error;

use super::{Source, StoreError};
use crate::job::{Claim, Job, JobKind, Outcome};
use crate::mail::Mail;

/// The queue of jobs, for those who do them. They are put into it by
/// [`Changes::new_jobs`](super::Changes::new_jobs). Each call is durable when it answers `Ok`.
///
/// Leases keep two from doing one job at the same time, as long as nobody takes longer than its lease.
/// Who does is followed by another, and from then on its word on the job counts for nothing. So each
/// job is done at least once, and what is done must bear to be done twice.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait Jobs: Send + Sync {
    /// Takes jobs of a kind that are due at `now`, those whose lease has run out among them, the longest
    /// due first, at most `limit`: from then on they are running until `lease_until`, and were begun once
    /// more. Nobody else gets them before that, however many ask at the same time, and who asks never
    /// waits for another. In no certain order.
    async fn claim(
        &self,
        kind: JobKind,
        now: Timestamp,
        lease_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<Job>, StoreError>;
    /// Forgets a job that is done, its payload too. False, and nothing is changed, where somebody else
    /// has taken it over.
    async fn finish(&self, claim: Claim) -> Result<bool, StoreError>;
    /// Notes that a job failed at `now`, why, and what becomes of it. False, and nothing is changed, where
    /// somebody else has taken it over.
    async fn fail(&self, claim: Claim, error: &str, outcome: Outcome, now: Timestamp) -> Result<bool, StoreError>;
    /// When the next job of a kind is due or its lease ends; none where there are only dead ones.
    async fn next_due(&self, kind: JobKind) -> Result<Option<Timestamp>, StoreError>;
    /// The dead jobs of a kind, those that died last first, at most `limit`.
    async fn dead(&self, kind: JobKind, limit: u32) -> Result<Vec<Job>, StoreError>;
    /// Forgets jobs that died before a moment, at most `limit`; returns how many.
    async fn forget_dead_before(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}

/// Why a mail was not sent.
#[derive(Debug, Error)]
pub enum MailError {
    /// It may be sent later: the mail server cannot be reached, is slow or says so.
    #[error("the mail cannot be sent right now")]
    Unavailable(#[source] Source),
    /// It never will be: the server refuses it for good, or it has an address that no server takes.
    #[error("the mail was refused")]
    Refused(#[source] Source),
}

/// Sends mails.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait Mailer: Send + Sync {
    /// Hands a mail over to whoever delivers it, within a bounded time. Whatever stands in it, it goes to
    /// its reader alone and has one subject.
    async fn send(&self, mail: &Mail) -> Result<(), MailError>;
}
