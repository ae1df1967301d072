//! Jobs that are put aside at certain moments, once for all servers.
//!
//! A schedule names moments, *slots*. The store knows the last slot of each that was begun, and begins one only
//! after it: so a clock that goes back begins none again, one that jumps ahead begins each but the last of those
//! between never, and no hour comes twice, since slots are in UTC.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bellwether_domain::ids::JobId;
use bellwether_domain::job::{Job, JobKind, Priority, Rhythm};
use jiff::{SignedDuration, Timestamp};

use crate::{Context, Error};

/// When jobs of a kind are put aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Its name, by which the store knows how far it is.
    pub name: &'static str,
    /// The jobs.
    pub kind: JobKind,
    /// When.
    pub rhythm: Rhythm,
}

impl Schedule {
    /// All schedules; an audit each day at that time after midnight UTC, if any.
    #[must_use]
    pub fn all(audit_at: Option<SignedDuration>) -> Vec<Self> {
        let often = Rhythm::Every(SignedDuration::from_mins(10));
        let mut all = vec![
            Self { name: "clean_up", kind: JobKind::CleanUp, rhythm: often },
            Self { name: "statistics", kind: JobKind::Statistics, rhythm: often },
        ];
        all.extend(audit_at.map(|at| Self { name: "audit", kind: JobKind::Audit, rhythm: Rhythm::DailyAt(at) }));
        all
    }
}

/// The schedules, and which slots of them this process knows to have begun.
#[derive(Debug, Default)]
pub struct Schedules {
    all: Vec<Schedule>,
    begun: Mutex<HashMap<&'static str, Timestamp>>,
}

impl Schedules {
    /// These schedules.
    #[must_use]
    pub fn new(all: Vec<Schedule>) -> Self {
        Self { all, begun: Mutex::default() }
    }

    /// Puts aside what is due by now. How many jobs.
    pub async fn begin_due(&self, ctx: &Context) -> Result<u64, Error> {
        let mut count = 0;
        for schedule in &self.all {
            let now = ctx.clock.now();
            let slot = schedule.rhythm.slot(now);
            if self.begun.lock().unwrap_or_else(PoisonError::into_inner).get(schedule.name) == Some(&slot) {
                continue;
            }
            let not_believed_from = Rhythm::not_believed_from(now);
            let job = Job {
                priority: Priority::Low,
                unique_key: Some(schedule.kind.as_str().to_owned()),
                is_kept: schedule.kind == JobKind::Audit,
                ..Job::new(JobId(ctx.ids.fresh().next_uuid()), schedule.kind, String::new(), now)
            };
            if ctx.jobs.begin_slot(schedule.name, slot, not_believed_from, &job).await? {
                count += 1;
                ctx.job_bell.ring(schedule.kind);
            }
            self.begun.lock().unwrap_or_else(PoisonError::into_inner).insert(schedule.name, slot);
        }
        Ok(count)
    }
}
