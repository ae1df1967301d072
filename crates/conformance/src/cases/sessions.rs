//! Signed-in sessions and their refresh tokens.

use std::sync::Arc;

use anyhow::{Context, ensure};
use bellwether_domain::ids::{SessionId, UserId};
use bellwether_domain::ports::{Changes, SessionOfUser, StoreError, Unique};
use bellwether_domain::session::{Device, EndReason, Lifetime, RefreshToken, Session};
use bellwether_domain::user::{Role, User, UserStatus};
use tokio::sync::Barrier;

use crate::MOST_UNITS;
use crate::fixtures::{self, at, nth};
use crate::world::{World, all, retried};

/// A session from one second until another, that was not written yet.
fn session(world: &World, user: UserId, from: i64, until: i64) -> anyhow::Result<Session> {
    let device = Device { address: Some("2001:db8::1".to_owned()), agent: Some("Ünïcode/1.0 (')".to_owned()) };
    let lifetime = Lifetime { from: at(from)?, until: at(until)? };
    Ok(Session::begin(SessionId(world.id()), user, device, lifetime))
}

/// A refresh token of a session, with a hash of its own.
fn token(world: &World, session: &Session) -> RefreshToken {
    let mut hash = [0xa5; 32];
    hash.iter_mut().zip(world.number().to_be_bytes()).for_each(|(byte, part)| *byte = part);
    RefreshToken::fresh(hash, session.id, Lifetime { from: session.created_at, until: session.expires_at })
}

async fn user(world: &World) -> anyhow::Result<User> {
    let user = fixtures::user(world)?;
    world.write(&Changes { new_users: vec![user.clone()], ..Changes::default() }).await?;
    Ok(user)
}

/// A user with one session that has one refresh token.
async fn signed_in(world: &World) -> anyhow::Result<(Session, RefreshToken)> {
    let session = session(world, user(world).await?.id, 0, 100)?;
    let token = token(world, &session);
    let (new_sessions, new_refresh_tokens) = (vec![session.clone()], vec![token.clone()]);
    world.write(&Changes { new_sessions, new_refresh_tokens, ..Changes::default() }).await?;
    Ok((session, token))
}

async fn lock(world: &World, ids: &[SessionId]) -> anyhow::Result<Vec<Session>> {
    let mut unit = world.begin().await?;
    let locked = unit.sessions().lock(ids).await?;
    unit.rollback().await?;
    Ok(locked)
}

/// Sessions as they began, as they were refreshed, and as they ended for every reason.
pub async fn sessions_round_trip(world: World) -> anyhow::Result<()> {
    let (first, _) = signed_in(&world).await?;
    ensure!(lock(&world, &[first.id]).await? == std::slice::from_ref(&first));
    ensure!(lock(&world, &[SessionId(world.id())]).await?.is_empty() && lock(&world, &[]).await?.is_empty());
    let mut changed = Vec::new();
    for reason in EndReason::ALL {
        let (mut session, _) = signed_in(&world).await?;
        session.renew(Device::default(), Lifetime { from: at(7)?, until: at(700)? });
        session.end(reason, at(8)?);
        changed.push(session);
    }
    changed.push(first);
    changed.iter_mut().for_each(|session| session.device.agent = None);
    world.write(&Changes { sessions: changed.clone(), ..Changes::default() }).await?;
    let ids: Vec<SessionId> = changed.iter().rev().map(|session| session.id).collect();
    changed.sort_by_key(|session| session.id);
    ensure!(lock(&world, &ids).await? == changed);
    Ok(())
}

/// What is asked at each request: the session, and what its user may do now.
pub async fn a_session_comes_with_the_role_and_the_status_of_its_user(world: World) -> anyhow::Result<()> {
    ensure!(world.queries.session(SessionId(world.id())).await?.is_none());
    for (role, status) in Role::ALL.into_iter().zip(UserStatus::ALL) {
        let (session, _) = signed_in(&world).await?;
        let mut user = world.queries.user(session.user).await?.context("the user is gone")?;
        (user.role, user.status) = (role, status);
        world.write(&Changes { users: vec![user], ..Changes::default() }).await?;
        let found = world.queries.session(session.id).await?;
        ensure!(found == Some(SessionOfUser { session, role, status }), "{found:?} was found");
    }
    Ok(())
}

/// Live ones, the one seen last first; an ended or expired one is not shown, nor anybody else's.
pub async fn live_sessions_are_listed_the_one_seen_last_first(world: World) -> anyhow::Result<()> {
    let owner = user(&world).await?.id;
    let mut sessions = Vec::new();
    for (from, until) in [(3, 100), (1, 100), (2, 100), (0, 10), (4, 100)] {
        sessions.push(session(&world, owner, from, until)?);
    }
    sessions.iter_mut().filter(|s| s.created_at > at(3).unwrap_or_default()).for_each(|s| {
        s.end(EndReason::LoggedOut, s.created_at);
    });
    world.write(&Changes { new_sessions: sessions.clone(), ..Changes::default() }).await?;
    signed_in(&world).await?;
    let expected = [nth(&sessions, 0)?.clone(), nth(&sessions, 2)?.clone(), nth(&sessions, 1)?.clone()];
    let found = world.queries.sessions_of(owner, at(10)?, 100).await?;
    ensure!(found == expected, "{found:#?} was listed");
    ensure!(world.queries.sessions_of(owner, at(9)?, 100).await?.len() == 4, "it expires a second later");
    ensure!(world.queries.sessions_of(owner, at(10)?, 1).await?.as_slice() == [nth(&sessions, 0)?.clone()]);
    ensure!(world.queries.sessions_of(UserId(world.id()), at(10)?, 100).await?.is_empty());
    Ok(())
}

/// All that were not ended, expired ones too, in id order.
pub async fn the_sessions_of_a_user_are_locked_in_id_order(world: World) -> anyhow::Result<()> {
    let owner = user(&world).await?.id;
    let mut sessions = Vec::new();
    for until in [100, 1, 50, 70] {
        sessions.push(session(&world, owner, 0, until)?);
    }
    if let Some(ended) = sessions.last_mut() {
        ended.end(EndReason::Revoked, at(1)?);
    }
    let reversed: Vec<Session> = sessions.iter().rev().cloned().collect();
    world.write(&Changes { new_sessions: reversed, ..Changes::default() }).await?;
    signed_in(&world).await?;
    sessions.pop();
    let mut unit = world.begin().await?;
    let locked = unit.sessions().lock_of_user(owner).await?;
    unit.rollback().await?;
    ensure!(locked == sessions, "{locked:#?} was locked");
    Ok(())
}

/// By any token of the family, spent ones too.
pub async fn a_session_is_locked_by_any_of_its_refresh_tokens(world: World) -> anyhow::Result<()> {
    let (session, mut first) = signed_in(&world).await?;
    let (_, foreign) = signed_in(&world).await?;
    let second = token(&world, &session);
    first.spent_at = Some(at(5)?);
    let changes =
        Changes { refresh_tokens: vec![first.clone()], new_refresh_tokens: vec![second.clone()], ..Changes::default() };
    world.write(&changes).await?;
    let mut unit = world.begin().await?;
    for hash in [first.hash, second.hash] {
        ensure!(unit.sessions().lock_by_token(hash).await? == Some(session.clone()));
    }
    ensure!(unit.sessions().lock_by_token([0; 32]).await?.is_none(), "nobody has this token");
    let mut found = unit.sessions().refresh_tokens(&[second.hash, [0; 32], first.hash]).await?;
    found.sort_by_key(|token| token.hash);
    ensure!(found == [first, second], "{found:#?} was found");
    ensure!(unit.sessions().refresh_tokens(&[]).await?.is_empty());
    unit.rollback().await?;
    ensure!(foreign.session != session.id);
    Ok(())
}

/// One unit: lock by the token, look whether it is spent, spend it.
async fn spend(world: &World, hash: [u8; 32], next: &RefreshToken) -> Result<bool, StoreError> {
    let mut unit = world.begin().await?;
    let locked = unit.sessions().lock_by_token(hash).await?;
    let mut tokens = unit.sessions().refresh_tokens(&[hash]).await?;
    let (Some(_), Some(mut token)) = (locked, tokens.pop()) else {
        return Err(StoreError::Corrupt("the token is gone".to_owned()));
    };
    if token.spent_at.is_some() {
        unit.rollback().await?;
        return Ok(false);
    }
    token.spent_at = Some(next.lifetime.from);
    let changes = Changes { refresh_tokens: vec![token], new_refresh_tokens: vec![next.clone()], ..Changes::default() };
    unit.write(&changes).await?;
    unit.commit().await?;
    Ok(true)
}

/// Threat 8. One spends it, and all others see that it is spent.
pub async fn of_many_uses_of_one_refresh_token_one_spends_it(world: World) -> anyhow::Result<()> {
    let (session, first) = signed_in(&world).await?;
    let barrier = Arc::new(Barrier::new(MOST_UNITS));
    let mut tasks = Vec::new();
    for _ in 0..MOST_UNITS {
        let (world, barrier, next) = (world.clone(), Arc::clone(&barrier), token(&world, &session));
        let hash = first.hash;
        tasks.push(tokio::spawn(async move {
            barrier.wait().await;
            retried(|| spend(&world, hash, &next)).await
        }));
    }
    let spent = all(tasks).await?.into_iter().filter(|is_spent| *is_spent).count();
    ensure!(spent == 1, "the token was spent {spent} times");
    Ok(())
}

/// A token that exists is not issued again, whosever it is.
pub async fn a_second_refresh_token_with_the_same_hash_is_a_duplicate(world: World) -> anyhow::Result<()> {
    let (session, first) = signed_in(&world).await?;
    let (other, _) = signed_in(&world).await?;
    for id in [session.id, other.id] {
        let twin = RefreshToken { session: id, ..first.clone() };
        let refused = world.write(&Changes { new_refresh_tokens: vec![twin], ..Changes::default() }).await;
        ensure!(matches!(refused, Err(StoreError::Duplicate(Unique::Id))), "{refused:?}");
    }
    let refused = world.write(&Changes { new_sessions: vec![session], ..Changes::default() }).await;
    ensure!(matches!(refused, Err(StoreError::Duplicate(Unique::Id))), "{refused:?}");
    Ok(())
}

/// Sessions are users', and tokens are sessions'.
pub async fn the_database_refuses_sessions_of_nobody_and_tokens_of_no_session(world: World) -> anyhow::Result<()> {
    let of_nobody = session(&world, UserId(world.id()), 0, 1)?;
    let astray = token(&world, &of_nobody);
    let refused = world.write(&Changes { new_sessions: vec![of_nobody], ..Changes::default() }).await;
    ensure!(matches!(refused, Err(StoreError::Corrupt(_))), "{refused:?}");
    let refused = world.write(&Changes { new_refresh_tokens: vec![astray], ..Changes::default() }).await;
    ensure!(matches!(refused, Err(StoreError::Corrupt(_))), "{refused:?}");
    Ok(())
}

/// Expired and ended ones with their tokens, expired tokens of others; at most the limit of each.
pub async fn old_sessions_are_forgotten_in_batches_with_their_tokens(world: World) -> anyhow::Result<()> {
    let owner = user(&world).await?.id;
    let (mut sessions, mut tokens) = (Vec::new(), Vec::new());
    // Three that expired, three that were ended, one that lives on with an expired token beside a good one.
    for number in 0..7 {
        let mut session = session(&world, owner, 0, if number < 3 { 10 } else { 100 })?;
        if (3..6).contains(&number) {
            session.end(EndReason::LoggedOut, at(10)?);
        }
        tokens.push(token(&world, &session));
        sessions.push(session);
    }
    let living = nth(&sessions, 6)?.clone();
    let mut expired = token(&world, &living);
    expired.lifetime.until = at(9)?;
    tokens.push(expired);
    let changes = Changes { new_sessions: sessions.clone(), new_refresh_tokens: tokens.clone(), ..Changes::default() };
    world.write(&changes).await?;
    let ids: Vec<SessionId> = sessions.iter().map(|session| session.id).collect();
    let hashes: Vec<[u8; 32]> = tokens.iter().map(|token| token.hash).collect();
    for (before, limit, forgotten, sessions_left, tokens_left) in
        [(9, 2, 0, 7, 8), (11, 2, 6, 3, 2), (11, 2, 2, 1, 1), (11, 2, 0, 1, 1)]
    {
        let mut unit = world.begin().await?;
        let told = unit.sessions().forget_before(at(before)?, limit).await?;
        unit.commit().await?;
        let mut unit = world.begin().await?;
        let left = unit.sessions().lock(&ids).await?;
        let tokens = unit.sessions().refresh_tokens(&hashes).await?;
        unit.rollback().await?;
        let found = (told, left.len(), tokens.len());
        ensure!(
            found == (forgotten, sessions_left, tokens_left),
            "before {before}: {found:?} (told, sessions, tokens)"
        );
        ensure!(left.contains(&living), "a session that lives was forgotten");
    }
    Ok(())
}

/// One or many sessions cost the same.
pub async fn the_statements_for_sessions_do_not_grow_with_their_number(world: World) -> anyhow::Result<()> {
    let cost = async |count: u64| -> anyhow::Result<u64> {
        let owner = user(&world).await?.id;
        let (mut sessions, mut tokens) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let session = session(&world, owner, 0, 100)?;
            tokens.push(token(&world, &session));
            sessions.push(session);
        }
        let hashes: Vec<[u8; 32]> = tokens.iter().map(|token| token.hash).collect();
        let before = world.statements();
        let new = Changes { new_sessions: sessions.clone(), new_refresh_tokens: tokens.clone(), ..Changes::default() };
        world.write(&new).await?;
        world.queries.sessions_of(owner, at(1)?, 100).await?;
        let mut unit = world.begin().await?;
        unit.sessions().lock_of_user(owner).await?;
        unit.sessions().refresh_tokens(&hashes).await?;
        unit.write(&Changes { sessions, refresh_tokens: tokens, ..Changes::default() }).await?;
        unit.sessions().forget_before(at(1000)?, 1000).await?;
        unit.commit().await?;
        Ok(world.statements() - before)
    };
    cost(1).await?;
    let (one, many) = (cost(1).await?, cost(50).await?);
    ensure!(one == many, "{many} statements for many where one takes {one}");
    Ok(())
}
