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
use crate::store::SqliteStore;
use crate::unit::SqliteUnitOfWork;
use crate::write;

const FAIL: &str = "UPDATE jobs SET state = CASE WHEN again THEN 'waiting' ELSE ? END, run_at = ?, last_error = ?, \
                    failures = CASE WHEN again AND ? THEN 0 ELSE failures + 1 END, again = 0 \
                    WHERE id = ? AND attempts = ? AND state = 'running'";
const POSTPONE: &str = "UPDATE jobs SET state = 'waiting', run_at = CASE WHEN again THEN ? ELSE ? END, failures = 0, \
                        last_error = NULL, again = 0 WHERE id = ? AND attempts = ? AND state = 'running'";
/// The lists of states are written as the indexes have them, so that these are used.
/// Nothing is asked of `head`: SQLite would ask it of each query within, and then not stop at its first row.
const NEXT_DUE: &str = "SELECT min(head) FROM ( \
    SELECT min(run_at) AS head FROM jobs WHERE kind = ? AND priority = 0 AND state IN ('waiting', 'running') UNION ALL \
    SELECT min(run_at) FROM jobs WHERE kind = ? AND priority = 1 AND state IN ('waiting', 'running') UNION ALL \
    SELECT min(run_at) FROM jobs WHERE kind = ? AND priority = 2 AND state IN ('waiting', 'running')) AS heads";
const CLAIM: &str = "UPDATE jobs SET state = 'running', run_at = ?, attempts = attempts + 1, \
                     failures = failures + (state = 'running'), again = 0 WHERE id IN \
                     (SELECT id FROM jobs WHERE kind = ? AND state IN ('waiting', 'running') AND run_at <= ? \
                     ORDER BY priority, run_at, id LIMIT ? + 0) RETURNING ";
const RENEW: &str = "UPDATE jobs SET run_at = ? WHERE id = ? AND attempts = ? AND state = 'running' RETURNING id";
const FINISH: &str = "DELETE FROM jobs WHERE id = ? AND attempts = ? AND state = 'running' AND NOT kept AND NOT again \
                      RETURNING id";
const KEEP: &str = "UPDATE jobs SET state = CASE WHEN again THEN 'waiting' ELSE 'done' END, \
                    payload = CASE WHEN again THEN payload ELSE '' END, run_at = ?, failures = 0, last_error = NULL, \
                    result = ?, again = 0 WHERE id = ? AND attempts = ? AND state = 'running' RETURNING id";
const FORGET: &str = "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs \
                      WHERE state IN ('dead', 'done') AND run_at < ? ORDER BY run_at LIMIT ? + 0)";
const RETRY: &str = "UPDATE jobs SET state = 'waiting', run_at = ?, failures = 0 \
                     WHERE id = ? AND state IN ('waiting', 'dead') RETURNING ";
const CANCEL: &str = "DELETE FROM jobs WHERE id = ? RETURNING ";
/// What a job does to the one whose key it has: see `Changes::new_jobs`.
pub(crate) const JOINS: &str = " ON CONFLICT (kind, unique_key) WHERE unique_key IS NOT NULL AND state <> 'done' DO UPDATE SET \
    again = jobs.state = 'running', kept = max(jobs.kept, excluded.kept), \
    run_at = CASE WHEN jobs.state = 'dead' THEN excluded.run_at \
        WHEN jobs.state = 'waiting' AND jobs.failures = 0 THEN min(jobs.run_at, excluded.run_at) ELSE jobs.run_at END, \
    failures = CASE WHEN jobs.state = 'dead' THEN 0 ELSE jobs.failures END, \
    state = CASE WHEN jobs.state = 'dead' THEN 'waiting' ELSE jobs.state END";
const MOVE_SLOT: &str = "INSERT INTO job_schedules (name, slot) VALUES (?, ?) ON CONFLICT (name) DO UPDATE \
                         SET slot = excluded.slot WHERE job_schedules.slot < excluded.slot OR job_schedules.slot >= ?";

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

/// The job as it is then, or the one that it joined.
fn put_aside(connection: &mut Connection, job: &Job) -> Result<Job, StoreError> {
    let text = format!("{}{JOINS} RETURNING {}", write::insert_into(&JOBS), JOBS.columns);
    let put = connection.read_each("a job", &text, [job], bind, read)?.pop();
    put.ok_or_else(|| StoreError::Corrupt("a job was put aside and is not there".to_owned()))
}

fn one(connection: &mut Connection, id: JobId) -> Result<Option<Job>, StoreError> {
    Ok(connection.read("a job", Sql::new(JOBS.select()).then(" WHERE id = ?").bind(id), read)?.pop())
}

/// Each is one transaction of the only writer.
#[async_trait]
impl Jobs for SqliteStore {
    async fn claim(
        &self,
        kind: JobKind,
        now: Timestamp,
        lease_until: Timestamp,
        limit: u32,
    ) -> Result<Vec<Job>, StoreError> {
        let sql = Sql::new(CLAIM).then(JOBS.columns).bind(lease_until).bind(kind.as_str()).bind(now).bind(limit);
        self.write_alone(move |connection| connection.read("a job", sql, read)).await
    }

    async fn renew(&self, claims: &[Claim], lease_until: Timestamp) -> Result<Vec<JobId>, StoreError> {
        let claims = claims.to_vec();
        let renew = move |connection: &mut Connection| {
            let bind = |claim: Claim, row: &mut Values| {
                row.add(lease_until).add(claim.job).add(claim.attempt);
            };
            connection.read_each("a job", RENEW, claims, bind, read_id)
        };
        self.write_alone(renew).await
    }

    async fn finish(&self, done: &[Finished], now: Timestamp) -> Result<Vec<JobId>, StoreError> {
        let done = done.to_vec();
        let finish = move |connection: &mut Connection| {
            let bind = |done: &Finished, row: &mut Values| {
                row.add(done.claim.job).add(done.claim.attempt);
            };
            let mut finished = connection.read_each("a job", FINISH, &done, bind, read_id)?;
            if finished.len() < done.len() {
                let bind = |done: &Finished, row: &mut Values| {
                    row.add(now).add(kept_result(done)).add(done.claim.job).add(done.claim.attempt);
                };
                finished.extend(connection.read_each("a job", KEEP, &done, bind, read_id)?);
            }
            Ok(finished)
        };
        self.write_alone(finish).await
    }

    async fn fail(&self, claim: Claim, error: &str, outcome: Outcome, now: Timestamp) -> Result<bool, StoreError> {
        let sql = failed(claim, error, outcome, now);
        self.write_alone(move |connection| Ok(connection.run(sql)? > 0)).await
    }

    async fn postpone(&self, claim: Claim, until: Timestamp, now: Timestamp) -> Result<bool, StoreError> {
        let sql = postponed(claim, until, now);
        self.write_alone(move |connection| Ok(connection.run(sql)? > 0)).await
    }

    async fn next_due(&self, kind: JobKind) -> Result<Option<Timestamp>, StoreError> {
        let sql = next_due(kind);
        self.readers
            .read(move |connection| Ok(connection.read("a job", sql, Row::opt_time)?.into_iter().flatten().next()))
            .await
    }

    async fn forget_ended_before(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let sql = Sql::new(FORGET).bind(before).bind(limit);
        let rows = self.write_alone(move |connection| connection.run(sql)).await?;
        Ok(u64::try_from(rows).unwrap_or(u64::MAX))
    }

    async fn begin_slot(
        &self,
        schedule: &str,
        slot: Timestamp,
        not_believed_from: Timestamp,
        job: &Job,
    ) -> Result<bool, StoreError> {
        let sql = Sql::new(MOVE_SLOT).bind(schedule).bind(slot).bind(not_believed_from);
        let job = job.clone();
        let begin = move |connection: &mut Connection| {
            let is_moved = connection.run(sql)? > 0;
            if is_moved {
                put_aside(connection, &job)?;
            }
            Ok(is_moved)
        };
        self.write_alone(begin).await
    }

    async fn job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.readers.read(move |connection| one(connection, id)).await
    }

    async fn jobs(&self, filter: &JobFilter, page: &PageRequest<JobSort>) -> Result<Page<Job>, StoreError> {
        let (list, page) = (list_of(filter), page.clone());
        self.readers
            .read(move |connection| {
                list.page(connection, &page, key, |connection, sql| connection.read("a job", sql, read))
            })
            .await
    }

    async fn depth(&self, now: Timestamp) -> Result<Vec<Depth>, StoreError> {
        let sql = depth_of(now);
        let mut depth = self.readers.read(move |connection| connection.read("a count", sql, read_depth)).await?;
        depth.sort_unstable_by_key(|depth| depth.kind);
        Ok(depth)
    }
}

#[async_trait]
impl JobControl for SqliteUnitOfWork {
    async fn put_aside(&mut self, job: &Job) -> Result<Job, StoreError> {
        let job = job.clone();
        self.call(move |connection| put_aside(connection, &job)).await
    }

    async fn retry(&mut self, id: JobId, now: Timestamp) -> Result<Option<Job>, StoreError> {
        let sql = Sql::new(RETRY).then(JOBS.columns).bind(now).bind(id);
        self.call(move |connection| {
            let changed = connection.read("a job", sql, read)?.pop();
            if changed.is_some() { Ok(changed) } else { one(connection, id) }
        })
        .await
    }

    async fn cancel(&mut self, id: JobId) -> Result<Option<Job>, StoreError> {
        let sql = Sql::new(CANCEL).then(JOBS.columns).bind(id);
        self.call(move |connection| Ok(connection.read("a job", sql, read)?.pop())).await
    }
}
