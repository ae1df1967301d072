//! Forgetting what was kept for long enough.

use async_trait::async_trait;
use bellwether_domain::ports::{StoreError, UnitOfWork};
use jiff::Timestamp;

use crate::atomically::{Script, Step, atomically};
use crate::{Context, Error};

/// What is forgotten.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Old {
    /// What a unit of work forgets.
    InUnits(OldInUnits),
    /// Batches of events of before then.
    Events(Timestamp),
    /// What webhooks were sent before then.
    Deliveries(Timestamp),
    /// Jobs that ended before then.
    Jobs(Timestamp),
}

/// What a unit of work forgets.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OldInUnits {
    /// Answers for idempotency keys that were given before then.
    Answers(Timestamp),
    /// Sessions that are over, and refresh tokens that have expired.
    Sessions,
    /// Tokens that were sent by mail and have expired.
    MailTokens,
}

impl Old {
    /// How many are forgotten at a time.
    const fn at_once(self) -> u32 {
        match self {
            Self::InUnits(old) => old.at_once(),
            Self::Events(_) => 1000,
            Self::Deliveries(_) | Self::Jobs(_) => 500,
        }
    }
}

impl OldInUnits {
    const fn at_once(self) -> u32 {
        match self {
            Self::Answers(_) => 1000,
            Self::Sessions | Self::MailTokens => 500,
        }
    }
}

/// Forgets all that is old, a bounded number at a time. Returns how many.
pub(crate) async fn forget(ctx: &Context, old: Old) -> Result<u64, Error> {
    let at_once = old.at_once();
    let mut forgotten = 0;
    loop {
        let count = match old {
            Old::InUnits(old) => atomically(ctx, ForgetSome(old)).await?,
            Old::Events(before) => ctx.outbox.forget_before(before, at_once).await?,
            Old::Deliveries(before) => ctx.webhooks.log.forget_deliveries_before(before, at_once).await?,
            Old::Jobs(before) => ctx.jobs.forget_ended_before(before, at_once).await?,
        };
        forgotten += count;
        if count < u64::from(at_once) {
            return Ok(forgotten);
        }
    }
}

struct ForgetSome(OldInUnits);

impl ForgetSome {
    async fn forget(&self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<u64, StoreError> {
        let most = self.0.at_once();
        match self.0 {
            OldInUnits::Answers(before) => unit.answers().forget_before(before, most).await,
            OldInUnits::Sessions => unit.sessions().forget_before(ctx.clock.now(), most).await,
            OldInUnits::MailTokens => unit.mail_tokens().forget_before(ctx.clock.now(), most).await,
        }
    }
}

#[async_trait]
impl Script for ForgetSome {
    type Output = u64;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<u64>, Error> {
        let count = self.forget(ctx, unit).await?;
        Ok(if count == 0 { Step::Discard(0) } else { Step::Commit(count) })
    }
}
