//! Money between users, and from the treasury.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use bellwether_domain::api_key::{KeySpending, KeyUsage};
use bellwether_domain::audit_log::{Action, Actor, Event, Target};
use bellwether_domain::ids::{AccountId, ApiKeyId, FreshIds, MarketId, TransferId, UserId};
use bellwether_domain::ledger::{self, Account, Owner, Posting, Reference, Transfer, TransferKind};
use bellwether_domain::money::Credits;
use bellwether_domain::permissions::Permission;
use bellwether_domain::ports::{Changes, Decided, GroupOf, KeptAnswer, StoreError, UnitOfWork, Wanted};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::user::UserStatus;
use jiff::Timestamp;
use serde_json::json;

use crate::atomically::{Script, Step, atomically, atomically_telling};
use crate::groups::{Grouped, Groups};
use crate::idempotency::find_answer;
use crate::turns::Turn;
use crate::{Answered, Caller, Context, Error, Keyed, audit_log, users};

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
    /// The API key that sent it, if that has limits.
    pub key: Option<ApiKeyId>,
    /// The person for whom it waits ([`Caller::person`]).
    pub person: UserId,
}

/// One request to pay, and the key that came with it.
#[derive(Debug, Clone)]
struct Payment {
    request: Pay,
    keyed: Option<Keyed<Transfer>>,
}

/// Executes payments. Clones share one queue, and so the groups.
#[derive(Clone)]
pub struct Payments {
    groups: Arc<Groups<Payment>>,
}

impl Payments {
    /// On these ports.
    #[must_use]
    pub fn new(ctx: Context) -> Self {
        Self { groups: Groups::new(ctx) }
    }

    /// Pays another user, in one unit of work with the payments that wait at the same time. Refused:
    /// insufficient funds, to oneself, unknown or deactivated payee, inactive payer.
    /// [`StoreError::Unavailable`] where too many wait.
    pub async fn pay(&self, request: Pay, keyed: Option<Keyed<Transfer>>) -> Result<Answered<Transfer>, Error> {
        if request.from == request.to {
            return Err(Refusal::TransferToSelf.into());
        }
        self.groups.submit(Payment { request, keyed }).await
    }
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
    caller.require(Permission::GrantCredits, false)?;
    atomically(ctx, GrantScript { by: caller.user, to, amount, reason, keyed }).await
}

/// An account: one's own, that of one's bot, or any for an administrator; else not found.
pub async fn get_account(ctx: &Context, caller: Caller, id: AccountId) -> Result<Account, Error> {
    let account = ctx.queries.account(id).await?.ok_or(Refusal::AccountNotFound)?;
    let may = match account.owner {
        Owner::User(user) => users::may_over(ctx, caller, Permission::ReadAccount, user).await?,
        _ => caller.may(Permission::ReadAccount, false),
    };
    if !may {
        return Err(Refusal::AccountNotFound.into());
    }
    Ok(account)
}

/// A transfer that the caller or its bot paid or got, or any for an administrator; else not found.
pub async fn get_transfer(ctx: &Context, caller: Caller, id: TransferId) -> Result<Transfer, Error> {
    let transfer = ctx.queries.transfer(id).await?.ok_or(Refusal::TransferNotFound)?;
    let own = AccountId::of_user(caller.user);
    if caller.may(Permission::ReadTransfer, transfer.from == own || transfer.to == own) {
        return Ok(transfer);
    }
    for account in [transfer.from, transfer.to] {
        let owner = ctx.queries.account(account).await?.map(|account| account.owner);
        if let Some(Owner::User(user)) = owner
            && users::may_over(ctx, caller, Permission::ReadTransfer, user).await?
        {
            return Ok(transfer);
        }
    }
    Err(Refusal::TransferNotFound.into())
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

#[async_trait]
impl Grouped for Payment {
    const OF: GroupOf = GroupOf::Payments;
    type Answer = Answered<Transfer>;

    fn person(&self) -> UserId {
        self.request.person
    }

    fn size(&self) -> usize {
        1
    }

    fn markets(&self) -> Vec<MarketId> {
        Vec::new()
    }

    async fn execute(
        ctx: &Context,
        group: Vec<Self>,
        turn: Turn,
        decided: Decided,
    ) -> Result<Vec<Result<Self::Answer, Error>>, Error> {
        atomically_telling(ctx, PayScript { group, turn }, decided).await
    }
}

/// The script of a group of payments.
struct PayScript {
    group: Vec<Payment>,
    turn: Turn,
}

#[async_trait]
impl Script for PayScript {
    type Output = Vec<Result<Answered<Transfer>, Error>>;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Self::Output>, Error> {
        let people: BTreeSet<UserId> = self.group.iter().flat_map(|p| [p.request.from, p.request.to]).collect();
        let lock_accounts: Vec<AccountId> = people.iter().map(|user| AccountId::of_user(*user)).collect();
        self.turn.take(&lock_accounts).await;
        let found = unit
            .load(Wanted {
                answers: self.group.iter().filter_map(|p| p.keyed.as_ref()).map(|k| k.key.clone()).collect(),
                users: people.iter().copied().collect(),
                lock_accounts,
                key_usages: self
                    .group
                    .iter()
                    .filter_map(|p| p.request.key)
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect(),
                ..Wanted::default()
            })
            .await?;
        let status = found.statuses.into_iter().collect();
        let accounts = found.accounts.into_iter().map(|account| (account.id, account)).collect();
        let (now, mut ids) = (ctx.clock.now(), ctx.ids.fresh());
        let mut keys: BTreeMap<ApiKeyId, KeyUsage> = found.key_usages.into_iter().map(|u| (u.key.id, u)).collect();
        keys.values_mut().for_each(|usage| usage.turn_to(now));
        let mut till = Till { status, accounts, keys, made: Vec::new(), kept: Vec::new(), spending: BTreeMap::new() };
        let mut answers = Vec::with_capacity(self.group.len());
        for Payment { request, keyed } in &self.group {
            let replay = keyed.as_ref().and_then(|keyed| keyed.replay(&found.answers).transpose());
            answers.push(match replay {
                Some(kept) => kept.map(Answered::Replayed),
                None => till.pay(request, keyed.as_ref(), &mut ids, now).map(Answered::Fresh),
            });
        }
        if till.made.is_empty() {
            // A refusal, too, rests on what others did, which has to be on the disk before anybody is told.
            return Ok(Step::Commit(answers));
        }
        unit.write(&till.into_changes()).await?;
        Ok(Step::Commit(answers))
    }
}

/// What a group of payments has loaded, and what it has done.
struct Till {
    status: BTreeMap<UserId, UserStatus>,
    accounts: BTreeMap<AccountId, Account>,
    keys: BTreeMap<ApiKeyId, KeyUsage>,
    made: Vec<Transfer>,
    kept: Vec<KeptAnswer>,
    spending: BTreeMap<ApiKeyId, KeySpending>,
}

impl Till {
    /// Executes one payment. One that is refused changes nothing.
    fn pay(
        &mut self,
        request: &Pay,
        keyed: Option<&Keyed<Transfer>>,
        ids: &mut FreshIds,
        now: Timestamp,
    ) -> Result<Transfer, Error> {
        let Pay { from, to, amount, memo, key, person: _ } = request.clone();
        let usage = key.map(|key| self.use_key(key, amount, now)).transpose()?;
        if self.status.get(&from) != Some(&UserStatus::Active) {
            return Err(Refusal::UserInactive.into());
        }
        if self.status.get(&to).is_none_or(|s| *s == UserStatus::Deactivated) {
            return Err(Refusal::UserNotFound.into());
        }
        let (mut payer, mut payee) = (self.account(from)?, self.account(to)?);
        let posting = Posting {
            id: TransferId(ids.next_uuid()),
            amount,
            kind: TransferKind::Payment,
            reference: Reference::default(),
            memo,
        };
        let made = ledger::transfer(&mut payer, &mut payee, posting, now)?;
        self.accounts.extend([(payer.id, payer), (payee.id, payee)]);
        if let Some(usage) = usage {
            if usage.key.limits.counts() {
                self.spending.insert(usage.key.id, usage.spending);
            }
            self.keys.insert(usage.key.id, usage);
        }
        self.kept.extend(keyed.map(|keyed| keyed.keep(&made, now)));
        self.made.push(made.clone());
        Ok(made)
    }

    /// How the key would be used after the payment. Refused where it is no good, or allows no such sum.
    fn use_key(&self, key: ApiKeyId, amount: Credits, now: Timestamp) -> Result<KeyUsage, Refusal> {
        let before = self.keys.get(&key).ok_or(Refusal::KeyInactive)?;
        before.check(None, now)?;
        let mut after = before.clone();
        after.spend(amount)?;
        after.check_limits(before)?;
        Ok(after)
    }

    fn account(&self, user: UserId) -> Result<Account, Error> {
        let id = AccountId::of_user(user);
        let account = self.accounts.get(&id).cloned();
        account.ok_or_else(|| StoreError::Corrupt(format!("there is no account {id}")).into())
    }

    fn into_changes(self) -> Changes {
        let touched: BTreeSet<AccountId> = self.made.iter().flat_map(|made| [made.from, made.to]).collect();
        let accounts = self.accounts.into_values().filter(|account| touched.contains(&account.id));
        Changes {
            accounts: accounts.collect(),
            transfers: self.made,
            answers: self.kept,
            key_spending: self.spending.into_values().collect(),
            ..Changes::default()
        }
    }
}

struct GrantScript {
    by: UserId,
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
            return Ok(Step::Commit(Answered::Replayed(kept)));
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
            events: vec![self.event(ctx, &made)],
            ..Changes::default()
        })
        .await?;
        Ok(Step::Commit(Answered::Fresh(made)))
    }
}

impl GrantScript {
    fn event(&self, ctx: &Context, made: &Transfer) -> Event {
        let what = json!({ "userId": self.to.to_string(), "amount": made.amount.to_string(), "reason": self.reason });
        audit_log::with(ctx, Actor::User(self.by), Action::GrantMade, Target::Transfer(made.id), &what)
    }
}
