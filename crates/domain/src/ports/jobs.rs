//! Work that was put aside, and who sends the mail among it.

use async_trait::async_trait;
use jiff::Timestamp;
use thiserror::Error;

use super::{Page, PageRequest, Source, StoreError};
use crate::ids::JobId;
use crate::job::{Claim, Depth, Job, JobKind, JobState, Outcome};
use crate::mail::Mail;

/// What can be asked of a list of jobs to be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobSort {
    /// When they were put aside.
    CreatedAt,
}

/// Which jobs are wanted; empty for all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Only of that kind.
    pub kind: Option<JobKind>,
    /// Only in that state.
    pub state: Option<JobState>,
}

/// A job that is done, as who did it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Who did it.
    pub claim: Claim,
    /// What came of it, for people; of jobs that are kept alone.
    pub result: Option<String>,
}

/// The queue of jobs, for those who do them and for those who look at it. They are put into it by
/// [`Changes::new_jobs`](super::Changes::new_jobs). Each call is durable when it answers `Ok`.
///
/// Leases keep two from doing one job at the same time, as long as nobody lets its lease run out.
/// Who does is followed by another, and from then on its word on the job counts for nothing. So each
/// job is done at least once, and what is done must bear to be done twice.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait Jobs: Send + Sync {
    /// Takes jobs of a kind that are due at `now`, those whose lease has run out among them, by priority
    /// and then the longest due first, at most `limit`: from then on they are running until `lease_until`,
    /// and were begun once more; a lease that ran out is a failure. Nobody else gets them before that,
    /// however many ask at the same time, and who asks never waits for another. In no certain order.
    async fn claim(
        &self,
        kind: JobKind,
        now: Timestamp,
        lease_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<Job>, StoreError>;
    /// Prolongs leases; the jobs that are still theirs who ask, in no certain order.
    async fn renew(&self, claims: &[Claim], lease_until: Timestamp) -> Result<Vec<JobId>, StoreError>;
    /// Forgets jobs that are done, their payloads too, or keeps what came of them where they are kept. One that
    /// was put aside once more meanwhile waits again and is due at `now`. The jobs of which this was said by
    /// who has them; of the others, which somebody else has taken over, nothing is changed.
    async fn finish(&self, done: &[Finished], now: Timestamp) -> Result<Vec<JobId>, StoreError>;
    /// Notes that a job failed at `now`, why, and what becomes of it. False, and nothing is changed, where
    /// somebody else has taken it over.
    async fn fail(&self, claim: Claim, error: &str, outcome: Outcome, now: Timestamp) -> Result<bool, StoreError>;
    /// Lets a job wait until a moment, as it did not fail but has more to do then; or until `now`, where it was
    /// put aside once more meanwhile. False, and nothing is changed, where somebody else has taken it over.
    async fn postpone(&self, claim: Claim, until: Timestamp, now: Timestamp) -> Result<bool, StoreError>;
    /// When the next job of a kind is due or its lease ends; none where none waits or runs.
    async fn next_due(&self, kind: JobKind) -> Result<Option<Timestamp>, StoreError>;
    /// Forgets jobs that ended before a moment, at most `limit`; returns how many.
    async fn forget_ended_before(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
    /// Puts a job aside for the slot of a schedule, unless that was done before: each slot once, however
    /// many ask at the same time. A slot that is not after the last one is passed over, unless the last one
    /// is not before `not_believed_from`. Whether it was put aside; a job with its key that is not done counts.
    async fn begin_slot(
        &self,
        schedule: &str,
        slot: Timestamp,
        not_believed_from: Timestamp,
        job: &Job,
    ) -> Result<bool, StoreError>;
    /// One job.
    async fn job(&self, id: JobId) -> Result<Option<Job>, StoreError>;
    /// Jobs, by when they were put aside.
    async fn jobs(&self, filter: &JobFilter, page: &PageRequest<JobSort>) -> Result<Page<Job>, StoreError>;
    /// How the jobs of each kind stand, in the order of [`JobKind::ALL`].
    async fn depth(&self, now: Timestamp) -> Result<Vec<Depth>, StoreError>;
}

/// The queue of jobs, for those who look after it, in a unit of work.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait JobControl: Send {
    /// Puts a job aside, as [`Changes::new_jobs`](super::Changes::new_jobs) does; the job, or the one that it
    /// joined by its key, as it is then.
    async fn put_aside(&mut self, job: &Job) -> Result<Job, StoreError>;
    /// Makes a job that waits or is dead due at `now`, as if it had never failed. The job as it is then; one
    /// that runs or is done is left as it is.
    async fn retry(&mut self, id: JobId, now: Timestamp) -> Result<Option<Job>, StoreError>;
    /// Forgets a job, whatever its state: the job as it was. Who does it meanwhile has no say any more, but what
    /// it has done stays done.
    async fn cancel(&mut self, id: JobId) -> Result<Option<Job>, StoreError>;
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
