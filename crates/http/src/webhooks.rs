//! Webhooks: made and looked after by their owners.

use bellwether_domain::ids::{DeliveryId, WebhookId};
use bellwether_domain::ports::{DeliveryFilter, DeliverySort};
use bellwether_domain::webhook::{DeliveryState, Webhook};
use bellwether_usecases::{limits, webhooks};

use crate::call::Call;
use crate::envelope::Reply;
use crate::faults::Fault;
use crate::fields::{Place, read};
use crate::idempotency::{Need, reply};
use crate::paging::Wanted;
use crate::wire::webhook::{
    DeliveryWire, SecretWire, WebhookWire, again, delivery_location, new_webhook, patch, render_new_webhook,
};

/// `POST /webhooks`.
pub(crate) async fn create(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let body = call.body().await?;
    let guarded = call.guard::<Webhook>(Need::Optional, caller, &body, render_new_webhook)?;
    let wanted = read(&body.json, Place::Body, new_webhook)?;
    let ctx = call.ctx();
    let work = async move {
        let _guard = guarded.guard;
        limits::create_webhook(&ctx, caller, wanted, guarded.keyed).await
    };
    reply(call.app().run(work).await?, render_new_webhook)
}

/// `GET /webhooks`. As many as a user may have fit one answer, so there are no pages.
pub(crate) async fn list(call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    call.no_query()?;
    let ctx = call.ctx();
    let found = call.app().run(async move { webhooks::list(&ctx, caller).await }).await?;
    Reply::ok(&found.iter().map(WebhookWire::of).collect::<Vec<_>>())
}

/// `GET /webhooks/{id}`.
pub(crate) async fn show(call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let id = call.id().map(WebhookId)?;
    call.no_query()?;
    let ctx = call.ctx();
    let found = call.app().run(async move { webhooks::show(&ctx, caller, id).await }).await?;
    shown(&found)
}

fn shown(webhook: &Webhook) -> Result<Reply, Fault> {
    Ok(Reply::ok(&WebhookWire::of(webhook))?.tagged(webhook.version))
}

/// `PATCH /webhooks/{id}`.
pub(crate) async fn change(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let id = call.id().map(WebhookId)?;
    let version = call.version()?;
    let patch = call.command(patch).await?;
    let ctx = call.ctx();
    let changed = call.app().run(async move { webhooks::change(&ctx, caller, id, version, patch).await }).await?;
    shown(&changed)
}

/// `DELETE /webhooks/{id}`.
pub(crate) async fn delete(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let id = call.id().map(WebhookId)?;
    let version = call.version()?;
    call.no_body().await?;
    let ctx = call.ctx();
    call.app().run(async move { webhooks::delete(&ctx, caller, id, version).await }).await?;
    Ok(Reply::no_content())
}

/// `GET /webhooks/{id}/secret`.
pub(crate) async fn secret(call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let id = call.id().map(WebhookId)?;
    call.no_query()?;
    let ctx = call.ctx();
    let secrets = call.app().run(async move { webhooks::secrets(&ctx, caller, id).await }).await?;
    Reply::ok(&SecretWire::of(&secrets))
}

/// `POST /webhooks/{id}/secret/rotate`, of the version in `If-Match` where there is one.
pub(crate) async fn rotate(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let id = call.id().map(WebhookId)?;
    let version = call.version()?;
    call.no_body().await?;
    let ctx = call.ctx();
    let secrets = call.app().run(async move { webhooks::rotate(&ctx, caller, id, version).await }).await?;
    Reply::ok(&SecretWire::of(&secrets))
}

/// `POST /webhooks/{id}/test`: 202, and where to look what came of it.
pub(crate) async fn test(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let id = call.id().map(WebhookId)?;
    call.no_body().await?;
    let ctx = call.ctx();
    let sent = call.app().run(async move { webhooks::test(&ctx, caller, id).await }).await?;
    Ok(Reply::accepted(&DeliveryWire::of(&sent))?.located(delivery_location(&sent)))
}

/// `POST /webhooks/{id}/redeliver`.
pub(crate) async fn redeliver(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let id = call.id().map(WebhookId)?;
    let again = call.command(again).await?;
    let ctx = call.ctx();
    call.app().run(async move { webhooks::send_again(&ctx, caller, id, again).await }).await?;
    Ok(Reply::accepted(&serde_json::Value::Null)?.located(format!("/api/v1/webhooks/{id}/deliveries")))
}

/// `GET /webhooks/{id}/deliveries`.
pub(crate) async fn deliveries(call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let webhook = call.id().map(WebhookId)?;
    let (state, wanted) = call.query(|query| {
        let wanted = Wanted::<DeliverySort>::read(query);
        let state = query.optional("state", |n| n.one_of(&DeliveryState::ALL, DeliveryState::as_str));
        Some((state?, wanted?))
    })?;
    let filter = DeliveryFilter { webhook, state };
    let paging = wanted.bind("deliveries", &filter, call.sealer())?;
    let (ctx, request) = (call.ctx(), paging.request.clone());
    let page = call.app().run(async move { webhooks::deliveries(&ctx, caller, &filter, &request).await }).await?;
    let shown: Vec<DeliveryWire<'_>> = page.items.iter().map(DeliveryWire::of).collect();
    Ok(Reply::ok(&shown)?.paged(paging.describe(&page, |delivery| delivery.id.0, call.sealer())))
}

/// `GET /webhooks/{id}/deliveries/{delivery}`.
pub(crate) async fn delivery(call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let (id, delivery) = (call.id().map(WebhookId)?, call.id_at("delivery").map(DeliveryId)?);
    call.no_query()?;
    let ctx = call.ctx();
    let found = call.app().run(async move { webhooks::delivery(&ctx, caller, id, delivery).await }).await?;
    Reply::ok(&DeliveryWire::whole(&found))
}
