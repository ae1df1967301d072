//! The outbox: what happened, told once, whole and in order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, ensure};
use bellwether_domain::event::{Event, EventBatch, MarketData, Recorded};
use bellwether_domain::ids::{AccountId, MarketId, TransferId};
use bellwether_domain::ports::{Changes, Span};

use crate::MOST_UNITS;
use crate::fixtures::{self, Draft, at, nth};
use crate::world::{World, all, retried};

/// Everything after a position. Where something may still come before what is there, asks again.
async fn read(world: &World, mut after: i64, wanted: usize) -> anyhow::Result<Vec<EventBatch>> {
    let mut batches = Vec::new();
    loop {
        let more = world.outbox.after(after, 100).await?;
        after = more.last().map_or(after, |batch| batch.position);
        batches.extend(more);
        if batches.len() >= wanted {
            return Ok(batches);
        }
        tokio::task::yield_now().await;
    }
}

fn events(batches: &[EventBatch]) -> anyhow::Result<Vec<Recorded>> {
    let mut all = Vec::new();
    for batch in batches {
        all.extend(batch.events()?);
    }
    Ok(all)
}

fn kinds(events: &[Recorded]) -> Vec<&'static str> {
    events.iter().map(|recorded| recorded.event.kind()).collect()
}

/// A market that is edited once, as news.
async fn edit(world: &World, id: MarketId) -> Result<(), bellwether_domain::ports::StoreError> {
    let mut unit = world.begin().await?;
    let Some(mut market) = unit.markets().lock(&[id]).await?.pop() else { return unit.rollback().await };
    market.version += 1;
    let news = vec![Event::MarketUpdated(MarketData::of(&market))];
    unit.write(&Changes { markets: vec![market], news, ..Changes::default() }).await?;
    unit.commit().await
}

/// What a unit of work does is one batch, its events in their order, each with a sequence of its own, and
/// each as it was told.
pub async fn the_events_of_a_unit_are_one_batch(world: World) -> anyhow::Result<()> {
    ensure!(world.outbox.after(0, 10).await?.is_empty() && world.outbox.span().await?.is_none());
    let mut draft = Draft::with(&world, &[]).await?;
    let user = fixtures::user(&world)?;
    draft.sign_up(&world, user.clone(), 1_000)?;
    let market = fixtures::market(&world, user.id, 2)?;
    draft.open_market(&world, market.clone())?;
    let mut changes = draft.finish();
    changes.news.push(Event::MarketHalted(MarketData::of(&market)));
    world.write(&changes).await?;

    let batches = read(&world, 0, 1).await?;
    let batch = nth(&batches, 0)?;
    ensure!(batches.len() == 1 && batch.position > 0 && batch.at == at(0)?, "{batches:?}");
    let told = batch.events()?;
    let expected = ["user.created", "market.opened", "market.halted", "transfer.executed", "balance.changed"];
    ensure!(kinds(&told) == expected, "{told:?}");
    let sequences: Vec<i64> = told.iter().map(|recorded| recorded.sequence).collect();
    ensure!(sequences == (batch.position * 1024..).take(told.len()).collect::<Vec<_>>(), "{sequences:?}");
    ensure!(nth(&told, 2)?.event == Event::MarketHalted(MarketData::of(&market)));
    ensure!(world.outbox.after(batch.position, 10).await?.is_empty());
    let span = world.outbox.span().await?;
    ensure!(span == Some(Span { oldest: batch.position, newest: batch.position }), "{span:?}");
    Ok(())
}

/// Nothing is told of what was undone, nor of what nobody is told of.
pub async fn events_are_told_only_if_their_unit_was_committed(world: World) -> anyhow::Result<()> {
    let (_, market) = fixtures::trader_and_market(&world, 2).await?;
    let before = read(&world, 0, 2).await?.len();
    for is_dropped in [true, false] {
        let mut unit = world.begin().await?;
        unit.markets().lock(&[market.id]).await?;
        let news = vec![Event::MarketUpdated(MarketData::of(&market))];
        unit.write(&Changes { markets: vec![market.clone()], news, ..Changes::default() }).await?;
        if is_dropped {
            drop(unit);
        } else {
            unit.rollback().await?;
        }
    }
    retried(|| edit(&world, market.id)).await?;
    world.write(&Changes { at: Some(at(0)?), ..Changes::default() }).await?;
    let batches = read(&world, 0, before + 1).await?;
    ensure!(batches.len() == before + 1, "{batches:?}");
    ensure!(kinds(&events(&batches)?).iter().filter(|kind| **kind == "market.updated").count() == 1);
    Ok(())
}

/// More events than a batch holds make several, one after the other.
pub async fn a_unit_with_very_many_events_makes_several_batches(world: World) -> anyhow::Result<()> {
    let (_, market) = fixtures::trader_and_market(&world, 2).await?;
    let before = read(&world, 0, 2).await?.last().map_or(0, |batch| batch.position);
    let mut unit = world.begin().await?;
    unit.markets().lock(&[market.id]).await?;
    let told = |version| {
        let mut data = MarketData::of(&market);
        data.version = version;
        Event::MarketUpdated(data)
    };
    let news: Vec<Event> = (0..2_500).map(told).collect();
    unit.write(&Changes { markets: vec![market.clone()], news: news.clone(), ..Changes::default() }).await?;
    unit.commit().await?;
    let batches = read(&world, before, 3).await?;
    let told = events(&batches)?;
    ensure!(batches.len() == 3 && told.len() == news.len(), "{} batches", batches.len());
    ensure!(told.iter().map(|recorded| &recorded.event).eq(&news));
    ensure!(told.is_sorted_by(|one, other| one.sequence < other.sequence));
    Ok(())
}

/// Threat 66. Many units commit at once while somebody follows: it gets every batch exactly once, and
/// those of each market in the order in which they happened.
pub async fn who_follows_misses_nothing_and_gets_each_market_in_order(world: World) -> anyhow::Result<()> {
    const EACH: i64 = 12;
    let creator = fixtures::trader(&world).await?;
    let markets = (0..6).map(|_| fixtures::market(&world, creator.id, 2)).collect::<Result<Vec<_>, _>>()?;
    fixtures::open_markets(&world, &markets).await?;
    let is_done = Arc::new(AtomicBool::new(false));
    let follower = tokio::spawn(follow(world.clone(), is_done.clone()));
    let tasks = (0..MOST_UNITS / 4).map(|number| {
        let (world, ids) = (world.clone(), markets.iter().map(|market| market.id).collect::<Vec<_>>());
        tokio::spawn(async move {
            for step in 0..EACH {
                let index = number.wrapping_add(usize::try_from(step)?) % ids.len();
                let id = *nth(&ids, index)?;
                retried(|| edit(&world, id)).await?;
            }
            anyhow::Ok(())
        })
    });
    let writers = tasks.collect::<Vec<_>>();
    let count = writers.len();
    all(writers).await?;
    is_done.store(true, Ordering::SeqCst);
    let followed = follower.await??;
    ensure!(followed.is_sorted_by(|one, other| one.position < other.position), "positions repeat or go back");
    let mut versions: BTreeMap<MarketId, Vec<i64>> = BTreeMap::new();
    for recorded in events(&followed)? {
        if let Event::MarketUpdated(data) = recorded.event {
            versions.entry(data.market_id).or_default().push(data.version);
        }
    }
    let told: usize = versions.values().map(Vec::len).sum();
    ensure!(told == count * usize::try_from(EACH)?, "{told} edits were told");
    for versions in versions.values() {
        ensure!(versions.iter().copied().eq((2..).take(versions.len())), "{versions:?}");
    }
    Ok(())
}

/// Reads until nothing came after everything had been written.
async fn follow(world: World, is_done: Arc<AtomicBool>) -> anyhow::Result<Vec<EventBatch>> {
    let mut followed: Vec<EventBatch> = Vec::new();
    loop {
        let was_done = is_done.load(Ordering::SeqCst);
        let after = followed.last().map_or(0, |batch| batch.position);
        let more = world.outbox.after(after, 7).await?;
        let is_end = more.is_empty();
        followed.extend(more);
        if is_end && was_done && world.outbox.waiting_since(after).await?.is_none() {
            return Ok(followed);
        }
        tokio::task::yield_now().await;
    }
}

/// How far behind somebody is who has acted on what is up to a position.
pub async fn it_is_known_since_when_something_waits(world: World) -> anyhow::Result<()> {
    ensure!(world.outbox.waiting_since(0).await?.is_none());
    let (_, market) = fixtures::trader_and_market(&world, 2).await?;
    retried(|| edit(&world, market.id)).await?;
    let mut before = 0;
    for batch in read(&world, 0, 3).await? {
        let since = world.outbox.waiting_since(before).await?;
        ensure!(since == Some(batch.at), "{since:?} where there is {batch:?}");
        before = batch.position;
    }
    ensure!(world.outbox.waiting_since(before).await?.is_none());
    Ok(())
}

/// Batches go the oldest first, but not the newest of all, and none that a consumer has yet to act on.
/// A position is never given again.
pub async fn old_batches_are_forgotten_in_batches(world: World) -> anyhow::Result<()> {
    let (_, market) = fixtures::trader_and_market(&world, 2).await?;
    for _ in 0..4 {
        retried(|| edit(&world, market.id)).await?;
    }
    let batches = read(&world, 0, 6).await?;
    ensure!(world.outbox.forget_before(at(0)?, 10).await? == 0, "nothing is that old");
    let mut unit = world.begin().await?;
    let third = nth(&batches, 2)?.position;
    ensure!(unit.event_cursors().lock("a consumer", third).await? == Some(third));
    unit.commit().await?;
    ensure!(world.outbox.forget_before(at(1)?, 2).await? == 2);
    ensure!(world.outbox.forget_before(at(1)?, 10).await? == 1, "the consumer has not acted on the others");
    let mut unit = world.begin().await?;
    ensure!(unit.event_cursors().lock("a consumer", 0).await? == Some(third));
    let last = nth(&batches, 5)?.position;
    unit.event_cursors().advance("a consumer", last).await?;
    unit.commit().await?;
    ensure!(world.outbox.forget_before(at(1)?, 10).await? == 2, "all but the newest");
    ensure!(world.outbox.after(0, 10).await? == [nth(&batches, 5)?.clone()]);
    ensure!(world.outbox.span().await? == Some(Span { oldest: last, newest: last }));
    retried(|| edit(&world, market.id)).await?;
    let newest = read(&world, last, 1).await?;
    ensure!(nth(&newest, 0)?.position > last, "{newest:?}");
    Ok(())
}

/// Threat 48. A cursor is one unit's at a time, and moves only if that is committed, with what it did.
pub async fn a_cursor_is_held_by_one_and_moves_with_its_unit(world: World) -> anyhow::Result<()> {
    let mut unit = world.begin().await?;
    ensure!(unit.event_cursors().lock("one", 5).await? == Some(5));
    ensure!(unit.event_cursors().lock("other", 0).await? == Some(0));
    unit.event_cursors().advance("one", 7).await?;
    unit.commit().await?;
    let cursors = world.outbox.cursors().await?;
    ensure!(cursors == [("one".to_owned(), 7), ("other".to_owned(), 0)], "{cursors:?}");

    let mut unit = world.begin().await?;
    ensure!(unit.event_cursors().lock("one", 5).await? == Some(7), "it begins where it was moved to");
    unit.event_cursors().advance("one", 9).await?;
    // Where there is one writer, the other has to wait for its turn before it can ask.
    let asked = tokio::spawn({
        let world = world.clone();
        async move {
            let mut unit = world.begin().await?;
            let found = unit.event_cursors().lock("one", 5).await?;
            unit.rollback().await?;
            anyhow::Ok(found)
        }
    });
    drop(unit);
    let found = asked.await??;
    ensure!(found.is_none_or(|position| position == 7), "what was undone did not move it: {found:?}");
    let mut unit = world.begin().await?;
    let found = unit.event_cursors().lock("one", 5).await?;
    ensure!(found == Some(7), "{found:?}");
    unit.rollback().await?;
    Ok(())
}

/// A payment is told with what both have afterwards.
pub async fn a_payment_is_told_with_the_balances_after_it(world: World) -> anyhow::Result<()> {
    let users = fixtures::sign_up(&world, 2, 1_000).await?;
    let (from, to) = (nth(&users, 0)?.id, nth(&users, 1)?.id);
    let (mut payer, mut payee) = (
        fixtures::account(&world, AccountId::of_user(from)).await?,
        fixtures::account(&world, AccountId::of_user(to)).await?,
    );
    let transfer = fixtures::payment(&mut payer, &mut payee, TransferId(world.id()), 300)?;
    let before = read(&world, 0, 1).await?.last().map_or(0, |batch| batch.position);
    world.write(&Changes { accounts: vec![payer, payee], transfers: vec![transfer], ..Changes::default() }).await?;
    let told = events(&read(&world, before, 1).await?)?;
    ensure!(kinds(&told) == ["transfer.executed", "balance.changed", "balance.changed"], "{told:?}");
    let balances: Vec<(_, String)> = told
        .iter()
        .filter_map(|recorded| match &recorded.event {
            Event::BalanceChanged(data) => Some((data.user_id, data.available.to_string())),
            _ => None,
        })
        .collect();
    ensure!(balances == [(from, "0.700".to_owned()), (to, "1.300".to_owned())], "{balances:?}");
    let Event::TransferExecuted(data) = &told.first().context("something was told")?.event else {
        anyhow::bail!("{told:?}");
    };
    ensure!(data.from_account_id == AccountId::of_user(from) && data.amount.to_string() == "0.300");
    Ok(())
}
