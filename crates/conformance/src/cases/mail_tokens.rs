//! Tokens that were sent by mail.

use std::sync::Arc;

use anyhow::ensure;
use bellwether_domain::ids::UserId;
use bellwether_domain::mail::{MailToken, TokenPurpose};
use bellwether_domain::ports::{Changes, StoreError, Unique};
use bellwether_domain::session::Lifetime;
use bellwether_domain::user::User;
use tokio::sync::Barrier;

use crate::MOST_UNITS;
use crate::fixtures::{self, at};
use crate::world::{World, all, retried};

/// A token until that second, that was not written yet.
fn token(world: &World, user: UserId, purpose: TokenPurpose, until: i64) -> anyhow::Result<MailToken> {
    let mut hash = [0x5a; 32];
    hash.iter_mut().zip(world.number().to_be_bytes()).for_each(|(byte, part)| *byte = part);
    let lifetime = Lifetime { from: at(0)?, until: at(until)? };
    Ok(MailToken { hash, user, purpose, sent_to: "ünïcode'@example.org".to_owned(), lifetime })
}

async fn user(world: &World) -> anyhow::Result<User> {
    let user = fixtures::user(world)?;
    world.write(&Changes { new_users: vec![user.clone()], ..Changes::default() }).await?;
    Ok(user)
}

async fn issue(world: &World, tokens: &[MailToken]) -> Result<(), StoreError> {
    world.write(&Changes { new_mail_tokens: tokens.to_vec(), ..Changes::default() }).await
}

async fn of_user(world: &World, user: UserId) -> anyhow::Result<Vec<MailToken>> {
    let mut unit = world.begin().await?;
    let mut found = unit.mail_tokens().of_user(user).await?;
    unit.rollback().await?;
    found.sort_by_key(|token| token.hash);
    Ok(found)
}

/// For every purpose, found by hash inside and outside of a unit, and by user.
pub async fn mail_tokens_round_trip(world: World) -> anyhow::Result<()> {
    let (ann, ben) = (user(&world).await?.id, user(&world).await?.id);
    let mut tokens = Vec::new();
    for purpose in TokenPurpose::ALL {
        tokens.push(token(&world, ann, purpose, 100)?);
    }
    let foreign = token(&world, ben, TokenPurpose::VerifyEmail, 1)?;
    issue(&world, &[tokens.clone(), vec![foreign.clone()]].concat()).await?;
    for token in tokens.iter().chain([&foreign]) {
        ensure!(world.queries.mail_token(token.hash).await?.as_ref() == Some(token));
        let mut unit = world.begin().await?;
        ensure!(unit.mail_tokens().find(token.hash).await?.as_ref() == Some(token));
        unit.rollback().await?;
    }
    ensure!(world.queries.mail_token([0; 32]).await?.is_none());
    ensure!(of_user(&world, ann).await? == tokens && of_user(&world, UserId(world.id())).await?.is_empty());

    let mut deleted: Vec<[u8; 32]> = tokens.iter().map(|token| token.hash).collect();
    deleted.push([0; 32]);
    world.write(&Changes { deleted_mail_tokens: deleted, ..Changes::default() }).await?;
    ensure!(of_user(&world, ann).await?.is_empty() && of_user(&world, ben).await? == [foreign]);
    Ok(())
}

/// One unit: lock the user, look for the token, use it up.
async fn redeem(world: &World, token: &MailToken) -> Result<bool, StoreError> {
    let mut unit = world.begin().await?;
    unit.users().lock(&[token.user]).await?;
    if unit.mail_tokens().find(token.hash).await?.is_none() {
        unit.rollback().await?;
        return Ok(false);
    }
    unit.write(&Changes { deleted_mail_tokens: vec![token.hash], ..Changes::default() }).await?;
    unit.commit().await?;
    Ok(true)
}

/// Threat 11. The user's lock guards the token: one uses it, and all others see that it is gone.
pub async fn of_many_uses_of_one_mail_token_one_succeeds(world: World) -> anyhow::Result<()> {
    let token = token(&world, user(&world).await?.id, TokenPurpose::ResetPassword, 100)?;
    issue(&world, std::slice::from_ref(&token)).await?;
    let barrier = Arc::new(Barrier::new(MOST_UNITS));
    let mut tasks = Vec::new();
    for _ in 0..MOST_UNITS {
        let (world, barrier, token) = (world.clone(), Arc::clone(&barrier), token.clone());
        tasks.push(tokio::spawn(async move {
            barrier.wait().await;
            retried(|| redeem(&world, &token)).await
        }));
    }
    let used = all(tasks).await?.into_iter().filter(|is_used| *is_used).count();
    ensure!(used == 1, "the token was used {used} times");
    Ok(())
}

/// A token is issued once, to somebody.
pub async fn the_database_refuses_a_mail_token_twice_and_one_of_nobody(world: World) -> anyhow::Result<()> {
    let first = token(&world, user(&world).await?.id, TokenPurpose::ResetPassword, 100)?;
    issue(&world, std::slice::from_ref(&first)).await?;
    let twin = MailToken { user: user(&world).await?.id, ..first };
    let refused = issue(&world, &[twin]).await;
    ensure!(matches!(refused, Err(StoreError::Duplicate(Unique::Id))), "{refused:?}");
    let of_nobody = token(&world, UserId(world.id()), TokenPurpose::ResetPassword, 100)?;
    let refused = issue(&world, &[of_nobody]).await;
    ensure!(matches!(refused, Err(StoreError::Corrupt(_))), "{refused:?}");
    Ok(())
}

/// The longest expired first, at most the limit.
pub async fn expired_mail_tokens_are_forgotten_in_batches(world: World) -> anyhow::Result<()> {
    let owner = user(&world).await?.id;
    let mut tokens = Vec::new();
    for until in [10, 11, 12, 100] {
        tokens.push(token(&world, owner, TokenPurpose::VerifyEmail, until)?);
    }
    issue(&world, &tokens).await?;
    for (before, limit, forgotten, left) in [(10, 5, 0, 4), (50, 2, 2, 2), (50, 2, 1, 1), (50, 2, 0, 1)] {
        let mut unit = world.begin().await?;
        let told = unit.mail_tokens().forget_before(at(before)?, limit).await?;
        unit.commit().await?;
        let found = of_user(&world, owner).await?;
        ensure!((told, found.len()) == (forgotten, left), "before {before}: {told} forgotten, {found:?} left");
        ensure!(found.last() == tokens.last(), "one that is good was forgotten");
    }
    Ok(())
}
