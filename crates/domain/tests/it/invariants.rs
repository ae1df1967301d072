//! The domain's invariants, checked on a whole world.

use std::collections::BTreeMap;

use bellwether_domain::exchange::crosses_maker;
use bellwether_domain::ids::{AccountId, OrderId};
use bellwether_domain::ledger::Owner;
use bellwether_domain::market::OutcomeId;
use bellwether_domain::order::{Backing, Order, Side};

use crate::told;
use crate::world::World;

/// Panics with the broken invariant's number.
pub fn check(world: &World) {
    balances_add_up(world);
    holds_are_exact(world);
    sets_are_backed(world);
    fills_have_two_sides(world);
    nothing_crosses(world);
    caps_hold(world);
    told::check(world);
}

/// Follows the hash chains from their start: slow, so it is done now and then.
pub fn check_chains(world: &World) {
    let mut chains: BTreeMap<AccountId, (i64, [u8; 32])> = BTreeMap::new();
    for transfer in &world.transfers {
        let (number, hash) = chains.entry(transfer.from).or_default();
        assert_eq!(transfer.paid_number, *number + 1, "1: numbers of a chain are gapless");
        assert_eq!(transfer.hash, transfer.expected_hash(hash), "1: each hash covers the one before");
        (*number, *hash) = (transfer.paid_number, transfer.hash);
    }
    for account in world.accounts.values() {
        let end = chains.get(&account.id).copied().unwrap_or_default();
        assert_eq!((account.paid_count, account.chain), end, "1: the account knows its chain's end");
    }
    let mut sums: BTreeMap<AccountId, i64> = BTreeMap::new();
    for transfer in &world.transfers {
        *sums.entry(transfer.from).or_default() -= transfer.amount.mills();
        *sums.entry(transfer.to).or_default() += transfer.amount.mills();
    }
    for account in world.accounts.values() {
        assert_eq!(
            account.balance.mills(),
            sums.get(&account.id).copied().unwrap_or(0),
            "1: a balance is the sum of its transfers"
        );
    }
}

fn balances_add_up(world: &World) {
    let sum: i64 = world.accounts.values().map(|a| a.balance.mills()).sum();
    assert_eq!(sum, 0, "1: all balances add up to zero");
    for account in world.accounts.values().filter(|a| a.owner != Owner::Treasury) {
        assert!(account.balance.mills() >= 0, "2: {account:?}");
        assert!((0..=account.balance.mills()).contains(&account.held.mills()), "2: {account:?}");
    }
    for holding in world.positions.values().flat_map(|p| &p.holdings) {
        assert!((0..=holding.quantity.count()).contains(&holding.held.count()), "2: {holding:?}");
    }
}

fn holds_are_exact(world: &World) {
    let mut cash: BTreeMap<AccountId, i64> = BTreeMap::new();
    let mut shares: BTreeMap<(uuid::Uuid, uuid::Uuid, usize), i64> = BTreeMap::new();
    for order in world.orders.values() {
        assert_eq!(order.is_open(), order.remaining.is_positive(), "3: {order:?}");
        assert!(order.filled.count() + order.remaining.count() <= order.quantity.count(), "5: {order:?}");
        let reserve = if order.is_open() { order.reserve_for(order.remaining).unwrap().mills() } else { 0 };
        assert_eq!(order.reserved.mills(), reserve, "3: {order:?}");
        *cash.entry(AccountId::of_user(order.user)).or_default() += reserve;
        if order.is_open() && order.backing == Backing::Shares {
            for outcome in held_outcomes(world, order) {
                *shares.entry((order.market.0, order.user.0, outcome)).or_default() += order.remaining.count();
            }
        }
    }
    for account in world.accounts.values() {
        assert_eq!(account.held.mills(), cash.get(&account.id).copied().unwrap_or(0), "3: {account:?}");
    }
    for position in world.positions.values() {
        for (outcome, holding) in position.holdings.iter().enumerate() {
            let key = (position.market.0, position.user.0, outcome);
            assert_eq!(holding.held.count(), shares.get(&key).copied().unwrap_or(0), "3: {position:?}");
        }
    }
}

fn held_outcomes(world: &World, order: &Order) -> Vec<usize> {
    let all = 0..world.markets[&order.market].outcomes.len();
    all.filter(|o| (*o == order.book.index()) == (order.book_side == Side::Sell)).collect()
}

fn sets_are_backed(world: &World) {
    for market in world.markets.values() {
        let collateral = world.accounts[&market.collateral()].balance.mills();
        if market.settled_at.is_some() {
            assert_eq!(collateral, 0, "4: the collateral is empty after the last payout");
            assert!(world.positions.values().filter(|p| p.market == market.id).all(|p| p.settled_at.is_some()), "6");
            continue;
        }
        for outcome in 0..market.outcomes.len() {
            let users: i64 = world
                .positions
                .values()
                .filter(|p| p.market == market.id)
                .map(|p| p.holdings[outcome].quantity.count())
                .sum();
            let maker = market.maker.as_ref().map_or(0, |m| m.lmsr.holdings(outcome).unwrap());
            assert_eq!((users + maker) * 1000, collateral, "4: outcome {outcome} of {:?}", market.id);
        }
    }
}

fn fills_have_two_sides(world: &World) {
    let mut filled: BTreeMap<uuid::Uuid, i64> = BTreeMap::new();
    let mut volume: BTreeMap<uuid::Uuid, (i64, i64)> = BTreeMap::new();
    for trade in &world.trades {
        assert!(trade.quantity.is_positive(), "5");
        assert_eq!(trade.maker_order.is_some(), trade.maker.is_some(), "5");
        assert_ne!(Some(trade.taker), trade.maker, "36: nobody trades with himself");
        if trade.maker_order.is_some() {
            assert_eq!(trade.price.cost(trade.quantity).unwrap(), trade.cost, "5: book fills are exact");
        }
        for order in [Some(trade.taker_order), trade.maker_order].into_iter().flatten() {
            *filled.entry(order.0).or_default() += trade.quantity.count();
        }
        let (cost, count) = volume.entry(trade.market.0).or_default();
        *cost += trade.cost.mills();
        *count += 1;
    }
    for order in world.orders.values() {
        assert_eq!(order.filled.count(), filled.get(&order.id.0).copied().unwrap_or(0), "5: {order:?}");
    }
    for market in world.markets.values() {
        let expected = volume.get(&market.id.0).copied().unwrap_or_default();
        assert_eq!((market.volume.mills(), market.trade_count), expected, "5: volume");
    }
}

/// A group counts each fill of its orders, is never filled beyond its cap, and has nothing open once it is full.
fn caps_hold(world: &World) {
    for (group, from) in world.groups.values() {
        let is_in = |id: &OrderId| world.orders[id].group == Some(group.id);
        let fills = |from: usize| {
            world.trades[from..]
                .iter()
                .filter(|trade| is_in(&trade.taker_order) || trade.maker_order.as_ref().is_some_and(is_in))
        };
        let filled: i64 = fills(*from).map(|trade| trade.quantity.count()).sum();
        assert_eq!(group.filled.count(), filled, "{group:?}");
        let (mut counted, cap) = (filled, group.fill_cap.count());
        if let Some(window_s) = group.window_s {
            let inside = fills(*from).filter(|trade| world.now.duration_since(trade.created_at).as_secs() < window_s);
            counted = inside.map(|trade| trade.quantity.count()).sum();
        }
        assert!(counted <= cap, "{counted} shares where {cap} are allowed: {group:?}");
        assert_eq!(group.window_s.is_none() && filled == cap, group.window_s.is_none() && group.is_full(), "{group:?}");
        let open = world.orders.values().filter(|order| order.is_open() && order.group == Some(group.id)).count();
        assert!(open == 0 || !group.is_full(), "{open} orders are open: {group:?}");
    }
}

fn nothing_crosses(world: &World) {
    for market in world.markets.values() {
        for book in (0..market.outcomes.len()).filter_map(OutcomeId::new) {
            let best = |side| {
                world
                    .side(market.id, book, side)
                    .into_iter()
                    .find(|o| o.expires_at.is_none_or(|at| at > world.now))
                    .and_then(|o| o.book_price)
            };
            let (bid, ask) = (best(Side::Buy), best(Side::Sell));
            if let (Some(bid), Some(ask)) = (bid, ask) {
                assert!(bid < ask, "7: bid {bid} and ask {ask} cross");
            }
            let Some(maker) = &market.maker else { continue };
            for (side, price) in [(Side::Buy, bid), (Side::Sell, ask)] {
                if let Some(price) = price {
                    assert!(
                        !crosses_maker(&maker.lmsr, book, side, price),
                        "7: {side:?} at {price} crosses the maker {:?}",
                        maker.lmsr.prices_mills()
                    );
                }
            }
        }
    }
}
