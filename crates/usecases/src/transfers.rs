//! Money between users, and from the treasury.

use async_trait::async_trait;
use bellwether_domain::ids::{AccountId, FreshIds, TransferId, UserId};
use bellwether_domain::ledger::{self, Account, Owner, Posting, Reference, Transfer, TransferKind};
use bellwether_domain::money::Credits;
use bellwether_domain::permissions::Permission;
use bellwether_domain::ports::{Changes, StoreError, UnitOfWork};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::user::UserStatus;
use jiff::Timestamp;

use crate::atomically::{Script, Step, atomically};
use crate::idempotency::find_answer;
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
    if request.from == request.to {
        return Err(Refusal::TransferToSelf.into());
    }
    atomically(ctx, PayScript { request, keyed }).await
}

/// An administrator's gift from the treasury, with its reason as the memo.
pub async fn grant(
    ctx: &Context,
    caller: Caller,
    to: UserId,
    amount: Credits,
    reason: Option<String>,
    keyed: Option<Keyed<Transfer>>,
) -> Result<Answered<Transfer>, Error> {
    Permission::GrantCredits.require(caller.role, false)?;
    atomically(ctx, GrantScript { to, amount, reason, keyed }).await
}

/// An account: one's own, or any for an administrator; else not found.
pub async fn get_account(ctx: &Context, caller: Caller, id: AccountId) -> Result<Account, Error> {
    let account = ctx.queries.account(id).await?.ok_or(Refusal::AccountNotFound)?;
    let is_own = account.owner == Owner::User(caller.user);
    if !Permission::ReadUser.allows(caller.role, is_own) {
        return Err(Refusal::AccountNotFound.into());
    }
    Ok(account)
}

/// A transfer that the caller paid or got, or any for an administrator; else not found.
pub async fn get_transfer(ctx: &Context, caller: Caller, id: TransferId) -> Result<Transfer, Error> {
    let transfer = ctx.queries.transfer(id).await?.ok_or(Refusal::TransferNotFound)?;
    let own = AccountId::of_user(caller.user);
    if !Permission::ReadUser.allows(caller.role, transfer.from == own || transfer.to == own) {
        return Err(Refusal::TransferNotFound.into());
    }
    Ok(transfer)
}

/// Gives credits from the treasury to an account that is new, within a unit of work.
/// The account is not locked by others while it is new, so locking the treasury alone cannot deadlock.
pub(crate) async fn grant_from_treasury(
    unit: &mut dyn UnitOfWork,
    to: &mut Account,
    amount: Credits,
    memo: Option<String>,
    ids: &mut FreshIds,
    now: Timestamp,
) -> Result<(Account, Transfer), Error> {
    let mut treasury = one(unit.accounts().lock(&[AccountId::TREASURY]).await?, AccountId::TREASURY)?;
    let posting = Posting {
        id: TransferId(ids.next_uuid()),
        amount,
        kind: TransferKind::Grant,
        reference: Reference::default(),
        memo,
    };
    let made = ledger::transfer(&mut treasury, to, posting, now)?;
    Ok((treasury, made))
}

fn one(accounts: Vec<Account>, id: AccountId) -> Result<Account, Error> {
    let found = accounts.into_iter().find(|a| a.id == id);
    found.ok_or_else(|| StoreError::Corrupt(format!("there is no account {id}")).into())
}

struct PayScript {
    request: Pay,
    keyed: Option<Keyed<Transfer>>,
}

#[async_trait]
impl Script for PayScript {
    type Output = Answered<Transfer>;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Answered<Transfer>>, Error> {
        if let Some(kept) = find_answer(unit, self.keyed.as_ref()).await? {
            return Ok(Step::Discard(Answered::Replayed(kept)));
        }
        let Pay { from, to, amount, memo } = self.request.clone();
        let users = unit.users().load(&[from.min(to), from.max(to)]).await?;
        let status = |id: UserId| users.iter().find(|u| u.id == id).map(|u| u.status);
        if status(from) != Some(UserStatus::Active) {
            return Err(Refusal::UserInactive.into());
        }
        if status(to).is_none_or(|s| s == UserStatus::Deactivated) {
            return Err(Refusal::UserNotFound.into());
        }
        let (now, mut ids) = (ctx.clock.now(), ctx.ids.fresh());
        let (from, to) = (AccountId::of_user(from), AccountId::of_user(to));
        let locked = unit.accounts().lock(&[from.min(to), from.max(to)]).await?;
        let (mut payer, mut payee) = (one(locked.clone(), from)?, one(locked, to)?);
        let posting = Posting {
            id: TransferId(ids.next_uuid()),
            amount,
            kind: TransferKind::Payment,
            reference: Reference::default(),
            memo,
        };
        let made = ledger::transfer(&mut payer, &mut payee, posting, now)?;
        let answers = self.keyed.iter().map(|keyed| keyed.keep(&made, now)).collect();
        unit.write(&Changes {
            accounts: vec![payer, payee],
            transfers: vec![made.clone()],
            answers,
            ..Changes::default()
        })
        .await?;
        Ok(Step::Commit(Answered::Fresh(made)))
    }
}

struct GrantScript {
    to: UserId,
    amount: Credits,
    reason: Option<String>,
    keyed: Option<Keyed<Transfer>>,
}

#[async_trait]
impl Script for GrantScript {
    type Output = Answered<Transfer>;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Answered<Transfer>>, Error> {
        if let Some(kept) = find_answer(unit, self.keyed.as_ref()).await? {
            return Ok(Step::Discard(Answered::Replayed(kept)));
        }
        let user = unit.users().load(&[self.to]).await?.into_iter().next();
        user.filter(|u| u.status != UserStatus::Deactivated).ok_or(Refusal::UserNotFound)?;
        let (now, mut ids) = (ctx.clock.now(), ctx.ids.fresh());
        let to = AccountId::of_user(self.to);
        // Both at once, so that they are locked in id order.
        let locked = unit.accounts().lock(&[AccountId::TREASURY, to]).await?;
        let (mut treasury, mut payee) = (one(locked.clone(), AccountId::TREASURY)?, one(locked, to)?);
        let (kind, reference, memo) = (TransferKind::Grant, Reference::default(), self.reason.clone());
        let posting = Posting { id: TransferId(ids.next_uuid()), amount: self.amount, kind, reference, memo };
        let made = ledger::transfer(&mut treasury, &mut payee, posting, now)?;
        let answers = self.keyed.iter().map(|keyed| keyed.keep(&made, now)).collect();
        unit.write(&Changes {
            accounts: vec![treasury, payee],
            transfers: vec![made.clone()],
            answers,
            ..Changes::default()
        })
        .await?;
        Ok(Step::Commit(Answered::Fresh(made)))
    }
}
