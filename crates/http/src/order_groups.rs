//! Order groups: made, looked at, reset and deleted by their owners.

use bellwether_domain::ids::{MarketId, OrderGroupId};
use bellwether_domain::order_group::{OrderGroup, WINDOWS_S};
use bellwether_usecases::Rendered;
use bellwether_usecases::order_groups::{self, NewGroup};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::call::Call;
use crate::decimal::Shown;
use crate::envelope::Reply;
use crate::faults::Fault;
use crate::fields::{Fields, Node, Place, read};
use crate::idempotency::{Need, reply};
use crate::wire;

/// A group as it is answered.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OrderGroup")]
#[serde(rename_all = "camelCase")]
pub(crate) struct GroupWire {
    id: Shown<OrderGroupId>,
    market_id: Shown<MarketId>,
    fill_cap: i64,
    window_seconds: Option<i64>,
    /// Since the last reset.
    filled: i64,
    status: &'static str,
    full_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<&OrderGroup> for GroupWire {
    fn from(group: &OrderGroup) -> Self {
        Self {
            id: Shown(group.id),
            market_id: Shown(group.market),
            fill_cap: group.fill_cap.count(),
            window_seconds: group.window_s,
            filled: group.filled.count(),
            status: if group.is_full() { "full" } else { "active" },
            full_at: group.full_at,
            created_at: group.created_at,
            updated_at: group.updated_at,
        }
    }
}

/// A group that is asked for.
pub(crate) fn new_group(fields: &Fields<'_>) -> Option<NewGroup> {
    let market = fields.required("marketId", Node::id).map(MarketId);
    let fill_cap = fields.required("fillCap", Node::shares);
    let window_s = fields.optional("windowSeconds", |n| n.whole(*WINDOWS_S.start(), *WINDOWS_S.end()));
    Some(NewGroup { market: market?, fill_cap: fill_cap?, window_s: window_s? })
}

fn render(group: &OrderGroup) -> Rendered {
    wire::created(&GroupWire::from(group), format!("/api/v1/order-groups/{}", group.id))
}

/// `POST /order-groups`.
pub(crate) async fn create(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let body = call.body().await?;
    let guarded = call.guard::<OrderGroup>(Need::Optional, caller, &body, render)?;
    let wanted = read(&body.json, Place::Body, new_group)?;
    let ctx = call.ctx();
    let work = async move {
        let _guard = guarded.guard;
        order_groups::create(&ctx, caller, wanted, guarded.keyed).await
    };
    reply(call.app().run(work).await?, render)
}

/// `GET /order-groups`. As many as a user may have fit one answer, so there are no pages.
pub(crate) async fn list(call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    call.no_query()?;
    let ctx = call.ctx();
    let found = call.app().run(async move { order_groups::list(&ctx, caller).await }).await?;
    Reply::ok(&found.iter().map(GroupWire::from).collect::<Vec<_>>())
}

/// `GET /order-groups/{id}`.
pub(crate) async fn show(call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let id = call.id().map(OrderGroupId)?;
    call.no_query()?;
    let ctx = call.ctx();
    let found = call.app().run(async move { order_groups::show(&ctx, caller, id).await }).await?;
    Reply::ok(&GroupWire::from(&found))
}

/// `POST /order-groups/{id}/reset`.
pub(crate) async fn reset(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let id = call.id().map(OrderGroupId)?;
    call.no_body().await?;
    let ctx = call.ctx();
    let reset = call.app().run(async move { order_groups::reset(&ctx, caller, id).await }).await?;
    Reply::ok(&GroupWire::from(&reset))
}

/// `DELETE /order-groups/{id}`.
pub(crate) async fn delete(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let id = call.id().map(OrderGroupId)?;
    call.no_body().await?;
    let ctx = call.ctx();
    call.app().run(async move { order_groups::delete(&ctx, caller, id).await }).await?;
    Ok(Reply::no_content())
}
