//! Users, as sign-ins and the rule of the last administrator look them up.

use std::sync::Arc;

use anyhow::{Context, ensure};
use bellwether_domain::ids::UserId;
use bellwether_domain::market::MarketStatus;
use bellwether_domain::ports::{Changes, MarketKey, PositionFilter, StoreError, TradeFilter, UserStatistics};
use bellwether_domain::text::Email;
use bellwether_domain::user::{Role, User, UserStatus};

use tokio::sync::Barrier;

use crate::fixtures::{self, nth};
use crate::pages::first_page;
use crate::scene;
use crate::world::{World, all, retried};

/// Active ones only, by id.
pub async fn active_administrators_are_locked_in_id_order(world: World) -> anyhow::Result<()> {
    let mut users = Vec::new();
    for number in 0..18 {
        let mut user = fixtures::user(&world)?;
        user.role = *nth(&Role::ALL, number % 3)?;
        user.status = *nth(&UserStatus::ALL, number / 3 % 3)?;
        users.push(user);
    }
    users.reverse();
    world.write(&Changes { new_users: users.clone(), ..Changes::default() }).await?;
    let mut admins: Vec<User> =
        users.into_iter().filter(|u| u.role == Role::Admin && u.status == UserStatus::Active).collect();
    admins.sort_by_key(|u| u.id);
    let mut unit = world.begin().await?;
    let locked = unit.users().lock_admins().await?;
    unit.rollback().await?;
    ensure!(admins.len() == 2 && locked == admins, "{locked:#?} was locked where {admins:#?} was right");
    Ok(())
}

/// What the lists of its trades and positions come to, for everybody in a busy exchange and for nobody.
pub async fn statistics_are_what_trades_and_positions_come_to(world: World) -> anyhow::Result<()> {
    let nobody = world.queries.statistics(UserId(world.id())).await?;
    ensure!(nobody == UserStatistics::default(), "nobody has {nobody:?}");
    let scene = scene::set(&world).await?;
    let mut seen = UserStatistics::default();
    for user in &scene.users {
        let (found, wanted) = (world.queries.statistics(*user).await?, added_up(&world, *user).await?);
        let scores = found.brier_score.zip(wanted.brier_score);
        ensure!(
            found.brier_score.is_some() == wanted.brier_score.is_some()
                && scores.is_none_or(|(found, wanted)| (found - wanted).abs() < 1e-9),
            "{found:?} has another score than {wanted:?}"
        );
        ensure!(UserStatistics { brier_score: None, ..found } == UserStatistics { brier_score: None, ..wanted });
        seen.trades += found.trades;
        seen.open_positions += found.open_positions;
        seen.profit = seen.profit.plus(found.profit)?;
        seen.brier_score = seen.brier_score.or(found.brier_score);
    }
    ensure!(
        seen.trades > 8 && seen.open_positions > 3 && seen.brier_score.is_some(),
        "the scene is too dull: {seen:?}"
    );
    let before = world.statements();
    world.queries.statistics(*nth(&scene.users, 0)?).await?;
    ensure!(world.statements() - before == 1, "it takes more than one query");
    Ok(())
}

#[expect(clippy::as_conversions, clippy::cast_precision_loss, reason = "the numbers of a test are small")]
async fn added_up(world: &World, user: UserId) -> anyhow::Result<UserStatistics> {
    let mut sums = UserStatistics::default();
    let (mut missed, mut shares) = (0_i64, 0_i64);
    let filter = TradeFilter { user: Some(user), ..TradeFilter::default() };
    for trade in world.queries.trades(&filter, &first_page()).await?.items {
        sums.trades += 1;
        sums.volume = sums.volume.plus(trade.cost)?;
        let market = world.queries.market(&MarketKey::Id(trade.market)).await?.context("a trade has a market")?;
        let resolution = market.resolution.filter(|_| market.status == MarketStatus::Resolved);
        if let Some(resolution) = resolution.filter(|_| trade.taker == user) {
            let weight = i64::from(*nth(resolution.weights.as_slice(), trade.outcome.index())?);
            missed += trade.quantity.count() * (trade.price.mills() - weight).pow(2);
            shares += trade.quantity.count();
        }
    }
    let filter = PositionFilter { user: Some(user), market: None };
    for held in world.queries.positions(&filter, &first_page()).await?.items {
        let position = held.position;
        if position.settled_at.is_some() {
            sums.profit = sums.profit.plus(position.received.minus(position.spent)?)?;
        } else if position.holdings.iter().any(|holding| holding.quantity.is_positive()) {
            sums.open_positions += 1;
        }
    }
    sums.brier_score = (shares > 0).then(|| missed as f64 / shares as f64 / 1e6);
    Ok(sums)
}

/// One unit: lock the administrators, and take one away unless it is the last.
async fn demote(world: &World, id: UserId) -> Result<bool, StoreError> {
    let mut unit = world.begin().await?;
    let admins = unit.users().lock_admins().await?;
    let Some(mut user) = unit.users().lock(&[id]).await?.pop().filter(|_| admins.len() > 1) else {
        unit.rollback().await?;
        return Ok(false);
    };
    user.role = Role::User;
    unit.write(&Changes { users: vec![user], ..Changes::default() }).await?;
    unit.commit().await?;
    Ok(true)
}

/// Whoever comes later sees what those before left, so one is left in the end.
pub async fn of_administrators_who_remove_each_other_one_stays(world: World) -> anyhow::Result<()> {
    for count in [2, 8] {
        let mut admins = Vec::new();
        for _ in 0..count {
            admins.push(User { role: Role::Admin, ..fixtures::user(&world)? });
        }
        world.write(&Changes { new_users: admins.clone(), ..Changes::default() }).await?;
        let barrier = Arc::new(Barrier::new(admins.len()));
        let mut tasks = Vec::new();
        for admin in &admins {
            let (world, barrier, id) = (world.clone(), Arc::clone(&barrier), admin.id);
            tasks.push(tokio::spawn(async move {
                barrier.wait().await;
                retried(|| demote(&world, id)).await
            }));
        }
        let removed = all(tasks).await?.into_iter().filter(|is_removed| *is_removed).count();
        let mut unit = world.begin().await?;
        let left = unit.users().lock_admins().await?;
        ensure!(left.len() == 1, "{removed} of {count} were removed, and {left:#?} are left");
        // None for the next round.
        let none = left.into_iter().map(|admin| User { role: Role::User, ..admin }).collect();
        unit.write(&Changes { users: none, ..Changes::default() }).await?;
        unit.commit().await?;
    }
    Ok(())
}

/// Addresses are found by their folded key, whatever the script, and come back as they were given.
pub async fn emails_are_found_by_their_key_in_any_script(world: World) -> anyhow::Result<()> {
    let addresses = [
        ("Zoë.Ärger@Example.org", "ZOË.ÄRGER@EXAMPLE.ORG"),
        ("ΟΔΥΣΣΕΥΣ@example.org", "οδυσσευσ@example.org"),
        ("Пётр@пример.example", "ПЁТР@ПРИМЕР.example"),
        ("ｗｉｄｅ@example.org", "WIDE@example.org"),
        ("e\u{301}@example.org", "É@example.org"),
        ("o'neil%_@example.org", "O'Neil%_@example.org"),
        ("👍@example.org", "👍@EXAMPLE.org"),
    ];
    for (given, other) in addresses {
        let mut user = fixtures::user(&world)?;
        user.email = Some(Email::parse(given)?);
        world.write(&Changes { new_users: vec![user.clone()], ..Changes::default() }).await?;
        for spelling in [given, other] {
            let key = Email::parse(spelling)?.key();
            let found = world.queries.user_by_email(&key).await?;
            ensure!(found.as_ref() == Some(&user), "{spelling} found {found:?} by the key {key}");
        }
    }
    for key in ["%", "o_neil%_@example.org", "", "nobody@example.org"] {
        ensure!(world.queries.user_by_email(key).await?.is_none(), "the key {key:?} found somebody");
    }
    Ok(())
}
