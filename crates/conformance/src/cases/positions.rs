//! Positions, as trades and payouts load them.

use anyhow::ensure;
use bellwether_domain::ids::{MarketId, UserId};
use bellwether_domain::ports::Changes;
use uuid::Uuid;

use crate::fixtures::{self, at, nth};
use crate::world::World;

/// Exactly the pairs that exist: not every user of the pairs in every market of the pairs.
pub async fn positions_are_loaded_by_pairs(world: World) -> anyhow::Result<()> {
    let (first, market) = fixtures::trader_and_market(&world, 2).await?;
    let (second, other) = fixtures::trader_and_market(&world, 7).await?;
    let all = [
        fixtures::position(first.id, &market, &[1, 2]),
        fixtures::position(second.id, &market, &[3, 4]),
        fixtures::position(first.id, &other, &[5; 7]),
        fixtures::position(second.id, &other, &[0; 7]),
    ];
    world.write(&Changes { positions: all.to_vec(), ..Changes::default() }).await?;
    let mut unit = world.begin().await?;
    let pairs = [(second.id, other.id), (first.id, market.id), (first.id, MarketId(world.id()))];
    let mut loaded = unit.positions().load(&pairs).await?;
    unit.rollback().await?;
    loaded.sort_by_key(|p| p.user);
    ensure!(loaded == [nth(&all, 0)?.clone(), nth(&all, 3)?.clone()], "{loaded:#?} was loaded");
    ensure!(world.queries.position(first.id, other.id).await?.as_ref() == Some(nth(&all, 2)?));
    ensure!(world.queries.position(UserId(world.id()), other.id).await?.is_none());
    Ok(())
}

/// In order of users, at most the limit, and none twice once they are paid: whether each batch begins where the last
/// ended or at the beginning.
pub async fn unsettled_positions_come_in_batches_until_none_is_left(world: World) -> anyhow::Result<()> {
    batches_until_none_is_left(&world, true).await?;
    batches_until_none_is_left(&world, false).await
}

async fn batches_until_none_is_left(world: &World, goes_on: bool) -> anyhow::Result<()> {
    let (creator, market) = fixtures::trader_and_market(world, 3).await?;
    let (_, other) = fixtures::trader_and_market(world, 3).await?;
    let users = fixtures::sign_up(world, 11, 0).await?;
    let positions = users.iter().map(|u| fixtures::position(u.id, &market, &[1, 0, 2])).collect();
    world.write(&Changes { positions, ..Changes::default() }).await?;
    let elsewhere = vec![fixtures::position(creator.id, &other, &[1, 1, 1])];
    world.write(&Changes { positions: elsewhere, ..Changes::default() }).await?;
    let mut paid: Vec<UserId> = Vec::new();
    loop {
        let mut unit = world.begin().await?;
        unit.markets().lock(&[market.id]).await?;
        let after = paid.last().copied().filter(|_| goes_on).unwrap_or(UserId(Uuid::nil()));
        let mut batch = unit.positions().unsettled(market.id, after, 4).await?;
        ensure!(
            batch.len() == 4.min(users.len() - paid.len()),
            "a batch has {} positions after {}",
            batch.len(),
            paid.len()
        );
        if batch.is_empty() {
            unit.rollback().await?;
            break;
        }
        for position in &mut batch {
            ensure!(position.holdings.len() == 3, "a position has {} holdings", position.holdings.len());
            paid.push(position.user);
            position.settled_at = Some(at(1)?);
        }
        let late = nth(&batch, batch.len() - 1)?.user;
        ensure!(
            unit.positions().unsettled(market.id, late, 20).await?.iter().all(|p| p.user > late),
            "a position came that is before where the batch was to begin"
        );
        unit.write(&Changes { positions: batch, ..Changes::default() }).await?;
        unit.commit().await?;
    }
    ensure!(paid == users.iter().map(|u| u.id).collect::<Vec<_>>(), "the order of payment is {paid:?}");
    Ok(())
}
