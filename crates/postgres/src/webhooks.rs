//! Webhooks, and what they were sent.

use async_trait::async_trait;
use bellwether_domain::ids::{DeliveryId, MarketId, UserId, WebhookId};
use bellwether_domain::ports::{DeliveryFilter, DeliverySort, Page, PageRequest, StoreError, WebhookLog, Webhooks};
use bellwether_domain::webhook::{Attempt, Delivery, DeliveryState, Webhook, WebhookState};
use jiff::Timestamp;
use uuid::Uuid;

use crate::lists::{Kind, List, TIME};
use crate::schema::{WEBHOOK_DELIVERIES, WEBHOOKS};
use crate::sql::{Row, Sql, Values};
use crate::store::PgStore;
use crate::unit::PgUnitOfWork;

/// A subquery for a value, so that owners are found by their ids whatever the planner thinks of their number.
const ENABLED: &str = " WHERE state = 'enabled' \
                       AND (SELECT status FROM users WHERE users.id = webhooks.user_id) = 'active' ORDER BY id";
const SEND_AGAIN: &str = "UPDATE webhook_deliveries SET state = 'pending', attempts = 0, next_at = ?, pending_since = ? \
                          WHERE id = ANY (ARRAY(SELECT id FROM webhook_deliveries WHERE webhook_id = ? AND created_at >= ? \
                          AND state <> 'pending' ORDER BY created_at, id LIMIT ?))";
/// What comes after something of the same market that is not due yet waits for it. A test has no place among events: it
/// waits for none of them, nor they for it.
const DUE: &str = " AS d WHERE webhook_id = ? AND state = 'pending' AND NOT EXISTS ( \
                   SELECT 1 FROM webhook_deliveries AS before WHERE before.webhook_id = d.webhook_id \
                   AND before.market_id = d.market_id AND before.state = 'pending' AND before.attempts > 0 \
                   AND before.next_at > ? AND (before.id = d.id OR (before.sequence > 0 AND d.sequence > 0))) \
                   ORDER BY sequence, id LIMIT ?";
const NEXT_DUE: &str = "SELECT min(next_at) FROM webhook_deliveries \
                        WHERE webhook_id = ? AND state = 'pending' AND attempts > 0";
const MAKE_DUE: &str = "UPDATE webhook_deliveries SET attempts = 0, next_at = ? \
                        WHERE webhook_id = ? AND state = 'pending' AND attempts > 0";
const FORGET: &str = "DELETE FROM webhook_deliveries WHERE id IN \
                      (SELECT id FROM webhook_deliveries WHERE created_at < ? ORDER BY created_at LIMIT ?)";

/// The columns of a new webhook.
pub(crate) fn bind(webhook: &Webhook, row: &mut Values) {
    row.add(webhook.id)
        .add(webhook.owner)
        .add(&webhook.url)
        .add(webhook.description.as_ref())
        .add(webhook.events.join(","))
        .add(ids_to_text(&webhook.markets))
        .add(webhook.state.as_str())
        .add(webhook.secret_number)
        .add(webhook.overlap_until)
        .add(webhook.failing_since)
        .add(webhook.created_at)
        .add(webhook.updated_at)
        .add(webhook.version);
}

/// The columns of a webhook that change.
pub(crate) fn bind_change(webhook: &Webhook, row: &mut Values) {
    row.add(webhook.id)
        .add(&webhook.url)
        .add(webhook.description.as_ref())
        .add(webhook.events.join(","))
        .add(ids_to_text(&webhook.markets))
        .add(webhook.state.as_str())
        .add(webhook.secret_number)
        .add(webhook.overlap_until)
        .add(webhook.failing_since)
        .add(webhook.updated_at)
        .add(webhook.version);
}

/// The columns of a new delivery.
pub(crate) fn bind_delivery(delivery: &Delivery, row: &mut Values) {
    let last = delivery.last.as_ref();
    row.add(delivery.id)
        .add(delivery.webhook)
        .add(delivery.sequence)
        .add(&delivery.kind)
        .add(delivery.market.map_or(Uuid::nil(), |market| market.0))
        .add(&delivery.body)
        .add(delivery.state.as_str())
        .add(delivery.attempts)
        .add(delivery.next_at)
        .add(last.map(|last| last.at))
        .add(last.map(|last| last.took_ms))
        .add(last.and_then(|last| last.status))
        .add(last.map(|last| &last.said))
        .add(delivery.created_at)
        .add(delivery.pending_since);
}

/// The columns of a delivery that change.
pub(crate) fn bind_delivery_change(delivery: &Delivery, row: &mut Values) {
    let last = delivery.last.as_ref();
    row.add(delivery.id)
        .add(delivery.state.as_str())
        .add(delivery.attempts)
        .add(delivery.next_at)
        .add(last.map(|last| last.at))
        .add(last.map(|last| last.took_ms))
        .add(last.and_then(|last| last.status))
        .add(last.map(|last| &last.said))
        .add(delivery.pending_since);
}

fn ids_to_text(ids: &[MarketId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|part| !part.is_empty())
}

fn read(row: &mut Row) -> Result<Webhook, StoreError> {
    Ok(Webhook {
        id: WebhookId(row.id()?),
        owner: UserId(row.id()?),
        url: row.text()?,
        description: row.opt_text()?,
        events: parts(&row.text()?).map(str::to_owned).collect(),
        markets: row.text_as("a list of markets", |text| {
            parts(text).map(|id| Uuid::parse_str(id).ok().map(MarketId)).collect()
        })?,
        state: row.text_as("a webhook's state", WebhookState::from_name)?,
        secret_number: row.int_as("a number", |number| u32::try_from(number).ok())?,
        overlap_until: row.opt_time()?,
        failing_since: row.opt_time()?,
        created_at: row.time()?,
        updated_at: row.time()?,
        version: row.int()?,
    })
}

fn read_delivery(row: &mut Row) -> Result<Delivery, StoreError> {
    let (id, webhook, sequence) = (DeliveryId(row.id()?), WebhookId(row.id()?), row.int()?);
    let (kind, market, body) = (row.text()?, Some(row.id()?).filter(|id| !id.is_nil()).map(MarketId), row.text()?);
    let state = row.text_as("a delivery's state", DeliveryState::from_name)?;
    let attempts = row.int_as("a number of attempts", |number| u32::try_from(number).ok())?;
    let (next_at, at) = (row.time()?, row.opt_time()?);
    let took_ms = row.opt_int_as("a time in ms", |number| u32::try_from(number).ok())?.unwrap_or_default();
    let status = row.opt_int_as("a status", |number| u16::try_from(number).ok())?;
    let said = row.opt_text()?.unwrap_or_default();
    let last = at.map(|at| Attempt { at, took_ms, status, said });
    let (created_at, pending_since) = (row.time()?, row.time()?);
    Ok(Delivery {
        id,
        webhook,
        sequence,
        kind,
        market,
        body,
        state,
        attempts,
        next_at,
        last,
        created_at,
        pending_since,
    })
}

fn one(id: WebhookId, then: &str) -> Sql {
    Sql::new(WEBHOOKS.select()).then(" WHERE id = ?").then(then).bind(id)
}

fn wanted_of_user(owner: UserId) -> Sql {
    Sql::new(WEBHOOKS.select()).then(" WHERE user_id = ? ORDER BY id").bind(owner)
}

fn one_delivery(id: DeliveryId) -> Sql {
    Sql::new(WEBHOOK_DELIVERIES.select()).then(" WHERE id = ?").bind(id)
}

fn due(webhook: WebhookId, now: Timestamp, limit: u32) -> Sql {
    Sql::new(WEBHOOK_DELIVERIES.select()).then(DUE).bind(webhook).bind(now).bind(limit)
}

fn sent_again(webhook: WebhookId, since: Timestamp, now: Timestamp, limit: u32) -> Sql {
    Sql::new(SEND_AGAIN).bind(now).bind(now).bind(webhook).bind(since).bind(limit)
}

fn made_due(webhook: WebhookId, now: Timestamp) -> Sql {
    Sql::new(MAKE_DUE).bind(now).bind(webhook)
}

fn list_of(filter: &DeliveryFilter) -> List {
    let mut list = List::of(WEBHOOK_DELIVERIES.name, WEBHOOK_DELIVERIES.columns, "id");
    list.filter("webhook_id = ?", Some(filter.webhook));
    list.filter("state = ?", filter.state.map(DeliveryState::as_str));
    list.counted_in_order(true);
    list
}

const fn key(DeliverySort::CreatedAt: &DeliverySort) -> (&'static str, Kind) {
    ("created_at", TIME)
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}

const WHAT: &str = "a webhook";
const SENT: &str = "a delivery";

#[async_trait]
impl Webhooks for PgUnitOfWork {
    async fn lock(&mut self, id: WebhookId) -> Result<Option<Webhook>, StoreError> {
        Ok(self.connection.read(WHAT, one(id, " FOR NO KEY UPDATE"), read).await?.pop())
    }

    async fn of_user(&mut self, owner: UserId) -> Result<Vec<Webhook>, StoreError> {
        self.connection.read(WHAT, wanted_of_user(owner), read).await
    }

    async fn enabled(&mut self) -> Result<Vec<Webhook>, StoreError> {
        let sql = Sql::new(WEBHOOKS.select()).then(ENABLED);
        self.connection.read(WHAT, sql, read).await
    }

    async fn delivery(&mut self, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
        Ok(self.connection.read(SENT, one_delivery(id), read_delivery).await?.pop())
    }

    async fn send_again(
        &mut self,
        webhook: WebhookId,
        since: Timestamp,
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        Ok(count(self.connection.run(sent_again(webhook, since, now, limit)).await?))
    }

    async fn make_due(&mut self, webhook: WebhookId, now: Timestamp) -> Result<u64, StoreError> {
        Ok(count(self.connection.run(made_due(webhook, now)).await?))
    }
}

#[async_trait]
impl WebhookLog for PgStore {
    async fn webhook(&self, id: WebhookId) -> Result<Option<Webhook>, StoreError> {
        Ok(self.connection().await?.read(WHAT, one(id, ""), read).await?.pop())
    }

    async fn webhooks_of(&self, owner: UserId) -> Result<Vec<Webhook>, StoreError> {
        self.connection().await?.read(WHAT, wanted_of_user(owner), read).await
    }

    async fn delivery(&self, id: DeliveryId) -> Result<Option<Delivery>, StoreError> {
        Ok(self.connection().await?.read(SENT, one_delivery(id), read_delivery).await?.pop())
    }

    async fn deliveries(
        &self,
        filter: &DeliveryFilter,
        page: &PageRequest<DeliverySort>,
    ) -> Result<Page<Delivery>, StoreError> {
        list_of(filter).page(&mut self.connection().await?, page, key, SENT, read_delivery).await
    }

    async fn due(&self, webhook: WebhookId, now: Timestamp, limit: u32) -> Result<Vec<Delivery>, StoreError> {
        self.connection().await?.read(SENT, due(webhook, now, limit), read_delivery).await
    }

    async fn next_due(&self, webhook: WebhookId) -> Result<Option<Timestamp>, StoreError> {
        let sql = Sql::new(NEXT_DUE).bind(webhook);
        Ok(self.connection().await?.read(SENT, sql, |row| row.opt_time()).await?.pop().flatten())
    }

    async fn forget_deliveries_before(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        Ok(count(self.connection().await?.run(Sql::new(FORGET).bind(before).bind(limit)).await?))
    }
}
