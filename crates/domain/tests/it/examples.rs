//! The rules by example: one test for each that a trader could ask about.

use bellwether_domain::ids::{AccountId, MarketId};
use bellwether_domain::market::{FeeRecipient, OutcomeId, Weights};
use bellwether_domain::money::{Credits, Shares};
use bellwether_domain::order::{
    AmendOrder, Backing, EndReason, Life, MarketBound, OrderStatus, PlaceOrder, SelfTradePrevention, Side, Terms,
};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::text::fold;
use bellwether_domain::trade::Settlement;
use jiff::SignedDuration;

use crate::invariants;
use crate::world::{World, price, with_backing};

/// A world of four users with 100 credits each, and a market with so many outcomes and no maker.
fn simple(outcomes: usize) -> (World, MarketId) {
    let mut world = World::new(4, 100_000);
    let market = world.open_market(outcomes, 0, None, None);
    (world, market)
}

#[test]
fn an_outcome_is_found_in_any_case_unless_what_is_asked_for_is_longer_than_any_name() {
    let (mut world, market) = simple(3);
    let market = world.markets.get_mut(&market).unwrap();
    let long = "\u{fdfa}".repeat(60);
    for (outcome, name) in market.outcomes.iter_mut().zip(["\u{e9}t\u{e9}", "Straße", &long]) {
        outcome.name = name.to_owned();
    }
    let found = |name: &str| market.outcome_named(name).map(OutcomeId::index);
    assert_eq!((found("\u{e9}t\u{e9}"), found("\u{c9}T\u{c9}"), found("STRAẞE")), (Some(0), Some(0), Some(1)));
    assert_eq!((found("Strass"), found("Straße!"), found("")), (None, None, None));
    // Opened before names that grow were refused.
    assert_eq!(found(&long), Some(2));
    // What it stands for, which is longer than a name.
    assert_eq!(found(&fold(&long)), None);
}

#[test]
fn two_buyers_of_opposite_outcomes_mint_sets_and_the_taker_keeps_the_improvement() {
    let (mut world, market) = simple(2);
    world.place(&world.limit(market, 1, 0, Side::Buy, 600, 10)).unwrap();
    assert_eq!(world.available(1), 100_000 - 6_000);
    // NO at 0.45 would do; the resting bid on YES makes it 0.40.
    let taken = world.place(&world.limit(market, 2, 1, Side::Buy, 450, 10)).unwrap();
    assert_eq!(taken.order.status, OrderStatus::Filled);
    assert_eq!(taken.fills[0].settlement, Settlement::Mint);
    assert_eq!((world.available(1), world.available(2)), (94_000, 96_000));
    assert_eq!((world.holding(market, 1, 0), world.holding(market, 2, 1)), (10, 10));
    assert_eq!(world.accounts[&AccountId::of_market(market)].balance.mills(), 10_000);
    invariants::check(&world);
}

#[test]
fn shares_change_hands_for_cash() {
    let (mut world, market) = simple(2);
    world.place(&world.limit(market, 1, 0, Side::Buy, 600, 10)).unwrap();
    world.place(&world.limit(market, 2, 1, Side::Buy, 400, 10)).unwrap();
    world.place(&world.limit(market, 1, 0, Side::Sell, 700, 4)).unwrap();
    let taken = world.place(&world.limit(market, 3, 0, Side::Buy, 800, 4)).unwrap();
    assert_eq!(taken.fills[0].settlement, Settlement::Transfer);
    assert_eq!((world.available(1), world.available(3)), (94_000 + 2_800, 100_000 - 2_800));
    invariants::check(&world);
}

#[test]
fn holders_of_opposite_outcomes_redeem_sets_by_selling_to_each_other() {
    let (mut world, market) = simple(2);
    world.place(&world.limit(market, 1, 0, Side::Buy, 600, 10)).unwrap();
    world.place(&world.limit(market, 2, 1, Side::Buy, 400, 10)).unwrap();
    world.place(&world.limit(market, 1, 0, Side::Sell, 700, 10)).unwrap();
    let taken = world.place(&world.limit(market, 2, 1, Side::Sell, 300, 10)).unwrap();
    assert_eq!(taken.fills[0].settlement, Settlement::Redeem);
    assert_eq!((world.available(1), world.available(2)), (101_000, 99_000));
    assert_eq!(world.accounts[&AccountId::of_market(market)].balance.mills(), 0);
    invariants::check(&world);
}

#[test]
fn the_rest_of_a_set_changes_hands_for_cash() {
    let (mut world, market) = simple(3);
    // User 1 sells outcome 0 short: it pays for one share of every other outcome.
    world.place(&world.limit(market, 2, 0, Side::Buy, 500, 10)).unwrap();
    world.place(&with_backing(world.limit(market, 1, 0, Side::Sell, 500, 10), Backing::Cash)).unwrap();
    assert_eq!((world.holding(market, 1, 1), world.holding(market, 1, 2)), (10, 10));
    // It gives the rest back by bidding for outcome 0 with shares; user 3 goes short in its place.
    world.place(&with_backing(world.limit(market, 1, 0, Side::Buy, 450, 10), Backing::Shares)).unwrap();
    let taken = world.place(&with_backing(world.limit(market, 3, 0, Side::Sell, 450, 10), Backing::Cash)).unwrap();
    assert_eq!(taken.fills[0].settlement, Settlement::Rest);
    assert_eq!(world.available(1), 100_000 - 5_000 + 5_500);
    assert_eq!((world.holding(market, 3, 1), world.holding(market, 1, 1)), (10, 0));
    invariants::check(&world);
}

/// Threat 36.
#[test]
fn the_best_price_fills_first_and_then_the_earliest() {
    let (mut world, market) = simple(2);
    let late_best = {
        world.place(&world.limit(market, 1, 0, Side::Buy, 500, 5)).unwrap();
        world.place(&world.limit(market, 2, 0, Side::Buy, 500, 5)).unwrap();
        world.place(&world.limit(market, 2, 0, Side::Buy, 510, 5)).unwrap().order.id
    };
    let taken = world.place(&world.limit(market, 3, 1, Side::Buy, 500, 7)).unwrap();
    assert_eq!(taken.fills.iter().map(|f| f.maker_order.unwrap()).next(), Some(late_best));
    assert_eq!(taken.fills.iter().map(|f| f.price.mills()).collect::<Vec<_>>(), [510, 500]);
    assert_eq!((world.holding(market, 2, 0), world.holding(market, 1, 0)), (5, 2));
}

#[test]
fn a_fill_or_kill_order_fills_whole_or_leaves_no_trace() {
    let (mut world, market) = simple(2);
    world.place(&world.limit(market, 1, 0, Side::Buy, 500, 5)).unwrap();
    let terms = |quantity| Terms::Limit {
        price: price(500),
        quantity: Shares::new(quantity),
        life: Life::FillOrKill,
        post_only: false,
    };
    let refused = world.place(&world.order(market, 2, 1, Side::Buy, terms(6)));
    assert_eq!(refused, Err(Refusal::FillOrKill { fillable: Shares::new(5) }));
    assert_eq!((world.available(2), world.trades.len()), (100_000, 0));
    assert_eq!(world.place(&world.order(market, 2, 1, Side::Buy, terms(5))).unwrap().order.status, OrderStatus::Filled);
}

#[test]
fn an_immediate_or_cancel_order_never_rests() {
    let (mut world, market) = simple(2);
    world.place(&world.limit(market, 1, 0, Side::Buy, 500, 5)).unwrap();
    let terms =
        Terms::Limit { price: price(500), quantity: Shares::new(9), life: Life::ImmediateOrCancel, post_only: false };
    let taken = world.place(&world.order(market, 2, 1, Side::Buy, terms)).unwrap().order;
    assert_eq!((taken.status, taken.end_reason), (OrderStatus::Cancelled, Some(EndReason::TimeInForce)));
    assert_eq!((taken.filled.count(), world.available(2)), (5, 97_500));
    invariants::check(&world);
}

#[test]
fn a_post_only_order_that_would_take_is_refused() {
    let (mut world, market) = simple(2);
    world.place(&world.limit(market, 1, 0, Side::Buy, 500, 5)).unwrap();
    let terms = |mills| Terms::Limit {
        price: price(mills),
        quantity: Shares::new(5),
        life: Life::UntilCancelled,
        post_only: true,
    };
    assert_eq!(world.place(&world.order(market, 2, 1, Side::Buy, terms(500))), Err(Refusal::PostOnlyWouldTake));
    assert!(world.place(&world.order(market, 2, 1, Side::Buy, terms(499))).unwrap().order.is_open());
}

#[test]
fn an_order_past_its_date_does_not_trade_even_before_it_was_swept() {
    let (mut world, market) = simple(2);
    let life = Life::Until(world.now + SignedDuration::from_secs(10));
    let terms = Terms::Limit { price: price(500), quantity: Shares::new(5), life, post_only: false };
    let dated = world.place(&world.order(market, 1, 0, Side::Buy, terms)).unwrap().order.id;
    world.now += SignedDuration::from_secs(10);
    assert!(world.place(&world.limit(market, 2, 1, Side::Buy, 600, 5)).unwrap().fills.is_empty());
    assert_eq!(world.orders[&dated].status, OrderStatus::Expired);
    assert_eq!(world.available(1), 100_000);
    invariants::check(&world);
}

#[test]
fn an_order_past_its_date_is_not_amended_even_before_it_was_swept() {
    let (mut world, market) = simple(2);
    world.place(&world.limit(market, 2, 1, Side::Buy, 400, 5)).unwrap();
    let life = Life::Until(world.now + SignedDuration::from_secs(10));
    let terms = Terms::Limit { price: price(500), quantity: Shares::new(5), life, post_only: false };
    let dated = world.place(&world.order(market, 1, 0, Side::Buy, terms)).unwrap().order;
    world.now += SignedDuration::from_secs(10);
    let later = world.now + SignedDuration::from_secs(10);
    // The new price would fill it, the new date would have it rest on.
    for (mills, expires_at) in [(Some(600), None), (None, Some(later))] {
        let (order, user, price) = (dated.id, dated.user, mills.map(price));
        let refused = world.amend(&AmendOrder { order, user, price, quantity: None, expires_at });
        assert_eq!(refused, Err(Refusal::OrderNotOpen(OrderStatus::Expired)));
    }
}

/// Threat 36: the rule against trading with oneself, in its three kinds.
#[test]
fn nobody_trades_with_himself() {
    for (rule, taker_status, maker_status) in [
        (SelfTradePrevention::CancelNewest, OrderStatus::Cancelled, OrderStatus::Open),
        (SelfTradePrevention::CancelOldest, OrderStatus::Open, OrderStatus::Cancelled),
        (SelfTradePrevention::Decrement, OrderStatus::Open, OrderStatus::Cancelled),
    ] {
        let (mut world, market) = simple(2);
        let resting = world.place(&world.limit(market, 1, 0, Side::Buy, 500, 5)).unwrap().order.id;
        let mut order = world.limit(market, 1, 1, Side::Buy, 500, 8);
        order.self_trade_prevention = rule;
        let taker = world.place(&order).unwrap().order;
        assert_eq!((taker.status, world.orders[&resting].status), (taker_status, maker_status), "{rule:?}");
        let rests = if rule == SelfTradePrevention::Decrement { 3 } else { taker.remaining.count() };
        assert_eq!((taker.remaining.count(), world.trades.len()), (rests, 0));
        invariants::check(&world);
    }
}

/// Nothing is left of it to rest or to be cancelled: what was not filled was taken off where it met its owner's order.
#[test]
fn a_taker_that_is_filled_but_for_what_met_its_owners_order_ended_for_that() {
    for life in [Life::UntilCancelled, Life::ImmediateOrCancel] {
        let (mut world, market) = simple(2);
        let own = world.place(&world.limit(market, 1, 1, Side::Buy, 600, 5)).unwrap().order.id;
        world.place(&world.limit(market, 2, 1, Side::Buy, 590, 5)).unwrap();
        let terms = Terms::Limit { price: price(450), quantity: Shares::new(10), life, post_only: false };
        let mut order = world.order(market, 1, 0, Side::Buy, terms);
        order.self_trade_prevention = SelfTradePrevention::Decrement;
        let taker = world.place(&order).unwrap().order;
        for (order, filled) in [(&taker, 5), (&world.orders[&own], 0)] {
            assert_eq!((order.filled.count(), order.status), (filled, OrderStatus::Cancelled), "{life:?}");
            assert_eq!(order.end_reason, Some(EndReason::SelfTrade), "{life:?}");
        }
        invariants::check(&world);
    }
}

#[test]
fn a_smaller_quantity_keeps_its_place_and_a_new_price_loses_it() {
    let (mut world, market) = simple(2);
    let first = world.place(&world.limit(market, 1, 0, Side::Buy, 500, 5)).unwrap().order.id;
    let second = world.place(&world.limit(market, 2, 0, Side::Buy, 500, 5)).unwrap().order.id;
    let amend = |order, user, mills: Option<i64>, quantity: Option<i64>| AmendOrder {
        order,
        user,
        price: mills.map(price),
        quantity: quantity.map(Shares::new),
        expires_at: None,
    };
    let users = world.users.clone();
    world.amend(&amend(first, users[1], None, Some(2))).unwrap();
    let book = OutcomeId::FIRST;
    assert_eq!(world.side(market, book, Side::Buy)[0].id, first);
    world.amend(&amend(first, users[1], None, Some(4))).unwrap();
    assert_eq!(world.side(market, book, Side::Buy)[0].id, second);
    world.place(&world.limit(market, 3, 1, Side::Buy, 450, 3)).unwrap();
    let taken = world.amend(&amend(first, users[1], Some(560), None)).unwrap();
    assert_eq!((taken.fills.len(), taken.order.filled.count(), taken.order.remaining.count()), (1, 3, 1));
    invariants::check(&world);
    let refused = world.amend(&amend(first, users[1], None, Some(3)));
    assert_eq!(refused, Err(Refusal::QuantityBelowFilled { filled: Shares::new(3) }));
}

#[test]
fn routing_goes_from_the_maker_to_the_order_and_back_to_the_maker() {
    let mut world = World::new(4, 1_000_000);
    let market = world.open_market(2, 0, Some(100_000), None);
    let offer = world.place(&with_backing(world.limit(market, 1, 0, Side::Sell, 550, 10), Backing::Cash)).unwrap();
    assert!(offer.order.is_open());
    let taken = world.place(&world.limit(market, 2, 0, Side::Buy, 600, 50)).unwrap();
    let sides: Vec<bool> = taken.fills.iter().map(|f| f.maker_order.is_some()).collect();
    assert_eq!(sides, [false, true, false]);
    assert!(
        taken.fills[0].price.mills() <= 550
            && taken.fills[1].price.mills() == 550
            && taken.fills[2].price.mills() >= 550
    );
    invariants::check(&world);
}

#[test]
fn buying_one_outcome_from_the_maker_fills_bids_on_the_others_that_it_crosses() {
    let mut world = World::new(4, 1_000_000);
    let market = world.open_market(3, 0, Some(100_000), None);
    let bid = world.place(&world.limit(market, 1, 1, Side::Buy, 300, 20)).unwrap().order.id;
    world.place(&world.limit(market, 2, 0, Side::Buy, 800, 200)).unwrap();
    assert!(world.orders[&bid].filled.is_positive(), "the maker's price of outcome 1 fell through the bid");
    invariants::check(&world);
}

#[test]
fn a_market_order_spends_no_more_than_it_may_fees_included() {
    let mut world = World::new(4, 1_000_000);
    let market = world.open_market(2, 200, Some(100_000), None);
    let bound = MarketBound::Spend { max_spend: Credits::from_mills(5_000), quantity: None, price: None };
    let taken =
        world.place(&world.order(market, 1, 0, Side::Buy, Terms::Market { bound, fill_or_kill: false })).unwrap().order;
    let spent = 1_000_000 - world.available(1);
    assert!(spent <= 5_000 && spent > 5_000 - 700, "spent {spent}");
    assert_eq!(spent, taken.cost.mills() + taken.fee.mills());
    assert!(taken.fee.is_positive());
    invariants::check(&world);
}

/// Who gets the market's fees pays none, and so buys as much as if there were none.
#[test]
fn who_gets_the_fees_spends_all_of_its_money_on_shares() {
    let bought = |fee_bps, fee_recipient| {
        let mut world = World::new(4, 1_000_000);
        let market = world.open_market(2, fee_bps, Some(100_000), None);
        world.markets.get_mut(&market).unwrap().fee_recipient = fee_recipient;
        world.place(&with_backing(world.limit(market, 1, 0, Side::Sell, 550, 10), Backing::Cash)).unwrap();
        let bound = MarketBound::Spend { max_spend: Credits::from_mills(50_000), quantity: None, price: None };
        let terms = Terms::Market { bound, fill_or_kill: false };
        let taken = world.place(&world.order(market, 0, 0, Side::Buy, terms)).unwrap().order;
        (taken.filled, taken.cost, taken.fee)
    };
    assert_eq!(bought(1_000, FeeRecipient::Creator), bought(0, FeeRecipient::House));
}

#[test]
fn a_market_order_that_finds_nothing_for_its_money_is_refused() {
    let (mut world, market) = simple(2);
    let bound = MarketBound::Spend { max_spend: Credits::from_mills(5_000), quantity: None, price: None };
    let refused = world.place(&world.order(market, 1, 0, Side::Buy, Terms::Market { bound, fill_or_kill: false }));
    assert_eq!(refused, Err(Refusal::NothingToFill));
}

/// User 2 buys the first outcome for so much money, all of it or nothing.
fn spend_or_kill(world: &World, market: MarketId, mills: i64, worst: Option<i64>) -> PlaceOrder {
    let bound = MarketBound::Spend { max_spend: Credits::from_mills(mills), quantity: None, price: worst.map(price) };
    world.order(market, 2, 0, Side::Buy, Terms::Market { bound, fill_or_kill: true })
}

#[test]
fn money_that_is_to_be_spent_or_kept_is_kept_when_nothing_more_is_offered_for_it() {
    let (mut world, market) = simple(2);
    let killed = |fillable| Err(Refusal::FillOrKill { fillable: Shares::new(fillable) });
    let spend = |world: &mut World, mills, worst| {
        let order = spend_or_kill(world, market, mills, worst);
        world.place(&order).map(|placed| (placed.order.filled.count(), placed.order.status))
    };
    assert_eq!(spend(&mut world, 100_000, None), killed(0));
    // One share is offered at 0.50, and one at 0.70.
    world.place(&world.limit(market, 1, 1, Side::Buy, 500, 1)).unwrap();
    world.place(&world.limit(market, 1, 1, Side::Buy, 300, 1)).unwrap();
    assert_eq!(spend(&mut world, 100_000, None), killed(2));
    assert_eq!(spend(&mut world, 1_900, None), killed(2), "another share at 0.70 could be paid");
    assert_eq!(spend(&mut world, 1_100, Some(600)), killed(1), "another share at 0.50 could be paid");
    assert_eq!(spend(&mut world, 400, None), Err(Refusal::NothingToFill));
    assert_eq!(spend(&mut world, 1_100, None), Ok((1, OrderStatus::Filled)), "0.60 is left, and the next costs 0.70");
    assert_eq!(spend(&mut world, 1_399, None), Ok((1, OrderStatus::Filled)), "0.699 is left, and the last cost 0.70");
    invariants::check(&world);
}

/// The market maker always has more, but not up to every price.
#[test]
fn the_market_maker_takes_all_of_the_money_as_far_as_its_price_may_rise() {
    for (mills, worst, is_taken) in
        [(50_000, None, true), (500_000, None, false), (3_000, Some(600), true), (50_000, Some(600), false)]
    {
        let mut world = World::new(4, 1_000_000);
        let market = world.open_market(2, 200, Some(10_000), None);
        let placed = world.place(&spend_or_kill(&world, market, mills, worst));
        if is_taken {
            let order = placed.unwrap().order;
            let left = mills - order.cost.mills() - order.fee.mills();
            assert_eq!(order.status, OrderStatus::Filled);
            assert!((0..1_000).contains(&left), "{left} mills of {mills} are left");
        } else {
            assert!(matches!(placed, Err(Refusal::FillOrKill { fillable }) if fillable.is_positive()), "{placed:?}");
        }
        invariants::check(&world);
    }
}

#[test]
fn an_order_without_the_means_is_refused_with_what_is_available() {
    let (mut world, market) = simple(2);
    let refused = world.place(&world.limit(market, 1, 0, Side::Buy, 500, 201));
    let (required, available) = (Credits::from_mills(100_500), Credits::from_mills(100_000));
    assert_eq!(refused, Err(Refusal::InsufficientFunds { required, available }));
    let refused = world.place(&world.limit(market, 1, 0, Side::Sell, 500, 1));
    assert!(matches!(refused, Err(Refusal::InsufficientShares { .. })));
}

/// Threat 33.
#[test]
fn numbers_that_leave_the_range_are_refused_and_change_nothing() {
    let mut world = World::new(3, 1_000);
    let rich = AccountId::of_user(world.users[1]);
    world.pay(AccountId::TREASURY, rich, i64::MAX - 2_000_000, bellwether_domain::ledger::TransferKind::Grant, None);
    let market = world.open_market(2, 0, None, None);
    for _ in 0..3 {
        world.place(&world.limit(market, 1, 0, Side::Buy, 999, 1_000_000_000)).unwrap();
    }
    invariants::check(&world);
}

#[test]
fn a_command_that_would_make_too_many_fills_is_refused() {
    let (mut world, market) = simple(2);
    world.limits.max_fills = 3;
    for _ in 0..4 {
        world.place(&world.limit(market, 1, 0, Side::Buy, 500, 1)).unwrap();
    }
    assert_eq!(world.place(&world.limit(market, 2, 1, Side::Buy, 500, 4)), Err(Refusal::TooManyFills { limit: 3 }));
    world.place(&world.limit(market, 2, 1, Side::Buy, 500, 3)).unwrap();
}

#[test]
fn open_orders_are_limited_for_each_user_and_market() {
    let (mut world, market) = simple(2);
    world.limits.max_open_orders = 2;
    let first = world.place(&world.limit(market, 1, 0, Side::Buy, 100, 1)).unwrap().order;
    world.place(&world.limit(market, 1, 0, Side::Buy, 100, 1)).unwrap();
    assert_eq!(
        world.place(&world.limit(market, 1, 0, Side::Buy, 100, 1)),
        Err(Refusal::TooManyOpenOrders { limit: 2 })
    );
    world.cancel(first.id, first.user).unwrap();
    world.place(&world.limit(market, 1, 0, Side::Buy, 100, 1)).unwrap();
}

#[test]
fn own_orders_that_a_command_ends_make_room_for_it() {
    for rule in [SelfTradePrevention::CancelOldest, SelfTradePrevention::Decrement] {
        let (mut world, market) = simple(2);
        world.limits.max_open_orders = 1;
        world.place(&world.limit(market, 1, 0, Side::Buy, 500, 5)).unwrap();
        let mut order = world.limit(market, 1, 1, Side::Buy, 500, 8);
        order.self_trade_prevention = rule;
        assert!(world.place(&order).unwrap().order.is_open(), "{rule:?}");
        let more = world.place(&world.limit(market, 1, 1, Side::Buy, 100, 1));
        assert_eq!(more, Err(Refusal::TooManyOpenOrders { limit: 1 }));
        invariants::check(&world);
    }
}

#[test]
fn a_partial_resolution_pays_each_share_its_weight_and_empties_the_collateral() {
    let (mut world, market) = simple(2);
    world.place(&world.limit(market, 1, 0, Side::Buy, 600, 10)).unwrap();
    world.place(&world.limit(market, 2, 1, Side::Buy, 400, 10)).unwrap();
    world.close(market);
    world.resolve(market, Weights::new(vec![600, 400], 2).unwrap(), 1);
    assert_eq!((world.available(1), world.available(2)), (100_000, 100_000));
    invariants::check(&world);
}

#[test]
fn a_voided_market_pays_the_last_prices() {
    assert_eq!(Weights::proportional(&[600, 300, 300]).as_slice(), [500, 250, 250]);
    assert_eq!(Weights::proportional(&[1, 1, 1]).as_slice(), [334, 333, 333]);
    assert_eq!(Weights::proportional(&[0, 0]).as_slice(), [500, 500]);
    let (mut world, market) = simple(2);
    assert_eq!(world.markets[&market].void_weights().as_slice(), [500, 500]);
    world.place(&world.limit(market, 1, 0, Side::Buy, 625, 10)).unwrap();
    world.place(&world.limit(market, 2, 1, Side::Buy, 375, 10)).unwrap();
    assert_eq!(world.markets[&market].void_weights().as_slice(), [625, 375]);
}
