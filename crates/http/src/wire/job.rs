//! Jobs. Their payloads are nobody's business: there may be seeds of tokens in them.

use bellwether_domain::ids::JobId;
use bellwether_domain::job::Job;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::decimal::Shown;

/// A job.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobWire<'a> {
    id: Shown<JobId>,
    kind: &'static str,
    state: &'static str,
    priority: &'static str,
    unique_key: Option<&'a str>,
    /// When it is due; while it runs, when its lease ends; of one that has ended, when it did.
    run_at: Timestamp,
    attempts: u32,
    failures: u32,
    last_error: Option<&'a str>,
    result: Option<&'a str>,
    created_at: Timestamp,
}

impl<'a> JobWire<'a> {
    pub(crate) fn of(job: &'a Job) -> Self {
        Self {
            id: Shown(job.id),
            kind: job.kind.as_str(),
            state: job.state.as_str(),
            priority: job.priority.as_str(),
            unique_key: job.unique_key.as_deref(),
            run_at: job.run_at,
            attempts: job.attempts,
            failures: job.failures,
            last_error: job.last_error.as_deref(),
            result: job.result.as_deref(),
            created_at: job.created_at,
        }
    }
}

/// Where a job is.
pub(crate) fn location(job: &Job) -> String {
    format!("/api/v1/jobs/{}", job.id)
}
