//! Who may not decide a market, whatever the role: who gains by it, and above some volume who would do it alone.

use bellwether_domain::market::Market;
use bellwether_domain::money::{Credits, Shares};
use bellwether_domain::ports::UnitOfWork;
use bellwether_domain::refusal::Refusal;

use crate::{Caller, Error};

/// The house's rules on who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Independence {
    /// Whether who names or decides an outcome may hold shares in the market.
    pub may_hold: bool,
    /// Up to which volume who opened a market, or named its outcome, may decide it without anybody else; none
    /// for any.
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
        if !self.may_hold {
            let positions = unit.positions().load(&[(caller.user, market.id)]).await?;
            if positions.iter().flat_map(|position| &position.holdings).any(|h| h.quantity > Shares::ZERO) {
                return Err(Refusal::ResolverHoldsPosition.into());
            }
        }
        let has_had_its_say = market.creator == caller.user
            || market.proposal.as_ref().is_some_and(|proposal| proposal.proposed_by == caller.user);
        match self.alone_up_to {
            Some(limit) if step == Step::Decides && has_had_its_say && market.volume > limit => {
                Err(Refusal::SecondPersonNeeded { limit }.into())
            }
            _ => Ok(()),
        }
    }
}
