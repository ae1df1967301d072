//! Forgetting what was kept for long enough.

use async_trait::async_trait;
use bellwether_domain::ports::{StoreError, UnitOfWork};
use jiff::Timestamp;

use crate::atomically::{Script, Step, atomically};
use crate::{Context, Error};

/// What is forgotten.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Old {
    /// Answers for idempotency keys that were given before then.
    Answers(Timestamp),
    /// Sessions that are over, and refresh tokens that have expired.
    Sessions,
    /// Tokens that were sent by mail and have expired.
    MailTokens,
}

impl Old {
    /// How many one unit of work forgets.
    const fn at_once(self) -> u32 {
        match self {
            Self::Answers(_) => 1000,
            Self::Sessions | Self::MailTokens => 500,
        }
    }
}

/// Forgets all that is old, a bounded number in each unit of work. Returns how many.
pub(crate) async fn forget(ctx: &Context, old: Old) -> Result<u64, Error> {
    let mut forgotten = 0;
    loop {
        let count = atomically(ctx, ForgetSome(old)).await?;
        forgotten += count;
        if count < u64::from(old.at_once()) {
            return Ok(forgotten);
        }
    }
}

struct ForgetSome(Old);

impl ForgetSome {
    async fn forget(&self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<u64, StoreError> {
        let most = self.0.at_once();
        match self.0 {
            Old::Answers(before) => unit.answers().forget_before(before, most).await,
            Old::Sessions => unit.sessions().forget_before(ctx.clock.now(), most).await,
            Old::MailTokens => unit.mail_tokens().forget_before(ctx.clock.now(), most).await,
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
