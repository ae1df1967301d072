//! What time makes due.

use bellwether_domain::ids::{AccountId, MarketId};
use bellwether_domain::job::JobKind;
use bellwether_domain::ledger::{Account, Owner};
use bellwether_domain::market::{Market, MarketStatus, OutcomeId, Resolution, Weights};
use bellwether_domain::money::{Credits, Shares};
use bellwether_domain::ports::{DueWork, MockPasswordHasher, MockQueries, MockTokenSigner, StoreError};
use bellwether_domain::position::Position;
use bellwether_domain::score::Counting;
use bellwether_usecases::Error;
use bellwether_usecases::settling::{settle_market, tick};

use crate::mocks::{Unit, account, context, context_with, market, market_id, now, store, user_id};

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
            unit.positions.expect_unsettled().returning(move |_, _| Ok(positions.clone()));
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
            unit.positions.expect_unsettled().returning(|_, _| Ok(Vec::new()));
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
        unit.positions.expect_unsettled().returning(|_, _| Ok(Vec::new()));
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

/// One market that cannot be closed does not keep the others open.
#[tokio::test]
async fn a_tick_does_everything_that_it_can_and_reports_the_first_failure() {
    let mut queries = MockQueries::new();
    let due: Vec<MarketId> = vec![market_id(1), market_id(2)];
    queries
        .expect_due_work()
        .returning(move |_, _| Ok(DueWork { markets_to_close: due.clone(), ..DueWork::default() }));
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
    let error = tick(&ctx).await.unwrap_err();
    assert!(matches!(error, Error::Store(StoreError::Unavailable(_))), "{error:?}");
    assert_eq!(AccountId::of_market(market_id(1)).0, market_id(1).0);
}
