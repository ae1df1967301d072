//! Jobs: who does them, when schedules put them aside, and what administrators may do with them.

mod admin;
mod schedules;
mod tasks;
mod worker;

use std::sync::Arc;

use async_trait::async_trait;
use bellwether_domain::job::{Job, JobKind};
use jiff::Timestamp;
use tokio::sync::Notify;

use crate::{Context, Error};

pub use admin::{cancel, list, retry, show, start};
pub use schedules::{Schedule, Schedules};
pub use tasks::{Auditing, CleaningUp, Probing};
pub use worker::work;

/// Does the jobs of a kind.
#[async_trait]
pub trait Handler: Send + Sync {
    /// Of which kind.
    fn kind(&self) -> JobKind;
    /// Does one, for the so-manieth time perhaps: what was done before a failure or a crash is done again.
    /// Dropped where its lease was lost.
    async fn run(&self, ctx: &Context, job: &Job) -> Result<Verdict, Failure>;
}

/// What came of a job that did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is done, with a word for people where it is kept.
    Done(Option<String>),
    /// There is more to do at that moment, or as soon as it is put aside once more.
    Later(Timestamp),
}

/// Why a job failed, in words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It may not the next time.
    ForNow(String),
    /// It always will.
    ForGood(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::ForNow(chain(&error))
    }
}

/// An error and what caused it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Wakes who does jobs in this process. Clones are the same bell.
#[derive(Debug, Clone, Default)]
pub struct JobBell(Arc<[Notify; JobKind::ALL.len()]>);

impl JobBell {
    /// Says that a job of that kind was put aside, to one who listens now or the next who does.
    pub fn ring(&self, kind: JobKind) {
        self.of(kind).into_iter().for_each(Notify::notify_one);
    }

    /// Says that jobs of any kind may have been put aside.
    pub fn ring_all(&self) {
        self.0.iter().for_each(Notify::notify_one);
    }

    /// Waits until it rings for that kind, or goes on at once where it rang since it was last heard.
    pub async fn heard(&self, kind: JobKind) {
        match self.of(kind) {
            Some(bell) => bell.notified().await,
            None => std::future::pending().await,
        }
    }

    fn of(&self, kind: JobKind) -> Option<&Notify> {
        self.0.iter().zip(JobKind::ALL).find(|(_, of)| *of == kind).map(|(bell, _)| bell)
    }
}
