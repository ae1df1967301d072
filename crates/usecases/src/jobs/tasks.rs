//! Jobs that the house gives itself.

use async_trait::async_trait;
use bellwether_domain::job::{ENDED_KEPT, Job, JobKind};
use bellwether_domain::webhook::DELIVERIES_KEPT;

use super::{Failure, Handler, Verdict};
use crate::audit::audit;
use crate::audit_log::{audited, tell_of_failures};
use crate::events::forget_old_events;
use crate::forgetting::{self, Old};
use crate::idempotency::forget_old_answers;
use crate::recovery::forget_old_mail_tokens;
use crate::sessions::forget_old_sessions;
use crate::{Context, Error};

/// The most broken invariants that an audit tells of.
const MOST_VIOLATIONS: u32 = 100;

/// Checks every invariant; what is broken is logged as an error, and counted in what came of the job and in the
/// audit log.
#[derive(Debug, Clone, Copy)]
pub struct Auditing;

#[async_trait]
impl Handler for Auditing {
    fn kind(&self) -> JobKind {
        JobKind::Audit
    }

    async fn run(&self, ctx: &Context, _: &Job) -> Result<Verdict, Failure> {
        let violations = audit(ctx, MOST_VIOLATIONS).await?;
        for violation in &violations {
            tracing::error!(invariant = %violation.invariant, subject = ?violation.subject, message = %violation.message, "the audit found a broken invariant");
        }
        audited(ctx, violations.len()).await?;
        let Some(first) = violations.first() else {
            return Ok(Verdict::Done(Some("every invariant holds".to_owned())));
        };
        let count = violations.len();
        tracing::warn!(
            count,
            "the audit found broken invariants; do not write to this database before it is known why"
        );
        Ok(Verdict::Done(Some(format!("{count} violations, the first: {}: {}", first.invariant, first.message))))
    }
}

/// Forgets what was kept for long enough, and tells what was counted long enough.
#[derive(Debug, Clone, Copy)]
pub struct CleaningUp;

async fn clean_up(ctx: &Context) -> Result<u64, Error> {
    let mut forgotten = forget_old_answers(ctx).await?;
    forgotten += forget_old_sessions(ctx).await?;
    forgotten += forget_old_mail_tokens(ctx).await?;
    tell_of_failures(ctx).await?;
    forgotten += forget_old_events(ctx).await?;
    forgotten += forget_old_deliveries(ctx).await?;
    Ok(forgotten + forget_old_jobs(ctx).await?)
}

/// Forgets what webhooks were sent long ago.
async fn forget_old_deliveries(ctx: &Context) -> Result<u64, Error> {
    let Ok(before) = ctx.clock.now().checked_sub(DELIVERIES_KEPT) else { return Ok(0) };
    forgetting::forget(ctx, Old::Deliveries(before)).await
}

/// Forgets jobs that ended long ago.
async fn forget_old_jobs(ctx: &Context) -> Result<u64, Error> {
    let Ok(before) = ctx.clock.now().checked_sub(ENDED_KEPT) else { return Ok(0) };
    forgetting::forget(ctx, Old::Jobs(before)).await
}

#[async_trait]
impl Handler for CleaningUp {
    fn kind(&self) -> JobKind {
        JobKind::CleanUp
    }

    async fn run(&self, ctx: &Context, _: &Job) -> Result<Verdict, Failure> {
        let forgotten = clean_up(ctx).await?;
        Ok(Verdict::Done(Some(format!("{forgotten} things were forgotten"))))
    }
}

/// Does nothing.
#[derive(Debug, Clone, Copy)]
pub struct Probing;

#[async_trait]
impl Handler for Probing {
    fn kind(&self) -> JobKind {
        JobKind::Probe
    }

    async fn run(&self, _: &Context, _: &Job) -> Result<Verdict, Failure> {
        Ok(Verdict::Done(None))
    }
}
