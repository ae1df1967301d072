//! Dead-man switches.

use anyhow::{Context, ensure};
use bellwether_domain::cancel_switch::{CancelSwitch, Sender, SwitchKind};
use bellwether_domain::ids::SwitchId;
use bellwether_domain::ports::{Changes, StoreError};
use tokio::sync::oneshot;

use crate::cases::api_keys;
use crate::fixtures::{self, at};
use crate::world::{World, retried};

async fn sender(world: &World) -> anyhow::Result<Sender> {
    Ok(Sender { user: fixtures::trader(world).await?.id, key: None })
}

async fn write(world: &World, switches: &[CancelSwitch]) -> Result<(), StoreError> {
    world.write(&Changes { cancel_switches: switches.to_vec(), ..Changes::default() }).await
}

async fn delete(world: &World, ids: &[SwitchId]) -> Result<(), StoreError> {
    world.write(&Changes { deleted_cancel_switches: ids.to_vec(), ..Changes::default() }).await
}

/// Every field, as it was made and as it changed; those of a user and of its keys are apart.
pub async fn switches_round_trip_and_those_of_keys_are_apart(world: World) -> anyhow::Result<()> {
    let in_person = sender(&world).await?;
    let key = api_keys::key_of(&world, in_person.user).await?.id;
    let by_key = Sender { key: Some(key), ..in_person };
    let timer = CancelSwitch::timer(in_person, 60, None, at(0)?);
    let streams = [
        CancelSwitch::stream(SwitchId(world.id()), in_person, at(1)?),
        CancelSwitch::stream(SwitchId(world.id()), in_person, at(2)?),
    ];
    let of_key = CancelSwitch::timer(by_key, 3600, Some(at(7)?), at(0)?);
    write(&world, &[vec![timer.clone(), of_key.clone()], streams.to_vec()].concat()).await?;
    let mut all = [vec![timer.clone()], streams.to_vec()].concat();
    all.sort_by_key(|switch| switch.id);
    ensure!(world.queries.cancel_switches_of(in_person).await? == all);
    ensure!(world.queries.cancel_switches_of(by_key).await? == std::slice::from_ref(&of_key));
    let nobody = sender(&world).await?;
    let mut unit = world.begin().await?;
    ensure!(unit.cancel_switches().lock_of(in_person).await? == all);
    ensure!(unit.cancel_switches().lock_of(by_key).await? == [of_key]);
    ensure!(unit.cancel_switches().lock_of(nobody).await?.is_empty());
    unit.rollback().await?;

    let fired = CancelSwitch { due_at: None, fired_at: Some(at(60)?), ..timer };
    let [one, two] = streams;
    let renewed = CancelSwitch { due_at: Some(at(99)?), ..two };
    write(&world, &[fired.clone(), renewed.clone()]).await?;
    delete(&world, &[one.id, SwitchId(world.id())]).await?;
    let mut left = [fired, renewed];
    left.sort_by_key(|switch| switch.id);
    ensure!(world.queries.cancel_switches_of(in_person).await? == left);
    Ok(())
}

/// Those who wait longest first, and none that has fired.
pub async fn due_switches_come_by_their_deadlines(world: World) -> anyhow::Result<()> {
    let mut senders = Vec::new();
    for second in [30, 10, 20] {
        let sender = sender(&world).await?;
        write(&world, &[CancelSwitch::timer(sender, 5, None, at(second)?)]).await?;
        senders.push(sender);
    }
    let [last, first, middle] = <[Sender; 3]>::try_from(senders).ok().context("three")?;
    let due = async |now: i64, limit: u32| {
        world.queries.due_cancel_switches(at(now)?, limit).await.map_err(anyhow::Error::from)
    };
    ensure!(due(14, 10).await?.is_empty());
    ensure!(due(15, 10).await? == [first] && due(35, 10).await? == [first, middle, last]);
    ensure!(due(35, 2).await? == [first, middle]);
    let fired = CancelSwitch { due_at: None, fired_at: Some(at(20)?), ..CancelSwitch::timer(first, 5, None, at(10)?) };
    write(&world, &[fired]).await?;
    ensure!(due(35, 10).await? == [middle, last]);
    Ok(())
}

/// Whoever pushes a deadline ahead while others look whether it has passed: one waits for the other, and sees what it did.
pub async fn a_renewal_waits_for_who_looks_at_the_deadline(world: World) -> anyhow::Result<()> {
    let sender = sender(&world).await?;
    let timer = CancelSwitch::timer(sender, 5, None, at(0)?);
    write(&world, std::slice::from_ref(&timer)).await?;
    let mut first = world.begin().await?;
    ensure!(first.cancel_switches().lock_of(sender).await? == std::slice::from_ref(&timer));
    let (asked, was_asked) = oneshot::channel();
    let other = world.clone();
    let second = tokio::spawn(async move {
        asked.send(()).ok().context("nobody waits")?;
        retried(|| async {
            let mut unit = other.begin().await?;
            let seen = unit.cancel_switches().lock_of(sender).await?;
            unit.rollback().await?;
            Ok(seen)
        })
        .await
    });
    was_asked.await?;
    tokio::task::yield_now().await;
    let fired = CancelSwitch { due_at: None, fired_at: Some(at(5)?), ..timer };
    first.write(&Changes { cancel_switches: vec![fired.clone()], ..Changes::default() }).await?;
    first.commit().await?;
    let seen = second.await??;
    ensure!(seen == [fired], "the second unit did not wait for the first: {seen:?}");
    Ok(())
}

/// One or many switches cost the same.
pub async fn the_statements_for_switches_do_not_grow_with_their_number(world: World) -> anyhow::Result<()> {
    let cost = async |count: i64| -> anyhow::Result<u64> {
        let sender = sender(&world).await?;
        let mut switches = Vec::new();
        for second in 0..count {
            switches.push(CancelSwitch::stream(SwitchId(world.id()), sender, at(second)?));
        }
        let before = world.statements();
        write(&world, &switches).await?;
        ensure!(world.queries.cancel_switches_of(sender).await?.iter().all(|s| s.kind == SwitchKind::Stream));
        world.queries.due_cancel_switches(at(count)?, 100).await?;
        delete(&world, &switches.iter().map(|switch| switch.id).collect::<Vec<_>>()).await?;
        Ok(world.statements() - before)
    };
    cost(1).await?;
    let (one, many) = (cost(1).await?, cost(50).await?);
    ensure!(one == many, "{many} statements for many where one takes {one}");
    Ok(())
}
