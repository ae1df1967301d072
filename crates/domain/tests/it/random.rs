//! Random commands from many users over several markets: every invariant after every step.

use bellwether_domain::exchange::{ExchangeSets, SetsWay};
use bellwether_domain::ids::{MarketId, OrderId, UserId};
use bellwether_domain::market::Weights;
use bellwether_domain::money::{Credits, Shares};
use bellwether_domain::order::{AmendOrder, Backing, Life, MarketBound, PlaceOrder, SelfTradePrevention, Side, Terms};
use bellwether_domain::position::Holding;
use bellwether_domain::refusal::Refusal;
use jiff::SignedDuration;
use proptest::prelude::*;

use crate::invariants;
use crate::world::{World, price};

#[derive(Debug, Clone)]
enum Act {
    Place {
        market: usize,
        user: usize,
        outcome: usize,
        side: Side,
        terms: Terms,
        backing: Option<Backing>,
        stp: SelfTradePrevention,
        expires_in_s: Option<i64>,
        reduce_only: bool,
        grouped: bool,
    },
    Reset {
        nth: usize,
    },
    Amend {
        nth: usize,
        price: Option<i64>,
        quantity: Option<i64>,
    },
    Cancel {
        nth: usize,
    },
    Sets {
        market: usize,
        user: usize,
        quantity: i64,
        way: SetsWay,
    },
    Pass {
        seconds: i64,
    },
}

fn terms() -> impl Strategy<Value = Terms> {
    let limit = (1..1000_i64, 1..60_i64, 0..6_u8).prop_map(|(mills, quantity, kind)| Terms::Limit {
        price: price(mills),
        quantity: Shares::new(quantity),
        life: match kind {
            4 => Life::ImmediateOrCancel,
            5 => Life::FillOrKill,
            _ => Life::UntilCancelled,
        },
        post_only: kind == 3,
    });
    let worst = (1..1000_i64, 1..60_i64, any::<bool>()).prop_map(|(mills, quantity, fill_or_kill)| Terms::Market {
        bound: MarketBound::Worst { quantity: Shares::new(quantity), price: price(mills) },
        fill_or_kill,
    });
    let spend = (
        1..30_000_i64,
        proptest::option::of(1..40_i64),
        proptest::option::of(1..1000_i64),
        proptest::bool::weighted(0.2),
    )
        .prop_map(|(mills, quantity, worst, fill_or_kill)| {
            let bound = MarketBound::Spend {
                max_spend: Credits::from_mills(mills),
                quantity: quantity.map(Shares::new),
                price: worst.map(price),
            };
            Terms::Market { bound, fill_or_kill }
        });
    prop_oneof![6 => limit, 1 => worst, 1 => spend]
}

fn act() -> impl Strategy<Value = Act> {
    let side = prop_oneof![Just(Side::Buy), Just(Side::Sell)];
    let stp = prop_oneof![
        Just(SelfTradePrevention::CancelNewest),
        Just(SelfTradePrevention::CancelOldest),
        Just(SelfTradePrevention::Decrement)
    ];
    let backing = prop_oneof![3 => Just(None), 2 => Just(Some(Backing::Cash)), 1 => Just(Some(Backing::Shares))];
    let place = (
        0..5_usize,
        0..6_usize,
        0..5_usize,
        side,
        terms(),
        backing,
        stp,
        proptest::option::weighted(0.1, 1..50_i64),
        (proptest::bool::weighted(0.1), proptest::bool::weighted(0.3)),
    )
        .prop_map(|(market, user, outcome, side, terms, backing, stp, expires_in_s, (reduce_only, grouped))| {
            Act::Place { market, user, outcome, side, terms, backing, stp, expires_in_s, reduce_only, grouped }
        });
    let way = prop_oneof![Just(SetsWay::Split), Just(SetsWay::Merge)];
    let sets = (0..5_usize, 0..6_usize, 1..40_i64, way).prop_map(|(market, user, quantity, way)| Act::Sets {
        market,
        user,
        quantity,
        way,
    });
    let amend = (any::<usize>(), proptest::option::of(1..1000_i64), proptest::option::of(1..80_i64))
        .prop_map(|(nth, price, quantity)| Act::Amend { nth, price, quantity });
    prop_oneof![
        16 => place,
        2 => amend,
        2 => sets,
        2 => any::<usize>().prop_map(|nth| Act::Cancel { nth }),
        1 => any::<usize>().prop_map(|nth| Act::Reset { nth }),
        1 => (1..20_i64).prop_map(|seconds| Act::Pass { seconds }),
    ]
}

/// Five markets of different shapes, six users.
fn world() -> World {
    let mut world = World::new(6, 400_000);
    world.open_market(2, 0, None, None);
    world.open_market(2, 150, Some(30_000), None);
    world.open_market(2, 0, Some(20_000), Some(vec![900, 100]));
    world.open_market(3, 37, Some(25_000), Some(vec![600, 300, 100]));
    world.open_market(5, 0, None, None);
    let markets: Vec<MarketId> = world.markets.keys().copied().collect();
    for (number, market) in markets.into_iter().enumerate() {
        for user in 0..6 {
            let window = (user % 2 == 1).then_some(10);
            world.open_group(user, market, 5 + 20 * ((user + number) as i64 % 4), window);
        }
    }
    world
}

/// Who can give the shares, if anybody, and no more of them than there are: else hardly any random
/// order that gives shares would be accepted.
fn owner_of(world: &World, market: MarketId, user: usize, outcome: usize, side: Side, terms: Terms) -> (usize, Terms) {
    let can_give = |user: usize| {
        let position = world.positions.get(&(market, world.users[user]))?;
        let given = |(index, holding): (usize, &Holding)| {
            ((index == outcome) == (side == Side::Sell)).then(|| holding.available().count())
        };
        position.holdings.iter().enumerate().filter_map(given).min().filter(|shares| *shares > 0)
    };
    let found = (0..6).map(|step| (user + step) % 6).find_map(|user| Some((user, can_give(user)?)));
    match (found, terms) {
        (Some((owner, most)), Terms::Limit { price, quantity, life, post_only }) => {
            (owner, Terms::Limit { price, quantity: Shares::new(quantity.count().min(most)), life, post_only })
        }
        (Some((owner, _)), terms) => (owner, terms),
        (None, terms) => (user, terms),
    }
}

/// How many shares of each outcome a user has.
fn shares(world: &World, market: MarketId, user: usize) -> Vec<i64> {
    let outcomes = world.markets[&market].outcomes.len();
    (0..outcomes).map(|outcome| world.holding(market, user, outcome)).collect()
}

/// What was filled of each of a user's orders.
fn filled(world: &World, user: UserId) -> Vec<(OrderId, Shares)> {
    world.orders.values().filter(|order| order.user == user).map(|order| (order.id, order.filled)).collect()
}

fn perform(world: &mut World, act: &Act) -> bool {
    match act.clone() {
        Act::Place { market, user, outcome, side, terms, backing, stp, expires_in_s, reduce_only, grouped } => {
            let market = *world.markets.keys().nth(market).unwrap();
            let outcome = outcome % world.markets[&market].outcomes.len();
            let terms = match (terms, expires_in_s) {
                (Terms::Limit { price, quantity, life: Life::UntilCancelled, post_only }, Some(seconds)) => {
                    let life = Life::Until(world.now + SignedDuration::from_secs(seconds));
                    Terms::Limit { price, quantity, life, post_only }
                }
                (terms, _) => terms,
            };
            let (user, terms) = if backing == Some(Backing::Shares) {
                owner_of(world, market, user, outcome, side, terms)
            } else {
                (user, terms)
            };
            let mut order = world.order(market, user, outcome, side, terms);
            order.backing = backing;
            order.self_trade_prevention = stp;
            order.reduce_only = reduce_only;
            order.group = world.group_of(order.user, market).filter(|_| grouped);
            let before = reduce_only.then(|| (shares(world, market, user), filled(world, order.user)));
            let placed = world.place(&order);
            assert_ne!(placed.as_ref().err(), Some(&Refusal::OutOfRange), "what is planned can be cleared");
            let is_placed = placed.is_ok();
            // Where it moves the market maker's prices, that may fill what rests of its owner's in another book.
            if let Some((before, filled)) = before
                && filled.iter().all(|(order, filled)| world.orders[order].filled == *filled)
            {
                let after = shares(world, market, user);
                assert!(
                    before.iter().zip(after).all(|(before, after)| after <= *before),
                    "a reduce-only order adds no shares"
                );
            }
            is_placed
        }
        Act::Sets { market, user, quantity, way } => {
            let market = *world.markets.keys().nth(market).unwrap();
            let user = world.users[user];
            world.exchange_sets(&ExchangeSets { market, user, quantity: Shares::new(quantity), way }).is_ok()
        }
        Act::Amend { nth, price: mills, quantity } => {
            let open: Vec<_> = world.orders.values().filter(|o| o.is_open()).map(|o| (o.id, o.user)).collect();
            if open.is_empty() {
                return false;
            }
            let (order, user) = open[nth % open.len()];
            world
                .amend(&AmendOrder {
                    order,
                    user,
                    price: mills.map(price),
                    quantity: quantity.map(Shares::new),
                    expires_at: None,
                })
                .is_ok()
        }
        Act::Cancel { nth } => {
            let open: Vec<_> = world.orders.values().filter(|o| o.is_open()).map(|o| (o.id, o.user)).collect();
            !open.is_empty() && {
                let (order, user) = open[nth % open.len()];
                world.cancel(order, user).is_ok()
            }
        }
        Act::Reset { nth } => {
            let id = *world.groups.keys().nth(nth % world.groups.len()).unwrap();
            world.reset_group(id);
            true
        }
        Act::Pass { seconds } => {
            world.now += SignedDuration::from_secs(seconds);
            true
        }
    }
}

proptest! {
    // 64 runs of 200 steps: 12,800 steps, each followed by a check of every invariant.
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    /// Threats 27, 34, 36 and 37: conservation, exact holds, priority and no crossing, whatever traders do.
    #[test]
    fn every_invariant_holds_after_every_command(acts in proptest::collection::vec(act(), 200), split in 0..=1000_u16) {
        let mut world = world();
        for act in &acts {
            perform(&mut world, act);
            invariants::check(&world);
        }
        invariants::check_chains(&world);
        crate::told::check_holdings(&world);
        let markets: Vec<_> = world.markets.keys().copied().collect();
        for market in markets {
            world.close(market);
            invariants::check(&world);
            let outcomes = world.markets[&market].outcomes.len();
            let mut weights = vec![0; outcomes];
            weights[0] = split;
            weights[outcomes - 1] += 1000 - split;
            world.resolve(market, Weights::new(weights, outcomes).unwrap(), 2);
            invariants::check(&world);
        }
        invariants::check_chains(&world);
        // Everything that was granted is with the users and the house again.
        let left: i64 = world.users.iter().map(|u| world.accounts[&bellwether_domain::ids::AccountId::of_user(*u)].balance.mills()).sum();
        let fees = world.accounts[&bellwether_domain::ids::AccountId::FEES].balance.mills();
        prop_assert_eq!(left + fees, 6 * 400_000);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    /// A group of orders on one loaded state does exactly what the same orders do one after the other.
    #[test]
    fn a_group_does_what_its_orders_would_do_one_by_one(
        groups in proptest::collection::vec((0..5_usize, proptest::collection::vec(act(), 1..12)), 12),
    ) {
        let (mut grouped, mut single) = (world(), world());
        for (market, acts) in groups {
            let orders: Vec<_> = acts.iter().filter_map(|act| order_in(&single, market, act)).collect();
            grouped.place_group(&orders);
            for order in &orders {
                drop(single.place(order));
            }
            invariants::check(&grouped);
            prop_assert_eq!(&grouped.orders, &single.orders);
            prop_assert_eq!(&grouped.accounts, &single.accounts);
            prop_assert_eq!(&grouped.trades, &single.trades);
            prop_assert_eq!(&grouped.transfers, &single.transfers);
            prop_assert_eq!(&grouped.markets, &single.markets);
            prop_assert_eq!(&grouped.groups, &single.groups);
        }
    }
}

/// The order of an act, put into that market.
fn order_in(world: &World, market: usize, act: &Act) -> Option<PlaceOrder> {
    let Act::Place { user, outcome, side, terms, backing, stp, grouped, .. } = act.clone() else { return None };
    let market = *world.markets.keys().nth(market)?;
    let outcome = outcome % world.markets[&market].outcomes.len();
    let mut order = world.order(market, user, outcome, side, terms);
    order.backing = backing;
    order.self_trade_prevention = stp;
    order.group = world.group_of(order.user, market).filter(|_| grouped);
    Some(order)
}

/// The random walk above is worth something only if it really trades in every way.
#[test]
fn random_commands_reach_every_settlement_and_the_market_maker() {
    use bellwether_domain::trade::Settlement;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut seen = std::collections::BTreeMap::<String, u32>::new();
    let (mut accepted, mut deepened) = (0, 0);
    for _ in 0..20 {
        let acts = proptest::collection::vec(act(), 200).new_tree(&mut runner).unwrap().current();
        let mut world = world();
        accepted += acts.iter().filter(|act| perform(&mut world, act)).count();
        deepened += world.deepened;
        for trade in &world.trades {
            let against = if trade.maker_order.is_some() { "book" } else { "maker" };
            *seen.entry(format!("{} {against}", trade.settlement.as_str())).or_default() += 1;
        }
        for order in world.orders.values() {
            *seen.entry(order.end_reason.map_or("none", |r| r.as_str()).to_owned()).or_default() += 1;
        }
    }
    for settlement in Settlement::ALL {
        assert!(seen.contains_key(&format!("{} book", settlement.as_str())), "{settlement:?} in {seen:?}");
    }
    for expected in ["transfer maker", "rest maker", "self_trade", "time_in_force", "expired", "group_full"] {
        assert!(seen.contains_key(expected), "{expected} in {seen:?}");
    }
    assert!(accepted > 1000 && deepened > 0, "accepted {accepted}, deepened {deepened}");
}
