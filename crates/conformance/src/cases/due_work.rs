//! Work that time makes due.

use anyhow::{Context, ensure};
use bellwether_domain::ids::{MarketId, OrderId, UserId};
use bellwether_domain::market::{Market, MarketStatus, Proposal, Resolution, Weights};
use bellwether_domain::order::{EndReason, Order, OrderStatus, Side, TimeInForce};
use bellwether_domain::ports::{Changes, DueWork};

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
    let wanted = DueWork {
        markets_to_close: sorted(ids(&to_close)),
        orders_to_expire: vec![(expired.market, expired.id)],
        proposals_to_decide: ids(&to_decide),
        markets_to_settle: sorted([ids(&to_pay), ids(&still_open_orders)].concat()),
        orders_of_deactivated: vec![(orphan.market, orphan.id)],
    };
    let new_markets = [
        vec![live, settled],
        to_close.into(),
        later.into(),
        to_decide.into(),
        undecided.into(),
        to_pay.into(),
        still_open_orders.into(),
    ]
    .concat();
    world.write(&Changes { new_markets, ..Changes::default() }).await?;
    world.write(&Changes { new_orders: orders, ..Changes::default() }).await?;

    let found = world.queries.due_work(at(0)?, 100).await?;
    let found = DueWork {
        markets_to_close: sorted(found.markets_to_close),
        orders_to_expire: sorted(found.orders_to_expire),
        proposals_to_decide: sorted(found.proposals_to_decide),
        markets_to_settle: sorted(found.markets_to_settle),
        orders_of_deactivated: sorted(found.orders_of_deactivated),
    };
    ensure!(found == wanted, "{found:#?} where {wanted:#?} was right");
    let one = world.queries.due_work(at(0)?, 1).await?;
    ensure!(one.markets_to_close.len() == 1 && one.markets_to_settle.len() == 1, "with a limit of 1: {one:?}");
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
        let due = world.queries.due_work(at(0)?, 3).await?.orders_to_expire;
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
