//! Complete sets by hand.

use bellwether_domain::exchange::{ExchangeSets, SetsWay};
use bellwether_domain::money::Credits;
use bellwether_usecases::Rendered;
use bellwether_usecases::trading::{SetsDone, exchange_sets};
use schemars::JsonSchema;
use serde::Serialize;

use crate::call::Call;
use crate::decimal::Shown;
use crate::envelope::Reply;
use crate::faults::Fault;
use crate::fields::{Node, Place, read};
use crate::idempotency::{Need, reply};
use crate::markets::id_of;
use crate::wire;
use crate::wire::account::TransferWire;
use crate::wire::position::PositionWire;

/// `POST /markets/{id}/split`: credits become complete sets.
pub(crate) async fn split(call: Call) -> Result<Reply, Fault> {
    exchange(call, SetsWay::Split).await
}

/// `POST /markets/{id}/merge`: complete sets become credits.
pub(crate) async fn merge(call: Call) -> Result<Reply, Fault> {
    exchange(call, SetsWay::Merge).await
}

async fn exchange(mut call: Call, way: SetsWay) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let key = call.market_key()?;
    let body = call.body().await?;
    let guarded = call.guard::<SetsDone>(Need::Required, caller, &body, render)?;
    let quantity = read(&body.json, Place::Body, |fields| fields.required("quantity", Node::shares))?;
    let ctx = call.ctx();
    let work = async move {
        let _guard = guarded.guard;
        let market = id_of(&ctx, key).await?;
        exchange_sets(&ctx, caller, ExchangeSets { market, user: caller.user, quantity, way }, guarded.keyed).await
    };
    reply(call.app().run(work).await?, render)
}

/// What was paid, and what there is afterwards.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SetsWire<'a> {
    transfer: TransferWire<'a>,
    position_after: PositionWire<'a>,
    /// What is available of the account then: its balance without what is held.
    balance_after: Shown<Credits>,
}

fn render(done: &SetsDone) -> Rendered {
    let sets = &done.sets;
    let shown = SetsWire {
        transfer: TransferWire::of(&sets.transfer),
        position_after: PositionWire::of(&sets.position, &done.market),
        balance_after: Shown(sets.available),
    };
    wire::created(&shown, format!("/api/v1/transfers/{}", sets.transfer.id))
}
