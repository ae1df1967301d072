//! Markets: opened, changed, decided and deleted.

use std::sync::Arc;

use bellwether_domain::api_key::Scope;
use bellwether_domain::ids::ApiKeyId;
use bellwether_domain::market::{FeeRecipient, MarketStatus};
use bellwether_domain::money::{Credits, FeeRate, Price, Shares};
use bellwether_domain::order::{EndReason, Life, SelfTradePrevention, Side, Terms};
use bellwether_domain::ports::{Changes, MarketKey, MockQueries, MockStore, PageRequest, Start};
use bellwether_domain::position::Position;
use bellwether_domain::refusal::Refusal;
use bellwether_domain::score::{Figures, PaidPosition};
use bellwether_domain::user::Role;
use bellwether_usecases::markets::{
    MarketPatch, OpenMarket, OpeningOrder, Verdict, close_market, delete_market, edit_market, open_market,
    preview_resolution, propose_resolution, resolve_market,
};
use bellwether_usecases::{Caller, CallerKey, Error};
use jiff::SignedDuration;
use uuid::Uuid;

use crate::mocks::{Unit, account, context, market, market_id, now, store, user_id};
use crate::orders::resting;

/// Who opened the markets of these tests.
fn creator() -> Caller {
    Caller::signed_in(user_id(9), Role::User)
}

/// A unit that finds market 1 in that status, and is rolled back.
fn unit_that_changes_nothing(status: MarketStatus) -> Unit {
    let mut unit = Unit::default();
    unit.markets.expect_lock().returning(move |_| Ok(vec![market(1, status)]));
    unit.rolls_back()
}

/// A unit in which user 1 once made sets of a market without trades, and has so many left.
fn unit_with_sets_left(left: i64) -> Unit {
    let mut unit = Unit::default();
    unit.markets.expect_lock().times(1).returning(|_| Ok(vec![market(1, MarketStatus::Open)]));
    unit.scores.expect_positions_after().returning(|_, after, _| {
        let (user, spent, received) = (user_id(1), Credits::from_mills(5_000), Credits::from_mills(5_000));
        let position = PaidPosition { user, spent, received, figures: Figures::default() };
        Ok(if after < user { vec![position] } else { Vec::new() })
    });
    unit.positions.expect_load().withf(|pairs| pairs == [(user_id(2), market_id(1))]).returning(|_| Ok(Vec::new()));
    unit.positions.expect_load().withf(|pairs| pairs == [(user_id(1), market_id(1))]).returning(move |_| {
        let mut position = Position::empty(user_id(1), market_id(1), 2);
        position.holdings.iter_mut().for_each(|holding| holding.quantity = Shares::new(left));
        Ok(vec![position])
    });
    unit
}

/// Not one order is looked at, and nothing is written.
#[tokio::test]
async fn a_market_of_which_somebody_has_shares_is_left_as_it_is() {
    let ctx = context(store(1, |_| unit_with_sets_left(5).rolls_back()));
    let refused = delete_market(&ctx, creator(), market_id(1), None).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::MarketHasShares))), "{refused:?}");
}

/// Whose sets were all given back is counted in its users' scores all the same.
#[tokio::test]
async fn a_market_that_was_decided_is_left_as_it_is() {
    for status in [MarketStatus::Resolved, MarketStatus::Voided] {
        let ctx = context(store(1, move |_| unit_that_changes_nothing(status)));
        let refused = delete_market(&ctx, creator(), market_id(1), None).await;
        let decided = Refusal::MarketDecided(status);
        assert!(matches!(&refused, Err(Error::Refused(refusal)) if *refusal == decided), "{refused:?}");
    }
}

#[tokio::test]
async fn a_step_is_not_taken_with_another_version_than_was_named() {
    let current = market(1, MarketStatus::Open).version;
    let ctx = context(store(1, |_| unit_that_changes_nothing(MarketStatus::Open)));
    let refused = close_market(&ctx, creator(), market_id(1), Some(current - 1)).await;
    assert!(matches!(&refused, Err(Error::Refused(Refusal::StaleVersion { .. }))), "{refused:?}");
}

/// The house had a window when it was proposed, and has none any more.
#[tokio::test]
async fn what_was_proposed_is_not_decided_by_its_creator_alone() {
    for status in [MarketStatus::Proposed, MarketStatus::Disputed] {
        let ctx = context(store(1, move |_| unit_that_changes_nothing(status)));
        assert!(ctx.policy.challenge_window.is_zero());
        let verdict = Verdict::Weights(vec![("YES".to_owned(), 1000)]);
        let refused = resolve_market(&ctx, creator(), market_id(1), verdict, None).await;
        assert!(matches!(&refused, Err(Error::Refused(Refusal::Forbidden(_)))), "{refused:?}");
    }
}

#[tokio::test]
async fn a_market_whose_sets_were_all_given_back_is_deleted() {
    let ctx = context(store(1, |_| {
        let mut unit = unit_with_sets_left(0);
        unit.orders.expect_open_in_market().times(1).returning(|_, _| Ok(Vec::new()));
        unit.unit.expect_write().times(1).withf(|c| c.deleted_markets == [market_id(1)]).returning(|_| Ok(()));
        unit.commits()
    }));
    delete_market(&ctx, creator(), market_id(1), None).await.unwrap();
}

/// Else somebody could trade or make sets in between, and the market would stay without the orders.
#[tokio::test]
async fn orders_are_ended_and_their_market_deleted_in_one_unit() {
    let ctx = context(store(1, |_| {
        let mut unit = unit_with_sets_left(0);
        unit.orders.expect_open_in_market().times(1).returning(|_, _| Ok(vec![resting(1, 500, 10)]));
        unit.accounts.expect_lock().returning(|_| {
            let mut owner = account(2, 5_000);
            owner.held = Credits::from_mills(5_000);
            Ok(vec![owner])
        });
        let mut order = mockall::Sequence::new();
        let ends = |c: &Changes| c.orders.len() == 1 && c.orders[0].end_reason == Some(EndReason::MarketClosed);
        unit.unit.expect_write().times(1).in_sequence(&mut order).withf(ends).returning(|_| Ok(()));
        let deletes = |c: &Changes| c.deleted_markets == [market_id(1)];
        unit.unit.expect_write().times(1).in_sequence(&mut order).withf(deletes).returning(|_| Ok(()));
        unit.commits()
    }));
    delete_market(&ctx, creator(), market_id(1), None).await.unwrap();
}

#[tokio::test]
async fn weights_that_name_an_outcome_twice_are_refused_however_it_is_written() {
    for again in ["yes", "Yes", "\u{ff39}ES"] {
        let weights = [("YES", 1000), (again, 0), ("NO", 0)].map(|(name, weight)| (name.to_owned(), weight));
        let verdict = || Verdict::Weights(weights.to_vec());
        let ctx = context(store(2, |_| unit_that_changes_nothing(MarketStatus::Closed)));
        let resolved = resolve_market(&ctx, creator(), market_id(1), verdict(), None).await.map(drop);
        let proposed = propose_resolution(&ctx, creator(), market_id(1), verdict(), None, None).await.map(drop);

        let mut queries = MockQueries::new();
        queries.expect_market().returning(|_| Ok(Some(market(1, MarketStatus::Closed))));
        let mut ctx = context(MockStore::new());
        ctx.queries = Arc::new(queries);
        let page = PageRequest { sort: Vec::new(), start: Start::First, limit: 20 };
        let key = MarketKey::Id(market_id(1));
        let previewed = preview_resolution(&ctx, creator(), &key, &verdict(), &page).await.map(drop);
        for refused in [resolved, proposed, previewed] {
            assert!(matches!(refused, Err(Error::Refused(Refusal::WeightsDoNotAddUp))), "{again}: {refused:?}");
        }
    }
}

#[tokio::test]
async fn a_key_without_the_scope_to_trade_places_no_opening_order() {
    let order = OpeningOrder {
        outcome: "YES".to_owned(),
        side: Side::Buy,
        terms: Terms::Limit {
            price: Price::from_mills(400).unwrap(),
            quantity: Shares::new(10),
            life: Life::UntilCancelled,
            post_only: false,
        },
        backing: None,
        self_trade_prevention: SelfTradePrevention::CancelNewest,
        client_order_id: None,
    };
    let request = OpenMarket {
        question: "Q?".to_owned(),
        description: String::new(),
        category: None,
        tags: Vec::new(),
        outcomes: vec!["YES".to_owned(), "NO".to_owned()],
        closes_at: now() + SignedDuration::from_hours(1),
        fee_rate: FeeRate::ZERO,
        fee_recipient: FeeRecipient::House,
        liquidity: None,
        opening_order: Some(order),
    };
    let scopes = [Scope::Read, Scope::Admin].into_iter().collect();
    let key = CallerKey { id: ApiKeyId(Uuid::from_u128(1)), owner: None, scopes, is_limited: false };
    let caller = Caller { key: Some(key), ..creator() };
    let refused = open_market(&context(MockStore::new()), caller, request, None).await.map(drop);
    assert!(matches!(refused, Err(Error::Refused(Refusal::OutOfScope(Some(Scope::Trade))))), "{refused:?}");
}

#[tokio::test]
async fn the_closing_time_of_a_market_that_has_closed_is_said_to_be_the_fault() {
    for status in [MarketStatus::Closed, MarketStatus::Resolved] {
        let ctx = context(store(1, move |_| unit_that_changes_nothing(status)));
        let closes_at = Some(now() + SignedDuration::from_hours(2));
        let patch = MarketPatch { closes_at, ..MarketPatch::default() };
        let Err(Error::Refused(refusal)) = edit_market(&ctx, creator(), market_id(1), patch, None).await else {
            panic!("a market that is {} closes anew", status.as_str())
        };
        assert_eq!(refusal, Refusal::ClosingTimeFixed(status));
        assert!(refusal.to_string().ends_with("so its closing time can no longer be changed"), "{refusal}");
    }
}

/// Whether or not it was closed yet.
#[tokio::test]
async fn a_market_past_its_closing_time_is_not_given_a_later_one() {
    for status in [MarketStatus::Open, MarketStatus::Halted] {
        let ctx = context(store(1, move |_| {
            let mut unit = Unit::default();
            unit.markets.expect_lock().returning(move |_| {
                let mut market = market(1, status);
                market.closes_at = now();
                Ok(vec![market])
            });
            unit.rolls_back()
        }));
        let closes_at = Some(now() + SignedDuration::from_hours(2));
        let patch = MarketPatch { closes_at, ..MarketPatch::default() };
        let refused = edit_market(&ctx, creator(), market_id(1), patch, None).await;
        let closed = Refusal::ClosingTimeFixed(MarketStatus::Closed);
        assert!(matches!(&refused, Err(Error::Refused(refusal)) if *refusal == closed), "{refused:?}");
    }
}
