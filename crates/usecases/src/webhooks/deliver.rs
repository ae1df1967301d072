//! Sending what webhooks are to be told.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bellwether_domain::ids::{DeliveryId, MarketId, WebhookId};
use bellwether_domain::job::{Job, JobKind};
use bellwether_domain::ports::{CallEnd, CallError, Changes, OutgoingCall, UnitOfWork};
use bellwether_domain::webhook::{Called, Delivery, DeliveryState, Webhook, WebhookState};
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use crate::atomically::{Script, Step, atomically};
use crate::jobs::{Failure, Handler, Verdict};
use crate::mail::{self, Occasion};
use crate::{Context, Error};

/// How many messages are looked for at a time.
const AT_ONCE: u32 = 100;
/// To how many markets' worth of one webhook something is sent at the same time.
const LANES: usize = 4;
/// How often it is looked for more before others have their turn.
const ROUNDS: usize = 10;

/// Sends what is due to a webhook: in order of the events in each market, and of what happened in none. What is
/// not taken keeps what follows it in its market waiting, and nothing else.
#[derive(Debug, Clone, Copy)]
pub struct Delivering;

#[async_trait]
impl Handler for Delivering {
    fn kind(&self) -> JobKind {
        JobKind::Webhook
    }

    async fn run(&self, ctx: &Context, job: &Job) -> Result<Verdict, Failure> {
        let unreadable = |_| Failure::ForGood("what was put aside cannot be read".to_owned());
        let id = job.payload.parse::<Uuid>().map(WebhookId).map_err(unreadable)?;
        for _ in 0..ROUNDS {
            if !deliver_due(ctx, id).await? {
                let next = ctx.webhooks.log.next_due(id).await.map_err(Error::from)?;
                return Ok(next.map_or(Verdict::Done(None), Verdict::Later));
            }
        }
        Ok(Verdict::Later(ctx.clock.now()))
    }
}

/// Sends some of what is due; whether there may be more.
async fn deliver_due(ctx: &Context, id: WebhookId) -> Result<bool, Error> {
    let webhook = ctx.webhooks.log.webhook(id).await?;
    let Some(webhook) = webhook.filter(|webhook| webhook.state == WebhookState::Enabled) else { return Ok(false) };
    let due = ctx.webhooks.log.due(id, ctx.clock.now(), AT_ONCE).await?;
    let is_over = due.is_empty();
    let mut lanes: BTreeMap<Option<MarketId>, Vec<Delivery>> = BTreeMap::new();
    for delivery in due {
        lanes.entry(delivery.market).or_default().push(delivery);
    }
    let mut lanes = lanes.into_values();
    let mut sending = JoinSet::new();
    for lane in lanes.by_ref().take(LANES) {
        sending.spawn(deliver_lane(ctx.clone(), webhook.clone(), lane));
    }
    while let Some(sent) = sending.join_next().await {
        // A panic is a fault of the job, which is tried again.
        sent.map_err(|_| Error::Payload)??;
        if let Some(lane) = lanes.next() {
            sending.spawn(deliver_lane(ctx.clone(), webhook.clone(), lane));
        }
    }
    Ok(!is_over)
}

/// Sends messages one after the other, up to the first that is not taken.
async fn deliver_lane(ctx: Context, webhook: Webhook, lane: Vec<Delivery>) -> Result<(), Error> {
    for delivery in lane {
        let called = call(&ctx, &webhook, &delivery).await;
        let [.., random] = ctx.ids.fresh().next_uuid().into_bytes();
        let note = Note { webhook: webhook.id, delivery: delivery.id, called, random };
        let (state, is_disabled) = atomically(&ctx, note).await?;
        if is_disabled {
            tracing::warn!(webhook = %webhook.id, "a webhook was disabled");
            ctx.job_bell.ring(JobKind::Mail);
        }
        if state != Some(DeliveryState::Delivered) {
            break;
        }
    }
    Ok(())
}

async fn call(ctx: &Context, webhook: &Webhook, delivery: &Delivery) -> Called {
    let now = ctx.clock.now();
    let (id, second) = (delivery.message_id(), now.as_second());
    let numbers = webhook.signing_numbers(now);
    let signature = ctx.webhooks.signer.sign(webhook.id, &numbers, &id, second, &delivery.body);
    let headers = vec![("webhook-id", id), ("webhook-timestamp", second.to_string()), ("webhook-signature", signature)];
    let (begun, outgoing) =
        (Instant::now(), OutgoingCall { url: webhook.url.clone(), headers, body: delivery.body.clone() });
    let called = ctx.webhooks.caller.post(&outgoing).await;
    ctx.meter.webhook(end_of(&called), delivery.attempts > 0, begun.elapsed());
    called
}

fn end_of(called: &Called) -> CallEnd {
    match called {
        Ok(answer) if (200..300).contains(&answer.status) => CallEnd::Taken,
        Ok(_) => CallEnd::Refused,
        Err(CallError::Failed(_)) => CallEnd::Failed,
        Err(CallError::Forbidden(_)) => CallEnd::Forbidden,
        Err(CallError::LeftAlone(_)) => CallEnd::LeftAlone,
    }
}

/// Notes what came of a call.
struct Note {
    webhook: WebhookId,
    delivery: DeliveryId,
    called: Called,
    random: u8,
}

#[async_trait]
impl Script for Note {
    /// How far the delivery is, if it is there yet; and whether the webhook was disabled by this.
    type Output = (Option<DeliveryState>, bool);

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Self::Output>, Error> {
        let now = ctx.clock.now();
        let Some(mut webhook) = unit.webhooks().lock(self.webhook).await? else {
            return Ok(Step::Discard((None, false)));
        };
        let Some(mut delivery) = unit.webhooks().delivery(self.delivery).await? else {
            return Ok(Step::Discard((None, false)));
        };
        let before = webhook.clone();
        delivery.note(&self.called, now, self.random);
        let status = delivery.last.as_ref().and_then(|last| last.status);
        let is_disabled = webhook.note(delivery.state, status, now);
        let state = delivery.state;
        let mut changes = Changes { deliveries: vec![delivery], ..Changes::default() };
        if webhook != before {
            changes.webhooks.push(webhook.clone());
        }
        if is_disabled {
            let owner = unit.users().load(&[webhook.owner]).await?.pop();
            if let Some(to) = owner.and_then(|owner| owner.email) {
                changes.new_jobs.push(mail::job(ctx, Occasion::WebhookDisabled, &to, now)?);
            }
        }
        unit.write(&changes).await?;
        Ok(Step::Commit((Some(state), is_disabled)))
    }
}
