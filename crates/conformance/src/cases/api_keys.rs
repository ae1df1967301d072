//! API keys, and what is used of their limits.

use anyhow::{Context, ensure};
use bellwether_domain::api_key::{ApiKey, Day, KeyLimits, KeyName, KeySpending, KeyUsage, Scope, Scopes};
use bellwether_domain::ids::{AccountId, ApiKeyId, MarketId, UserId};
use bellwether_domain::money::Credits;
use bellwether_domain::order::{Order, Side};
use bellwether_domain::ports::{Changes, KeyOfUser, StoreError, Unique, Wanted};
use bellwether_domain::text::DisplayName;
use bellwether_domain::user::{Role, User, UserStatus};

use crate::fixtures::{self, at, backed_by_shares, mills, nth};
use crate::world::World;

/// A key without limits that was not written yet.
fn key(world: &World, user: UserId) -> anyhow::Result<ApiKey> {
    let number = world.number();
    let mut hash = [0x5a; 32];
    hash.iter_mut().zip(number.to_be_bytes()).for_each(|(byte, part)| *byte = part);
    Ok(ApiKey {
        id: ApiKeyId(world.id()),
        user,
        name: KeyName::parse(&format!("Ünïcode ' {number}"))?,
        hash,
        scopes: [Scope::Read].into_iter().collect(),
        limits: KeyLimits::default(),
        created_at: at(0)?,
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
    })
}

async fn write(world: &World, keys: &[ApiKey]) -> Result<(), StoreError> {
    world.write(&Changes { new_api_keys: keys.to_vec(), ..Changes::default() }).await
}

/// A key of somebody, written.
pub(super) async fn key_of(world: &World, user: UserId) -> anyhow::Result<ApiKey> {
    let key = key(world, user)?;
    write(world, std::slice::from_ref(&key)).await?;
    Ok(key)
}

async fn usages(world: &World, ids: &[ApiKeyId]) -> anyhow::Result<Vec<KeyUsage>> {
    let mut unit = world.begin().await?;
    let found = unit.api_keys().usages(ids).await?;
    let loaded = unit.load(Wanted { key_usages: ids.to_vec(), ..Wanted::default() }).await?;
    unit.rollback().await?;
    ensure!(found == loaded.key_usages, "everything at once finds something else");
    Ok(found)
}

/// With every scope and limit, and with none; used and revoked.
pub async fn api_keys_round_trip(world: World) -> anyhow::Result<()> {
    let user = fixtures::trader(&world).await?;
    let mut full = key(&world, user.id)?;
    full.scopes = Scope::ALL.into_iter().collect();
    full.limits = KeyLimits {
        markets: vec![MarketId(world.id()), MarketId(world.id())],
        spend_per_day: Some(Credits::MAX),
        max_open_orders: Some(u32::MAX),
    };
    full.expires_at = Some(at(9)?);
    let mut keys = vec![full, key(&world, user.id)?];
    write(&world, &keys).await?;
    for key in &keys {
        let expected = KeyOfUser { key: key.clone(), role: Role::User, status: UserStatus::Active, owner: None };
        ensure!(world.queries.api_key(key.hash).await? == Some(expected));
    }
    let uses =
        keys.iter().zip(1..).map(|(key, second)| Ok((key.id, at(second)?))).collect::<anyhow::Result<Vec<_>>>()?;
    world.write(&Changes { api_key_uses: uses.clone(), ..Changes::default() }).await?;
    keys.iter_mut().zip(uses).for_each(|(key, (_, at))| key.last_used_at = Some(at));
    for key in &mut keys {
        key.revoked_at = Some(at(7)?);
        world.write(&Changes { api_keys: vec![key.clone()], ..Changes::default() }).await?;
        let mut unit = world.begin().await?;
        ensure!(unit.api_keys().lock(key.id).await?.as_ref() == Some(&*key));
        unit.rollback().await?;
    }
    let mut unit = world.begin().await?;
    ensure!(unit.api_keys().lock(ApiKeyId(world.id())).await?.is_none());
    unit.rollback().await?;
    ensure!(world.queries.api_key([0; 32]).await?.is_none());
    Ok(())
}

/// What is asked at a request: the key, and what its user may do now.
pub async fn an_api_key_comes_with_the_role_and_the_status_of_its_user(world: World) -> anyhow::Result<()> {
    for (role, status) in Role::ALL.into_iter().zip(UserStatus::ALL) {
        let mut user = fixtures::trader(&world).await?;
        let key = key(&world, user.id)?;
        write(&world, std::slice::from_ref(&key)).await?;
        (user.role, user.status) = (role, status);
        world.write(&Changes { users: vec![user], ..Changes::default() }).await?;
        let found = world.queries.api_key(key.hash).await?.context("the key is gone")?;
        ensure!((found.role, found.status, found.owner) == (role, status, None), "{found:?} was found");
    }
    Ok(())
}

/// A bot's key comes with its owner and that one's status besides; the bots of a user are those that are left.
pub async fn bots_come_with_the_status_of_their_owner(world: World) -> anyhow::Result<()> {
    let mut owner = fixtures::trader(&world).await?;
    let mut bots = Vec::new();
    for name in ["One", "Two", "Three"] {
        bots.push(User::bot(UserId(world.id()), owner.id, DisplayName::parse(name)?, at(1)?));
    }
    world.write(&Changes { new_users: bots.clone(), ..Changes::default() }).await?;
    let found = world.queries.user(nth(&bots, 0)?.id).await?;
    ensure!(found.as_ref() == bots.first(), "{found:?} was found");
    let key = key(&world, nth(&bots, 0)?.id)?;
    write(&world, std::slice::from_ref(&key)).await?;
    for status in UserStatus::ALL {
        owner.status = status;
        world.write(&Changes { users: vec![owner.clone()], ..Changes::default() }).await?;
        let found = world.queries.api_key(key.hash).await?.context("the key is gone")?;
        let expected = (UserStatus::Active, Some((owner.id, status)));
        ensure!((found.status, found.owner) == expected, "{found:?} was found");
    }
    let mut gone = bots.remove(1);
    gone.deactivate(at(2)?);
    world.write(&Changes { users: vec![gone], ..Changes::default() }).await?;
    ensure!(world.queries.bots_of(owner.id).await? == bots, "others are listed");
    let mut unit = world.begin().await?;
    ensure!(unit.users().lock_bots_of(owner.id).await? == bots, "others are locked");
    ensure!(unit.users().lock_bots_of(nth(&bots, 0)?.id).await?.is_empty());
    unit.rollback().await?;
    Ok(())
}

/// Those of one user that were not revoked: listed the newest first, and in id order to be counted.
pub async fn the_api_keys_of_a_user_are_those_that_were_not_revoked(world: World) -> anyhow::Result<()> {
    let users = fixtures::sign_up(&world, 2, 0).await?;
    let (owner, other) = (nth(&users, 0)?.id, nth(&users, 1)?.id);
    let mut keys = Vec::new();
    for _ in 0..4 {
        keys.push(key(&world, owner)?);
    }
    keys.iter_mut().skip(1).take(1).for_each(|key| key.revoked_at = Some(key.created_at));
    keys.iter_mut().take(1).for_each(|key| key.expires_at = Some(key.created_at));
    write(&world, &keys).await?;
    write(&world, &[key(&world, other)?]).await?;
    keys.remove(1);
    let mut unit = world.begin().await?;
    ensure!(unit.api_keys().of_user(owner).await? == keys, "others are counted");
    unit.rollback().await?;
    keys.reverse();
    ensure!(world.queries.api_keys_of(owner).await? == keys, "others are listed");
    ensure!(world.queries.api_keys_of(UserId(world.id())).await?.is_empty());
    Ok(())
}

/// What is spent is written whole; what is open is summed over the key's own open orders.
pub async fn the_usage_of_api_keys_is_what_they_spent_and_what_their_orders_hold(world: World) -> anyhow::Result<()> {
    let (user, mut market) = fixtures::trader_and_market(&world, 2).await?;
    let keys = [key(&world, user.id)?, key(&world, user.id)?, key(&world, user.id)?];
    write(&world, &keys).await?;
    let [busy, idle, _] = &keys;
    let mut orders = Vec::new();
    for (price, quantity) in [(400, 10), (300, 7), (200, 5), (100, 3), (50, 1)] {
        orders.push(fixtures::order(&world, &mut market, user.id, (0, Side::Buy, price, quantity))?);
    }
    let count_by = |order: &mut Order, key: &ApiKey| order.counted_by = Some(key.id);
    let [first, second, third, ended, _] = orders.as_mut_slice() else { anyhow::bail!("five orders were made") };
    count_by(first, busy);
    count_by(second, busy);
    *third = backed_by_shares(third.clone());
    count_by(third, busy);
    count_by(ended, busy);
    ended.end(
        bellwether_domain::order::OrderStatus::Cancelled,
        Some(bellwether_domain::order::EndReason::Requested),
        at(1)?,
    );
    world.write(&Changes { new_orders: orders.clone(), markets: vec![market], ..Changes::default() }).await?;
    for (day, spent) in [(3, 100), (4, 50)] {
        let spending = KeySpending { key: busy.id, day: Day(day), spent: mills(spent) };
        world.write(&Changes { key_spending: vec![spending], ..Changes::default() }).await?;
    }
    let nothing = |key: &ApiKey| KeySpending { key: key.id, day: Day(0), spent: Credits::ZERO };
    let expected = [
        KeyUsage {
            key: busy.clone(),
            spending: KeySpending { key: busy.id, day: Day(4), spent: mills(50) },
            reserved: mills(400 * 10 + 300 * 7),
            open_orders: 3,
        },
        KeyUsage { key: idle.clone(), spending: nothing(idle), reserved: Credits::ZERO, open_orders: 0 },
    ];
    let found = usages(&world, &[idle.id, busy.id, ApiKeyId(world.id())]).await?;
    ensure!(found == expected, "{found:#?} was found");
    ensure!(usages(&world, &[]).await?.is_empty());
    // An order that is amended by another key counts against that.
    let mut moved = nth(&orders, 0)?.clone();
    moved.counted_by = Some(idle.id);
    world.write(&Changes { orders: vec![moved.clone()], ..Changes::default() }).await?;
    ensure!(world.queries.order(moved.id).await? == Some(moved));
    let reserved: Vec<Credits> = usages(&world, &[busy.id, idle.id]).await?.iter().map(|u| u.reserved).collect();
    ensure!(reserved == [mills(300 * 7), mills(400 * 10)], "{reserved:?} was found");
    Ok(())
}

/// A key's hash is unique, and its rows are those of what there is.
pub async fn the_database_refuses_an_api_key_twice_and_one_of_nobody(world: World) -> anyhow::Result<()> {
    let user = fixtures::trader(&world).await?;
    let first = key(&world, user.id)?;
    write(&world, std::slice::from_ref(&first)).await?;
    let same_hash = ApiKey { hash: first.hash, ..key(&world, user.id)? };
    for twice in [same_hash, first.clone()] {
        ensure!(matches!(write(&world, &[twice]).await, Err(StoreError::Duplicate(Unique::Id))));
    }
    let of_nobody = key(&world, UserId(world.id()))?;
    let without_scopes = ApiKey { scopes: Scopes::default(), ..key(&world, user.id)? };
    for bad in [of_nobody, without_scopes] {
        ensure!(matches!(write(&world, &[bad]).await, Err(StoreError::Corrupt(_))));
    }
    let spending = KeySpending { key: ApiKeyId(world.id()), day: Day(1), spent: mills(1) };
    let negative = KeySpending { key: first.id, day: Day(1), spent: mills(-1) };
    for bad in [spending, negative] {
        let written = world.write(&Changes { key_spending: vec![bad], ..Changes::default() }).await;
        ensure!(matches!(written, Err(StoreError::Corrupt(_))), "{written:?}");
    }
    Ok(())
}

/// The lock of the account guards what its keys have spent: no spending is lost.
pub async fn of_many_who_spend_by_one_api_key_nobodys_spending_is_lost(world: World) -> anyhow::Result<()> {
    let user = fixtures::trader(&world).await?;
    let key = key(&world, user.id)?;
    write(&world, std::slice::from_ref(&key)).await?;
    let tasks: Vec<_> = (0..crate::MOST_UNITS)
        .map(|_| {
            let (world, id, account) = (world.clone(), key.id, AccountId::of_user(user.id));
            tokio::spawn(async move {
                crate::world::retried(async || {
                    let mut unit = world.begin().await?;
                    let wanted = Wanted { lock_accounts: vec![account], key_usages: vec![id], ..Wanted::default() };
                    let found = unit.load(wanted).await?;
                    let before = found.key_usages.first().map_or(Credits::ZERO, |usage| usage.spending.spent);
                    let spent = before.plus(mills(1)).unwrap_or(before);
                    let spending = vec![KeySpending { key: id, day: Day(1), spent }];
                    unit.write(&Changes { key_spending: spending, ..Changes::default() }).await?;
                    unit.commit().await
                })
                .await
            })
        })
        .collect();
    crate::world::all(tasks).await?;
    let spent = usages(&world, &[key.id]).await?.first().map(|usage| usage.spending.spent);
    ensure!(spent == Some(mills(i64::try_from(crate::MOST_UNITS)?)), "{spent:?} was spent");
    Ok(())
}

/// However many keys, the same number of statements.
pub async fn the_statements_for_api_keys_do_not_grow_with_their_number(world: World) -> anyhow::Result<()> {
    let user = fixtures::trader(&world).await?;
    let cost = async |count: usize| -> anyhow::Result<u64> {
        let mut keys = Vec::new();
        for _ in 0..count {
            keys.push(key(&world, user.id)?);
        }
        let ids: Vec<ApiKeyId> = keys.iter().map(|key| key.id).collect();
        let spent = |key: &ApiKey| KeySpending { key: key.id, day: Day(1), spent: mills(1) };
        let (key_spending, used) = (keys.iter().map(spent).collect(), at(1)?);
        let before = world.statements();
        write(&world, &keys).await?;
        world.queries.api_keys_of(user.id).await?;
        let mut unit = world.begin().await?;
        unit.api_keys().of_user(user.id).await?;
        unit.api_keys().usages(&ids).await?;
        let api_key_uses = ids.iter().map(|id| (*id, used)).collect();
        unit.write(&Changes { api_keys: keys, api_key_uses, key_spending, ..Changes::default() }).await?;
        unit.commit().await?;
        Ok(world.statements() - before)
    };
    cost(1).await?;
    let (one, many) = (cost(1).await?, cost(50).await?);
    ensure!(one == many, "{many} statements for many where one takes {one}");
    Ok(())
}
