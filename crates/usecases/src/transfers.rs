//! Money between users, and from the treasury.

use bellwether_domain::ids::{AccountId, TransferId, UserId};
use bellwether_domain::ledger::{Account, Transfer};
use bellwether_domain::money::Credits;

use crate::{Answered, Caller, Context, Error, Keyed};

/// A payment from one user to another.
#[derive(Debug, Clone)]
pub struct Pay {
    /// The payer.
    pub from: UserId,
    /// The payee.
    pub to: UserId,
    /// How much, in mills, above zero.
    pub amount: Credits,
    /// A short text, at most 200 characters.
    pub memo: Option<String>,
}

/// Pays another user, in one unit of work. Refused: insufficient funds, to oneself, unknown or deactivated payee, inactive payer.
pub async fn pay(ctx: &Context, request: Pay, keyed: Option<Keyed<Transfer>>) -> Result<Answered<Transfer>, Error> {
    todo!("{ctx:p} {request:?} {keyed:?}")
}

/// An administrator's gift from the treasury, with its reason as the memo.
pub async fn grant(ctx: &Context, caller: Caller, to: UserId, amount: Credits, reason: Option<String>, keyed: Option<Keyed<Transfer>>) -> Result<Answered<Transfer>, Error> {
    todo!("{ctx:p} {caller:?} {to:?} {amount:?} {reason:?} {keyed:?}")
}

/// An account: one's own, or any for an administrator; else not found.
pub async fn get_account(ctx: &Context, caller: Caller, id: AccountId) -> Result<Account, Error> {
    todo!("{ctx:p} {caller:?} {id:?}")
}

/// A transfer that the caller paid or got, or any for an administrator; else not found.
pub async fn get_transfer(ctx: &Context, caller: Caller, id: TransferId) -> Result<Transfer, Error> {
    todo!("{ctx:p} {caller:?} {id:?}")
}
