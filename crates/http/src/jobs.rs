//! Jobs, for administrators.

use bellwether_domain::ids::JobId;
use bellwether_domain::job::{JobKind, JobState};
use bellwether_domain::ports::{JobFilter, JobSort};
use bellwether_usecases::jobs;

use crate::call::Call;
use crate::envelope::Reply;
use crate::faults::Fault;
use crate::fields::Fields;
use crate::paging::Wanted;
use crate::wire::job::{JobWire, location};

/// What can be started by hand: it needs nothing to go by.
const STARTED_BY_HAND: [JobKind; 4] = [JobKind::Statistics, JobKind::Audit, JobKind::CleanUp, JobKind::Probe];

/// `GET /jobs`.
pub(crate) async fn list(call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let (filter, wanted) = call.query(|query| {
        let wanted = Wanted::<JobSort>::read(query);
        Some((filter(query)?, wanted?))
    })?;
    let paging = wanted.bind("jobs", &filter, call.sealer())?;
    let (ctx, request) = (call.ctx(), paging.request.clone());
    let page = call.app().run(async move { jobs::list(&ctx, caller, &filter, &request).await }).await?;
    let shown: Vec<JobWire<'_>> = page.items.iter().map(JobWire::of).collect();
    Ok(Reply::ok(&shown)?.paged(paging.describe(&page, |job| job.id.0, call.sealer())))
}

/// Reads which kind of job is wanted.
pub(crate) fn wanted(fields: &Fields<'_>) -> Option<JobKind> {
    fields.required("kind", |n| n.one_of(&STARTED_BY_HAND, JobKind::as_str))
}

/// Reads which jobs are wanted.
pub(crate) fn filter(query: &Fields<'_>) -> Option<JobFilter> {
    let kind = query.optional("kind", |n| n.one_of(&JobKind::ALL, JobKind::as_str));
    let state = query.optional("state", |n| n.one_of(&JobState::ALL, JobState::as_str));
    Some(JobFilter { kind: kind?, state: state? })
}

/// `GET /jobs/{id}`.
pub(crate) async fn show(call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let id = call.id().map(JobId)?;
    call.no_query()?;
    let ctx = call.ctx();
    let job = call.app().run(async move { jobs::show(&ctx, caller, id).await }).await?;
    Reply::ok(&JobWire::of(&job))
}

/// `POST /jobs`: 202, and where to look how far it is.
pub(crate) async fn start(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let kind = call.command(wanted).await?;
    let ctx = call.ctx();
    let job = call.app().run(async move { jobs::start(&ctx, caller, kind).await }).await?;
    Ok(Reply::accepted(&JobWire::of(&job))?.located(location(&job)))
}

/// `POST /jobs/{id}/retry`.
pub(crate) async fn retry(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let id = call.id().map(JobId)?;
    call.no_body().await?;
    let ctx = call.ctx();
    let job = call.app().run(async move { jobs::retry(&ctx, caller, id).await }).await?;
    Ok(Reply::accepted(&JobWire::of(&job))?.located(location(&job)))
}

/// `DELETE /jobs/{id}`.
pub(crate) async fn cancel(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let id = call.id().map(JobId)?;
    call.no_body().await?;
    let ctx = call.ctx();
    call.app().run(async move { jobs::cancel(&ctx, caller, id).await }).await?;
    Ok(Reply::no_content())
}
