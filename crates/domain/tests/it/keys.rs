//! What orders come to for the API keys that they count against.

use bellwether_domain::api_key::{ApiKey, Day, KeyLimits, KeyName, KeySpending, KeyUsage, Scope};
use bellwether_domain::ids::{AccountId, ApiKeyId, MarketId};
use bellwether_domain::money::{Credits, Shares};
use bellwether_domain::order::{AmendOrder, Backing, OrderStatus, Side};
use bellwether_domain::refusal::Refusal;
use jiff::SignedDuration;

use crate::invariants;
use crate::world::{World, price, with_backing};

/// A world of four users with 100 credits each, a market without a maker, and a key of user 1 with these limits.
fn with_key(spend_per_day: Option<i64>, max_open_orders: Option<u32>) -> (World, MarketId, ApiKeyId) {
    let mut world = World::new(4, 100_000);
    let market = world.open_market(2, 0, None, None);
    let spend_per_day = spend_per_day.map(Credits::from_mills);
    let key = add_key(&mut world, KeyLimits { spend_per_day, max_open_orders, ..KeyLimits::default() });
    (world, market, key)
}

fn add_key(world: &mut World, limits: KeyLimits) -> ApiKeyId {
    let id = ApiKeyId(world.ids.next_uuid());
    let key = ApiKey {
        id,
        user: world.users[1],
        name: KeyName::parse("a bot").unwrap(),
        hash: [1; 32],
        scopes: [Scope::Trade].into_iter().collect(),
        limits,
        created_at: world.now,
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
    };
    let spending = KeySpending { key: id, day: Day(0), spent: Credits::ZERO };
    world.keys.insert(id, KeyUsage { key, spending, reserved: Credits::ZERO, open_orders: 0 });
    id
}

/// What the key has spent today, and what its open orders hold, in mills.
fn used(world: &World, key: ApiKeyId) -> (i64, i64) {
    let usage = world.usage(key);
    (usage.spending.spent.mills(), usage.reserved.mills())
}

fn limit_reached(limit: i64, required: i64, available: i64) -> Refusal {
    let [limit, required, available] = [limit, required, available].map(Credits::from_mills);
    Refusal::KeySpendingLimit { limit, required, available }
}

#[test]
fn what_an_order_pays_on_arrival_and_what_it_reserves_count_together() {
    let (mut world, market, key) = with_key(Some(10_000), None);
    world.place(&world.limit(market, 2, 1, Side::Buy, 500, 10)).unwrap();
    world.limits.key = Some(key);
    // Ten are filled at 0.5, six rest at 0.6.
    let order = world.place(&world.limit(market, 1, 0, Side::Buy, 600, 16)).unwrap().order;
    assert_eq!((used(&world, key), order.counted_by), ((5_000, 3_600), Some(key)));
    let refused = world.place(&world.limit(market, 1, 0, Side::Buy, 100, 15));
    assert_eq!(refused.unwrap_err(), limit_reached(10_000, 1_500, 1_400));
    world.place(&world.limit(market, 1, 0, Side::Buy, 100, 14)).unwrap();
    assert_eq!(used(&world, key), (5_000, 5_000));
    // Where the owner itself trades, the key's limit says nothing.
    world.limits.key = None;
    world.place(&world.limit(market, 1, 0, Side::Buy, 100, 100)).unwrap();
    assert_eq!(used(&world, key), (5_000, 5_000));
    invariants::check(&world);
}

#[test]
fn a_resting_order_that_fills_later_is_spent_by_the_key_that_placed_it() {
    let (mut world, market, key) = with_key(Some(10_000), None);
    world.limits.key = Some(key);
    world.place(&world.limit(market, 1, 0, Side::Buy, 600, 10)).unwrap();
    assert_eq!(used(&world, key), (0, 6_000));
    world.limits.key = None;
    world.place(&world.limit(market, 2, 1, Side::Buy, 400, 4)).unwrap();
    assert_eq!(used(&world, key), (2_400, 3_600));
    // What is filled on another day is spent on that day.
    world.now += SignedDuration::from_hours(24);
    assert_eq!(used(&world, key), (0, 3_600));
    world.place(&world.limit(market, 2, 1, Side::Buy, 400, 6)).unwrap();
    assert_eq!(used(&world, key), (3_600, 0));
    invariants::check(&world);
}

#[test]
fn what_a_cancelled_order_held_can_be_spent_again_and_what_was_spent_cannot() {
    let (mut world, market, key) = with_key(Some(6_000), None);
    world.limits.key = Some(key);
    let order = world.place(&world.limit(market, 1, 0, Side::Buy, 600, 10)).unwrap().order;
    world.limits.key = None;
    world.place(&world.limit(market, 2, 1, Side::Buy, 400, 4)).unwrap();
    world.cancel(order.id, world.users[1]).unwrap();
    assert_eq!(used(&world, key), (2_400, 0));
    world.limits.key = Some(key);
    let refused = world.place(&world.limit(market, 1, 0, Side::Buy, 600, 7));
    assert_eq!(refused.unwrap_err(), limit_reached(6_000, 4_200, 3_600));
    world.place(&world.limit(market, 1, 0, Side::Buy, 600, 6)).unwrap();
    // With nothing left to spend it may still sell what it bought, which gives nothing back.
    world.limits.key = None;
    world.place(&world.limit(market, 2, 0, Side::Buy, 700, 4)).unwrap();
    world.limits.key = Some(key);
    world.place(&world.limit(market, 1, 0, Side::Sell, 700, 4)).unwrap();
    assert_eq!(used(&world, key), (2_400, 3_600));
    invariants::check(&world);
}

#[test]
fn fees_count_too() {
    let (mut world, _, key) = with_key(Some(5_100), None);
    let market = world.open_market(2, 200, None, None);
    world.place(&world.limit(market, 2, 1, Side::Buy, 500, 20)).unwrap();
    world.limits.key = Some(key);
    world.place(&world.limit(market, 1, 0, Side::Buy, 500, 10)).unwrap();
    let fee = world.transfers.iter().filter(|t| t.to == AccountId::FEES).map(|t| t.amount.mills()).sum::<i64>();
    assert_eq!(used(&world, key), (5_000 + fee, 0));
    assert!(fee > 0 && world.place(&world.limit(market, 1, 0, Side::Buy, 500, 1)).is_err());
    invariants::check(&world);
}

#[test]
fn an_order_counts_against_who_amended_it_last() {
    let (mut world, market, key) = with_key(Some(6_000), Some(1));
    let order = world.place(&world.limit(market, 1, 0, Side::Buy, 600, 10)).unwrap().order;
    let to = |mills, quantity| AmendOrder {
        order: order.id,
        user: order.user,
        price: Some(price(mills)),
        quantity: Some(Shares::new(quantity)),
        expires_at: None,
    };
    world.limits.key = Some(key);
    assert_eq!(world.amend(&to(600, 11)).unwrap_err(), limit_reached(6_000, 6_600, 6_000));
    assert_eq!(used(&world, key), (0, 0));
    world.amend(&to(500, 12)).unwrap();
    assert_eq!(used(&world, key), (0, 6_000));
    assert_eq!(
        world.place(&world.limit(market, 1, 0, Side::Buy, 1, 1)).unwrap_err(),
        limit_reached(6_000, 1, 0),
        "the credits are looked at before the orders"
    );
    world.limits.key = None;
    world.amend(&to(500, 11)).unwrap();
    assert_eq!((used(&world, key), world.usage(key).open_orders), ((0, 0), 0));
    invariants::check(&world);
}

#[test]
fn a_key_has_as_many_open_orders_as_it_may_in_all_markets() {
    let (mut world, first, key) = with_key(None, Some(2));
    let second = world.open_market(2, 0, None, None);
    world.place(&world.limit(first, 1, 0, Side::Buy, 100, 1)).unwrap();
    world.limits.key = Some(key);
    let order = world.place(&world.limit(first, 1, 0, Side::Buy, 200, 1)).unwrap().order;
    world.place(&world.limit(second, 1, 0, Side::Buy, 200, 1)).unwrap();
    let one_more = world.limit(second, 1, 0, Side::Buy, 300, 1);
    assert_eq!(world.place(&one_more).unwrap_err(), Refusal::KeyOpenOrders { limit: 2 });
    world.cancel(order.id, order.user).unwrap();
    world.place(&one_more).unwrap();
    invariants::check(&world);
}

/// User 1 trades by a key alone and never sells, so what has left its account is what the key spent, and
/// what is held on it is what the key's orders reserve: whoever fills them, whenever, in markets with a
/// maker and with fees, one by one and in groups.
#[test]
fn over_many_random_orders_the_count_is_exact_and_the_limit_is_kept() {
    const CAP: i64 = 20_000;
    for seed in 0..40_u64 {
        let (mut world, plain, key) = with_key(Some(CAP), Some(5));
        let made = world.open_market(3, 150, Some(5_000), None);
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut draw = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let start = world.accounts[&AccountId::of_user(world.users[1])].balance.mills();
        let (mut spent_before_today, mut placed, mut refused) = (0, 0, 0);
        for _ in 0..150 {
            if draw(40) == 0 {
                spent_before_today += used(&world, key).0;
                world.now += SignedDuration::from_hours(24);
            }
            let market = if draw(2) == 0 { plain } else { made };
            let outcomes = world.markets[&market].outcomes.len() as u64;
            let user = draw(3) as usize + 1;
            let side = if draw(3) == 0 { Side::Sell } else { Side::Buy };
            let (outcome, mills) = (draw(outcomes) as usize, draw(899) as i64 + 50);
            let order = world.limit(market, user, outcome, side, mills, draw(12) as i64 + 1);
            let order = with_backing(order, Backing::Cash);
            world.limits.key = (user == 1).then_some(key);
            match draw(8) {
                0 => {
                    let open = world.orders.values().find(|o| o.is_open() && o.user == world.users[user]);
                    if let Some((id, owner)) = open.map(|o| (o.id, o.user)) {
                        world.cancel(id, owner).unwrap();
                    }
                }
                1 if user == 1 => world.place_group(&[order.clone(), order.clone(), order]),
                _ => match world.place(&order) {
                    Ok(_) => placed += 1,
                    Err(Refusal::KeySpendingLimit { .. } | Refusal::KeyOpenOrders { .. }) => refused += 1,
                    Err(_) => {}
                },
            }
            let account = &world.accounts[&AccountId::of_user(world.users[1])];
            let (spent, reserved) = used(&world, key);
            assert_eq!(start - account.balance.mills(), spent_before_today + spent, "seed {seed}");
            assert_eq!(account.held.mills(), reserved, "seed {seed}");
            assert!(spent + reserved <= CAP && world.usage(key).open_orders <= 5, "seed {seed}");
        }
        assert!(placed > 20 && refused > 0, "seed {seed}: {placed} placed, {refused} refused");
        let ended = world.orders.values().filter(|o| o.counted_by == Some(key) && o.status == OrderStatus::Filled);
        assert!(ended.count() > 0, "seed {seed}: nothing was filled");
        invariants::check(&world);
    }
}
