//! Accounts.

use bellwether_domain::ids::AccountId;
use bellwether_domain::ledger::Account;
use bellwether_usecases::{Caller, transfers};

use crate::call::Call;
use crate::envelope::Reply;
use crate::faults::Fault;
use crate::wire::account::AccountWire;

/// `GET /accounts/{id}`; `me` is the caller's own.
pub(crate) async fn show(call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    call.no_query()?;
    let account = load(&call, caller).await?;
    Ok(Reply::ok(&AccountWire::of(&account, &call.app().options().currency))?.tagged(0))
}

/// The account in the path, if the caller may see it; else there is none. A user's account has the
/// user's id.
pub(crate) async fn load(call: &Call, caller: Caller) -> Result<Account, Fault> {
    let id = AccountId(call.user_id(caller)?.0);
    let ctx = call.ctx();
    call.app().run(async move { transfers::get_account(&ctx, caller, id).await }).await
}
