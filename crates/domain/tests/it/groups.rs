//! Order groups: what is left of a cap bounds every fill, and what is open ends when nothing is left.

use bellwether_domain::ids::{MarketId, OrderGroupId};
use bellwether_domain::money::{Credits, Shares};
use bellwether_domain::order::{
    EndReason, Life, MarketBound, OrderStatus, PlaceOrder, SelfTradePrevention, Side, Terms,
};
use bellwether_domain::refusal::Refusal;

use crate::invariants;
use crate::world::{World, price};

const ANN: usize = 0;
const BEN: usize = 1;

fn in_group(order: PlaceOrder, group: OrderGroupId) -> PlaceOrder {
    PlaceOrder { group: Some(group), ..order }
}

fn world(cap: i64) -> (World, MarketId, OrderGroupId) {
    let mut world = World::new(3, 1_000_000);
    let market = world.open_market(2, 0, None, None);
    let group = world.open_group(ANN, market, cap, None);
    (world, market, group)
}

/// One taker comes to several orders of one group, in both of its prices: no more than the cap is filled.
#[test]
fn a_big_taker_fills_a_group_up_to_its_cap_and_the_rest_is_cancelled() {
    let (mut world, market, group) = world(15);
    let mut orders = Vec::new();
    for (mills, side) in [(400, Side::Buy), (390, Side::Buy), (380, Side::Buy), (700, Side::Sell)] {
        let mut order = world.limit(market, ANN, 0, side, mills, 10);
        order.backing = Some(bellwether_domain::order::Backing::Cash);
        orders.push(world.place(&in_group(order, group)).unwrap().order.id);
    }
    let by_others = world.place(&world.limit(market, 2, 0, Side::Buy, 385, 10)).unwrap().order.id;
    let taker = world.limit(market, BEN, 1, Side::Buy, 620, 100);
    let taken = world.place(&taker).unwrap();
    // Ten at 400, five at 390, then somebody else's ten at 385; nothing of the group at 380.
    let fills: Vec<(i64, i64)> = taken.fills.iter().map(|f| (f.price.mills(), f.quantity.count())).collect();
    assert_eq!(fills, [(400, 10), (390, 5), (385, 10)]);
    assert_eq!(world.orders[&by_others].status, OrderStatus::Filled);
    let ends: Vec<_> = orders.iter().map(|id| (world.orders[id].filled.count(), world.orders[id].end_reason)).collect();
    let full = Some(EndReason::GroupFull);
    assert_eq!(ends, [(10, None), (5, full), (0, full), (0, full)]);
    assert_eq!(world.accounts[&bellwether_domain::ids::AccountId::of_user(world.users[ANN])].held, Credits::ZERO);
    invariants::check(&world);

    let again = in_group(world.limit(market, ANN, 0, Side::Buy, 100, 1), group);
    assert_eq!(world.place(&again), Err(Refusal::OrderGroupFull { cap: Shares::new(15) }));
    world.reset_group(group);
    assert!(world.place(&again).is_ok());
    invariants::check(&world);
}

/// As a taker too: against the book, against the maker, with a budget; and all at once or not at all.
#[test]
fn an_order_of_a_group_takes_no_more_than_is_left() {
    let (mut world, market, group) = world(15);
    world.place(&world.limit(market, BEN, 1, Side::Buy, 600, 100)).unwrap();
    let fok = Terms::Limit { price: price(400), quantity: Shares::new(16), life: Life::FillOrKill, post_only: false };
    let refused = world.place(&in_group(world.order(market, ANN, 0, Side::Buy, fok), group));
    assert_eq!(refused, Err(Refusal::FillOrKill { fillable: Shares::new(15) }));
    let taken = world.place(&in_group(world.limit(market, ANN, 0, Side::Buy, 400, 12), group)).unwrap().order;
    assert_eq!((taken.filled.count(), taken.status), (12, OrderStatus::Filled));
    let taken = world.place(&in_group(world.limit(market, ANN, 0, Side::Buy, 400, 12), group)).unwrap().order;
    assert_eq!((taken.filled.count(), taken.end_reason), (3, Some(EndReason::GroupFull)));
    invariants::check(&world);

    let market = world.open_market(3, 0, Some(30_000), None);
    let group = world.open_group(ANN, market, 7, None);
    let bound = MarketBound::Spend { max_spend: Credits::from_mills(20_000), quantity: None, price: None };
    let all = world.order(market, ANN, 0, Side::Buy, Terms::Market { bound, fill_or_kill: true });
    assert_eq!(world.place(&in_group(all, group)), Err(Refusal::FillOrKill { fillable: Shares::new(7) }));
    let spend = world.order(market, ANN, 0, Side::Buy, Terms::Market { bound, fill_or_kill: false });
    assert_eq!(world.place(&in_group(spend, group)).unwrap().order.filled.count(), 7);
    invariants::check(&world);
}

/// Buying one of three outcomes from the maker makes the others cheaper: what rests there is swept, up to the cap.
#[test]
fn a_sweep_of_the_maker_heeds_the_cap() {
    let mut world = World::new(3, 1_000_000);
    let market = world.open_market(3, 0, Some(30_000), None);
    let group = world.open_group(ANN, market, 4, None);
    for outcome in [1, 2] {
        world.place(&in_group(world.limit(market, ANN, outcome, Side::Buy, 320, 50), group)).unwrap();
    }
    world.place(&world.limit(market, BEN, 0, Side::Buy, 800, 200)).unwrap();
    let filled: i64 = world.orders.values().filter(|o| o.group == Some(group)).map(|o| o.filled.count()).sum();
    assert_eq!(filled, 4);
    assert!(world.orders.values().all(|order| order.group != Some(group) || !order.is_open()));
    invariants::check(&world);
}

#[test]
fn a_group_is_its_owners_and_for_its_market_alone() {
    let (mut world, market, group) = world(15);
    let other = world.open_market(2, 0, None, None);
    let foreign = in_group(world.limit(market, BEN, 0, Side::Buy, 400, 1), group);
    assert_eq!(world.place(&foreign), Err(Refusal::OrderGroupNotFound));
    let unknown = in_group(world.limit(market, ANN, 0, Side::Buy, 400, 1), OrderGroupId(other.0));
    assert_eq!(world.place(&unknown), Err(Refusal::OrderGroupNotFound));
}

/// Shares that are taken off by self-trade prevention were not filled.
#[test]
fn what_meets_its_owners_own_orders_does_not_count() {
    let (mut world, market, group) = world(5);
    world.place(&in_group(world.limit(market, ANN, 0, Side::Buy, 400, 8), group)).unwrap();
    let mut own = world.limit(market, ANN, 1, Side::Buy, 600, 8);
    own.self_trade_prevention = SelfTradePrevention::Decrement;
    world.place(&in_group(own, group)).unwrap();
    assert_eq!(world.groups[&group].0.filled, Shares::ZERO);
    assert!(world.orders.values().all(|order| !order.is_open()));
    invariants::check(&world);
}
