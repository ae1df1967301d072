//! Counting markets that have paid.

use bellwether_domain::ids::{OrderId, TradeId};
use bellwether_domain::market::{Market, MarketStatus, OutcomeId, Resolution, Weights};
use bellwether_domain::money::{Credits, Price, Shares};
use bellwether_domain::order::Side;
use bellwether_domain::ports::{MockPasswordHasher, MockQueries, MockTokenSigner, StoreError};
use bellwether_domain::score::{Counting, Figures, MarketScore, PaidPosition, Score};
use bellwether_domain::trade::{Settlement, Trade};
use bellwether_usecases::scoring::{Counted, count_some};
use bellwether_usecases::{Context, Error};
use uuid::Uuid;

use crate::mocks::{Unit, context_with, market, market_id, now, store, user_id};

fn paid(n: u128) -> Market {
    let mut market = market(n, MarketStatus::Resolved);
    let weights = Weights::winner(OutcomeId::FIRST, 2);
    market.resolution = Some(Resolution { weights, decided_by: None, decided_at: now(), reason: None });
    market.settled_at = Some(now());
    market
}

/// User 1 takes shares at 0.600 from user 2.
fn trade(sequence: i64, shares: i64) -> Trade {
    Trade {
        id: TradeId(Uuid::from_u128(u128::try_from(sequence).unwrap())),
        market: market_id(1),
        sequence,
        outcome: OutcomeId::FIRST,
        price: Price::from_mills(600).unwrap(),
        quantity: Shares::new(shares),
        cost: Credits::from_mills(600 * shares),
        taker_side: Side::Buy,
        settlement: Settlement::Mint,
        taker_order: OrderId(Uuid::from_u128(1)),
        taker: user_id(1),
        maker_order: Some(OrderId(Uuid::from_u128(2))),
        maker: Some(user_id(2)),
        fee: Credits::ZERO,
        created_at: now(),
    }
}

fn figures(trades: i64, mills: i64, judged_shares: i64) -> Figures {
    Figures { trades, volume: Credits::from_mills(mills), judged_shares, missed: judged_shares * 160_000 }
}

/// Where these markets wait to be counted.
fn waiting(of: &[u128], store: bellwether_domain::ports::MockStore) -> Context {
    let mut queries = MockQueries::new();
    let ids: Vec<_> = of.iter().map(|n| market_id(*n)).collect();
    queries.expect_markets_to_count().returning(move |after, _| {
        Ok(ids.iter().copied().filter(|id| after.is_none_or(|after| *id > after)).collect())
    });
    context_with(store, queries, MockPasswordHasher::new(), MockTokenSigner::new())
}

/// Who took is judged by the price that it took; who only offered is not.
#[tokio::test]
async fn a_small_market_is_counted_by_one_unit_of_work() {
    let ctx = waiting(
        &[1],
        store(1, |_| {
            let mut unit = Unit::default();
            unit.markets.expect_lock().returning(|_| Ok(vec![paid(1)]));
            unit.scores.expect_counting().returning(|market| Ok(Some(Counting::of(market))));
            unit.scores
                .expect_trades_after()
                .withf(|_, after, _| after.is_none())
                .returning(|_, _, _| Ok(vec![trade(3, 10), trade(7, 5)]));
            unit.scores.expect_positions_after().withf(|_, user, _| user.0.is_nil()).returning(|_, _, _| {
                let position = |n, spent, received, figures| PaidPosition {
                    user: user_id(n),
                    spent: Credits::from_mills(spent),
                    received: Credits::from_mills(received),
                    figures,
                };
                Ok(vec![position(1, 9000, 15_000, figures(2, 9000, 15)), position(2, 6000, 0, figures(2, 9000, 0))])
            });
            unit.unit
                .expect_write()
                .times(1)
                .withf(|c| {
                    let of = |n, figures| MarketScore { market: market_id(1), user: user_id(n), figures };
                    c.countings
                        == [Counting { last_trade: Some((now(), trade(7, 5).id)), ..Counting::of(market_id(1)) }]
                        && c.market_scores == [of(1, figures(2, 9000, 15)), of(2, figures(2, 9000, 0))]
                })
                .returning(|_| Ok(()));
            unit.unit
                .expect_write()
                .times(1)
                .withf(|c| {
                    let score = |n, figures, profit, judged_markets| Score {
                        user: user_id(n),
                        figures,
                        profit: Credits::from_mills(profit),
                        markets: 1,
                        judged_markets,
                    };
                    c.countings[0].is_done
                        && c.countings[0].users_through == user_id(2)
                        && c.scores
                            == [score(1, figures(2, 9000, 15), 6000, 1), score(2, figures(2, 9000, 0), -6000, 0)]
                        && c.counted_positions == [(market_id(1), user_id(1)), (market_id(1), user_id(2))]
                })
                .returning(|_| Ok(()));
            unit.commits()
        }),
    );
    assert_eq!(count_some(&ctx, 10).await.unwrap(), Counted::All(1));
}

/// What was counted to the end, by another server say, is left as it is.
#[tokio::test]
async fn a_market_that_is_counted_already_is_not_counted_again() {
    let ctx = waiting(
        &[1],
        store(1, |_| {
            let mut unit = Unit::default();
            unit.markets.expect_lock().returning(|_| Ok(vec![paid(1)]));
            unit.scores
                .expect_counting()
                .returning(|market| Ok(Some(Counting { is_done: true, ..Counting::of(market) })));
            unit.rolls_back()
        }),
    );
    count_some(&ctx, 10).await.unwrap();
}

/// Else every job would look for it again.
#[tokio::test]
async fn a_market_that_is_gone_is_no_longer_waiting_to_be_counted() {
    let ctx = waiting(
        &[1],
        store(1, |_| {
            let mut unit = Unit::default();
            unit.markets.expect_lock().returning(|_| Ok(Vec::new()));
            unit.scores.expect_counting().returning(|market| Ok(Some(Counting::of(market))));
            unit.unit
                .expect_write()
                .times(1)
                .withf(|c| {
                    c.countings == [Counting { is_done: true, ..Counting::of(market_id(1)) }]
                        && c.scores.is_empty()
                        && c.counted_positions.is_empty()
                })
                .returning(|_| Ok(()));
            unit.commits()
        }),
    );
    count_some(&ctx, 10).await.unwrap();
}

#[tokio::test]
async fn many_trades_are_counted_a_bounded_number_at_a_time() {
    let ctx = waiting(
        &[1],
        store(2, |_| {
            let mut unit = Unit::default();
            unit.markets.expect_lock().returning(|_| Ok(vec![paid(1)]));
            unit.scores.expect_counting().returning(|market| Ok(Some(Counting::of(market))));
            unit.scores
                .expect_trades_after()
                .returning(|_, _, limit| Ok((0..i64::from(limit)).map(|sequence| trade(sequence, 1)).collect()));
            unit.unit
                .expect_write()
                .times(1)
                .withf(|c| {
                    let figures = c.market_scores[0].figures;
                    let last = trade(figures.trades - 1, 1);
                    c.scores.is_empty() && c.countings[0].last_trade == Some((last.created_at, last.id))
                })
                .returning(|_| Ok(()));
            unit.commits()
        }),
    );
    assert_eq!(count_some(&ctx, 2).await.unwrap(), Counted::Some);
}

#[tokio::test]
async fn a_market_that_cannot_be_counted_does_not_keep_the_others_waiting() {
    let ctx = waiting(
        &[1, 2],
        store(2, |run| {
            let mut unit = Unit::default();
            if run == 0 {
                unit.markets.expect_lock().returning(|_| Err(StoreError::Corrupt("a row".to_owned())));
                return unit.rolls_back();
            }
            unit.markets.expect_lock().returning(|_| Ok(vec![paid(2)]));
            unit.scores.expect_counting().returning(|market| Ok(Some(Counting::of(market))));
            unit.scores.expect_trades_after().returning(|_, _, _| Ok(Vec::new()));
            unit.scores.expect_positions_after().returning(|_, _, _| Ok(Vec::new()));
            unit.unit.expect_write().times(1).withf(|c| c.countings[0].is_done).returning(|_| Ok(()));
            unit.commits()
        }),
    );
    let error = count_some(&ctx, 10).await.unwrap_err();
    assert!(matches!(error, Error::Store(StoreError::Corrupt(_))), "{error:?}");
}

/// Threat 33: what is too much for 64 bits is an error, never a wrong figure.
#[test]
fn figures_beyond_64_bits_never_wrap() {
    let most = Figures { missed: i64::MAX, ..Figures::default() };
    most.plus(Figures { missed: 1, ..Figures::default() }).unwrap_err();
    bellwether_domain::score::of_trades(&paid(1), &[trade(1, i64::MAX / 1000)]).unwrap_err();
}
