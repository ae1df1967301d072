//! Webhooks, and what they were sent.

use bellwether_domain::event::Event;
use bellwether_domain::ids::{DeliveryId, MarketId, UserId, WebhookId};
use bellwether_domain::text::Lines;
use bellwether_domain::webhook::{Delivery, LONGEST_DESCRIPTION, LONGEST_URL, MOST_MARKETS, Webhook, WebhookState};
use bellwether_usecases::Rendered;
use bellwether_usecases::webhooks::{Again, NewWebhook, WebhookPatch};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::decimal::Shown;
use crate::fields::{Fields, Node};

/// The most kinds of events that one names.
const MOST_EVENTS: usize = 50;

/// A webhook.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WebhookWire<'a> {
    id: Shown<WebhookId>,
    owner: Shown<UserId>,
    url: &'a str,
    description: Option<&'a str>,
    events: &'a [String],
    markets: Vec<Shown<MarketId>>,
    status: &'static str,
    failing_since: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
    version: i64,
}

impl<'a> WebhookWire<'a> {
    pub(crate) fn of(webhook: &'a Webhook) -> Self {
        Self {
            id: Shown(webhook.id),
            owner: Shown(webhook.owner),
            url: &webhook.url,
            description: webhook.description.as_deref(),
            events: &webhook.events,
            markets: webhook.markets.iter().copied().map(Shown).collect(),
            status: webhook.state.as_str(),
            failing_since: webhook.failing_since,
            created_at: webhook.created_at,
            updated_at: webhook.updated_at,
            version: webhook.version,
        }
    }
}

/// The answer that tells of a new webhook.
pub(crate) fn render_new_webhook(webhook: &Webhook) -> Rendered {
    super::created(&WebhookWire::of(webhook), format!("/api/v1/webhooks/{}", webhook.id))
}

/// What a receiver checks signatures with: the newest first.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SecretWire<'a> {
    secret: &'a str,
    public_key: &'a str,
    /// What signs besides, until then.
    previous: Option<PreviousWire<'a>>,
}

#[derive(Serialize, JsonSchema)]
struct PreviousWire<'a> {
    secret: &'a str,
    until: Option<Timestamp>,
}

impl<'a> SecretWire<'a> {
    pub(crate) fn of((webhook, keys): &'a (Webhook, Vec<(String, String)>)) -> Self {
        let mut keys = keys.iter();
        let (secret, public_key) = keys.next().map_or(("", ""), |(secret, key)| (secret, key));
        let until = webhook.overlap_until;
        Self { secret, public_key, previous: keys.next().map(|(secret, _)| PreviousWire { secret, until }) }
    }
}

/// A message to a webhook.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeliveryWire<'a> {
    id: Shown<DeliveryId>,
    webhook_id: Shown<WebhookId>,
    message_id: String,
    #[serde(rename = "type")]
    kind: &'a str,
    sequence: Option<String>,
    market_id: Option<Shown<MarketId>>,
    status: &'static str,
    attempts: u32,
    next_attempt_at: Option<Timestamp>,
    last_attempt: Option<AttemptWire<'a>>,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct AttemptWire<'a> {
    at: Timestamp,
    took_ms: u32,
    status: Option<u16>,
    answer: &'a str,
}

impl<'a> DeliveryWire<'a> {
    pub(crate) fn of(delivery: &'a Delivery) -> Self {
        let is_pending = delivery.state == bellwether_domain::webhook::DeliveryState::Pending;
        Self {
            id: Shown(delivery.id),
            webhook_id: Shown(delivery.webhook),
            message_id: delivery.message_id(),
            kind: &delivery.kind,
            sequence: (delivery.sequence > 0).then(|| delivery.sequence.to_string()),
            market_id: delivery.market.map(Shown),
            status: delivery.state.as_str(),
            attempts: delivery.attempts,
            next_attempt_at: is_pending.then_some(delivery.next_at),
            last_attempt: delivery.last.as_ref().map(|last| AttemptWire {
                at: last.at,
                took_ms: last.took_ms,
                status: last.status,
                answer: &last.said,
            }),
            created_at: delivery.created_at,
            body: None,
        }
    }

    /// With what is sent.
    pub(crate) fn whole(delivery: &'a Delivery) -> Self {
        Self { body: Some(&delivery.body), ..Self::of(delivery) }
    }
}

/// Where a message is.
pub(crate) fn delivery_location(delivery: &Delivery) -> String {
    format!("/api/v1/webhooks/{}/deliveries/{}", delivery.webhook, delivery.id)
}

/// Reads a webhook that is wanted.
pub(crate) fn new_webhook(fields: &Fields<'_>) -> Option<NewWebhook> {
    let url = fields.required("url", url);
    let description = fields.optional("description", description);
    let events = fields.or("events", Vec::new(), events);
    let markets = fields.or("markets", Vec::new(), markets);
    Some(NewWebhook { url: url?, description: description?, events: events?, markets: markets? })
}

/// Reads what shall change; `null` empties a description, or the lists that name what is wanted.
pub(crate) fn patch(fields: &Fields<'_>) -> Option<WebhookPatch> {
    let url = fields.kept("url", url);
    let description = fields.removable("description", None, |n| description(n).map(Some));
    let events = fields.removable("events", Vec::new(), events);
    let markets = fields.removable("markets", Vec::new(), markets);
    let states = [WebhookState::Enabled, WebhookState::Disabled];
    let state = fields.kept("status", |n| n.one_of(&states, WebhookState::as_str));
    let is_enabled = state?.map(|state| state == WebhookState::Enabled);
    Some(WebhookPatch { url: url?, description: description?, events: events?, markets: markets?, is_enabled })
}

/// Reads what shall be sent again: one delivery, or all since a time.
pub(crate) fn again(fields: &Fields<'_>) -> Option<Again> {
    let (one, since) = (fields.optional("deliveryId", Node::id), fields.optional("since", Node::time));
    match (one?, since?) {
        (Some(id), None) => Some(Again::One(DeliveryId(id))),
        (None, Some(since)) => Some(Again::Since(since)),
        _ => fields.fail("deliveryId", "conflict", "or since is required, and not both"),
    }
}

fn url(node: &Node<'_>) -> Option<String> {
    let text = node.string()?;
    if text.is_empty() || text.len() > LONGEST_URL {
        return node.fail("length", format!("must be a URL of at most {LONGEST_URL} characters"));
    }
    Some(text.to_owned())
}

fn description(node: &Node<'_>) -> Option<String> {
    node.text(Lines::One, 1, LONGEST_DESCRIPTION)
}

fn events(node: &Node<'_>) -> Option<Vec<String>> {
    node.list(0, MOST_EVENTS, |kind| {
        let known = || kind.string().filter(|text| Event::KINDS.contains(text)).map(str::to_owned);
        known().or_else(|| kind.fail("unknown", format!("must be one of {}", Event::KINDS.join(", "))))
    })
}

fn markets(node: &Node<'_>) -> Option<Vec<MarketId>> {
    node.list(0, MOST_MARKETS, |market| market.id().map(MarketId))
}
