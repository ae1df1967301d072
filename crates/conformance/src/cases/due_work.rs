//! Work that time makes due.

use anyhow::{Context, ensure};
use bellwether_domain::ids::{MarketId, OrderId, UserId};
use bellwether_domain::market::{Market, MarketStatus, Proposal, Resolution, Weights};
use bellwether_domain::order::{EndReason, Order, OrderStatus, Side, TimeInForce};
use bellwether_domain::ports::{Changes, Look};

use crate::fixtures::{self, at};
use crate::world::World;

/// A market in that status that closes at that second.
fn due_market(world: &World, creator: UserId, status: MarketStatus, closes: i64) -> anyhow::Result<Market> {
    let mut market = fixtures::market(world, creator, 2)?;
    market.status = status;
    market.closes_at = at(closes)?;
    if matches!(status, MarketStatus::Proposed | MarketStatus::Disputed) {
        market.proposal = Some(Proposal {
            weights: Weights::new(vec![1000, 0], 2)?,
            evidence_url: None,
            proposed_by: creator,
            proposed_at: at(closes)?,
            challenge_until: at(closes + 50)?,
            disputed_by: None,
            dispute_reason: None,
        });
    }
    if status.is_decided() {
        let weights = Weights::new(vec![1000, 0], 2)?;
        market.resolution = Some(Resolution { weights, decided_by: None, decided_at: at(closes)?, reason: None });
    }
    Ok(market)
}

fn sorted<T: Ord + Copy>(mut ids: Vec<T>) -> Vec<T> {
    ids.sort_unstable();
    ids
}

/// Each sort of work that time makes due, and nothing that is not.
pub async fn due_work_is_all_that_is_due_and_nothing_else(world: World) -> anyhow::Result<()> {
    use MarketStatus::{Closed, Disputed, Halted, Open, Proposed, Resolved, Voided};
    let creator = fixtures::trader(&world).await?;
    let mut gone = fixtures::user(&world)?;
    gone.deactivate(at(0)?);
    world.write(&Changes { new_users: vec![gone.clone()], ..Changes::default() }).await?;
    let made = |status, closes| due_market(&world, creator.id, status, closes);
    let mut live = made(Open, 1000)?;
    let to_close = [made(Open, -10)?, made(Halted, -10)?];
    let later = [made(Halted, 1000)?, made(Closed, -10)?];
    let to_decide = [made(Proposed, -100)?];
    let undecided = [made(Proposed, -10)?, made(Disputed, -100)?];
    let to_pay = [made(Resolved, -10)?, made(Voided, -10)?];
    let mut settled = made(Resolved, -10)?;
    settled.settled_at = Some(at(-5)?);
    let mut still_open_orders = [made(Closed, -10)?, made(Disputed, -100)?];

    let mut orders = Vec::new();
    for market in &mut still_open_orders {
        orders.push(fixtures::order(&world, market, creator.id, (0, Side::Buy, 5, 1))?);
    }
    let dated = |mut order: Order, seconds: i64| -> anyhow::Result<Order> {
        order.time_in_force = TimeInForce::Gtd;
        order.expires_at = Some(at(seconds)?);
        Ok(order)
    };
    let mut rest = |user: UserId| fixtures::order(&world, &mut live, user, (0, Side::Buy, 5, 1));
    let expired = dated(rest(creator.id)?, -1)?;
    let not_yet = dated(rest(creator.id)?, 1)?;
    let mut ended = dated(rest(creator.id)?, -1)?;
    ended.end(OrderStatus::Cancelled, Some(EndReason::Requested), at(0)?);
    let orphan = rest(gone.id)?;
    let mut ended_orphan = rest(gone.id)?;
    ended_orphan.end(OrderStatus::Cancelled, Some(EndReason::UserDeactivated), at(0)?);
    let plain = rest(creator.id)?;
    orders.extend([expired.clone(), not_yet, ended, orphan.clone(), ended_orphan, plain]);

    let ids = |markets: &[Market]| -> Vec<MarketId> { markets.iter().map(|m| m.id).collect() };
    let new_markets = [
        vec![live, settled],
        to_close.to_vec(),
        later.into(),
        to_decide.to_vec(),
        undecided.into(),
        to_pay.to_vec(),
        still_open_orders.to_vec(),
    ]
    .concat();
    world.write(&Changes { new_markets, ..Changes::default() }).await?;
    world.write(&Changes { new_orders: orders, ..Changes::default() }).await?;

    let (queries, now) = (&world.queries, at(0)?);
    ensure!(sorted(queries.markets_to_close(now, 100).await?) == sorted(ids(&to_close)));
    ensure!(queries.orders_to_expire(now, 100).await? == [(expired.market, expired.id)]);
    ensure!(queries.proposals_to_decide(now, 100).await? == ids(&to_decide));
    ensure!(sorted(queries.markets_to_pay(100).await?) == sorted(ids(&to_pay)));
    let closed = queries.closed_with_orders(None, 100).await?;
    ensure!(closed == Look { found: sorted(ids(&still_open_orders)), next: None }, "{closed:?}");
    let deactivated = queries.deactivated_with_orders(None, 100).await?;
    ensure!(deactivated == Look { found: vec![gone.id], next: None }, "{deactivated:?}");
    ensure!(queries.markets_to_close(now, 1).await?.len() == 1 && queries.markets_to_pay(1).await?.len() == 1);
    Ok(())
}

/// However many have nothing to be done, looks that go on where the last one ended come to the one that has, and then
/// to the end.
pub async fn looks_by_turns_miss_nothing(world: World) -> anyhow::Result<()> {
    let creator = fixtures::trader(&world).await?;
    let mut closed = Vec::new();
    let mut gone = Vec::new();
    for _ in 0..7 {
        closed.push(due_market(&world, creator.id, MarketStatus::Closed, -10)?);
        let mut user = fixtures::user(&world)?;
        user.deactivate(at(0)?);
        gone.push(user);
    }
    closed.sort_unstable_by_key(|market| market.id);
    gone.sort_unstable_by_key(|user| user.id);
    let mut live = due_market(&world, creator.id, MarketStatus::Open, 1000)?;
    let left = closed.get_mut(4).context("a market")?;
    let (market, user) = (left.id, gone.get(4).context("a user")?.id);
    let orders = vec![
        fixtures::order(&world, left, creator.id, (0, Side::Sell, 5, 1))?,
        fixtures::order(&world, &mut live, user, (0, Side::Buy, 5, 1))?,
    ];
    closed.push(live);
    world.write(&Changes { new_users: gone, new_markets: closed, ..Changes::default() }).await?;
    world.write(&Changes { new_orders: orders, ..Changes::default() }).await?;

    let (mut after, mut found) = (None, Vec::new());
    for goes_on in [true, true, true, false] {
        let look = world.queries.closed_with_orders(after, 2).await?;
        ensure!(look.next.is_some() == goes_on, "{look:?} of markets");
        after = look.next;
        found.push(look.found);
    }
    ensure!(found == [vec![], vec![], vec![market], vec![]], "{found:?}");
    let (mut after, mut found) = (None, Vec::new());
    for goes_on in [true, true, true, false] {
        let look = world.queries.deactivated_with_orders(after, 2).await?;
        ensure!(look.next.is_some() == goes_on, "{look:?} of users");
        after = look.next;
        found.push(look.found);
    }
    ensure!(found == [vec![], vec![], vec![user], vec![]], "{found:?}");
    Ok(())
}

/// At most the limit of each sort, each id once, and the rest after those are done.
pub async fn due_orders_come_in_batches(world: World) -> anyhow::Result<()> {
    let (creator, mut market) = fixtures::trader_and_market(&world, 2).await?;
    let mut orders = Vec::new();
    for number in 0..7 {
        let mut order = fixtures::order(&world, &mut market, creator.id, (0, Side::Buy, 5, 1))?;
        order.expires_at = Some(at(-1 - number)?);
        orders.push(order);
    }
    world.write(&Changes { new_orders: orders.clone(), ..Changes::default() }).await?;
    let mut done: Vec<OrderId> = Vec::new();
    for batch in [3, 3, 1, 0] {
        let due = world.queries.orders_to_expire(at(0)?, 3).await?;
        ensure!(due.len() == batch, "{} orders are due where {batch} should be", due.len());
        let mut changed = Vec::new();
        for (_, id) in due {
            let mut order = orders.iter().find(|o| o.id == id).context("an unknown order is due")?.clone();
            order.end(OrderStatus::Expired, Some(EndReason::Expired), at(0)?);
            changed.push(order);
            done.push(id);
        }
        world.write(&Changes { orders: changed, ..Changes::default() }).await?;
    }
    ensure!(sorted(done) == orders.iter().map(|o| o.id).collect::<Vec<_>>());
    Ok(())
}
