//! The queue of jobs.

use async_trait::async_trait;
use bellwether_domain::ids::JobId;
use bellwether_domain::job::{Claim, Depth, Job, JobKind, JobState, Outcome, Priority, kept_error};
use bellwether_domain::ports::{Finished, JobControl, JobFilter, JobSort, Jobs, Page, PageRequest, StoreError};
use jiff::Timestamp;

use crate::connection::Connection;
use crate::lists::{Kind, List, TIME};
use crate::schema::JOBS;
use crate::sql::{Row, Sql, Values};
use crate::store::PgStore;
use crate::unit::PgUnitOfWork;

const FAIL: &str = "UPDATE jobs SET state = CASE WHEN again THEN 'waiting' ELSE ?::text END, run_at = ?, last_error = ?, \
                    failures = CASE WHEN again AND ?::bool THEN 0 ELSE failures + 1 END, again = false \
                    WHERE id = ? AND attempts = ? AND state = 'running'";
const POSTPONE: &str = "UPDATE jobs SET state = 'waiting', run_at = CASE WHEN again THEN ?::timestamptz ELSE ?::timestamptz END, failures = 0, \
                        last_error = NULL, again = false WHERE id = ? AND attempts = ? AND state = 'running'";
/// The lists of states are written as the indexes have them, so that these are used.
const NEXT_DUE: &str = "SELECT head FROM ( \
    SELECT min(run_at) AS head FROM jobs WHERE kind = ? AND priority = 0 AND state IN ('waiting', 'running') UNION ALL \
    SELECT min(run_at) FROM jobs WHERE kind = ? AND priority = 1 AND state IN ('waiting', 'running') UNION ALL \
    SELECT min(run_at) FROM jobs WHERE kind = ? AND priority = 2 AND state IN ('waiting', 'running')) AS heads \
    WHERE head IS NOT NULL ORDER BY head LIMIT 1";
/// The array is made once, where a plan might run a list of `IN` again for each row, and take more.
const CLAIM: &str = "UPDATE jobs SET state = 'running', run_at = ?, attempts = attempts + 1, \
                     failures = failures + (state = 'running')::int, again = false WHERE id = ANY (ARRAY( \
                     SELECT id FROM jobs WHERE kind = ? AND state IN ('waiting', 'running') AND run_at <= ? \
                     ORDER BY priority, run_at, id LIMIT ? FOR UPDATE SKIP LOCKED)) RETURNING ";
const RENEW: (&str, &str) = (
    "UPDATE jobs SET run_at = ? FROM ",
    " AS held (id, attempts) WHERE jobs.id = held.id AND jobs.attempts = held.attempts AND state = 'running' RETURNING jobs.id",
);
const FINISH: (&str, &str) = (
    "DELETE FROM jobs USING ",
    " AS done (id, attempts) WHERE jobs.id = done.id AND jobs.attempts = done.attempts AND state = 'running' \
     AND NOT kept AND NOT again RETURNING jobs.id",
);
const KEEP: (&str, &str) = (
    "UPDATE jobs SET state = CASE WHEN again THEN 'waiting' ELSE 'done' END, \
     payload = CASE WHEN again THEN payload ELSE '' END, run_at = ?, failures = 0, last_error = NULL, \
     result = done.result, again = false FROM ",
    " AS done (id, attempts, result) WHERE jobs.id = done.id AND jobs.attempts = done.attempts AND state = 'running' \
     AND (kept OR again) RETURNING jobs.id",
);
/// Tells who listens, when this is committed.
const NOTIFY: &str = "SELECT pg_notify('bellwether_jobs', kind) FROM (SELECT DISTINCT kind FROM ";
const FORGET: &str = "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs \
                      WHERE state IN ('dead', 'done') AND run_at < ? ORDER BY run_at LIMIT ? FOR UPDATE SKIP LOCKED)";
const RETRY: &str = "UPDATE jobs SET state = 'waiting', run_at = ?, failures = 0 \
                     WHERE id = ? AND state IN ('waiting', 'dead') RETURNING ";
const CANCEL: &str = "DELETE FROM jobs WHERE id = ? RETURNING ";
/// What a job does to the one whose key it has: see `Changes::new_jobs`.
pub(crate) const JOINS: &str = " ON CONFLICT (kind, unique_key) WHERE unique_key IS NOT NULL AND state <> 'done' DO UPDATE SET \
    again = jobs.state = 'running', kept = jobs.kept OR excluded.kept, \
    run_at = CASE WHEN jobs.state = 'dead' THEN excluded.run_at \
        WHEN jobs.state = 'waiting' AND jobs.failures = 0 THEN least(jobs.run_at, excluded.run_at) ELSE jobs.run_at END, \
    failures = CASE WHEN jobs.state = 'dead' THEN 0 ELSE jobs.failures END, \
    state = CASE WHEN jobs.state = 'dead' THEN 'waiting' ELSE jobs.state END";
const MOVE_SLOT: &str = "WITH moved AS (INSERT INTO job_schedules (name, slot) VALUES (?, ?) ON CONFLICT (name) DO UPDATE \
                         SET slot = excluded.slot WHERE job_schedules.slot < excluded.slot OR job_schedules.slot >= ? \
                         RETURNING 1) ";

/// The columns of a new job.
pub(crate) fn bind(job: &Job, row: &mut Values) {
    row.add(job.id)
        .add(job.kind.as_str())
        .add(&job.payload)
        .add(job.state.as_str())
        .add(job.run_at)
        .add(job.attempts)
        .add(job.last_error.as_ref())
        .add(job.created_at)
        .add(job.priority.rank())
        .add(job.unique_key.as_ref())
        .add(job.failures)
        .add(job.is_kept)
        .add(job.result.as_ref());
}

fn read(row: &mut Row) -> Result<Job, StoreError> {
    let count = |value| u32::try_from(value).ok();
    Ok(Job {
        id: JobId(row.id()?),
        kind: row.text_as("a kind of job", JobKind::from_name)?,
        payload: row.text()?,
        state: row.text_as("a job's state", JobState::from_name)?,
        run_at: row.time()?,
        attempts: row.int_as("a number of attempts", count)?,
        last_error: row.opt_text()?,
        created_at: row.time()?,
        priority: row.int_as("a priority", Priority::from_rank)?,
        unique_key: row.opt_text()?,
        failures: row.int_as("a number of failures", count)?,
        is_kept: row.flag()?,
        result: row.opt_text()?,
    })
}

fn read_id(row: &mut Row) -> Result<JobId, StoreError> {
    row.id().map(JobId)
}

fn failed(claim: Claim, error: &str, outcome: Outcome, now: Timestamp) -> Sql {
    let (state, run_at) = match outcome {
        Outcome::Again(at) => (JobState::Waiting, at),
        Outcome::Dead => (JobState::Dead, now),
    };
    let sql = Sql::new(FAIL).bind(state.as_str()).bind(run_at).bind(kept_error(error)).bind(state == JobState::Dead);
    sql.bind(claim.job).bind(claim.attempt)
}

fn postponed(claim: Claim, until: Timestamp, now: Timestamp) -> Sql {
    Sql::new(POSTPONE).bind(now).bind(until).bind(claim.job).bind(claim.attempt)
}

fn next_due(kind: JobKind) -> Sql {
    Sql::new(NEXT_DUE).bind(kind.as_str()).bind(kind.as_str()).bind(kind.as_str())
}

/// What came of a job, as it is kept.
fn kept_result(done: &Finished) -> Option<String> {
    done.result.as_deref().map(kept_error)
}

fn list_of(filter: &JobFilter) -> List {
    let mut list = List::of(JOBS.name, JOBS.columns, "id");
    list.filter("kind = ?", filter.kind.map(JobKind::as_str));
    list.filter("state = ?", filter.state.map(JobState::as_str));
    list
}

const fn key(JobSort::CreatedAt: &JobSort) -> (&'static str, Kind) {
    ("created_at", TIME)
}

/// One row for each kind, each counted no further than need be.
fn depth_of(now: Timestamp) -> Sql {
    let most = Depth::MOST;
    let mut sql = Sql::new("");
    for (index, kind) in JobKind::ALL.into_iter().enumerate() {
        sql.push(if index == 0 { "" } else { " UNION ALL " });
        sql.push(&format!(
            "SELECT '{kind}', (SELECT count(*) FROM (SELECT 1 FROM jobs WHERE kind = '{kind}' \
             AND state IN ('waiting', 'running') AND run_at <= ? LIMIT {most}) AS due), \
             (SELECT count(*) FROM (SELECT 1 FROM jobs WHERE kind = '{kind}' AND state = 'dead' LIMIT {most}) AS dead)",
            kind = kind.as_str()
        ));
        sql.values().add(now);
    }
    sql
}

fn read_depth(row: &mut Row) -> Result<Depth, StoreError> {
    Ok(Depth { kind: row.text_as("a kind of job", JobKind::from_name)?, due: row.count()?, dead: row.count()? })
}

async fn one(connection: &mut Connection, id: JobId) -> Result<Option<Job>, StoreError> {
    Ok(connection.read("a job", Sql::new(JOBS.select()).then(" WHERE id = ?").bind(id), read).await?.pop())
}

fn insert(sql: Sql, job: &Job) -> Result<Sql, StoreError> {
    let sql = sql.then(&format!("INSERT INTO {} ({}) SELECT * FROM ", JOBS.name, JOBS.columns));
    sql.unnest(JOBS.kinds, [job], bind)
}

/// Tells who listens of jobs of these kinds, as soon as it is committed.
pub(crate) fn notice(kinds: impl IntoIterator<Item = JobKind>) -> Result<Sql, StoreError> {
    let sql = Sql::new(NOTIFY).unnest("t", kinds, |kind, row| {
        row.add(kind.as_str());
    })?;
    Ok(sql.then(" AS new (kind)) AS kinds"))
}

fn bind_claim(claim: Claim, row: &mut Values) {
    row.add(claim.job).add(claim.attempt);
}

/// Each is one statement or two that may be parted, and so locks nothing for longer.
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

    async fn renew(&self, claims: &[Claim], lease_until: Timestamp) -> Result<Vec<JobId>, StoreError> {
        let sql = Sql::new(RENEW.0).bind(lease_until).unnest("ui", claims.iter().copied(), bind_claim)?.then(RENEW.1);
        self.connection().await?.read("a job", sql, read_id).await
    }

    async fn finish(&self, done: &[Finished], now: Timestamp) -> Result<Vec<JobId>, StoreError> {
        let mut connection = self.connection().await?;
        let sql = Sql::new(FINISH.0).unnest("ui", done.iter().map(|done| done.claim), bind_claim)?.then(FINISH.1);
        let mut finished = connection.read("a job", sql, read_id).await?;
        if finished.len() < done.len() {
            // Those that were put aside once more in between are found by this one.
            let sql = Sql::new(KEEP.0).bind(now).unnest("uit", done, |done, row| {
                bind_claim(done.claim, row);
                row.add(kept_result(done));
            })?;
            finished.extend(connection.read("a job", sql.then(KEEP.1), read_id).await?);
        }
        Ok(finished)
    }

    async fn fail(&self, claim: Claim, error: &str, outcome: Outcome, now: Timestamp) -> Result<bool, StoreError> {
        Ok(self.connection().await?.run(failed(claim, error, outcome, now)).await? > 0)
    }

    async fn postpone(&self, claim: Claim, until: Timestamp, now: Timestamp) -> Result<bool, StoreError> {
        Ok(self.connection().await?.run(postponed(claim, until, now)).await? > 0)
    }

    async fn next_due(&self, kind: JobKind) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.connection().await?.read("a job", next_due(kind), |row| row.time()).await?.pop())
    }

    async fn forget_ended_before(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let rows = self.connection().await?.run(Sql::new(FORGET).bind(before).bind(limit)).await?;
        Ok(u64::try_from(rows).unwrap_or(u64::MAX))
    }

    async fn begin_slot(
        &self,
        schedule: &str,
        slot: Timestamp,
        not_believed_from: Timestamp,
        job: &Job,
    ) -> Result<bool, StoreError> {
        let sql = insert(Sql::new(MOVE_SLOT).bind(schedule).bind(slot).bind(not_believed_from), job)?;
        let sql = sql.then(" AS new WHERE EXISTS (SELECT 1 FROM moved)").then(JOINS);
        Ok(self.connection().await?.run(sql).await? > 0)
    }

    async fn job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        one(&mut self.connection().await?, id).await
    }

    async fn jobs(&self, filter: &JobFilter, page: &PageRequest<JobSort>) -> Result<Page<Job>, StoreError> {
        list_of(filter).page(&mut self.connection().await?, page, key, "a job", read).await
    }

    async fn depth(&self, now: Timestamp) -> Result<Vec<Depth>, StoreError> {
        let mut depth = self.connection().await?.read("a count", depth_of(now), read_depth).await?;
        depth.sort_unstable_by_key(|depth| depth.kind);
        Ok(depth)
    }
}

#[async_trait]
impl JobControl for PgUnitOfWork {
    async fn put_aside(&mut self, job: &Job) -> Result<Job, StoreError> {
        let sql = insert(Sql::new(""), job)?.then(JOINS).then(" RETURNING ").then(JOBS.columns);
        let put = self.connection.read("a job", sql, read).await?.pop();
        self.connection.run(notice([job.kind])?).await?;
        put.ok_or_else(|| StoreError::Corrupt("a job was put aside and is not there".to_owned()))
    }

    async fn retry(&mut self, id: JobId, now: Timestamp) -> Result<Option<Job>, StoreError> {
        let sql = Sql::new(RETRY).then(JOBS.columns).bind(now).bind(id);
        let Some(changed) = self.connection.read("a job", sql, read).await?.pop() else {
            return one(&mut self.connection, id).await;
        };
        self.connection.run(notice([changed.kind])?).await?;
        Ok(Some(changed))
    }

    async fn cancel(&mut self, id: JobId) -> Result<Option<Job>, StoreError> {
        let sql = Sql::new(CANCEL).then(JOBS.columns).bind(id);
        Ok(self.connection.read("a job", sql, read).await?.pop())
    }
}
