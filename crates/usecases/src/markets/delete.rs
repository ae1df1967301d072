//! Deleting a market that never traded, of which nobody has shares and that was not decided.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bellwether_domain::audit_log::Action;
use bellwether_domain::event::{self, MarketData};
use bellwether_domain::ids::{AccountId, MarketId, TransferId, UserId};
use bellwether_domain::ledger::{self, Account, Posting, Reference, TransferKind};
use bellwether_domain::market::Market;
use bellwether_domain::money::Shares;
use bellwether_domain::order::{EndReason, OrderStatus};
use bellwether_domain::permissions::Permission;
use bellwether_domain::ports::{Changes, StoreError, UnitOfWork};
use bellwether_domain::refusal::Refusal;
use uuid::Uuid;

use super::{moderation, require};
use crate::atomically::{Script, Step};
use crate::settling::{BATCH, end_orders};
use crate::{Caller, Context, Error};

/// The script: ends a batch of open orders, and deletes the market with the last of them. Whether it is deleted.
pub(super) struct DeleteScript {
    pub(super) caller: Caller,
    pub(super) id: MarketId,
    pub(super) version: Option<i64>,
}

#[async_trait]
impl Script for DeleteScript {
    type Output = bool;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<bool>, Error> {
        let market = unit.markets().lock(&[self.id]).await?.into_iter().next().ok_or(Refusal::MarketNotFound)?;
        require(Permission::DeleteMarket, self.caller, &market)?;
        if self.version.is_some_and(|v| v != market.version) {
            return Err(Refusal::StaleVersion { current: market.version }.into());
        }
        if market.trade_count > 0 {
            return Err(Refusal::MarketHasTraded.into());
        }
        // Whoever had sets of it is or will be counted, and the scores would go on counting a market that is gone.
        if market.status.is_decided() {
            return Err(Refusal::MarketDecided(market.status).into());
        }
        // In each unit anew, before it ends an order: between two of them somebody may have made sets.
        if has_shares(unit, self.id).await? {
            return Err(Refusal::MarketHasShares.into());
        }
        let open = unit.orders().open_in_market(self.id, BATCH).await?;
        let may_be_more = u32::try_from(open.len()).is_ok_and(|number| number >= BATCH);
        if !open.is_empty() {
            // Once for all that follows, so that no account is waited for while a later one is held.
            let parties = market.maker.iter().flat_map(|maker| [maker.account, AccountId::of_user(maker.funder)]);
            let accounts: BTreeSet<AccountId> =
                open.iter().map(|order| AccountId::of_user(order.user)).chain(parties).collect();
            unit.accounts().lock(&accounts.into_iter().collect::<Vec<_>>()).await?;
            let (ended, now) = (vec![market.clone()], ctx.clock.now());
            let changes = end_orders(unit, ended, open, OrderStatus::Cancelled, EndReason::MarketClosed, now).await?;
            unit.write(&changes).await?;
        }
        if may_be_more {
            return Ok(Step::Commit(false));
        }
        let mut changes = refund(ctx, unit, &market).await?;
        changes.deleted_markets.push(self.id);
        changes.news.push(event::Event::MarketDeleted(MarketData::of(&market)));
        changes.at = Some(ctx.clock.now());
        changes.events.extend(moderation(ctx, self.caller, Action::MarketDeleted, &market, None));
        unit.write(&changes).await?;
        Ok(Step::Commit(true))
    }
}

/// Whether anybody has shares of a locked market: without a trade there are those of complete sets that were made by
/// hand. Positions that are empty again are passed over.
async fn has_shares(unit: &mut dyn UnitOfWork, market: MarketId) -> Result<bool, StoreError> {
    let mut last = UserId(Uuid::nil());
    loop {
        let found = unit.scores().positions_after(market, last, BATCH).await?;
        let pairs: Vec<(UserId, MarketId)> = found.iter().map(|position| (position.user, market)).collect();
        match pairs.last() {
            Some((user, _)) => last = *user,
            None => return Ok(false),
        }
        let positions = unit.positions().load(&pairs).await?;
        if positions.iter().flat_map(|position| &position.holdings).any(|h| h.quantity > Shares::ZERO) {
            return Ok(true);
        }
    }
}

/// Gives the market maker's money back to its funder.
async fn refund(ctx: &Context, unit: &mut dyn UnitOfWork, market: &Market) -> Result<Changes, Error> {
    let Some(maker) = &market.maker else { return Ok(Changes::default()) };
    let funder = AccountId::of_user(maker.funder);
    let mut ids = [maker.account, funder];
    ids.sort_unstable();
    let mut accounts: BTreeMap<AccountId, Account> =
        unit.accounts().lock(&ids).await?.into_iter().map(|a| (a.id, a)).collect();
    let (Some(mut from), Some(mut to)) = (accounts.remove(&maker.account), accounts.remove(&funder)) else {
        return Err(Refusal::AccountNotFound.into());
    };
    if !from.balance.is_positive() {
        return Ok(Changes::default());
    }
    let posting = Posting {
        id: TransferId(ctx.ids.fresh().next_uuid()),
        amount: from.balance,
        kind: TransferKind::Refund,
        reference: Reference { market: Some(market.id), trade: None },
        memo: None,
    };
    let made = ledger::transfer(&mut from, &mut to, posting, ctx.clock.now())?;
    Ok(Changes { accounts: vec![from, to], transfers: vec![made], ..Changes::default() })
}
