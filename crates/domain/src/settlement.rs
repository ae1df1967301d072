//! Settlement: every position of a decided market is paid once, the collateral ends at exactly
//! zero, and the market maker's remainder goes back to whoever funded it.
//!
//! Each share pays its outcome's weight. The weights add up to 1000 mills and every outcome has as
//! many shares as there are complete sets, so the payouts add up to the collateral: nothing is
//! rounded. Positions are paid in batches; `settled_at` is written with the payment, so a batch
//! that was interrupted is either entirely there or not at all.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::exchange::Stop;
use crate::ids::{AccountId, FreshIds, TransferId};
use crate::ledger::{self, Account, Posting, Reference, Transfer, TransferKind};
use crate::market::Market;
use crate::money::{Credits, Overflow};
use crate::position::Position;

/// Accounts that were loaded under lock, by id.
pub type Accounts = BTreeMap<AccountId, Account>;

/// What the shares of a position pay by the market's resolution, in mills.
pub fn payout_of(market: &Market, position: &Position) -> Result<Credits, Overflow> {
    let weights = market.resolution.as_ref().map_or(&[][..], |r| r.weights.as_slice());
    position.payout(weights)
}

/// What the market maker's own shares pay by the market's resolution, in mills; nothing where there is no maker.
pub fn owed_to_maker(market: &Market) -> Result<Credits, Overflow> {
    let mut owed = Credits::ZERO;
    let Some(maker) = &market.maker else { return Ok(owed) };
    let weights = market.resolution.as_ref().map_or(&[][..], |r| r.weights.as_slice());
    for (outcome, weight) in weights.iter().enumerate() {
        let shares = maker.lmsr.holdings(outcome).unwrap_or(0);
        let worth = shares.checked_mul(i64::from(*weight)).ok_or(Overflow)?;
        owed = owed.plus(Credits::from_mills(worth))?;
    }
    Ok(owed)
}

/// Pays a batch of positions that were not paid yet, out of the collateral. All accounts must be
/// loaded. Returns the transfers; the positions are marked as settled.
pub fn pay_batch(
    market: &Market,
    positions: &mut [Position],
    accounts: &mut Accounts,
    ids: &mut FreshIds,
    now: Timestamp,
) -> Result<Vec<Transfer>, Stop> {
    let mut transfers = Vec::new();
    for position in positions.iter_mut().filter(|p| p.settled_at.is_none()) {
        let amount = payout_of(market, position)?;
        if amount.is_positive() {
            let payee = AccountId::of_user(position.user);
            transfers.push(pay(market, market.collateral(), payee, amount, TransferKind::Payout, accounts, ids, now)?);
            position.received = position.received.plus(amount)?;
        }
        position.settled_at = Some(now);
    }
    Ok(transfers)
}

/// Ends a market whose positions are all paid: the maker's own shares are paid, its cash goes back
/// to its funder, and the market is marked as settled. The collateral must then be empty.
pub fn finish(
    market: &mut Market,
    accounts: &mut Accounts,
    ids: &mut FreshIds,
    now: Timestamp,
) -> Result<Vec<Transfer>, Stop> {
    let mut transfers = Vec::new();
    if let Some(maker) = market.maker.clone() {
        let owed = owed_to_maker(market)?;
        if owed.is_positive() {
            transfers.push(pay(
                market,
                market.collateral(),
                maker.account,
                owed,
                TransferKind::Payout,
                accounts,
                ids,
                now,
            )?);
        }
        let left = accounts.get(&maker.account).map_or(Credits::ZERO, |a| a.balance);
        if left.is_positive() {
            let funder = AccountId::of_user(maker.funder);
            transfers.push(pay(market, maker.account, funder, left, TransferKind::Refund, accounts, ids, now)?);
        }
    }
    let rest = accounts.get(&market.collateral()).map_or(Credits::ZERO, |a| a.balance);
    if rest != Credits::ZERO {
        return Err(Stop::NotLoaded("a collateral that is empty after the last payout"));
    }
    market.settled_at = Some(now);
    market.touch(now);
    Ok(transfers)
}

#[expect(clippy::too_many_arguments, reason = "a posting has that many parts, and both callers name all of them")]
fn pay(
    market: &Market,
    from: AccountId,
    to: AccountId,
    amount: Credits,
    kind: TransferKind,
    accounts: &mut Accounts,
    ids: &mut FreshIds,
    now: Timestamp,
) -> Result<Transfer, Stop> {
    let reference = Reference { market: Some(market.id), trade: None };
    let posting = Posting { id: TransferId(ids.next_uuid()), amount, kind, reference, memo: None };
    let mut payer = accounts.get(&from).cloned().ok_or(Stop::NotLoaded("payer"))?;
    let payee = accounts.get_mut(&to).ok_or(Stop::NotLoaded("payee"))?;
    let made = ledger::transfer(&mut payer, payee, posting, now)?;
    accounts.insert(from, payer);
    Ok(made)
}
