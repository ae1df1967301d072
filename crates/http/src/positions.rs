//! Positions.

use bellwether_domain::ids::MarketId;
use bellwether_domain::permissions::Permission;
use bellwether_domain::ports::{PositionFilter, PositionInMarket, PositionSort};
use bellwether_usecases::{Error, markets};

use crate::call::Call;
use crate::envelope::Reply;
use crate::faults::Fault;
use crate::paging::Wanted;
use crate::users;
use crate::wire::position::PositionWire;

/// `GET /positions`: the caller's own.
pub(crate) async fn list(call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    list_filtered(&call, PositionFilter { user: Some(caller.user), market: None }).await
}

/// `GET /users/{id}/positions`.
pub(crate) async fn list_of_user(call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let user = users::whose_lists(&call, caller, Permission::ReadPositions).await?;
    list_filtered(&call, PositionFilter { user: Some(user), market: None }).await
}

/// `GET /markets/{id}/positions`: all of them to those who may see every holder, else the caller's own.
pub(crate) async fn list_of_market(call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let key = call.market_key()?;
    let ctx = call.ctx();
    let market = call.app().run::<_, Error, _>(async move { markets::get_market(&ctx, &key).await }).await?;
    let sees_all = caller.may(Permission::ReadHolders, market.creator == caller.user);
    let user = (!sees_all).then_some(caller.user);
    list_filtered(&call, PositionFilter { user, market: Some(market.id) }).await
}

/// A list of positions; `marketId` narrows it where the path does not name a market.
async fn list_filtered(call: &Call, filter: PositionFilter) -> Result<Reply, Fault> {
    let (filter, wanted) = call.query(|query| {
        let wanted = Wanted::<PositionSort>::read(query);
        let market = match filter.market {
            Some(market) => Some(Some(market)),
            None => query.optional("marketId", |n| n.id().map(MarketId)),
        };
        Some((PositionFilter { market: market?, ..filter }, wanted?))
    })?;
    let by_market = filter.user.is_some();
    let paging = wanted.bind("positions", &filter, call.sealer())?;
    let (lists, request) = (call.lists(), paging.request.clone());
    let page = call.app().run(async move { lists.positions(&filter, &request).await }).await?;
    let shown: Vec<PositionWire<'_>> =
        page.items.iter().map(|row| PositionWire::of(&row.position, &row.market)).collect();
    let id_of = |row: &PositionInMarket| if by_market { row.position.market.0 } else { row.position.user.0 };
    Ok(Reply::ok(&shown)?.paged(paging.describe(&page, id_of, call.sealer())))
}
