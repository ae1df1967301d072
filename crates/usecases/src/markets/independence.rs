//! Who may not decide a market, whatever the role: who gains by it, and above some volume who would do it alone.
//!
//! A person and its bots are one here: what a bot gains is its owner's, and its owner has it do what it does.

use bellwether_domain::ids::{MarketId, UserId};
use bellwether_domain::market::Market;
use bellwether_domain::money::{Credits, Shares};
use bellwether_domain::ports::{StoreError, UnitOfWork};
use bellwether_domain::refusal::Refusal;

use crate::{Caller, Error};

/// The house's rules on who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Independence {
    /// Whether who names or decides an outcome may hold shares in the market, in person, by a bot or by the market maker that it
    /// endowed.
    pub may_hold: bool,
    /// Up to which volume who opened a market, or named its outcome, in person or by a bot, may decide it without
    /// anybody else; none for any.
    pub alone_up_to: Option<Credits>,
}

impl Default for Independence {
    fn default() -> Self {
        Self { may_hold: true, alone_up_to: None }
    }
}

/// How far a step goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// An outcome is named, and can be challenged.
    Names,
    /// The market is decided.
    Decides,
}

impl Independence {
    /// Refuses with [`ResolverHoldsPosition`](Refusal::ResolverHoldsPosition) or
    /// [`SecondPersonNeeded`](Refusal::SecondPersonNeeded). `market` is locked, and as it was before the step.
    pub(super) async fn check(
        self,
        unit: &mut dyn UnitOfWork,
        market: &Market,
        caller: Caller,
        step: Step,
    ) -> Result<(), Error> {
        let exceeded = self.alone_up_to.filter(|limit| step == Step::Decides && market.volume > *limit);
        if self.may_hold && exceeded.is_none() {
            return Ok(());
        }
        let person = caller.person();
        if !self.may_hold && holds_shares(unit, person, market).await? {
            return Err(Refusal::ResolverHoldsPosition.into());
        }
        if let Some(limit) = exceeded
            && has_had_its_say(unit, person, market).await?
        {
            return Err(Refusal::SecondPersonNeeded { limit }.into());
        }
        Ok(())
    }
}

/// Whether a person has shares of a market, or one of its bots has. From a bot that was deleted nobody gains anything.
/// What the market maker has is its funder's in the end.
async fn holds_shares(unit: &mut dyn UnitOfWork, person: UserId, market: &Market) -> Result<bool, StoreError> {
    let bots = unit.users().lock_bots_of(person).await?;
    let users: Vec<UserId> = bots.iter().map(|bot| bot.id).chain([person]).collect();
    let makers = market.maker.iter().filter(|maker| users.contains(&maker.funder));
    let mut kept =
        makers.flat_map(|maker| (0..market.outcomes.len()).filter_map(|outcome| maker.lmsr.holdings(outcome)));
    if kept.any(|shares| shares > 0) {
        return Ok(true);
    }
    let pairs: Vec<(UserId, MarketId)> = users.into_iter().map(|user| (user, market.id)).collect();
    let positions = unit.positions().load(&pairs).await?;
    Ok(positions.iter().flat_map(|position| &position.holdings).any(|h| h.quantity > Shares::ZERO))
}

/// Whether a person or one of its bots opened a market, or named its outcome.
async fn has_had_its_say(unit: &mut dyn UnitOfWork, person: UserId, market: &Market) -> Result<bool, StoreError> {
    let mut users = vec![market.creator];
    users.extend(market.proposal.as_ref().map(|proposal| proposal.proposed_by));
    Ok(unit.users().load(&users).await?.iter().any(|user| user.belongs_to(person)))
}
