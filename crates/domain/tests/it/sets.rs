//! Complete sets by hand, and orders that only reduce or must not be late.

use bellwether_domain::exchange::{ExchangeSets, SetsWay};
use bellwether_domain::ids::MarketId;
use bellwether_domain::ledger::TransferKind;
use bellwether_domain::market::MarketStatus;
use bellwether_domain::money::{Credits, Shares};
use bellwether_domain::order::{Backing, MarketBound, OrderStatus, Side, Terms};
use bellwether_domain::refusal::Refusal;
use jiff::SignedDuration;

use crate::invariants;
use crate::world::{World, at};

/// Three users with 100 credits each, and a market of three outcomes without a maker.
fn scene(outcomes: usize) -> (World, MarketId) {
    let mut world = World::new(3, 100_000);
    let market = world.open_market(outcomes, 100, None, None);
    (world, market)
}

fn sets(world: &World, market: MarketId, quantity: i64, way: SetsWay) -> ExchangeSets {
    ExchangeSets { market, user: world.users[1], quantity: Shares::new(quantity), way }
}

#[test]
fn a_set_is_one_credit_and_one_share_of_every_outcome_and_back() {
    let (mut world, market) = scene(3);
    let split = world.exchange_sets(&sets(&world, market, 40, SetsWay::Split)).unwrap();
    assert_eq!((split.transfer.kind, split.transfer.amount), (TransferKind::Mint, Credits::from_mills(40_000)));
    assert_eq!((split.available.mills(), world.available(1)), (60_000, 60_000));
    assert!((0..3).all(|outcome| world.holding(market, 1, outcome) == 40));
    invariants::check(&world);
    let merge = world.exchange_sets(&sets(&world, market, 15, SetsWay::Merge)).unwrap();
    assert_eq!((merge.transfer.kind, world.available(1)), (TransferKind::Redeem, 75_000));
    assert!((0..3).all(|outcome| world.holding(market, 1, outcome) == 25));
    let position = merge.position;
    assert_eq!((position.spent.mills(), position.received.mills()), (40_000, 15_000));
    invariants::check(&world);
    invariants::check_chains(&world);
}

#[test]
fn sets_are_made_of_what_is_available_alone() {
    let (mut world, market) = scene(2);
    let refused = world.exchange_sets(&sets(&world, market, 101, SetsWay::Split)).unwrap_err();
    assert!(matches!(refused, Refusal::InsufficientFunds { .. }), "{refused:?}");
    world.exchange_sets(&sets(&world, market, 10, SetsWay::Split)).unwrap();
    // Six shares are held by an order, so that only four sets can be given back.
    world.place(&world.limit(market, 1, 0, Side::Sell, 900, 6)).unwrap();
    let refused = world.exchange_sets(&sets(&world, market, 5, SetsWay::Merge)).unwrap_err();
    let (required, available) = (Shares::new(5), Shares::new(4));
    assert_eq!(refused, Refusal::InsufficientShares { outcome: "O0".to_owned(), required, available });
    world.exchange_sets(&sets(&world, market, 4, SetsWay::Merge)).unwrap();
    invariants::check(&world);
}

#[test]
fn a_market_that_takes_no_orders_takes_no_sets() {
    let (mut world, market) = scene(2);
    world.exchange_sets(&sets(&world, market, 10, SetsWay::Split)).unwrap();
    world.close(market);
    for way in [SetsWay::Split, SetsWay::Merge] {
        let refused = world.exchange_sets(&sets(&world, market, 1, way)).unwrap_err();
        assert_eq!(refused, Refusal::MarketNotOpen(MarketStatus::Closed));
    }
}

#[test]
fn an_order_is_executed_until_it_is_valid_and_refused_later() {
    let (mut world, market) = scene(2);
    let mut order = world.limit(market, 1, 0, Side::Buy, 400, 5);
    order.valid_until = Some(at(10));
    world.now = at(10);
    assert_eq!(world.place(&order).unwrap().order.status, OrderStatus::Open);
    world.now += SignedDuration::from_nanos(1000);
    assert_eq!(world.place(&order).unwrap_err(), Refusal::OrderTooLate { until: at(10) });
}

#[test]
fn a_reduce_only_order_gives_what_is_there_and_no_more() {
    let (mut world, market) = scene(2);
    world.exchange_sets(&sets(&world, market, 8, SetsWay::Split)).unwrap();
    let mut order = world.limit(market, 1, 0, Side::Sell, 600, 20);
    order.reduce_only = true;
    let placed = world.place(&order).unwrap().order;
    assert_eq!((placed.quantity, placed.backing), (Shares::new(8), Backing::Shares));
    assert_eq!(world.place(&order).unwrap_err(), Refusal::NothingToReduce);
    // The other outcome is bought by giving this one, which is all held.
    let mut other = world.limit(market, 1, 1, Side::Buy, 300, 5);
    other.reduce_only = true;
    assert_eq!(world.place(&other).unwrap_err(), Refusal::NothingToReduce);
    world.cancel(placed.id, world.users[1]).unwrap();
    assert_eq!(world.place(&other).unwrap().order.backing, Backing::Shares);
    invariants::check(&world);
}

#[test]
fn a_reduce_only_order_never_pays_cash() {
    let (mut world, market) = scene(2);
    world.exchange_sets(&sets(&world, market, 8, SetsWay::Split)).unwrap();
    let mut order = world.limit(market, 1, 0, Side::Buy, 600, 2);
    (order.reduce_only, order.backing) = (true, Some(Backing::Cash));
    assert_eq!(world.place(&order).unwrap_err(), Refusal::ReduceOnlyPaysCash);
    let bound = MarketBound::Spend { max_spend: Credits::from_mills(1_000), quantity: None, price: None };
    let mut order = world.order(market, 1, 0, Side::Sell, Terms::Market { bound, fill_or_kill: false });
    order.reduce_only = true;
    assert_eq!(world.place(&order).unwrap_err(), Refusal::SpendWithoutCash);
}
