//! Transfers: paying another user, grants, and the lists of what was moved.

use bellwether_domain::ids::{AccountId, MarketId, TransferId};
use bellwether_domain::ledger::{Transfer, TransferKind};
use bellwether_domain::permissions::Permission;
use bellwether_domain::ports::{TransferFilter, TransferSort};
use bellwether_usecases::transfers::{self, Pay};

use crate::call::Call;
use crate::envelope::Reply;
use crate::faults::Fault;
use crate::fields::{Fields, Place, read};
use crate::idempotency::{Need, reply};
use crate::paging::Wanted;
use crate::wire::account::{TransferBody, TransferWire, render_transfer};
use crate::{accounts, users};

/// `POST /transfers`.
pub(crate) async fn pay(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let body = call.body().await?;
    let guarded = call.guard::<Transfer>(Need::Required, caller, &body, render_transfer)?;
    let TransferBody { to, amount, memo } = read(&body.json, Place::Body, TransferBody::of_transfer)?;
    let (key, person) = (caller.limited_key(), caller.person());
    let request = Pay { from: caller.user, to, amount, memo, key, person };
    let payments = call.app().payments().clone();
    let work = async move {
        let _guard = guarded.guard;
        payments.pay(request, guarded.keyed).await
    };
    reply(call.app().run(work).await?, render_transfer)
}

/// `POST /admin/grants`.
pub(crate) async fn grant(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let body = call.body().await?;
    let guarded = call.guard::<Transfer>(Need::Optional, caller, &body, render_transfer)?;
    let TransferBody { to, amount, memo } = read(&body.json, Place::Body, TransferBody::of_grant)?;
    let ctx = call.ctx();
    let work = async move {
        let _guard = guarded.guard;
        transfers::grant(&ctx, caller, to, amount, memo, guarded.keyed).await
    };
    reply(call.app().run(work).await?, render_transfer)
}

/// `GET /transfers/{id}`.
pub(crate) async fn show(call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let id = call.id().map(TransferId)?;
    call.no_query()?;
    let ctx = call.ctx();
    let transfer = call.app().run(async move { transfers::get_transfer(&ctx, caller, id).await }).await?;
    Ok(Reply::ok(&TransferWire::of(&transfer))?.tagged(0))
}

/// `GET /accounts/{id}/transfers`.
pub(crate) async fn list_of_account(call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let account = accounts::load(&call, caller).await?;
    list(&call, account.id).await
}

/// `GET /users/{id}/transfers`.
pub(crate) async fn list_of_user(call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let user = users::whose_lists(&call, caller, Permission::ReadTransfer).await?;
    list(&call, AccountId::of_user(user)).await
}

/// Reads of which kind, and for which market.
pub(crate) fn narrowed(query: &Fields<'_>) -> Option<(Option<TransferKind>, Option<MarketId>)> {
    let kind = query.optional("kind", |n| n.one_of(&TransferKind::ALL, TransferKind::as_str));
    let market = query.optional("marketId", |n| n.id().map(MarketId));
    Some((kind?, market?))
}

async fn list(call: &Call, account: AccountId) -> Result<Reply, Fault> {
    let (filter, wanted) = call.query(|query| {
        let wanted = Wanted::<TransferSort>::read(query);
        let (kind, market) = narrowed(query)?;
        Some((TransferFilter { account: Some(account), kind, market }, wanted?))
    })?;
    let paging = wanted.bind("transfers", &filter, call.sealer())?;
    let (lists, request) = (call.lists(), paging.request.clone());
    let page = call.app().run(async move { lists.transfers(&filter, &request).await }).await?;
    let shown: Vec<TransferWire<'_>> = page.items.iter().map(TransferWire::of).collect();
    Ok(Reply::ok(&shown)?.paged(paging.describe(&page, |transfer| transfer.id.0, call.sealer())))
}
