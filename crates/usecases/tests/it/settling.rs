//! What time makes due.

use bellwether_domain::ids::{AccountId, MarketId, UserId};
use bellwether_domain::job::JobKind;
use bellwether_domain::ledger::{Account, Owner};
use bellwether_domain::market::{Market, MarketStatus, OutcomeId, Resolution, Weights};
use bellwether_domain::money::{Credits, Shares};
use bellwether_domain::order::{EndReason, Order, OrderStatus};
use bellwether_domain::ports::{Changes, Look, MockPasswordHasher, MockQueries, MockTokenSigner, Page, StoreError};
use bellwether_domain::position::Position;
use bellwether_domain::score::Counting;
use bellwether_domain::user::Role;
use bellwether_usecases::settling::{Turns, settle_market, tick};
use bellwether_usecases::users::deactivate_user;
use bellwether_usecases::{Caller, Error};
use jiff::SignedDuration;
use uuid::Uuid;

use crate::mocks::{
    Unit, account, context, context_with, market, market_id, nothing_else_due, now, store, user, user_id,
};
use crate::orders::resting;

/// Five complete sets: user 1 has the YES shares, user 2 the NO shares.
fn decided() -> (Market, Vec<Position>, Account) {
    let mut market = market(1, MarketStatus::Resolved);
    let weights = Weights::winner(OutcomeId::FIRST, 2);
    market.resolution = Some(Resolution { weights, decided_by: None, decided_at: now(), reason: None });
    let mut positions: Vec<Position> = (1..=2).map(|n| Position::empty(user_id(n), market.id, 2)).collect();
    positions[0].holdings[0].quantity = Shares::new(5);
    positions[1].holdings[1].quantity = Shares::new(5);
    let mut collateral = Account::open(market.collateral(), Owner::Market(market.id), now());
    collateral.balance = Credits::from_mills(5_000);
    (market, positions, collateral)
}

/// Threat 38: each position is paid once, and the collateral ends at exactly zero.
#[tokio::test]
async fn a_decided_market_pays_its_positions_and_then_ends() {
    let ctx = context(store(2, |run| {
        let (market, positions, mut collateral) = decided();
        let mut unit = Unit::default();
        unit.markets.expect_lock().returning(move |_| Ok(vec![market.clone()]));
        unit.orders.expect_open_in_market().returning(|_, _| Ok(Vec::new()));
        if run == 0 {
            unit.positions
                .expect_unsettled()
                .withf(|_, after, _| after.0.is_nil())
                .returning(move |_, _, _| Ok(positions.clone()));
            unit.unit
                .expect_write()
                .times(1)
                .withf(|c| {
                    c.transfers.len() == 1
                        && c.transfers[0].amount == Credits::from_mills(5_000)
                        && c.positions.iter().all(|p| p.settled_at.is_some())
                        && c.markets.is_empty()
                })
                .returning(|_| Ok(()));
        } else {
            collateral.balance = Credits::ZERO;
            for after in [user_id(2), UserId(Uuid::nil())] {
                let from_there = move |_: &MarketId, asked: &UserId, _: &u32| *asked == after;
                unit.positions.expect_unsettled().times(1).withf(from_there).returning(|_, _, _| Ok(Vec::new()));
            }
            unit.unit
                .expect_write()
                .times(1)
                .withf(|c| {
                    c.markets[0].settled_at.is_some()
                        && c.transfers.is_empty()
                        && c.countings == [Counting::of(market_id(1))]
                        && c.new_jobs[0].kind == JobKind::Statistics
                })
                .returning(|_| Ok(()));
        }
        unit.accounts.expect_lock().returning(move |_| Ok(vec![account(1, 0), account(2, 0), collateral.clone()]));
        unit.commits()
    }));
    assert!(settle_market(&ctx, market_id(1)).await.unwrap());
}

/// Money that is left over or missing is a fault to be seen, never to be written away.
#[tokio::test]
async fn a_collateral_that_does_not_come_out_at_zero_stops_the_settlement() {
    let ctx = context(store(1, |_| {
        let (market, _, mut collateral) = decided();
        collateral.balance = Credits::from_mills(1);
        let mut unit = Unit::default();
        unit.markets.expect_lock().returning(move |_| Ok(vec![market.clone()]));
        unit.orders.expect_open_in_market().returning(|_, _| Ok(Vec::new()));
        unit.positions.expect_unsettled().returning(|_, _, _| Ok(Vec::new()));
        unit.accounts.expect_lock().returning(move |_| Ok(vec![collateral.clone()]));
        unit.rolls_back()
    }));
    let error = settle_market(&ctx, market_id(1)).await.unwrap_err();
    assert!(matches!(error, Error::Store(StoreError::Corrupt(_))), "{error:?}");
}

#[tokio::test]
async fn a_market_that_trades_is_not_settled() {
    let ctx = context(store(1, |_| {
        let mut unit = Unit::default();
        unit.markets.expect_lock().returning(|_| Ok(vec![market(1, MarketStatus::Halted)]));
        unit.rolls_back()
    }));
    assert!(settle_market(&ctx, market_id(1)).await.unwrap());
}

/// One market that cannot be closed does not keep the others open, nor does a question that fails.
#[tokio::test]
async fn a_tick_does_everything_that_it_can_and_reports_the_first_failure() {
    let mut queries = MockQueries::new();
    queries.expect_markets_to_close().returning(|_, _| Ok(vec![market_id(1), market_id(2)]));
    queries.expect_orders_to_expire().returning(|_, _| Err(StoreError::Corrupt("too late to be the first".to_owned())));
    nothing_else_due(&mut queries);
    let store = store(4, |run| {
        let mut unit = Unit::default();
        let mut row = market(u128::from(run) + 1, MarketStatus::Open);
        row.closes_at = now();
        match run {
            0 => {
                unit.markets.expect_lock().returning(|_| Err(StoreError::Unavailable("gone".into())));
                unit.rolls_back()
            }
            1 => {
                unit.markets.expect_lock().returning(move |_| Ok(vec![row.clone()]));
                unit.unit
                    .expect_write()
                    .times(1)
                    .withf(|c| c.markets[0].status == MarketStatus::Closed)
                    .returning(|_| Ok(()));
                unit.commits()
            }
            _ => {
                unit.markets.expect_lock().returning(|_| Ok(Vec::new()));
                unit.rolls_back()
            }
        }
    });
    let ctx = context_with(store, queries, MockPasswordHasher::new(), MockTokenSigner::new());
    let error = tick(&ctx, &mut Turns::default()).await.unwrap_err();
    assert!(matches!(error, Error::Store(StoreError::Unavailable(_))), "{error:?}");
    assert_eq!(AccountId::of_market(market_id(1)).0, market_id(1).0);
}

/// Open orders of user 2 in market 2, past their date, as they were when they were found to be due.
fn expired(count: u128) -> Vec<Order> {
    let order = |n| Order { market: market_id(2), expires_at: Some(now()), ..resting(n, 60, 1) };
    (1..=count).map(order).collect()
}

/// A unit that finds these orders in market 2 when it has locked it.
fn unit_with(orders: Vec<Order>, status: MarketStatus) -> Unit {
    let mut unit = Unit::default();
    unit.markets.expect_lock().withf(|ids| ids == [market_id(2)]).returning(move |_| Ok(vec![market(2, status)]));
    unit.orders.expect_load().returning(move |_| Ok(orders.clone()));
    unit.accounts.expect_lock().returning(|_| {
        let mut account = account(2, 100_000);
        account.held = Credits::from_mills(10_000);
        Ok(vec![account])
    });
    unit.positions.expect_load().returning(|_| Ok(Vec::new()));
    unit
}

/// What expires at the same time is ended in one unit of work for each market: what is due still when the market is locked.
#[tokio::test]
async fn orders_expire_together_and_a_market_that_fails_keeps_no_other() {
    let mut queries = MockQueries::new();
    queries.expect_orders_to_expire().returning(|_, _| {
        let due = expired(5).into_iter().map(|order| (order.market, order.id));
        Ok([(market_id(1), resting(9, 60, 1).id)].into_iter().chain(due).collect())
    });
    nothing_else_due(&mut queries);
    let store = store(2, |run| {
        if run == 0 {
            let mut unit = Unit::default();
            unit.markets.expect_lock().returning(|_| Err(StoreError::Unavailable("gone".into())));
            return unit.rolls_back();
        }
        let mut found = expired(5);
        found[0].end(OrderStatus::Filled, None, now());
        found[1].expires_at = Some(now() + SignedDuration::from_secs(1));
        let mut unit = unit_with(found, MarketStatus::Open);
        let all_expired =
            |c: &Changes| c.orders.len() == 3 && c.orders.iter().all(|o| o.status == OrderStatus::Expired);
        unit.unit.expect_write().times(1).withf(all_expired).returning(|_| Ok(()));
        unit.commits()
    });
    let ctx = context_with(store, queries, MockPasswordHasher::new(), MockTokenSigner::new());
    let error = tick(&ctx, &mut Turns::default()).await.unwrap_err();
    assert!(matches!(error, Error::Store(StoreError::Unavailable(_))), "{error:?}");
}

/// Whoever deletes an account waits for a few pages of its orders alone.
#[tokio::test]
async fn a_request_ends_a_few_pages_of_the_orders_of_who_is_deleted() {
    let mut queries = MockQueries::new();
    let page = || Page { items: expired(100), total: None, has_more: true };
    queries.expect_orders().times(4).returning(move |_, _| Ok(page()));
    let store = store(5, |run| {
        if run > 0 {
            let mut unit = unit_with(expired(100), MarketStatus::Open);
            let all_ended = |c: &Changes| {
                c.orders.len() == 100 && c.orders.iter().all(|o| o.end_reason == Some(EndReason::UserDeactivated))
            };
            unit.unit.expect_write().times(1).withf(all_ended).returning(|_| Ok(()));
            return unit.commits();
        }
        let mut unit = Unit::default();
        unit.users.expect_lock().returning(|_| Ok(vec![user(2)]));
        unit.users.expect_lock_admins().returning(|| Ok(Vec::new()));
        unit.sessions.expect_lock_of_user().returning(|_| Ok(Vec::new()));
        unit.mail_tokens.expect_of_user().returning(|_| Ok(Vec::new()));
        unit.unit.expect_write().times(1).returning(|_| Ok(()));
        unit.commits()
    });
    let ctx = context_with(store, queries, MockPasswordHasher::new(), MockTokenSigner::new());
    deactivate_user(&ctx, Caller::signed_in(user_id(2), Role::User), user_id(2), None).await.unwrap();
}

/// A unit that finds market 7 as it is, with nothing open.
fn unit_of_closed() -> Unit {
    let mut unit = Unit::default();
    unit.markets
        .expect_lock()
        .withf(|ids| ids == [market_id(7)])
        .returning(|_| Ok(vec![market(7, MarketStatus::Closed)]));
    unit.orders.expect_open_in_market().returning(|_, _| Ok(Vec::new()));
    unit.rolls_back()
}

/// Each look goes on where the one before it ended, and begins anew at the end; one that fails is repeated, and keeps nothing
/// else from being done.
#[tokio::test]
async fn ticks_look_at_closed_markets_and_deactivated_users_by_turns() {
    let mut queries = MockQueries::new();
    let look = |found: &[u128], next: Option<u128>| Look {
        found: found.iter().map(|n| market_id(*n)).collect(),
        next: next.map(market_id),
    };
    for (after, answer) in [
        (None, Ok(look(&[], Some(5)))),
        (Some(5), Err(StoreError::Unavailable("too slow".into()))),
        (Some(5), Ok(look(&[7], None))),
        (None, Ok(look(&[], None))),
    ] {
        let is_meant = move |asked: &Option<MarketId>, _: &u32| *asked == after.map(market_id);
        queries.expect_closed_with_orders().withf(is_meant).times(1).return_once(|_, _| answer);
    }
    for (after, next) in [(None, Some(3)), (Some(3), Some(6)), (Some(6), None), (None, None)] {
        let is_meant = move |asked: &Option<UserId>, _: &u32| *asked == after.map(user_id);
        let look = Look { found: Vec::new(), next: next.map(user_id) };
        queries.expect_deactivated_with_orders().withf(is_meant).times(1).return_once(|_, _| Ok(look));
    }
    nothing_else_due(&mut queries);
    let store = store(1, |_| unit_of_closed());
    let ctx = context_with(store, queries, MockPasswordHasher::new(), MockTokenSigner::new());
    let mut turns = Turns::default();
    for settled in [Some(0), None, Some(1), Some(0)] {
        let ticked = tick(&ctx, &mut turns).await;
        assert_eq!(ticked.ok().map(|ticked| ticked.settled), settled);
    }
}

/// Where a look finds more than a tick does, the next one comes to the rest.
#[tokio::test]
async fn what_a_look_finds_beyond_a_ticks_work_is_found_again() {
    let mut queries = MockQueries::new();
    let found: Vec<MarketId> = (1..=150).map(market_id).collect();
    queries.expect_closed_with_orders().times(2).returning(move |after, _| {
        let left = found.iter().copied().filter(|id| after.is_none_or(|after| *id > after)).collect();
        Ok(Look { found: left, next: None })
    });
    nothing_else_due(&mut queries);
    let gone = |_| {
        let mut unit = Unit::default();
        unit.markets.expect_lock().returning(|_| Ok(Vec::new()));
        unit.rolls_back()
    };
    let ctx = context_with(store(150, gone), queries, MockPasswordHasher::new(), MockTokenSigner::new());
    let mut turns = Turns::default();
    for settled in [100, 50] {
        assert_eq!(tick(&ctx, &mut turns).await.unwrap().settled, settled);
    }
}

/// A closed market with more open orders than one tick ends is gone on with at the next, wherever the looks are.
#[tokio::test]
async fn what_a_tick_did_not_finish_the_next_one_goes_on_with() {
    let mut queries = MockQueries::new();
    queries.expect_closed_with_orders().times(1).returning(|_, _| Ok(Look { found: vec![market_id(2)], next: None }));
    nothing_else_due(&mut queries);
    let store = store(5, |run| {
        if run == 4 {
            let mut unit = unit_with(Vec::new(), MarketStatus::Closed);
            unit.orders.expect_open_in_market().returning(|_, _| Ok(Vec::new()));
            return unit.rolls_back();
        }
        let mut unit = unit_with(Vec::new(), MarketStatus::Closed);
        unit.orders.expect_open_in_market().returning(|_, _| Ok(expired(2)));
        unit.unit.expect_write().times(1).withf(|c| c.orders.len() == 2).returning(|_| Ok(()));
        unit.commits()
    });
    let ctx = context_with(store, queries, MockPasswordHasher::new(), MockTokenSigner::new());
    let mut turns = Turns::default();
    for (settled, more) in [(0, true), (1, false)] {
        let ticked = tick(&ctx, &mut turns).await.unwrap();
        assert_eq!((ticked.settled, ticked.more), (settled, more));
    }
}
