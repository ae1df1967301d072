//! Begin, commit, roll back and run again: owned by one function.
//!
//! A script runs again only where the store says that nothing was done and that trying again is
//! right: on [`StoreError::Conflict`], and where a racing command took a key that the script will
//! find on its next run. Never on [`StoreError::OutcomeUnknown`]: the idempotency record settles that.

use std::time::Duration;

use async_trait::async_trait;
use bellwether_domain::ports::{Decided, IdSource, StoreError, Unique, UnitOfWork};

use crate::{Context, Error};

/// How often a script may run in all, but for the runs that only learned what more there is to load.
const MAX_RUNS: u32 = 12;
/// How often a script may learn what more there is to load. It asks for four times as much each time, so four times take it
/// beyond all that one command may fill.
const MOST_LOADS: u32 = 12;
/// The first pause after a conflict; it doubles with each further one, and is jittered.
const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// What is done in one unit of work. A plain struct, so that it can be run again.
#[async_trait]
pub(crate) trait Script: Send {
    /// What comes of it.
    type Output: Send;
    /// Runs once, from the start. An error rolls back.
    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Self::Output>, Error>;
}

/// How a run ended.
pub(crate) enum Step<T> {
    /// Make it durable.
    Commit(T),
    /// There is nothing to make durable, and nobody is told what was read, which another unit may be about to make so:
    /// what repeats a kept answer commits, and so do refusals of a group.
    Discard(T),
    /// The script learned what more it has to load: run again at once.
    Again,
}

/// Runs a script in a unit of work of its own, again on conflicts.
pub(crate) async fn atomically<S: Script>(ctx: &Context, script: S) -> Result<S::Output, Error> {
    atomically_telling(ctx, script, Box::new(|| {})).await
}

/// [`atomically`], and calls `decided` as soon as other units of work need not wait for this one.
pub(crate) async fn atomically_telling<S: Script>(
    ctx: &Context,
    mut script: S,
    decided: Decided,
) -> Result<S::Output, Error> {
    let mut decided = Some(decided);
    let mut pause = FIRST_PAUSE;
    let (mut runs, mut loads) = (1, 0);
    loop {
        match run_once(ctx, &mut script, &mut decided).await {
            Ok(Some(output)) => return Ok(output),
            Ok(None) if loads < MOST_LOADS => loads += 1,
            Ok(None) => return Err(StoreError::Conflict("the unit of work kept asking for more to load".into()).into()),
            Err(error) if runs < MAX_RUNS && is_worth_another_run(&error) => {
                tracing::debug!(%error, "a unit of work runs again");
                tokio::time::sleep(jittered(pause, &*ctx.ids)).await;
                pause *= 2;
                runs += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn run_once<S: Script>(
    ctx: &Context,
    script: &mut S,
    decided: &mut Option<Decided>,
) -> Result<Option<S::Output>, Error> {
    let mut unit = ctx.store.begin().await?;
    match script.run(ctx, &mut *unit).await {
        Ok(Step::Commit(output)) => {
            match decided.take() {
                Some(decided) => unit.commit_telling(decided).await?,
                None => unit.commit().await?,
            }
            ctx.event_bell.ring();
            Ok(Some(output))
        }
        Ok(Step::Discard(output)) => {
            unit.rollback().await?;
            Ok(Some(output))
        }
        Ok(Step::Again) => {
            unit.rollback().await?;
            Ok(None)
        }
        Err(error) => {
            // The error matters more than whether undoing was confirmed: a unit that is dropped is undone.
            if let Err(undo) = unit.rollback().await {
                tracing::warn!(error = %undo, "a roll-back was not confirmed");
            }
            Err(error)
        }
    }
}

fn is_worth_another_run(error: &Error) -> bool {
    matches!(
        error,
        Error::Store(StoreError::Conflict(_) | StoreError::Duplicate(Unique::ClientOrderId | Unique::IdempotencyKey))
    )
}

/// Between half and all of `pause`. Fresh ids are random in their last bits, which is all that jitter needs.
fn jittered(pause: Duration, ids: &dyn IdSource) -> Duration {
    let [.., random] = ids.fresh().next_uuid().into_bytes();
    pause / 2 + pause.mul_f64(f64::from(random) / 512.0)
}
