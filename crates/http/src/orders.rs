//! Orders: placed, tried out, amended, cancelled and listed.

use bellwether_domain::ids::{MarketId, OrderId, UserId};
use bellwether_domain::order::OrderStatus;
use bellwether_domain::permissions::Permission;
use bellwether_domain::ports::{OrderFilter, OrderSort};
use bellwether_usecases::trading::{self, Command, Outcome, Placed, Request};
use bellwether_usecases::{Answered, Caller, Error, Keyed};

use crate::app::RunningKey;
use crate::call::Call;
use crate::envelope::Reply;
use crate::faults::Fault;
use crate::fields::{Place, read};
use crate::idempotency::Need;
use crate::paging::Wanted;
use crate::trades::markets_of;
use crate::users;
use crate::wire::order::{CancelledWire, FIELDS, OrderWire, PlacedWire, QuoteWire, render_batch, render_placed};
use crate::wire::order_body;
use crate::wire::view::View;

/// `POST /orders`.
pub(crate) async fn place(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let body = call.body().await?;
    let guarded = call.guard::<[Outcome]>(Need::Required, caller, &body, render_placed)?;
    let order = read(&body.json, Place::Body, |fields| order_body::place_order(fields, caller.into()))?;
    match submit(&call, caller, vec![Command::Place(order)], guarded.keyed, guarded.guard).await? {
        Answered::Replayed(kept) => Reply::replayed(kept),
        Answered::Fresh(outcomes) => {
            let outcomes = [Ok(only(outcomes)?)];
            Reply::rendered(render_placed(&outcomes))
        }
    }
}

/// `POST /orders/batch`: each order for itself, executed in their order.
pub(crate) async fn place_batch(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let body = call.body().await?;
    let guarded = call.guard::<[Outcome]>(Need::Required, caller, &body, render_batch)?;
    let orders = read(&body.json, Place::Body, |fields| order_body::batch(fields, caller.into()))?;
    let commands = orders.into_iter().map(Command::Place).collect();
    match submit(&call, caller, commands, guarded.keyed, guarded.guard).await? {
        Answered::Replayed(kept) => Reply::replayed(kept),
        Answered::Fresh(outcomes) => Reply::rendered(render_batch(&outcomes)),
    }
}

/// Executes commands; the key stays taken until they are done, whoever still waits for them.
async fn submit(
    call: &Call,
    caller: Caller,
    commands: Vec<Command>,
    keyed: Option<Keyed<[Outcome]>>,
    guard: Option<RunningKey>,
) -> Result<Answered<Vec<Outcome>>, Fault> {
    let (trading, key, person) = (call.app().trading().clone(), caller.limited_key(), caller.person());
    let work = async move {
        let _guard = guard;
        trading.submit(Request { commands, keyed, key, person }).await
    };
    call.app().run(work).await
}

/// What the only command of a request came to.
fn only(outcomes: Vec<Outcome>) -> Result<Placed, Fault> {
    let outcome = outcomes.into_iter().next().ok_or_else(|| Fault::internal("a command came to nothing"))?;
    outcome.map_err(Fault::from)
}

/// `POST /orders/quote`: what an order would do; nothing is written.
pub(crate) async fn quote(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let order = call.command(|fields| order_body::place_order(fields, caller.into())).await?;
    let trading = call.app().trading().clone();
    let quote = call.app().run(async move { trading.quote(order).await }).await?;
    Reply::ok(&QuoteWire::of(&quote))
}

/// `GET /orders/{id}`.
pub(crate) async fn show(call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let id = call.id().map(OrderId)?;
    let view = call.query(|query| View::read(query, FIELDS, &[]))?;
    let ctx = call.ctx();
    let work = async move {
        let order = trading::get_order(&ctx, caller, id).await?;
        let markets = markets_of(&*ctx.queries, [order.market].into_iter()).await?;
        Ok::<_, Error>((order, markets))
    };
    let (order, markets) = call.app().run(work).await?;
    Ok(Reply::json(view.show(&OrderWire::in_market(&order, markets.get(&order.market)))?).tagged(0))
}

/// `PATCH /orders/{id}`.
pub(crate) async fn amend(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let id = call.id().map(OrderId)?;
    let amendment = call.command(|fields| order_body::amend_order(fields, id, caller.user)).await?;
    let placed = execute(&call, caller, Command::Amend(amendment)).await?;
    Reply::ok(&PlacedWire::of(&placed))
}

/// `DELETE /orders/{id}`.
pub(crate) async fn cancel(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let order = call.id().map(OrderId)?;
    call.no_body().await?;
    let placed = execute(&call, caller, Command::Cancel { order, user: caller.user }).await?;
    Reply::ok(&OrderWire::placed(&placed))
}

async fn execute(call: &Call, caller: Caller, command: Command) -> Result<Placed, Fault> {
    match submit(call, caller, vec![command], None, None).await? {
        Answered::Fresh(outcomes) => only(outcomes),
        Answered::Replayed(_) => Err(Fault::internal("an answer without a key")),
    }
}

/// `DELETE /orders`: all open orders of the caller, in one market or in all.
pub(crate) async fn cancel_all(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let market = call.query_alone(|query| query.optional("marketId", |n| n.id().map(MarketId))).await?;
    let trading = call.app().trading().clone();
    let cancelled = call.app().run(async move { trading.cancel_all(caller, market).await }).await?;
    Reply::ok(&CancelledWire::of(&cancelled))
}

/// `GET /orders`: the caller's own.
pub(crate) async fn list(call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    list_filtered(&call, caller.user).await
}

/// `GET /users/{id}/orders`.
pub(crate) async fn list_of_user(call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let user = users::whose_lists(&call, caller, Permission::ReadOrders).await?;
    list_filtered(&call, user).await
}

async fn list_filtered(call: &Call, user: UserId) -> Result<Reply, Fault> {
    let (filter, wanted, view) = call.query(|query| {
        let wanted = Wanted::<OrderSort>::read(query);
        let view = View::read(query, FIELDS, &[]);
        let market = query.optional("marketId", |n| n.id().map(MarketId));
        let status = query.optional("status", |n| n.one_of(OrderStatus::ALL, OrderStatus::as_str));
        let client_id = query.optional("clientOrderId", order_body::client_order_id);
        let filter = OrderFilter { user: Some(user), market: market?, status: status?, client_order_id: client_id? };
        Some((filter, wanted?, view?))
    })?;
    let paging = wanted.bind("orders", &filter, call.sealer())?;
    let (lists, request) = (call.lists(), paging.request.clone());
    let work = async move {
        let page = lists.orders(&filter, &request).await?;
        let markets = markets_of(&*lists, page.items.iter().map(|order| order.market)).await?;
        Ok::<_, Error>((page, markets))
    };
    let (page, markets) = call.app().run(work).await?;
    let shown: Vec<OrderWire<'_>> =
        page.items.iter().map(|order| OrderWire::in_market(order, markets.get(&order.market))).collect();
    let pagination = paging.describe(&page, |order| order.id.0, call.sealer());
    Ok(Reply::json(view.show(&shown)?).paged(pagination))
}
