//! What administrators may do with jobs.

use bellwether_domain::ids::JobId;
use bellwether_domain::job::{Job, JobKind, JobState, Priority};
use bellwether_domain::permissions::Permission;
use bellwether_domain::ports::{JobFilter, JobSort, Page, PageRequest};
use bellwether_domain::refusal::Refusal;

use crate::{Caller, Context, Error};

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
    let now = ctx.clock.now();
    let job = Job {
        priority: Priority::High,
        unique_key: Some(kind.as_str().to_owned()),
        is_kept: true,
        ..Job::new(JobId(ctx.ids.fresh().next_uuid()), kind, String::new(), now)
    };
    let id = ctx.jobs.put_aside(&job).await?;
    ctx.job_bell.ring(kind);
    Ok(ctx.jobs.job(id).await?.unwrap_or(Job { id, ..job }))
}

/// Has a job done now that waits or was given up. Refused with [`JobNotRetried`](Refusal::JobNotRetried).
pub async fn retry(ctx: &Context, caller: Caller, id: JobId) -> Result<Job, Error> {
    caller.require(Permission::ManageJobs, false)?;
    let job = ctx.jobs.retry(id, ctx.clock.now()).await?.ok_or(Refusal::JobNotFound)?;
    if matches!(job.state, JobState::Running | JobState::Done) {
        return Err(Refusal::JobNotRetried(job.state).into());
    }
    ctx.job_bell.ring(job.kind);
    Ok(job)
}

/// Forgets a job. What runs already is dropped within seconds, and what it has done stays done.
pub async fn cancel(ctx: &Context, caller: Caller, id: JobId) -> Result<(), Error> {
    caller.require(Permission::ManageJobs, false)?;
    if !ctx.jobs.cancel(id).await? {
        return Err(Refusal::JobNotFound.into());
    }
    Ok(())
}
