//! Opening a market, in one unit of work with all that belongs to it.

use async_trait::async_trait;
use bellwether_domain::book::BookSide;
use bellwether_domain::exchange::{State, Stop};
use bellwether_domain::ids::{AccountId, FreshIds, MarketId, TransferId};
use bellwether_domain::ledger::{self, Account, Owner, Posting, Reference, Transfer, TransferKind};
use bellwether_domain::lmsr::{Lmsr, LmsrError};
use bellwether_domain::market::{Maker, Market, MarketStatus, Outcome, OutcomeId};
use bellwether_domain::money::{Credits, FeeRate};
use bellwether_domain::order::{OutcomeSpec, PlaceOrder, Side};
use bellwether_domain::ports::{Changes, StoreError, UnitOfWork};
use bellwether_domain::position::Position;
use bellwether_domain::refusal::Refusal;
use bellwether_domain::text::Slug;
use bellwether_domain::user::UserStatus;
use jiff::Timestamp;

use super::{Liquidity, OpenMarket, Opened, OpeningOrder};
use crate::atomically::{Script, Step};
use crate::idempotency::find_answer;
use crate::trading::{Placed, moment};
use crate::{Answered, Caller, Context, Error, Keyed};

/// The script.
pub(super) struct OpenScript {
    pub(super) caller: Caller,
    pub(super) request: OpenMarket,
    pub(super) keyed: Option<Keyed<Opened>>,
}

#[async_trait]
impl Script for OpenScript {
    type Output = Answered<Opened>;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Answered<Opened>>, Error> {
        if let Some(kept) = find_answer(unit, self.keyed.as_ref()).await? {
            return Ok(Step::Commit(Answered::Replayed(kept)));
        }
        let (now, mut ids) = (ctx.clock.now(), ctx.ids.fresh());
        if self.request.closes_at <= now {
            return Err(Refusal::ClosesInThePast.into());
        }
        let creator = unit.users().load(&[self.caller.user]).await?.into_iter().next();
        creator.filter(|u| u.status == UserStatus::Active).ok_or(Refusal::UserInactive)?;

        let mut market = self.new_market(MarketId(ids.next_uuid()), now);
        let mut state = State::default();
        let mut changes = Changes::default();
        for account in self.lock_accounts(unit, &market).await? {
            state.add_account(account);
        }
        let collateral = Account::open(market.collateral(), Owner::Market(market.id), now);
        changes.new_accounts.push(collateral.clone());
        state.add_account(collateral);
        if let Some(liquidity) = &self.request.liquidity {
            let (maker, account, subsidy, funder) = endow(&market, liquidity, &state, &mut ids, now)?;
            changes.new_accounts.push(account.clone());
            changes.transfers.push(subsidy);
            changes.accounts.push(funder.clone());
            state.add_account(account);
            state.add_account(funder);
            market.maker = Some(maker);
        }
        let id = market.id;
        changes.new_markets.push(market.clone());
        state.add_market(market);
        let opening_order = match &self.request.opening_order {
            Some(order) => Some(self.place(ctx, unit, &mut state, id, order, &mut ids).await?),
            None => None,
        };
        merge(&mut changes, state.into_changes());
        let market = changes.new_markets.first().cloned().ok_or(Refusal::MarketNotFound)?;
        let opened = Opened { market, opening_order };
        changes.answers.extend(self.keyed.as_ref().map(|keyed| keyed.keep(&opened, now)));
        unit.write(&changes).await?;
        Ok(Step::Commit(Answered::Fresh(opened)))
    }
}

impl OpenScript {
    fn new_market(&self, id: MarketId, now: Timestamp) -> Market {
        let request = &self.request;
        let simple = id.0.simple().to_string();
        let suffix: String = simple.chars().skip(24).collect();
        Market {
            id,
            slug: Slug::from_question(&request.question, &suffix),
            question: request.question.clone(),
            description: request.description.clone(),
            category: request.category.clone(),
            tags: request.tags.clone(),
            creator: self.caller.user,
            outcomes: request.outcomes.iter().map(|name| Outcome { name: name.clone(), last_price: None }).collect(),
            status: MarketStatus::Open,
            closes_at: request.closes_at,
            fee_rate: request.fee_rate,
            fee_recipient: request.fee_recipient,
            maker: None,
            volume: Credits::ZERO,
            trade_count: 0,
            sequence: 0,
            proposal: None,
            resolution: None,
            settled_at: None,
            version: 1,
            created_at: now,
            updated_at: now,
        }
    }

    async fn lock_accounts(&self, unit: &mut dyn UnitOfWork, market: &Market) -> Result<Vec<Account>, StoreError> {
        let mut ids = Vec::new();
        if self.request.liquidity.is_some() || self.request.opening_order.is_some() {
            ids.push(AccountId::of_user(self.caller.user));
        }
        if self.request.opening_order.is_some() && market.fee_rate != FeeRate::ZERO {
            ids.push(market.fee_account());
        }
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() { Ok(Vec::new()) } else { unit.accounts().lock(&ids).await }
    }

    async fn place(
        &self,
        ctx: &Context,
        unit: &mut dyn UnitOfWork,
        state: &mut State,
        market: MarketId,
        order: &OpeningOrder,
        ids: &mut FreshIds,
    ) -> Result<Placed, Error> {
        let user = self.caller.user;
        if let Some(client_id) = &order.client_order_id {
            for known in unit.orders().with_client_ids(&[(user, client_id.clone())]).await? {
                state.add_client_id(user, client_id.clone(), known.id);
            }
        }
        // Nobody has traded here: all books are empty, and known to be.
        for outcome in (0..self.request.outcomes.len()).filter_map(OutcomeId::new) {
            for side in [Side::Buy, Side::Sell] {
                state.add_side(market, outcome, BookSide::empty(side), side, Vec::new());
            }
        }
        state.add_position(Position::empty(user, market, self.request.outcomes.len()));
        state.set_open_count(user, market, 0);
        let command = PlaceOrder {
            market,
            user,
            outcome: OutcomeSpec::Name(order.outcome.clone()),
            side: order.side,
            terms: order.terms,
            backing: order.backing,
            self_trade_prevention: order.self_trade_prevention,
            client_order_id: order.client_order_id.clone(),
            valid_until: None,
            reduce_only: false,
            placed_by: self.caller.key.map(|key| key.id),
            group: None,
        };
        match state.place(&command, ids, moment(ctx)) {
            Ok(executed) => Ok(executed.into()),
            Err(Stop::Refused(refusal)) => Err(refusal.into()),
            Err(stop) => Err(StoreError::Corrupt(stop.to_string()).into()),
        }
    }
}

/// The market maker, its account with the subsidy on it, the transfer, and the funder after it.
fn endow(
    market: &Market,
    liquidity: &Liquidity,
    state: &State,
    ids: &mut FreshIds,
    now: Timestamp,
) -> Result<(Maker, Account, Transfer, Account), Error> {
    let outcomes = market.outcomes.len();
    let probabilities = liquidity.probabilities.clone().unwrap_or_else(|| even(outcomes));
    if probabilities.len() != outcomes {
        return Err(Refusal::BadLiquidity("there must be one probability for each outcome").into());
    }
    let lmsr = Lmsr::from_subsidy(liquidity.subsidy, &probabilities).map_err(unusable)?;
    let mut account = Account::open(AccountId(ids.next_uuid()), Owner::Maker(market.id), now);
    let mut funder = state.account(AccountId::of_user(market.creator)).cloned().ok_or(Refusal::AccountNotFound)?;
    let posting = Posting {
        id: TransferId(ids.next_uuid()),
        amount: liquidity.subsidy,
        kind: TransferKind::Subsidy,
        reference: Reference { market: Some(market.id), trade: None },
        memo: None,
    };
    let subsidy = ledger::transfer(&mut funder, &mut account, posting, now)?;
    let maker = Maker { account: account.id, funder: market.creator, subsidy: liquidity.subsidy, probabilities, lmsr };
    Ok((maker, account, subsidy, funder))
}

/// Why there can be no market maker of that liquidity. How little and how much it can be given depends on its least
/// probability; what is named goes with any.
fn unusable(error: LmsrError) -> Refusal {
    Refusal::BadLiquidity(match error {
        LmsrError::Liquidity => {
            "the subsidy is too small or too large for these probabilities; from 0.007 to 693000000000 goes with any"
        }
        _ => "the probabilities must be at least 0.001 and add up to 1",
    })
}

/// Probabilities that are as equal as whole mills allow, adding up to 1000.
fn even(outcomes: usize) -> Vec<u16> {
    bellwether_domain::market::Weights::proportional(&vec![1; outcomes]).as_slice().to_vec()
}

/// Puts what the opening order changed over what was to be written anyway: each row once, in its last state.
fn merge(changes: &mut Changes, of_order: Changes) {
    changes.new_orders = of_order.new_orders;
    changes.orders = of_order.orders;
    changes.positions = of_order.positions;
    changes.trades = of_order.trades;
    changes.transfers.extend(of_order.transfers);
    changes.news = of_order.news;
    for market in of_order.markets {
        changes.new_markets = vec![market];
    }
    for account in of_order.accounts {
        let known = changes.new_accounts.iter_mut().chain(&mut changes.accounts).find(|a| a.id == account.id);
        match known {
            Some(known) => *known = account,
            None => changes.accounts.push(account),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subsidy_that_is_refused_is_said_to_be_the_reason_and_what_is_named_goes_with_any_probabilities() {
        let made = |mills, probabilities: &[u16]| {
            Lmsr::from_subsidy(Credits::from_mills(mills), probabilities).map(drop).map_err(unusable)
        };
        for probabilities in [vec![500, 500], even(3), even(20), vec![1, 999]] {
            for mills in [7, 693_000_000_000_000] {
                assert_eq!(made(mills, &probabilities), Ok(()), "{mills} mills for {probabilities:?}");
            }
            for mills in [0, 8_000_000_000_000_000_000] {
                let Err(Refusal::BadLiquidity(why)) = made(mills, &probabilities) else { panic!("{mills} mills") };
                assert!(why.starts_with("the subsidy is too small or too large"), "{why}");
            }
        }
        assert!(made(1, &even(3)).is_err());
        let Err(Refusal::BadLiquidity(why)) = made(1_000, &[0, 1000]) else { panic!("an impossible outcome") };
        assert!(why.starts_with("the probabilities must"), "{why}");
    }
}
