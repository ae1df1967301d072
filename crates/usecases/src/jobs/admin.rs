//! What administrators may do with jobs. What they do is told in the audit log, in the same unit of work.

use async_trait::async_trait;
use bellwether_domain::audit_log::{Action, Actor, Target};
use bellwether_domain::ids::JobId;
use bellwether_domain::job::{Job, JobKind, JobState, Priority};
use bellwether_domain::permissions::Permission;
use bellwether_domain::ports::{Changes, JobFilter, JobSort, Page, PageRequest, UnitOfWork};
use bellwether_domain::refusal::Refusal;
use serde_json::json;

use crate::atomically::{Script, Step, atomically};
use crate::{Caller, Context, Error, audit_log};

/// Jobs, by when they were put aside.
pub async fn list(
    ctx: &Context,
    caller: Caller,
    filter: &JobFilter,
    page: &PageRequest<JobSort>,
) -> Result<Page<Job>, Error> {
    caller.require(Permission::ReadJobs, false)?;
    Ok(ctx.jobs.jobs(filter, page).await?)
}

/// One job.
pub async fn show(ctx: &Context, caller: Caller, id: JobId) -> Result<Job, Error> {
    caller.require(Permission::ReadJobs, false)?;
    Ok(ctx.jobs.job(id).await?.ok_or(Refusal::JobNotFound)?)
}

/// Puts a job aside that needs nothing to go by, and is kept when it is done. One of its kind that is not done is
/// the one that is told.
pub async fn start(ctx: &Context, caller: Caller, kind: JobKind) -> Result<Job, Error> {
    caller.require(Permission::ManageJobs, false)?;
    let job = atomically(ctx, Start { caller, kind }).await?;
    ctx.job_bell.ring(kind);
    Ok(job)
}

/// Has a job done now that waits or was given up. Refused with [`JobNotRetried`](Refusal::JobNotRetried).
pub async fn retry(ctx: &Context, caller: Caller, id: JobId) -> Result<Job, Error> {
    caller.require(Permission::ManageJobs, false)?;
    let job = atomically(ctx, Retry { caller, id }).await?;
    ctx.job_bell.ring(job.kind);
    Ok(job)
}

/// Forgets a job. What runs already is dropped within seconds, and what it has done stays done.
pub async fn cancel(ctx: &Context, caller: Caller, id: JobId) -> Result<(), Error> {
    caller.require(Permission::ManageJobs, false)?;
    atomically(ctx, Cancel { caller, id }).await
}

/// What the audit log is told of it.
fn told(ctx: &Context, caller: Caller, action: Action, job: &Job) -> Changes {
    let kind = json!({ "kind": job.kind.as_str() });
    let event = audit_log::with(ctx, Actor::User(caller.user), action, Target::Job(job.id), &kind);
    Changes { events: vec![event], ..Changes::default() }
}

struct Start {
    caller: Caller,
    kind: JobKind,
}

#[async_trait]
impl Script for Start {
    type Output = Job;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Job>, Error> {
        let job = Job {
            priority: Priority::High,
            unique_key: Some(self.kind.as_str().to_owned()),
            is_kept: true,
            ..Job::new(JobId(ctx.ids.fresh().next_uuid()), self.kind, String::new(), ctx.clock.now())
        };
        let started = unit.jobs().put_aside(&job).await?;
        unit.write(&told(ctx, self.caller, Action::JobStarted, &started)).await?;
        Ok(Step::Commit(started))
    }
}

struct Retry {
    caller: Caller,
    id: JobId,
}

#[async_trait]
impl Script for Retry {
    type Output = Job;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Job>, Error> {
        let job = unit.jobs().retry(self.id, ctx.clock.now()).await?.ok_or(Refusal::JobNotFound)?;
        if matches!(job.state, JobState::Running | JobState::Done) {
            return Err(Refusal::JobNotRetried(job.state).into());
        }
        unit.write(&told(ctx, self.caller, Action::JobRetried, &job)).await?;
        Ok(Step::Commit(job))
    }
}

struct Cancel {
    caller: Caller,
    id: JobId,
}

#[async_trait]
impl Script for Cancel {
    type Output = ();

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<()>, Error> {
        let job = unit.jobs().cancel(self.id).await?.ok_or(Refusal::JobNotFound)?;
        unit.write(&told(ctx, self.caller, Action::JobCancelled, &job)).await?;
        Ok(Step::Commit(()))
    }
}
