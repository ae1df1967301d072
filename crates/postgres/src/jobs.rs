//! The queue of jobs.

use async_trait::async_trait;
use bellwether_domain::ids::JobId;
use bellwether_domain::job::{Claim, Job, JobKind, JobState, Outcome, kept_error};
use bellwether_domain::ports::{Jobs, StoreError};
use jiff::Timestamp;

use crate::schema::JOBS;
use crate::sql::{Row, Sql, Values};
use crate::store::PgStore;

const FINISH: &str = "DELETE FROM jobs WHERE id = ? AND attempts = ? AND state = 'running'";
const FAIL: &str =
    "UPDATE jobs SET state = ?, run_at = ?, last_error = ? WHERE id = ? AND attempts = ? AND state = 'running'";
const NEXT_DUE: &str = "SELECT run_at FROM jobs WHERE kind = ? AND state <> 'dead' ORDER BY run_at LIMIT 1";
/// The array is made once, where a plan might run a list of `IN` again for each row, and take more.
const CLAIM: &str = "UPDATE jobs SET state = 'running', run_at = ?, attempts = attempts + 1 WHERE id = ANY (ARRAY( \
                     SELECT id FROM jobs WHERE kind = ? AND state <> 'dead' AND run_at <= ? \
                     ORDER BY run_at, id LIMIT ? FOR UPDATE SKIP LOCKED)) RETURNING ";
const DEAD: &str = " WHERE kind = ? AND state = 'dead' ORDER BY run_at DESC, id DESC LIMIT ?";
const FORGET: &str = "DELETE FROM jobs WHERE id IN \
                      (SELECT id FROM jobs WHERE state = 'dead' AND run_at < ? ORDER BY run_at LIMIT ? FOR UPDATE SKIP LOCKED)";

/// The columns of a new job.
pub(crate) fn bind(job: &Job, row: &mut Values) {
    row.add(job.id)
        .add(job.kind.as_str())
        .add(&job.payload)
        .add(job.state.as_str())
        .add(job.run_at)
        .add(job.attempts)
        .add(job.last_error.as_ref())
        .add(job.created_at);
}

fn read(row: &mut Row) -> Result<Job, StoreError> {
    Ok(Job {
        id: JobId(row.id()?),
        kind: row.text_as("a kind of job", JobKind::from_name)?,
        payload: row.text()?,
        state: row.text_as("a job's state", JobState::from_name)?,
        run_at: row.time()?,
        attempts: row.int_as("a number of attempts", |value| u32::try_from(value).ok())?,
        last_error: row.opt_text()?,
        created_at: row.time()?,
    })
}

fn failed(claim: Claim, error: &str, outcome: Outcome, now: Timestamp) -> Sql {
    let (state, run_at) = match outcome {
        Outcome::Again(at) => (JobState::Waiting, at),
        Outcome::Dead => (JobState::Dead, now),
    };
    let sql = Sql::new(FAIL).bind(state.as_str()).bind(run_at).bind(kept_error(error));
    sql.bind(claim.job).bind(claim.attempt)
}

/// Each is one statement, and so one transaction: its locks end with it.
#[async_trait]
impl Jobs for PgStore {
    async fn claim(
        &self,
        kind: JobKind,
        now: Timestamp,
        lease_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<Job>, StoreError> {
        let sql = Sql::new(CLAIM).then(JOBS.columns).bind(lease_until).bind(kind.as_str()).bind(now).bind(limit);
        self.connection().await?.read("a job", sql, read).await
    }

    async fn finish(&self, claim: Claim) -> Result<bool, StoreError> {
        let sql = Sql::new(FINISH).bind(claim.job).bind(claim.attempt);
        Ok(self.connection().await?.run(sql).await? > 0)
    }

    async fn fail(&self, claim: Claim, error: &str, outcome: Outcome, now: Timestamp) -> Result<bool, StoreError> {
        Ok(self.connection().await?.run(failed(claim, error, outcome, now)).await? > 0)
    }

    async fn next_due(&self, kind: JobKind) -> Result<Option<Timestamp>, StoreError> {
        let sql = Sql::new(NEXT_DUE).bind(kind.as_str());
        Ok(self.connection().await?.read("a job", sql, |row| row.time()).await?.pop())
    }

    async fn dead(&self, kind: JobKind, limit: u32) -> Result<Vec<Job>, StoreError> {
        let sql = Sql::new(JOBS.select()).then(DEAD).bind(kind.as_str()).bind(limit);
        self.connection().await?.read("a job", sql, read).await
    }

    async fn forget_dead_before(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let rows = self.connection().await?.run(Sql::new(FORGET).bind(before).bind(limit)).await?;
        Ok(u64::try_from(rows).unwrap_or(u64::MAX))
    }
}
