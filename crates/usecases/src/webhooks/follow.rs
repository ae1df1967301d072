//! Following what happened, and putting aside what webhooks are to be told of it.

use async_trait::async_trait;
use bellwether_domain::event::EventBatch;
use bellwether_domain::job::JobKind;
use bellwether_domain::ports::{Changes, UnitOfWork};
use bellwether_domain::webhook::{Delivery, Webhook};

use super::fan_out::{fan_out, told};
use super::job;
use crate::atomically::{Script, Step, atomically};
use crate::events::Progress;
use crate::{Context, Error};

/// The name of the cursor.
const CONSUMER: &str = "webhooks";
/// How many batches one unit of work takes at most.
const AT_ONCE: u32 = 100;
/// With so many deliveries a unit of work takes no further batch, and so many are written with one statement: how many
/// an event comes to is for those to say who have webhooks.
const ENOUGH: usize = 2000;

/// How far this process knows the cursor to be: so long nothing comes after that, the store need not be asked to lock it.
#[derive(Debug, Default)]
pub struct Follower {
    position: i64,
}

/// Puts aside what webhooks are to be told of some of what has happened since the last time. Each event is acted on
/// once, in the unit of work that moves the cursor. Of several servers one is at it.
pub async fn follow(ctx: &Context, follower: &mut Follower) -> Result<Progress, Error> {
    let after = follower.position;
    // Before the unit of work, which has a connection to the store already: there may be no other.
    let batches = ctx.outbox.after(after, AT_ONCE).await?;
    if batches.is_empty() {
        return Ok(Progress::Nothing);
    }
    let Some(Taken { position, is_told, is_full }) = atomically(ctx, TakeSome { after, batches }).await? else {
        return Ok(Progress::Some);
    };
    follower.position = position;
    if is_told {
        ctx.job_bell.ring(JobKind::Webhook);
    }
    Ok(if is_full { Progress::More } else { Progress::Some })
}

/// What one unit of work came to.
struct Taken {
    position: i64,
    is_told: bool,
    is_full: bool,
}

/// Takes of these batches, which are all that follow a position, or the first of them.
struct TakeSome {
    after: i64,
    batches: Vec<EventBatch>,
}

impl TakeSome {
    /// Those of them that come next after a position; none where that cannot be told.
    fn next_after(&self, position: i64) -> &[EventBatch] {
        let taken = self.batches.partition_point(|batch| batch.position <= position);
        let next = self.batches.get(taken..).unwrap_or_default();
        if position < self.after { &[] } else { next }
    }
}

#[async_trait]
impl Script for TakeSome {
    /// None where another server is at it.
    type Output = Option<Taken>;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Self::Output>, Error> {
        let Some(position) = unit.event_cursors().lock(CONSUMER, 0).await? else { return Ok(Step::Discard(None)) };
        let batches = self.next_after(position);
        let Some(newest) = batches.last().map(|batch| batch.position) else {
            // Another server was at it, or this one has just begun: what comes after is read next.
            return Ok(Step::Discard(Some(Taken { position, is_told: false, is_full: true })));
        };
        let webhooks = unit.webhooks().enabled().await?;
        let (deliveries, last) = deliveries(ctx, &webhooks, batches);
        let last = last.unwrap_or(newest);
        let is_told = !deliveries.is_empty();
        if is_told {
            put_aside(ctx, unit, deliveries).await?;
        }
        unit.event_cursors().advance(CONSUMER, last).await?;
        let is_full = last < newest || u32::try_from(self.batches.len()).is_ok_and(|count| count >= AT_ONCE);
        Ok(Step::Commit(Some(Taken { position: last, is_told, is_full })))
    }
}

/// What webhooks are to be told of these batches; where not of all, since it is enough, the position of the last.
fn deliveries(ctx: &Context, webhooks: &[Webhook], batches: &[EventBatch]) -> (Vec<Delivery>, Option<i64>) {
    let mut deliveries = Vec::new();
    if webhooks.is_empty() {
        return (deliveries, None);
    }
    let (mut ids, now) = (ctx.ids.fresh(), ctx.clock.now());
    for batch in batches {
        match batch.events() {
            Ok(events) => {
                for event in &events {
                    deliveries.extend(fan_out(webhooks, event, &mut ids, now));
                }
            }
            // What a later version wrote. Whoever reads the list of events sees it.
            Err(error) => {
                tracing::error!(position = batch.position, %error, "events cannot be read; no webhook is told of them")
            }
        }
        if deliveries.len() >= ENOUGH {
            return (deliveries, Some(batch.position));
        }
    }
    (deliveries, None)
}

/// Writes deliveries, and a job for each of their webhooks.
async fn put_aside(ctx: &Context, unit: &mut dyn UnitOfWork, mut deliveries: Vec<Delivery>) -> Result<(), Error> {
    let now = ctx.clock.now();
    let new_jobs = told(&deliveries).into_iter().map(|webhook| job(ctx, webhook, now)).collect();
    while deliveries.len() > ENOUGH {
        let later = deliveries.split_off(ENOUGH);
        let new_deliveries = std::mem::replace(&mut deliveries, later);
        unit.write(&Changes { new_deliveries, ..Changes::default() }).await?;
    }
    Ok(unit.write(&Changes { new_deliveries: deliveries, new_jobs, ..Changes::default() }).await?)
}
