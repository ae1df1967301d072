//! Sending what webhooks are to be told.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bellwether_domain::ids::{DeliveryId, MarketId, WebhookId};
use bellwether_domain::job::{Job, JobKind};
use bellwether_domain::ports::{CallEnd, CallError, Changes, OutgoingCall, UnitOfWork};
use bellwether_domain::user::UserStatus;
use bellwether_domain::webhook::{Called, Delivery, DeliveryState, Webhook, WebhookState};
use jiff::{SignedDuration, Timestamp};
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
/// After so long no further message is sent before others have their turn: what some slow receivers have waiting would
/// otherwise take all the room there is for hours.
const TURN: SignedDuration = SignedDuration::from_secs(20);
/// It is not looked again sooner. What was tried may be due and still wait, for something of its market that is not.
const SHORTEST_PAUSE: SignedDuration = SignedDuration::from_secs(1);

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
        let until = after(ctx.clock.now(), TURN);
        for _ in 0..ROUNDS {
            match deliver_due(ctx, id, until).await? {
                Round::Some if ctx.clock.now() >= until => break,
                Round::Some => {}
                Round::Nothing => {
                    let next = ctx.webhooks.log.next_due(id).await.map_err(Error::from)?;
                    let soonest = after(ctx.clock.now(), SHORTEST_PAUSE);
                    return Ok(next.map_or(Verdict::Done(None), |next| Verdict::Later(next.max(soonest))));
                }
                // What waits for it has a job again when it is told again.
                Round::NotTold => return Ok(Verdict::Done(None)),
            }
        }
        Ok(Verdict::Later(ctx.clock.now()))
    }
}

fn after(now: Timestamp, pause: SignedDuration) -> Timestamp {
    now.checked_add(pause).unwrap_or(Timestamp::MAX)
}

/// What came of looking for what is due.
enum Round {
    /// Some was sent, and there may be more.
    Some,
    /// Nothing is due.
    Nothing,
    /// The webhook is told nothing, whatever is due.
    NotTold,
}

/// The webhook, where it is told anything: it is enabled, and its owner may act.
async fn told(ctx: &Context, id: WebhookId) -> Result<Option<Webhook>, Error> {
    let webhook = ctx.webhooks.log.webhook(id).await?;
    let Some(webhook) = webhook.filter(|webhook| webhook.state == WebhookState::Enabled) else { return Ok(None) };
    let owner = ctx.queries.user(webhook.owner).await?;
    Ok(owner.filter(|owner| owner.status == UserStatus::Active).map(|_| webhook))
}

/// Sends some of what is due, until that moment.
async fn deliver_due(ctx: &Context, id: WebhookId, until: Timestamp) -> Result<Round, Error> {
    let Some(webhook) = told(ctx, id).await? else { return Ok(Round::NotTold) };
    let due = ctx.webhooks.log.due(id, ctx.clock.now(), AT_ONCE).await?;
    if due.is_empty() {
        return Ok(Round::Nothing);
    }
    let mut lanes: BTreeMap<Option<MarketId>, Vec<Delivery>> = BTreeMap::new();
    for delivery in due {
        lanes.entry(delivery.market).or_default().push(delivery);
    }
    let mut lanes = lanes.into_values();
    let mut sending = JoinSet::new();
    for lane in lanes.by_ref().take(LANES) {
        sending.spawn(deliver_lane(ctx.clone(), webhook.clone(), lane, until));
    }
    while let Some(sent) = sending.join_next().await {
        // A panic is a fault of the job, which is tried again.
        sent.map_err(|_| Error::Payload)??;
        if let Some(lane) = lanes.next() {
            sending.spawn(deliver_lane(ctx.clone(), webhook.clone(), lane, until));
        }
    }
    Ok(Round::Some)
}

/// Sends messages one after the other, up to the first that is not taken: until that moment, and as long as the webhook
/// is as it was.
async fn deliver_lane(ctx: Context, webhook: Webhook, lane: Vec<Delivery>, until: Timestamp) -> Result<(), Error> {
    for delivery in lane {
        if ctx.clock.now() >= until {
            break;
        }
        let called = call(&ctx, &webhook, &delivery).await;
        let [.., random] = ctx.ids.fresh().next_uuid().into_bytes();
        let note = Note { webhook: webhook.id, version: webhook.version, delivery: delivery.id, called, random };
        let noted = atomically(&ctx, note).await?;
        if noted.is_disabled {
            tracing::warn!(webhook = %webhook.id, "a webhook was disabled");
            ctx.job_bell.ring(JobKind::Mail);
        }
        if !noted.may_go_on {
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
    /// Its version when it was called.
    version: i64,
    delivery: DeliveryId,
    called: Called,
    random: u8,
}

/// What followed from a call. Nothing where the delivery is gone.
#[derive(Default)]
struct Noted {
    /// Whether the next message may follow: this one was taken, and the webhook is as it was when it was called.
    may_go_on: bool,
    /// Whether the webhook was disabled by this.
    is_disabled: bool,
}

#[async_trait]
impl Script for Note {
    type Output = Noted;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Self::Output>, Error> {
        let now = ctx.clock.now();
        let Some(mut webhook) = unit.webhooks().lock(self.webhook).await? else {
            return Ok(Step::Discard(Noted::default()));
        };
        let Some(mut delivery) = unit.webhooks().delivery(self.delivery).await? else {
            return Ok(Step::Discard(Noted::default()));
        };
        let before = webhook.clone();
        delivery.note(&self.called, now, self.random);
        let status = delivery.last.as_ref().and_then(|last| last.status);
        let is_disabled = webhook.note(delivery.state, status, now);
        let is_as_it_was = webhook.state == WebhookState::Enabled && webhook.version == self.version;
        let may_go_on = is_as_it_was && delivery.state == DeliveryState::Delivered;
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
        Ok(Step::Commit(Noted { may_go_on, is_disabled }))
    }
}
