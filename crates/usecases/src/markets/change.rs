//! Every change of a market but its opening and its deletion.

use async_trait::async_trait;
use bellwether_domain::audit_log::{Action, Event};
use bellwether_domain::event::{self, MarketData};
use bellwether_domain::ids::MarketId;
use bellwether_domain::market::{Market, MarketStatus, Proposal, Resolution, Weights};
use bellwether_domain::permissions::Permission;
use bellwether_domain::ports::{Changes, UnitOfWork};
use bellwether_domain::refusal::Refusal;
use jiff::Timestamp;

use super::{MarketPatch, Verdict, independence, moderation, require};
use crate::atomically::{Script, Step};
use crate::{Caller, Context, Error};

/// What is to change.
pub(super) enum Change {
    Edit(MarketPatch),
    Halt,
    Reopen,
    Close,
    Propose { verdict: Verdict, evidence_url: Option<String> },
    Dispute { reason: String },
    Resolve { verdict: Verdict },
    Void { reason: String },
}

/// The script.
pub(super) struct ChangeMarket {
    pub(super) caller: Caller,
    pub(super) id: MarketId,
    pub(super) version: Option<i64>,
    pub(super) change: Change,
}

#[async_trait]
impl Script for ChangeMarket {
    type Output = Market;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Market>, Error> {
        let mut market = unit.markets().lock(&[self.id]).await?.into_iter().next().ok_or(Refusal::MarketNotFound)?;
        if self.version.is_some_and(|v| v != market.version) {
            return Err(Refusal::StaleVersion { current: market.version }.into());
        }
        let before = market.clone();
        self.apply(&mut market, ctx, ctx.clock.now())?;
        if let Some(step) = self.step(&market) {
            ctx.policy.independence.check(unit, &before, self.caller, step).await?;
        }
        let events = self.event(ctx, &before, &market).into_iter().collect();
        let news = vec![self.news(&market)];
        unit.write(&Changes { markets: vec![market.clone()], events, news, ..Changes::default() }).await?;
        Ok(Step::Commit(market))
    }
}

impl ChangeMarket {
    /// How far the change went towards an outcome, if it did.
    fn step(&self, after: &Market) -> Option<independence::Step> {
        match &self.change {
            Change::Propose { .. } if after.status == MarketStatus::Proposed => Some(independence::Step::Names),
            Change::Propose { .. } | Change::Resolve { .. } | Change::Void { .. } => Some(independence::Step::Decides),
            Change::Edit(_) | Change::Halt | Change::Reopen | Change::Close | Change::Dispute { .. } => None,
        }
    }

    /// Disputes are everybody's; the rest is told where a moderator did it.
    fn event(&self, ctx: &Context, before: &Market, after: &Market) -> Option<Event> {
        let action = match &self.change {
            Change::Edit(_) => Action::MarketEdited,
            Change::Halt => Action::MarketHalted,
            Change::Reopen => Action::MarketReopened,
            Change::Close => Action::MarketClosed,
            Change::Propose { .. } if after.status == MarketStatus::Resolved => Action::MarketResolved,
            Change::Propose { .. } => Action::MarketProposed,
            Change::Dispute { .. } => return None,
            Change::Resolve { .. } => Action::MarketResolved,
            Change::Void { .. } => Action::MarketVoided,
        };
        moderation(ctx, self.caller, action, before, Some(after))
    }

    fn news(&self, after: &Market) -> event::Event {
        let data = MarketData::of(after);
        match &self.change {
            Change::Edit(_) => event::Event::MarketUpdated(data),
            Change::Halt => event::Event::MarketHalted(data),
            Change::Reopen => event::Event::MarketReopened(data),
            Change::Close => event::Event::MarketClosed(data),
            Change::Propose { .. } if after.status == MarketStatus::Proposed => event::Event::MarketProposed(data),
            Change::Dispute { .. } => event::Event::MarketDisputed(data),
            Change::Propose { .. } | Change::Resolve { .. } => event::Event::MarketResolved(data),
            Change::Void { .. } => event::Event::MarketVoided(data),
        }
    }

    fn apply(&self, market: &mut Market, ctx: &Context, now: Timestamp) -> Result<(), Refusal> {
        let caller = self.caller;
        match &self.change {
            Change::Edit(patch) => {
                require(Permission::WriteMarket, caller, market)?;
                edit(market, patch, now)
            }
            Change::Halt => {
                require(Permission::HaltMarket, caller, market)?;
                market.become_status(MarketStatus::Halted, now)
            }
            Change::Reopen => {
                require(Permission::HaltMarket, caller, market)?;
                market.become_status(MarketStatus::Open, now)
            }
            Change::Close => {
                require(Permission::CloseMarket, caller, market)?;
                market.become_status(MarketStatus::Closed, now)
            }
            Change::Propose { verdict, evidence_url } => {
                require(Permission::ProposeOutcome, caller, market)?;
                self.propose(market, verdict, evidence_url.clone(), ctx, now)
            }
            Change::Dispute { reason } => {
                require(Permission::DisputeOutcome, caller, market)?;
                dispute(market, caller, reason, now)
            }
            Change::Resolve { verdict } => {
                // What was proposed while there was a window may be disputed, or is: then it is for moderators, whatever the
                // window is now.
                let was_proposed = matches!(market.status, MarketStatus::Proposed | MarketStatus::Disputed);
                let decides_alone = ctx.policy.challenge_window.is_zero() && !was_proposed;
                let permission = if decides_alone { Permission::ResolveMarket } else { Permission::DecideMarket };
                require(permission, caller, market)?;
                let weights = weights_of(market, verdict)?;
                decide(market, weights, Some(caller), None, MarketStatus::Resolved, now)
            }
            Change::Void { reason } => {
                let has_traded = market.trade_count > 0;
                let permission = if has_traded { Permission::VoidTradedMarket } else { Permission::VoidMarket };
                require(permission, caller, market)?;
                let weights = market.void_weights();
                decide(market, weights, Some(caller), Some(reason.clone()), MarketStatus::Voided, now)
            }
        }
    }

    fn propose(
        &self,
        market: &mut Market,
        verdict: &Verdict,
        evidence_url: Option<String>,
        ctx: &Context,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let weights = weights_of(market, verdict)?;
        market.become_status(MarketStatus::Proposed, now)?;
        let challenge_until = now.checked_add(ctx.policy.challenge_window).map_err(|_| Refusal::OutOfRange)?;
        market.proposal = Some(Proposal {
            weights: weights.clone(),
            evidence_url,
            proposed_by: self.caller.user,
            proposed_at: now,
            challenge_until,
            disputed_by: None,
            dispute_reason: None,
        });
        if challenge_until > now {
            return Ok(());
        }
        decide(market, weights, Some(self.caller), None, MarketStatus::Resolved, now)
    }
}

fn edit(market: &mut Market, patch: &MarketPatch, now: Timestamp) -> Result<(), Refusal> {
    let changes_question = patch.question.as_ref().is_some_and(|q| *q != market.question);
    let changes_description = patch.description.as_ref().is_some_and(|d| *d != market.description);
    if market.trade_count > 0 && changes_question {
        return Err(Refusal::FixedAfterTrading("the question"));
    }
    if market.trade_count > 0 && changes_description {
        return Err(Refusal::FixedAfterTrading("the description"));
    }
    if let Some(closes_at) = patch.closes_at.filter(|at| *at != market.closes_at) {
        if !market.status.has_live_orders() {
            return Err(Refusal::ClosingTimeFixed(market.status));
        }
        // It has closed at its time, whether or not that was written down yet.
        if market.closes_at <= now {
            return Err(Refusal::ClosingTimeFixed(MarketStatus::Closed));
        }
        if closes_at <= now {
            return Err(Refusal::ClosesInThePast);
        }
        market.closes_at = closes_at;
    }
    if let Some(question) = &patch.question {
        market.question.clone_from(question);
    }
    if let Some(description) = &patch.description {
        market.description.clone_from(description);
    }
    if let Some(category) = &patch.category {
        market.category.clone_from(category);
    }
    if let Some(tags) = &patch.tags {
        market.tags.clone_from(tags);
    }
    market.touch(now);
    Ok(())
}

fn dispute(market: &mut Market, caller: Caller, reason: &str, now: Timestamp) -> Result<(), Refusal> {
    let until = market.proposal.as_ref().map(|p| p.challenge_until);
    if let Some(until) = until.filter(|until| market.status == MarketStatus::Proposed && *until <= now) {
        return Err(Refusal::ChallengeWindowOver(until));
    }
    market.become_status(MarketStatus::Disputed, now)?;
    if let Some(proposal) = &mut market.proposal {
        proposal.disputed_by = Some(caller.user);
        proposal.dispute_reason = Some(reason.to_owned());
    }
    Ok(())
}

/// Decides a market; what it owes is paid afterwards.
pub(crate) fn decide(
    market: &mut Market,
    weights: Weights,
    by: Option<Caller>,
    reason: Option<String>,
    status: MarketStatus,
    now: Timestamp,
) -> Result<(), Refusal> {
    market.become_status(status, now)?;
    market.resolution = Some(Resolution { weights, decided_by: by.map(|c| c.user), decided_at: now, reason });
    Ok(())
}

pub(super) fn weights_of(market: &Market, verdict: &Verdict) -> Result<Weights, Refusal> {
    let outcomes = market.outcomes.len();
    let find = |name: &str| {
        market.outcome_named(name).ok_or_else(|| {
            let known: Vec<&str> = market.outcomes.iter().map(|o| o.name.as_str()).collect();
            Refusal::OutcomeNotFound { name: name.to_owned(), known: known.join(", ") }
        })
    };
    match verdict {
        Verdict::Outcome(name) => Ok(Weights::winner(find(name)?, outcomes)),
        Verdict::Weights(named) => {
            let mut weights = vec![None; outcomes];
            for (name, weight) in named {
                // Names that only look different are the same outcome, and it has one weight.
                let slot = weights.get_mut(find(name)?.index()).filter(|slot| slot.is_none());
                *slot.ok_or(Refusal::WeightsDoNotAddUp)? = Some(*weight);
            }
            Weights::new(weights.into_iter().map(Option::unwrap_or_default).collect(), outcomes)
        }
    }
}
