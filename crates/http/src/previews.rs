//! What a resolution would pay.

use bellwether_domain::ids::{MarketId, UserId};
use bellwether_domain::money::Credits;
use bellwether_domain::ports::{PositionInMarket, PositionSort};
use bellwether_usecases::markets;
use schemars::JsonSchema;
use serde::Serialize;

use crate::call::Call;
use crate::decimal::Shown;
use crate::envelope::Reply;
use crate::faults::Fault;
use crate::paging::Wanted;
use crate::wire::market_body;
use crate::wire::position::PositionWire;

/// What one holder would be paid.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PayoutWire<'a> {
    user_id: Shown<UserId>,
    amount: Shown<Credits>,
    position: PositionWire<'a>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PreviewWire<'a> {
    market_id: Shown<MarketId>,
    total: Shown<Credits>,
    to_market_maker: Shown<Credits>,
    payouts: Vec<PayoutWire<'a>>,
}

/// `POST /markets/{id}/resolution-preview`: the body of a resolution, with `limit`, `cursor` and `sort` of its list.
pub(crate) async fn resolution(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let key = call.market_key()?;
    let (verdict, wanted) = call
        .command(|fields| {
            let wanted = Wanted::<PositionSort>::read(fields);
            Some((market_body::verdict(fields)?, wanted?))
        })
        .await?;
    let paging = wanted.bind("resolution preview", &(&key, &verdict), call.sealer())?;
    let (ctx, request) = (call.ctx(), paging.request.clone());
    let work = async move { markets::preview_resolution(&ctx, caller, &key, &verdict, &request).await };
    let preview = call.app().run(work).await?;
    let payouts = preview.positions.items.iter().zip(&preview.amounts).map(|(row, amount)| PayoutWire {
        user_id: Shown(row.position.user),
        amount: Shown(*amount),
        position: PositionWire::of(&row.position, &preview.market),
    });
    let shown = PreviewWire {
        market_id: Shown(preview.market.id),
        total: Shown(preview.total),
        to_market_maker: Shown(preview.to_maker),
        payouts: payouts.collect(),
    };
    // In a list of one market users tell rows apart; where the caller sees its own alone there is one row.
    let id_of = |row: &PositionInMarket| row.position.user.0;
    Ok(Reply::ok(&shown)?.paged(paging.describe(&preview.positions, id_of, call.sealer())))
}
