//! Units of work: all or nothing, and their locks.

use std::time::Duration;

use anyhow::{Context, ensure};
use bellwether_domain::ids::{AccountId, MarketId, OrderId, UserId};
use bellwether_domain::ledger::Owner;
use bellwether_domain::order::{EndReason, OrderStatus, Side};
use bellwether_domain::ports::{AnswerKey, Changes, KeptAnswer, MarketKey, UnitOfWork};
use bellwether_domain::user::User;
use futures_util::FutureExt;
use tokio::sync::oneshot;

use crate::fixtures::{self, Draft, at, nth};
use crate::world::World;

/// Locks that were freed "at once" are had again within this time, on a machine that may be busy.
const AT_ONCE: Duration = Duration::from_secs(15);

fn answer(user: UserId, key: &str) -> anyhow::Result<KeptAnswer> {
    Ok(KeptAnswer {
        key: AnswerKey { user, route: "POST /api/v1/orders".to_owned(), key: key.to_owned() },
        fingerprint: [7; 32],
        status: 201,
        location: None,
        body: "{}".to_owned(),
        created_at: at(0)?,
    })
}

/// One new row of every kind, with their ids.
struct OneOfEach {
    changes: Changes,
    user: UserId,
    market: MarketId,
    order: OrderId,
    key: AnswerKey,
}

async fn one_of_each(world: &World) -> anyhow::Result<OneOfEach> {
    let mut draft = Draft::with(world, &[]).await?;
    let (taker, maker) = (fixtures::user(world)?, fixtures::user(world)?);
    draft.sign_up(world, taker.clone(), 5000)?;
    draft.sign_up(world, maker.clone(), 5000)?;
    let mut market = fixtures::market(world, taker.id, 2)?;
    let mut resting = fixtures::order(world, &mut market, maker.id, (0, Side::Sell, 600, 5))?;
    let mut taking = fixtures::order(world, &mut market, taker.id, (0, Side::Buy, 600, 5))?;
    let trade = fixtures::fill(world, &mut market, &mut taking, &mut resting, 5)?;
    draft.open_market(world, market.clone())?;
    let answer = answer(taker.id, "key")?;
    let ids = (taker.id, market.id, taking.id, answer.key.clone());
    draft.changes.positions.push(fixtures::position(taker.id, &market, &[5, 0]));
    draft.changes.positions.push(fixtures::position(maker.id, &market, &[0, 5]));
    draft.changes.new_orders.extend([resting, taking]);
    draft.changes.trades.push(trade);
    draft.changes.answers.push(answer);
    Ok(OneOfEach { changes: draft.finish(), user: ids.0, market: ids.1, order: ids.2, key: ids.3 })
}

/// Which of the rows are there: all must be, or none.
async fn presence(world: &World, rows: &OneOfEach) -> anyhow::Result<Vec<bool>> {
    let queries = &world.queries;
    let mut unit = world.begin().await?;
    let answers = unit.answers().find(std::slice::from_ref(&rows.key)).await?;
    unit.rollback().await?;
    let transfer = nth(&rows.changes.transfers, 0)?.id;
    Ok(vec![
        queries.user(rows.user).await?.is_some(),
        queries.account(AccountId::of_user(rows.user)).await?.is_some(),
        queries.market(&MarketKey::Id(rows.market)).await?.is_some(),
        queries.account(AccountId::of_market(rows.market)).await?.is_some(),
        queries.order(rows.order).await?.is_some(),
        queries.position(rows.user, rows.market).await?.is_some(),
        queries.transfer(transfer).await?.is_some(),
        queries.book(rows.market, fixtures::outcome(0)?, 10).await?.1 > 0,
        !queries.trades(&Default::default(), &crate::pages::first_page()).await?.items.is_empty(),
        fixtures::account(world, AccountId::TREASURY).await?.balance.mills() != 0,
        !answers.is_empty(),
    ])
}

async fn begin_and_write(world: &World, changes: &Changes) -> anyhow::Result<Box<dyn UnitOfWork>> {
    let mut unit = world.begin().await?;
    let accounts: Vec<AccountId> = changes.accounts.iter().map(|a| a.id).collect();
    unit.accounts().lock(&accounts).await?;
    unit.write(changes).await?;
    Ok(unit)
}

/// What a unit wrote before it was dropped is nowhere.
pub async fn a_dropped_unit_leaves_nothing(world: World) -> anyhow::Result<()> {
    let rows = one_of_each(&world).await?;
    let unit = begin_and_write(&world, &rows.changes).await?;
    drop(unit);
    let there = presence(&world, &rows).await?;
    ensure!(!there.contains(&true), "some rows outlived the dropped unit: {there:?}");
    world.write(&rows.changes).await.context("the same rows could not be written after the drop")?;
    Ok(())
}

async fn lock_all(unit: &mut dyn UnitOfWork, user: &User, market: MarketId) -> anyhow::Result<()> {
    ensure!(unit.users().lock(&[user.id]).await?.len() == 1);
    ensure!(unit.markets().lock(&[market]).await?.len() == 1);
    ensure!(unit.accounts().lock(&[AccountId::TREASURY, AccountId::of_user(user.id)]).await?.len() == 2);
    Ok(())
}

async fn locks_are_free(world: &World, user: &User, market: MarketId) -> anyhow::Result<()> {
    let second = async {
        let mut unit = world.begin().await?;
        lock_all(&mut *unit, user, market).await?;
        unit.commit().await?;
        anyhow::Ok(())
    };
    tokio::time::timeout(AT_ONCE, second).await.context("the locks of an ended unit are still held")?
}

/// The locks of a dropped unit can be had by the next, without waiting for a timeout; many times
/// over, more often than there can be connections.
pub async fn a_dropped_unit_frees_its_locks_at_once(world: World) -> anyhow::Result<()> {
    let (user, market) = fixtures::trader_and_market(&world, 2).await?;
    for round in 0..40 {
        let mut unit = world.begin().await?;
        lock_all(&mut *unit, &user, market.id).await?;
        drop(unit);
        locks_are_free(&world, &user, market.id).await.with_context(|| format!("in round {round}"))?;
    }
    Ok(())
}

/// The same for a unit that is rolled back.
pub async fn an_explicit_rollback_leaves_nothing_and_frees_its_locks(world: World) -> anyhow::Result<()> {
    let (user, market) = fixtures::trader_and_market(&world, 2).await?;
    let before = fixtures::account(&world, AccountId::of_user(user.id)).await?;
    let mut draft = Draft::with(&world, &[before.id]).await?;
    draft.pay(&world, AccountId::TREASURY, before.id, 77, bellwether_domain::ledger::TransferKind::Grant, None)?;
    let changes = draft.finish();
    let unit = begin_and_write(&world, &changes).await?;
    unit.rollback().await?;
    locks_are_free(&world, &user, market.id).await?;
    ensure!(fixtures::account(&world, before.id).await? == before, "the rolled back change is still there");
    ensure!(
        world.queries.transfer(nth(&changes.transfers, 0)?.id).await?.is_none(),
        "the rolled back transfer is still there"
    );
    Ok(())
}

/// One commit brings the rows of every repository; before it there are none, and a unit whose
/// last write fails brings none of the earlier ones.
pub async fn all_repositories_commit_or_none(world: World) -> anyhow::Result<()> {
    let rows = one_of_each(&world).await?;
    let mut unit = begin_and_write(&world, &rows.changes).await?;
    let twice = Changes { answers: rows.changes.answers.clone(), ..Changes::default() };
    ensure!(unit.write(&twice).await.is_err(), "one key was kept twice");
    unit.rollback().await?;
    let there = presence(&world, &rows).await?;
    ensure!(!there.contains(&true), "some rows outlived the failed unit: {there:?}");

    begin_and_write(&world, &rows.changes).await?.commit().await?;
    let there = presence(&world, &rows).await?;
    ensure!(!there.contains(&false), "some rows were not committed: {there:?}");
    Ok(())
}

/// Once a call has failed, the unit says no to a commit, and what it wrote before is gone.
pub async fn a_unit_cannot_be_committed_after_an_error(world: World) -> anyhow::Result<()> {
    let user = fixtures::user(&world)?;
    let new = Changes { new_users: vec![user.clone()], ..Changes::default() };
    let mut unit = world.begin().await?;
    unit.write(&new).await?;
    ensure!(unit.write(&new).await.is_err(), "one user was written twice");
    ensure!(unit.commit().await.is_err(), "a unit was committed after an error");
    ensure!(world.queries.user(user.id).await?.is_none(), "what was written before the error stayed");
    world.write(&new).await.context("the next unit does not work")?;
    Ok(())
}

/// A caller that goes away while a call runs, at any point of a unit, leaves no locks and, but for
/// an abandoned commit, nothing else; an abandoned commit leaves all or nothing.
pub async fn an_abandoned_call_leaves_no_locks_and_nothing_half_done(world: World) -> anyhow::Result<()> {
    let (user, market) = fixtures::trader_and_market(&world, 2).await?;
    for round in 0..40 {
        // Polled once and dropped: what the store does by then is its own.
        drop(world.begin().now_or_never());
        let (first, second) = (fixtures::user(&world)?, fixtures::user(&world)?);
        let ids = [first.id, second.id];
        let changes = Changes { new_users: vec![first, second], ..Changes::default() };
        let mut unit = world.begin().await?;
        lock_all(&mut *unit, &user, market.id).await?;
        let expected = match round % 4 {
            0 => {
                drop(unit.write(&changes).now_or_never());
                drop(unit);
                0..=0
            }
            1 => {
                unit.write(&changes).await?;
                drop(unit.accounts().lock(&[AccountId::FEES]).now_or_never());
                drop(unit);
                0..=0
            }
            2 => {
                unit.write(&changes).await?;
                drop(unit.rollback().now_or_never());
                0..=0
            }
            _ => {
                unit.write(&changes).await?;
                drop(unit.commit().now_or_never());
                0..=2
            }
        };
        locks_are_free(&world, &user, market.id).await.with_context(|| format!("in round {round}"))?;
        let written = world.queries.users_by_ids(&ids).await?.len();
        ensure!(written != 1 && expected.contains(&written), "in round {round} {written} of two rows stayed");
    }
    Ok(())
}

/// Whoever is told that a commit is decided finds what it wrote, and its locks free, whether or not it
/// is durable yet. What failed before is not told.
pub async fn what_is_told_as_decided_is_seen_and_its_locks_are_free(world: World) -> anyhow::Result<()> {
    let (mut user, market) = fixtures::trader_and_market(&world, 2).await?;
    let mut unit = world.begin().await?;
    unit.users().lock(&[user.id]).await?;
    unit.markets().lock(&[market.id]).await?;
    user.touch(at(5)?);
    unit.write(&Changes { users: vec![user.clone()], ..Changes::default() }).await?;
    let (decided, told) = oneshot::channel();
    let next = async {
        told.await.context("the commit was not told")?;
        locks_are_free(&world, &user, market.id).await
    };
    let tell = move || assert_eq!(decided.send(()), Ok(()));
    let (committed, next) = tokio::join!(unit.commit_telling(Box::new(tell)), next);
    committed?;
    next?;
    ensure!(world.queries.user(user.id).await? == Some(user.clone()));

    let mut unit = world.begin().await?;
    let spoilt = unit.write(&Changes { new_users: vec![user], ..Changes::default() }).await;
    ensure!(spoilt.is_err(), "a second row with the same id was written");
    let (decided, told) = oneshot::channel();
    let tell = move || assert_eq!(decided.send(()), Ok(()));
    ensure!(unit.commit_telling(Box::new(tell)).await.is_err());
    ensure!(told.await.is_err(), "a commit was told that failed");
    Ok(())
}

/// A unit reads its own writes; the reading half sees them after the commit and not before.
pub async fn a_unit_sees_what_it_wrote_and_others_do_not_before_the_commit(world: World) -> anyhow::Result<()> {
    let (mut user, _) = fixtures::trader_and_market(&world, 2).await?;
    let mut unit = world.begin().await?;
    unit.users().lock(&[user.id]).await?;
    user.touch(at(5)?);
    let added = fixtures::user(&world)?;
    let changes = Changes { users: vec![user.clone()], new_users: vec![added.clone()], ..Changes::default() };
    unit.write(&changes).await?;
    let seen = unit.users().load(&[user.id, added.id]).await?;
    ensure!(seen == [user.clone(), added.clone()], "the unit does not see its own writes: {seen:?}");
    let outside = world.queries.user(user.id).await?.context("the user is gone")?;
    ensure!(outside.version == user.version - 1, "an uncommitted change was read");
    ensure!(world.queries.user(added.id).await?.is_none(), "an uncommitted row was read");
    unit.commit().await?;
    ensure!(world.queries.user(user.id).await? == Some(user));
    ensure!(world.queries.user(added.id).await? == Some(added));
    Ok(())
}

/// While a unit holds a row, another that locks it waits (or is told of a conflict), and then
/// sees what the first committed.
pub async fn a_lock_waits_for_the_unit_that_holds_it(world: World) -> anyhow::Result<()> {
    let user = fixtures::trader(&world).await?;
    let id = AccountId::of_user(user.id);
    let mut first = world.begin().await?;
    let mut held = nth(&first.accounts().lock(&[id]).await?, 0)?.clone();
    let (asked, was_asked) = oneshot::channel();
    let other = world.clone();
    let second = tokio::spawn(async move {
        asked.send(()).ok().context("nobody waits")?;
        crate::world::retried(|| async {
            let mut unit = other.begin().await?;
            let seen = unit.accounts().lock(&[id]).await?;
            unit.rollback().await?;
            Ok(seen)
        })
        .await
    });
    was_asked.await?;
    tokio::task::yield_now().await;
    held.hold(fixtures::mills(123))?;
    first.write(&Changes { accounts: vec![held.clone()], ..Changes::default() }).await?;
    first.commit().await?;
    let seen = second.await??;
    ensure!(seen == [held], "the second unit did not wait for the first: {seen:?}");
    Ok(())
}

/// Whatever the order of the ids, however often each is named: once each, by id, and only those
/// that exist.
pub async fn locks_and_loads_come_in_id_order_without_what_does_not_exist(world: World) -> anyhow::Result<()> {
    let users = fixtures::sign_up(&world, 5, 100).await?;
    let mut markets = Vec::new();
    for user in &users {
        markets.push(fixtures::market(&world, user.id, 3)?);
    }
    fixtures::open_markets(&world, &markets).await?;
    let mut orders = Vec::new();
    for (user, market) in users.iter().zip(&mut markets) {
        orders.push(fixtures::order(&world, market, user.id, (1, Side::Buy, 10, 1))?);
    }
    world.write(&Changes { new_orders: orders.clone(), markets: markets.clone(), ..Changes::default() }).await?;

    let unknown = world.id();
    let mut unit = world.begin().await?;
    let wanted = |ids: Vec<uuid::Uuid>| -> Vec<uuid::Uuid> {
        let twice = ids.first().copied();
        ids.into_iter().rev().chain([unknown]).chain(twice).collect()
    };
    let user_ids: Vec<UserId> = wanted(users.iter().map(|u| u.id.0).collect()).into_iter().map(UserId).collect();
    ensure!(unit.users().load(&user_ids).await? == users);
    ensure!(unit.users().lock(&user_ids).await? == users);
    let market_ids: Vec<MarketId> =
        wanted(markets.iter().map(|m| m.id.0).collect()).into_iter().map(MarketId).collect();
    ensure!(unit.markets().lock(&market_ids).await? == markets);
    let order_ids: Vec<OrderId> = wanted(orders.iter().map(|o| o.id.0).collect()).into_iter().map(OrderId).collect();
    ensure!(unit.orders().load(&order_ids).await? == orders);
    let account_ids: Vec<AccountId> = user_ids.iter().map(|u| AccountId::of_user(*u)).collect();
    let locked = unit.accounts().lock(&account_ids).await?;
    let owners: Vec<Owner> = locked.iter().map(|a| a.owner).collect();
    ensure!(owners == users.iter().map(|u| Owner::User(u.id)).collect::<Vec<_>>());
    unit.rollback().await?;
    ensure!(world.queries.users_by_ids(&user_ids).await? == users);
    ensure!(world.queries.markets_by_ids(&market_ids).await? == markets);
    Ok(())
}

/// A deleted market takes its outcomes and tags along, and its slug is free again.
pub async fn a_market_without_orders_is_deleted_whole(world: World) -> anyhow::Result<()> {
    let creator = fixtures::trader(&world).await?;
    let mut market = fixtures::market(&world, creator.id, 5)?;
    market.tags = vec!["weather".to_owned(), "rain".to_owned()];
    let draft = Draft::with(&world, &[]).await?;
    let mut changes = draft.changes;
    changes.new_markets.push(market.clone());
    world.write(&changes).await?;
    world.write(&Changes { deleted_markets: vec![market.id], ..Changes::default() }).await?;
    ensure!(world.queries.market(&MarketKey::Id(market.id)).await?.is_none());
    ensure!(world.queries.market(&MarketKey::Slug(market.slug.clone())).await?.is_none());
    world.write(&changes).await.context("the deleted market could not be written again")?;
    ensure!(fixtures::market_now(&world, market.id).await? == market);
    Ok(())
}

/// Orders that ended without a trade go with their market.
pub async fn ended_orders_are_deleted_with_their_market(world: World) -> anyhow::Result<()> {
    let (creator, mut market) = fixtures::trader_and_market(&world, 3).await?;
    let mut order = fixtures::order(&world, &mut market, creator.id, (1, Side::Buy, 500, 10))?;
    order.end(OrderStatus::Cancelled, Some(EndReason::MarketClosed), at(1)?);
    let empty = fixtures::position(creator.id, &market, &[0, 0, 0]);
    let changes = Changes { new_orders: vec![order.clone()], positions: vec![empty], ..Changes::default() };
    world.write(&changes).await?;
    world.write(&Changes { deleted_markets: vec![market.id], ..Changes::default() }).await?;
    ensure!(world.queries.market(&MarketKey::Id(market.id)).await?.is_none(), "the market is still there");
    ensure!(world.queries.order(order.id).await?.is_none(), "its order is still there");
    ensure!(world.queries.position(creator.id, market.id).await?.is_none(), "its position is still there");
    ensure!(world.queries.violations(10).await?.is_empty(), "{:?}", world.queries.violations(10).await?);
    Ok(())
}

/// Nothing to do is no error, for any operation.
pub async fn empty_changes_and_empty_lists_do_nothing(world: World) -> anyhow::Result<()> {
    let mut unit = world.begin().await?;
    ensure!(unit.users().lock(&[]).await?.is_empty());
    ensure!(unit.users().load(&[]).await?.is_empty());
    ensure!(unit.accounts().lock(&[]).await?.is_empty());
    ensure!(unit.markets().lock(&[]).await?.is_empty());
    ensure!(unit.orders().load(&[]).await?.is_empty());
    ensure!(unit.orders().book(&[]).await?.is_empty());
    ensure!(unit.orders().count_open(&[]).await?.is_empty());
    ensure!(unit.orders().with_client_ids(&[]).await?.is_empty());
    ensure!(unit.positions().load(&[]).await?.is_empty());
    ensure!(unit.answers().find(&[]).await?.is_empty());
    unit.write(&Changes::default()).await?;
    unit.commit().await?;
    ensure!(world.queries.users_by_ids(&[]).await?.is_empty());
    ensure!(world.queries.markets_by_ids(&[]).await?.is_empty());
    ensure!(world.queries.best_prices(&[]).await?.is_empty());
    world.queries.ping().await?;
    Ok(())
}
