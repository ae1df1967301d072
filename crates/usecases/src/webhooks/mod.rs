//! Webhooks: made and looked after by their owners, and told what happens.
//!
//! What a webhook is to be told is a *delivery*, a row. A webhook that has any has one job
//! ([`JobKind::Webhook`]), with the webhook's id as its key, which sends what is due in order: so many
//! messages to a receiver that is gone are one job that waits, and nobody else waits behind them.

mod deliver;
mod fan_out;
mod follow;

use std::sync::Arc;

use async_trait::async_trait;
use bellwether_domain::ids::{DeliveryId, JobId, MarketId, UserId, WebhookId};
use bellwether_domain::job::{Job, JobKind};
use bellwether_domain::permissions::Permission;
use bellwether_domain::ports::{
    CallError, Caller as Calls, Changes, DeliveryFilter, DeliverySort, Page, PageRequest, UnitOfWork, WebhookLog,
    WebhookSigner,
};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::text::{Lines, TextError, clean};
use bellwether_domain::user::UserStatus;
use bellwether_domain::webhook::{Delivery, MOST_WEBHOOKS, Webhook, WebhookState};
use jiff::Timestamp;
use serde_json::json;

use crate::atomically::{Script, Step, atomically};
use crate::idempotency::{answered_before, find_answer};
use crate::markets::all_of;
use crate::{Answered, Caller, Context, Error, Keyed};

pub use deliver::Delivering;
pub use follow::{Follower, follow};

/// How many deliveries one request has sent again at most.
pub const MOST_SENT_AGAIN: u32 = 10_000;

/// The ports of webhooks.
#[derive(Clone)]
pub struct WebhookPorts {
    /// Webhooks and what they were sent.
    pub log: Arc<dyn WebhookLog>,
    /// Who signs.
    pub signer: Arc<dyn WebhookSigner>,
    /// Who calls them.
    pub caller: Arc<dyn Calls>,
}

/// A webhook that is wanted.
#[derive(Debug, Clone)]
pub struct NewWebhook {
    /// Where it is.
    pub url: String,
    /// What its owner says of it.
    pub description: Option<String>,
    /// The kinds of events that it wants.
    pub events: Vec<String>,
    /// The markets of which it wants them.
    pub markets: Vec<MarketId>,
}

/// What shall change of a webhook; nothing where nothing is said.
#[derive(Debug, Clone, Default)]
pub struct WebhookPatch {
    /// Where it is.
    pub url: Option<String>,
    /// What its owner says of it; `Some(None)` for nothing.
    pub description: Option<Option<String>>,
    /// The kinds of events that it wants.
    pub events: Option<Vec<String>>,
    /// The markets of which it wants them.
    pub markets: Option<Vec<MarketId>>,
    /// Whether it is told anything.
    pub is_enabled: Option<bool>,
}

/// What shall be sent again.
#[derive(Debug, Clone, Copy)]
pub enum Again {
    /// One delivery.
    One(DeliveryId),
    /// Everything since then.
    Since(Timestamp),
}

/// The job that sends what a webhook has to be told.
pub(crate) fn job(ctx: &Context, webhook: WebhookId, now: Timestamp) -> Job {
    let job = Job::new(JobId(ctx.ids.fresh().next_uuid()), JobKind::Webhook, webhook.to_string(), now);
    Job { unique_key: Some(webhook.to_string()), ..job }
}

/// Makes a webhook of the caller's. Refused: [`TooManyWebhooks`](Refusal::TooManyWebhooks),
/// [`UrlNotCalled`](Refusal::UrlNotCalled), [`MarketNotFound`](Refusal::MarketNotFound).
pub async fn create(
    ctx: &Context,
    caller: Caller,
    mut wanted: NewWebhook,
    keyed: Option<Keyed<Webhook>>,
) -> Result<Answered<Webhook>, Error> {
    caller.require(Permission::ManageWebhooks, true)?;
    if let Some(kept) = answered_before(ctx, keyed.as_ref()).await? {
        return Ok(Answered::Replayed(kept));
    }
    check_url(ctx, &wanted.url).await?;
    tidy(&mut wanted.events, &mut wanted.markets);
    all_of(ctx, &wanted.markets).await?;
    atomically(ctx, Make { owner: caller.user, wanted, keyed }).await
}

async fn check_url(ctx: &Context, url: &str) -> Result<(), Error> {
    // Who reads a URL as a browser does passes over such characters in silence: what is called is not what is shown.
    if let Err(error @ TextError::Forbidden(_)) = clean(url, Lines::One, 0, usize::MAX) {
        return Err(Refusal::UrlNotCalled(error.to_string()).into());
    }
    match ctx.webhooks.caller.check(url).await {
        Ok(()) => Ok(()),
        Err(CallError::Forbidden(why) | CallError::Failed(why)) => Err(Refusal::UrlNotCalled(why).into()),
        Err(error @ CallError::LeftAlone(_)) => Err(Refusal::UrlNotCalled(error.to_string()).into()),
    }
}

fn tidy(events: &mut Vec<String>, markets: &mut Vec<MarketId>) {
    events.sort_unstable();
    events.dedup();
    markets.sort_unstable();
    markets.dedup();
}

struct Make {
    owner: UserId,
    wanted: NewWebhook,
    keyed: Option<Keyed<Webhook>>,
}

#[async_trait]
impl Script for Make {
    type Output = Answered<Webhook>;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Answered<Webhook>>, Error> {
        if let Some(kept) = find_answer(unit, self.keyed.as_ref()).await? {
            return Ok(Step::Commit(Answered::Replayed(kept)));
        }
        let owner = unit.users().lock(&[self.owner]).await?.pop();
        owner.filter(|owner| owner.status == UserStatus::Active).ok_or(Refusal::UserInactive)?;
        if unit.webhooks().of_user(self.owner).await?.len() >= MOST_WEBHOOKS {
            return Err(Refusal::TooManyWebhooks { limit: MOST_WEBHOOKS }.into());
        }
        let (now, NewWebhook { url, description, events, markets }) = (ctx.clock.now(), self.wanted.clone());
        let webhook = Webhook {
            id: WebhookId(ctx.ids.fresh().next_uuid()),
            owner: self.owner,
            url,
            description,
            events,
            markets,
            state: WebhookState::Enabled,
            secret_number: 0,
            overlap_until: None,
            failing_since: None,
            created_at: now,
            updated_at: now,
            version: 1,
        };
        let answers = self.keyed.iter().map(|keyed| keyed.keep(&webhook, now)).collect();
        unit.write(&Changes { new_webhooks: vec![webhook.clone()], answers, ..Changes::default() }).await?;
        Ok(Step::Commit(Answered::Fresh(webhook)))
    }
}

/// The caller's webhooks, the oldest first.
pub async fn list(ctx: &Context, caller: Caller) -> Result<Vec<Webhook>, Error> {
    caller.require(Permission::ReadWebhooks, true)?;
    Ok(ctx.webhooks.log.webhooks_of(caller.user).await?)
}

/// One of the caller's webhooks; another's is not found.
pub async fn show(ctx: &Context, caller: Caller, id: WebhookId) -> Result<Webhook, Error> {
    let webhook = ctx.webhooks.log.webhook(id).await?;
    let webhook = webhook.filter(|webhook| caller.may(Permission::ReadWebhooks, webhook.owner == caller.user));
    Ok(webhook.ok_or(Refusal::WebhookNotFound)?)
}

/// The secrets of one of the caller's webhooks that sign now, each with its public key, the newest first.
pub async fn secrets(ctx: &Context, caller: Caller, id: WebhookId) -> Result<(Webhook, Vec<(String, String)>), Error> {
    caller.require(Permission::ManageWebhooks, true)?;
    let webhook = show(ctx, caller, id).await?;
    let numbers = webhook.signing_numbers(ctx.clock.now());
    let signer = &ctx.webhooks.signer;
    let keys = numbers.into_iter().map(|number| (signer.secret(id, number), signer.public_key(id, number)));
    let keys = keys.collect();
    Ok((webhook, keys))
}

/// Changes a webhook. One that is enabled again, or moved, goes on with what waits, and at once.
pub async fn change(
    ctx: &Context,
    caller: Caller,
    id: WebhookId,
    version: Option<i64>,
    mut patch: WebhookPatch,
) -> Result<Webhook, Error> {
    if let Some(url) = &patch.url {
        show(ctx, caller, id).await?;
        check_url(ctx, url).await?;
    }
    tidy(patch.events.as_mut().unwrap_or(&mut Vec::new()), patch.markets.as_mut().unwrap_or(&mut Vec::new()));
    all_of(ctx, patch.markets.as_deref().unwrap_or_default()).await?;
    act(ctx, Act { caller, id, version, what: What::Change(patch) }).await.map(|(webhook, _)| webhook)
}

/// Deletes a webhook, and what is known of what it was sent.
pub async fn delete(ctx: &Context, caller: Caller, id: WebhookId, version: Option<i64>) -> Result<(), Error> {
    act(ctx, Act { caller, id, version, what: What::Delete }).await.map(drop)
}

/// Has a new secret sign, and the one before it too for a day. Refused in that day, [`SecretsOverlap`](Refusal::SecretsOverlap),
/// unless the version is named: who repeats a request whose answer was lost would end the secret that receivers still use.
pub async fn rotate(
    ctx: &Context,
    caller: Caller,
    id: WebhookId,
    version: Option<i64>,
) -> Result<(Webhook, Vec<(String, String)>), Error> {
    act(ctx, Act { caller, id, version, what: What::Rotate }).await?;
    secrets(ctx, caller, id).await
}

/// Sends a test message to a webhook, which must be enabled: [`WebhookDisabled`](Refusal::WebhookDisabled).
pub async fn test(ctx: &Context, caller: Caller, id: WebhookId) -> Result<Delivery, Error> {
    let (_, sent) = act(ctx, Act { caller, id, version: None, what: What::Test }).await?;
    Ok(sent.ok_or(Refusal::WebhookNotFound)?)
}

/// Has messages sent again, with the ids that they had, at most [`MOST_SENT_AGAIN`]; and at once what waits for another try,
/// behind which they would wait. The webhook must be enabled.
pub async fn send_again(ctx: &Context, caller: Caller, id: WebhookId, again: Again) -> Result<(), Error> {
    act(ctx, Act { caller, id, version: None, what: What::SendAgain(again) }).await.map(drop)
}

/// What a webhook was sent and is to be sent, by when it was made.
pub async fn deliveries(
    ctx: &Context,
    caller: Caller,
    filter: &DeliveryFilter,
    page: &PageRequest<DeliverySort>,
) -> Result<Page<Delivery>, Error> {
    show(ctx, caller, filter.webhook).await?;
    Ok(ctx.webhooks.log.deliveries(filter, page).await?)
}

/// One of these.
pub async fn delivery(ctx: &Context, caller: Caller, id: WebhookId, delivery: DeliveryId) -> Result<Delivery, Error> {
    show(ctx, caller, id).await?;
    let found = ctx.webhooks.log.delivery(delivery).await?.filter(|found| found.webhook == id);
    Ok(found.ok_or(Refusal::DeliveryNotFound)?)
}

/// What an owner does with its webhook.
enum What {
    Change(WebhookPatch),
    Delete,
    Rotate,
    Test,
    SendAgain(Again),
}

impl What {
    /// Whether an owner does that when the receiver takes messages again: what waits for another try need wait no longer.
    fn says_that_it_is_well(&self) -> bool {
        match self {
            Self::Change(patch) => patch.is_enabled == Some(true) || patch.url.is_some(),
            Self::SendAgain(_) => true,
            Self::Delete | Self::Rotate | Self::Test => false,
        }
    }
}

struct Act {
    caller: Caller,
    id: WebhookId,
    version: Option<i64>,
    what: What,
}

async fn act(ctx: &Context, act: Act) -> Result<(Webhook, Option<Delivery>), Error> {
    act.caller.require(Permission::ManageWebhooks, true)?;
    let done = atomically(ctx, act).await?;
    ctx.job_bell.ring(JobKind::Webhook);
    Ok(done)
}

#[async_trait]
impl Script for Act {
    type Output = (Webhook, Option<Delivery>);

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Self::Output>, Error> {
        let found = unit.webhooks().lock(self.id).await?;
        let mut webhook = found.filter(|webhook| webhook.owner == self.caller.user).ok_or(Refusal::WebhookNotFound)?;
        if self.version.is_some_and(|version| version != webhook.version) {
            return Err(Refusal::StaleVersion { current: webhook.version }.into());
        }
        let now = ctx.clock.now();
        let mut changes = Changes::default();
        let mut sent = None;
        match &self.what {
            What::Change(patch) => {
                apply(&mut webhook, patch, now);
                changes.webhooks.push(webhook.clone());
            }
            What::Delete => changes.deleted_webhooks.push(webhook.id),
            What::Rotate => {
                if self.version.is_none()
                    && let Some(until) = webhook.overlaps_until(now)
                {
                    return Err(Refusal::SecretsOverlap(until).into());
                }
                webhook.rotate(now);
                changes.webhooks.push(webhook.clone());
            }
            What::Test => {
                let test = test_message(ctx, &webhook, now);
                changes.new_deliveries.push(test.clone());
                sent = Some(test);
            }
            What::SendAgain(Again::One(id)) => {
                let delivery = unit.webhooks().delivery(*id).await?.filter(|delivery| delivery.webhook == self.id);
                let mut delivery = delivery.ok_or(Refusal::DeliveryNotFound)?;
                delivery.send_again(now);
                changes.deliveries.push(delivery);
            }
            What::SendAgain(Again::Since(since)) => {
                unit.webhooks().send_again(self.id, *since, now, MOST_SENT_AGAIN).await?;
            }
        }
        let is_sent = matches!(self.what, What::Test | What::SendAgain(_));
        if is_sent && webhook.state != WebhookState::Enabled {
            return Err(Refusal::WebhookDisabled.into());
        }
        if self.what.says_that_it_is_well() {
            unit.webhooks().make_due(self.id, now).await?;
        }
        if webhook.state == WebhookState::Enabled && !matches!(self.what, What::Delete) {
            changes.new_jobs.push(job(ctx, webhook.id, now));
        }
        unit.write(&changes).await?;
        Ok(Step::Commit((webhook, sent)))
    }
}

fn apply(webhook: &mut Webhook, patch: &WebhookPatch, now: Timestamp) {
    let patch = patch.clone();
    webhook.url = patch.url.unwrap_or_else(|| webhook.url.clone());
    webhook.description = patch.description.unwrap_or_else(|| webhook.description.clone());
    webhook.events = patch.events.unwrap_or_else(|| webhook.events.clone());
    webhook.markets = patch.markets.unwrap_or_else(|| webhook.markets.clone());
    match patch.is_enabled {
        Some(true) if webhook.state != WebhookState::Enabled => {
            webhook.state = WebhookState::Enabled;
            webhook.failing_since = None;
        }
        Some(false) if webhook.state == WebhookState::Enabled => webhook.state = WebhookState::Disabled,
        _ => {}
    }
    webhook.change(now);
}

/// The kind of a test message.
pub(crate) const TEST: &str = "webhook.test";

fn test_message(ctx: &Context, webhook: &Webhook, now: Timestamp) -> Delivery {
    let (id, kind) = (DeliveryId(ctx.ids.fresh().next_uuid()), TEST);
    let body = json!({ "type": kind, "timestamp": now, "data": { "webhookId": webhook.id.to_string() } });
    Delivery::new(id, webhook.id, kind.to_owned(), body.to_string(), now)
}
