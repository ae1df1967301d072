//! Complete sets by hand, in a unit of work of their own: the market is locked, and of accounts only the user's
//! and the collateral.

use async_trait::async_trait;
use bellwether_domain::exchange::{ExchangeSets, SetsExchanged, State, Stop};
use bellwether_domain::ids::{AccountId, ApiKeyId};
use bellwether_domain::market::Market;
use bellwether_domain::ports::{StoreError, UnitOfWork, Wanted};
use bellwether_domain::position::Position;
use bellwether_domain::refusal::Refusal;
use bellwether_domain::user::UserStatus;

use super::group::moment;
use crate::atomically::{Script, Step, atomically};
use crate::{Answered, Caller, Context, Error, Keyed};

/// Complete sets that were made or given back, and their market.
#[derive(Debug, Clone, PartialEq)]
pub struct SetsDone {
    /// The market.
    pub market: Market,
    /// What came of it.
    pub sets: SetsExchanged,
}

/// Makes complete sets for a caller's credits, or credits of its complete sets. Refused where the market takes no
/// orders, for want of credits or free shares, beyond the limits of the API key, and for an inactive user.
pub async fn exchange_sets(
    ctx: &Context,
    caller: Caller,
    command: ExchangeSets,
    keyed: Option<Keyed<SetsDone>>,
) -> Result<Answered<SetsDone>, Error> {
    atomically(ctx, SetsScript { command, key: caller.limited_key(), keyed }).await
}

struct SetsScript {
    command: ExchangeSets,
    key: Option<ApiKeyId>,
    keyed: Option<Keyed<SetsDone>>,
}

#[async_trait]
impl Script for SetsScript {
    type Output = Answered<SetsDone>;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Answered<SetsDone>>, Error> {
        let wanted = Wanted {
            answers: self.keyed.iter().map(|keyed| keyed.key.clone()).collect(),
            users: vec![self.command.user],
            lock_markets: vec![self.command.market],
            ..Wanted::default()
        };
        let found = unit.load(wanted).await?;
        if let Some(keyed) = &self.keyed
            && let Some(kept) = keyed.replay(&found.answers)?
        {
            return Ok(Step::Commit(Answered::Replayed(kept)));
        }
        if !found.statuses.iter().any(|(_, status)| *status == UserStatus::Active) {
            return Err(Refusal::UserInactive.into());
        }
        let market = found.markets.into_iter().next().ok_or(Refusal::MarketNotFound)?;
        let mut moment = moment(ctx);
        let mut state = self.load(unit, market, moment.now).await?;
        if let Some(key) = self.key {
            let usage = state.key(key).ok_or(Refusal::KeyInactive)?;
            usage.check(Some(self.command.market), moment.now)?;
            moment.limits.key = usage.key.limits.counts().then_some(key);
        }
        let sets = match state.exchange_sets(&self.command, &mut ctx.ids.fresh(), moment) {
            Ok(sets) => sets,
            Err(Stop::Refused(refusal)) => return Err(refusal.into()),
            Err(stop) => return Err(StoreError::Corrupt(stop.to_string()).into()),
        };
        let market = state.market(self.command.market).cloned().ok_or(Refusal::MarketNotFound)?;
        let done = SetsDone { market, sets };
        let mut changes = state.into_changes();
        changes.answers.extend(self.keyed.iter().map(|keyed| keyed.keep(&done, moment.now)));
        unit.write(&changes).await?;
        Ok(Step::Commit(Answered::Fresh(done)))
    }
}

impl SetsScript {
    async fn load(&self, unit: &mut dyn UnitOfWork, market: Market, now: jiff::Timestamp) -> Result<State, StoreError> {
        let ExchangeSets { user, .. } = self.command;
        let held = unit
            .load(Wanted {
                lock_accounts: vec![AccountId::of_user(user), market.collateral()],
                positions: vec![(user, market.id)],
                key_usages: self.key.into_iter().collect(),
                ..Wanted::default()
            })
            .await?;
        let mut state = State::default();
        held.accounts.into_iter().for_each(|account| state.add_account(account));
        state.add_position(Position::empty(user, market.id, market.outcomes.len()));
        held.positions.into_iter().for_each(|position| state.add_position(position));
        for mut usage in held.key_usages {
            usage.turn_to(now);
            state.add_key(usage);
        }
        state.add_market(market);
        Ok(state)
    }
}
