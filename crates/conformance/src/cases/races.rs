//! Money and keys under concurrency: what many units do at once comes out as if each ran alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, ensure};
use bellwether_domain::ids::{AccountId, TransferId};
use bellwether_domain::ledger::{LedgerError, TransferKind};
use bellwether_domain::ports::{AnswerKey, Changes, KeptAnswer, StoreError, Unique};
use bellwether_domain::text::Email;
use tokio::sync::Barrier;

use crate::MOST_UNITS;
use crate::fixtures::{self, Draft, at, mills, nth};
use crate::world::{World, all, retried};

/// How a unit that wants money ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spent {
    Yes,
    TooLittle,
}

fn decided(error: anyhow::Error) -> Result<Spent, StoreError> {
    match error.downcast_ref::<LedgerError>() {
        Some(LedgerError::InsufficientFunds { .. }) => Ok(Spent::TooLittle),
        _ => Err(StoreError::Corrupt(format!("the ledger failed: {error:#}"))),
    }
}

/// One unit: lock both accounts, pay if there is enough, write, commit.
async fn pay(world: &World, from: AccountId, to: AccountId, amount: i64) -> Result<Spent, StoreError> {
    let mut unit = world.begin().await?;
    let mut locked = unit.accounts().lock(&[from, to]).await?;
    let (Some(mut first), Some(mut second)) = (locked.pop(), locked.pop()) else {
        return Err(StoreError::Corrupt("the accounts are gone".to_owned()));
    };
    let (payer, payee) = if first.id == from { (&mut first, &mut second) } else { (&mut second, &mut first) };
    match fixtures::payment(payer, payee, TransferId(world.id()), amount) {
        Err(error) => {
            unit.rollback().await?;
            decided(error)
        }
        Ok(transfer) => {
            let changes = Changes { accounts: vec![first, second], transfers: vec![transfer], ..Changes::default() };
            unit.write(&changes).await?;
            unit.commit().await?;
            Ok(Spent::Yes)
        }
    }
}

/// Threat 28. Many units spend one balance at the same moment: as many succeed as it has money for,
/// and the balances are exact.
pub async fn concurrent_debits_never_overdraw(world: World) -> anyhow::Result<()> {
    const EACH: i64 = 100;
    const ENOUGH_FOR: usize = 10;
    let users = fixtures::sign_up(&world, 2, EACH * i64::try_from(ENOUGH_FOR)? + EACH / 2).await?;
    let (from, to) = (AccountId::of_user(nth(&users, 0)?.id), AccountId::of_user(nth(&users, 1)?.id));
    let start = fixtures::account(&world, from).await?.balance.mills();
    let barrier = Arc::new(Barrier::new(MOST_UNITS));
    let tasks = (0..MOST_UNITS)
        .map(|_| {
            let (world, barrier) = (world.clone(), barrier.clone());
            tokio::spawn(async move {
                barrier.wait().await;
                retried(|| pay(&world, from, to, EACH)).await
            })
        })
        .collect();
    let outcomes = all(tasks).await?;
    let succeeded = outcomes.iter().filter(|o| **o == Spent::Yes).count();
    ensure!(succeeded == ENOUGH_FOR, "{succeeded} payments succeeded where there was money for {ENOUGH_FOR}");
    let (payer, payee) = (fixtures::account(&world, from).await?, fixtures::account(&world, to).await?);
    ensure!(payer.balance == mills(EACH / 2), "the payer has {}", payer.balance);
    ensure!(payee.balance == mills(start + start - EACH / 2), "the payee has {}", payee.balance);
    ensure!(payer.paid_count == i64::try_from(ENOUGH_FOR)?, "the payer's chain has {} transfers", payer.paid_count);
    ensure!(world.queries.violations(100).await?.is_empty(), "{:?}", world.queries.violations(100).await?);
    Ok(())
}

async fn count_up(world: &World, account: AccountId) -> Result<(), StoreError> {
    let mut unit = world.begin().await?;
    let mut locked = unit.accounts().lock(&[account]).await?;
    for row in &mut locked {
        row.held = row.held.plus(mills(1)).map_err(|e| StoreError::Corrupt(e.to_string()))?;
    }
    unit.write(&Changes { accounts: locked, ..Changes::default() }).await?;
    unit.commit().await
}

/// Each of many concurrent read-change-write units counts.
pub async fn no_update_is_lost(world: World) -> anyhow::Result<()> {
    const ROUNDS: usize = 4;
    let account = AccountId::of_user(fixtures::trader(&world).await?.id);
    let barrier = Arc::new(Barrier::new(MOST_UNITS));
    let tasks = (0..MOST_UNITS)
        .map(|_| {
            let (world, barrier) = (world.clone(), barrier.clone());
            tokio::spawn(async move {
                barrier.wait().await;
                for _ in 0..ROUNDS {
                    retried(|| count_up(&world, account)).await?;
                }
                Ok(())
            })
        })
        .collect();
    all(tasks).await?;
    let counted = fixtures::account(&world, account).await?.held;
    ensure!(
        counted == mills(i64::try_from(MOST_UNITS * ROUNDS)?),
        "{} of {} updates were counted",
        counted.mills(),
        MOST_UNITS * ROUNDS
    );
    Ok(())
}

async fn hold(world: &World, account: AccountId, amount: i64) -> Result<Spent, StoreError> {
    let mut unit = world.begin().await?;
    let mut locked = unit.accounts().lock(&[account]).await?;
    for row in &mut locked {
        if let Err(error) = row.hold(mills(amount)) {
            unit.rollback().await?;
            return decided(error.into());
        }
    }
    unit.write(&Changes { accounts: locked, ..Changes::default() }).await?;
    unit.commit().await?;
    Ok(Spent::Yes)
}

/// Threat 29. Two units that each fit the exposure alone but not together: one sees the other's hold.
pub async fn two_holds_beyond_the_combined_exposure_do_not_both_succeed(world: World) -> anyhow::Result<()> {
    for round in 0..20 {
        let account = AccountId::of_user(nth(&fixtures::sign_up(&world, 1, 1000).await?, 0)?.id);
        let barrier = Arc::new(Barrier::new(2));
        let tasks = (0..2)
            .map(|_| {
                let (world, barrier) = (world.clone(), barrier.clone());
                tokio::spawn(async move {
                    barrier.wait().await;
                    retried(|| hold(&world, account, 600)).await
                })
            })
            .collect();
        let outcomes = all(tasks).await?;
        let succeeded = outcomes.iter().filter(|o| **o == Spent::Yes).count();
        ensure!(succeeded == 1, "{succeeded} of two holds succeeded in round {round}");
        ensure!(fixtures::account(&world, account).await?.held == mills(600));
    }
    Ok(())
}

/// Threat 30. Payments back and forth between the same accounts, hundreds at once, all come through.
pub async fn opposite_transfers_never_deadlock(world: World) -> anyhow::Result<()> {
    const ROUNDS: usize = 6;
    let users = fixtures::sign_up(&world, 3, 100_000).await?;
    let accounts: Vec<AccountId> = users.iter().map(|u| AccountId::of_user(u.id)).collect();
    let barrier = Arc::new(Barrier::new(MOST_UNITS));
    let mut tasks = Vec::new();
    for number in 0..MOST_UNITS {
        let (world, barrier) = (world.clone(), barrier.clone());
        let from = *nth(&accounts, number % 3)?;
        let to = *nth(&accounts, (number + 1 + number / 3 % 2) % 3)?;
        tasks.push(tokio::spawn(async move {
            barrier.wait().await;
            for _ in 0..ROUNDS {
                let spent = retried(|| pay(&world, from, to, 1)).await?;
                ensure!(spent == Spent::Yes, "a payment of one mill found too little money");
            }
            Ok(())
        }));
    }
    all(tasks).await?;
    let violations = world.queries.violations(100).await?;
    ensure!(violations.is_empty(), "{violations:?}");
    let mut paid = 0;
    for account in accounts {
        paid += fixtures::account(&world, account).await?.paid_count;
    }
    ensure!(paid == i64::try_from(MOST_UNITS * ROUNDS)?, "{paid} payments were made");
    Ok(())
}

/// Opposite orders of locks within one call do not matter: several rows of several kinds.
pub async fn locks_of_many_rows_in_any_order_never_deadlock(world: World) -> anyhow::Result<()> {
    let users = fixtures::sign_up(&world, 8, 1000).await?;
    let mut markets = Vec::new();
    for user in &users {
        markets.push(fixtures::market(&world, user.id, 2)?);
    }
    fixtures::open_markets(&world, &markets).await?;
    let barrier = Arc::new(Barrier::new(16));
    let mut tasks = Vec::new();
    for number in 0..16 {
        let (world, barrier) = (world.clone(), barrier.clone());
        let mut market_ids: Vec<_> = markets.iter().map(|m| m.id).collect();
        let mut account_ids: Vec<_> = users.iter().map(|u| AccountId::of_user(u.id)).collect();
        market_ids.rotate_left(number % 8);
        account_ids.rotate_right(number % 8);
        if number % 2 == 0 {
            market_ids.reverse();
            account_ids.reverse();
        }
        tasks.push(tokio::spawn(async move {
            barrier.wait().await;
            for _ in 0..10 {
                retried(|| async {
                    let mut unit = world.begin().await?;
                    unit.markets().lock(&market_ids).await?;
                    unit.accounts().lock(&account_ids).await?;
                    unit.commit().await
                })
                .await?;
            }
            Ok(())
        }));
    }
    all(tasks).await?;
    Ok(())
}

/// How a unit that wants a unique value ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    Won,
    Lost(Unique),
}

async fn claim(world: &World, changes: &Changes) -> Result<Claim, StoreError> {
    let mut unit = world.begin().await?;
    match unit.write(changes).await {
        Ok(()) => unit.commit().await.map(|()| Claim::Won),
        Err(StoreError::Duplicate(unique)) => {
            unit.rollback().await?;
            Ok(Claim::Lost(unique))
        }
        Err(error) => Err(error),
    }
}

async fn exactly_one_wins(world: &World, claims: Vec<Changes>, unique: Unique) -> anyhow::Result<()> {
    let barrier = Arc::new(Barrier::new(claims.len()));
    let tasks = claims
        .into_iter()
        .map(|changes| {
            let (world, barrier) = (world.clone(), barrier.clone());
            tokio::spawn(async move {
                barrier.wait().await;
                retried(|| claim(&world, &changes)).await
            })
        })
        .collect();
    let outcomes = all(tasks).await?;
    let won = outcomes.iter().filter(|c| **c == Claim::Won).count();
    ensure!(won == 1, "{won} of {} claims of one {unique:?} won", outcomes.len());
    let wrong = outcomes.iter().find(|c| **c != Claim::Won && **c != Claim::Lost(unique));
    ensure!(wrong.is_none(), "a claim of one {unique:?} ended with {wrong:?}");
    Ok(())
}

/// Many sign up with one address, in different spellings, at the same moment: one succeeds.
pub async fn of_many_sign_ups_with_one_address_one_wins(world: World) -> anyhow::Result<()> {
    let mut claims = Vec::new();
    for number in 0..32 {
        let mut user = fixtures::user(&world)?;
        let address = if number % 2 == 0 { "Zoë@Example.org" } else { "ZOË@example.ORG" };
        user.email = Some(Email::parse(address)?);
        claims.push(Changes { new_users: vec![user], ..Changes::default() });
    }
    exactly_one_wins(&world, claims, Unique::Email).await?;
    let found = world.queries.user_by_email("zoë@example.org").await?;
    ensure!(found.is_some(), "the winner is not found by its address");
    Ok(())
}

/// Threat 31. Many requests with one idempotency key at the same moment: one keeps its answer, and with it
/// what its unit did; the units of the others leave nothing.
pub async fn an_idempotency_claim_wins_once(world: World) -> anyhow::Result<()> {
    let owner = fixtures::trader(&world).await?;
    let key = AnswerKey { user: owner.id, route: "POST /api/v1/transfers".to_owned(), key: "once".to_owned() };
    let mut claims = Vec::new();
    let mut candidates = BTreeSet::new();
    for number in 0..32_u8 {
        let user = fixtures::user(&world)?;
        candidates.insert(user.id);
        let answer = KeptAnswer {
            key: key.clone(),
            fingerprint: [number; 32],
            status: 201,
            location: None,
            body: user.id.to_string(),
            created_at: at(0)?,
        };
        claims.push(Changes { new_users: vec![user], answers: vec![answer], ..Changes::default() });
    }
    exactly_one_wins(&world, claims, Unique::IdempotencyKey).await?;
    let mut unit = world.begin().await?;
    let kept = unit.answers().find(&[key]).await?;
    unit.rollback().await?;
    ensure!(kept.len() == 1, "{} answers were kept for one key", kept.len());
    let ids: Vec<_> = candidates.into_iter().collect();
    let written = world.queries.users_by_ids(&ids).await?;
    ensure!(written.len() == 1, "the units of {} claims left their rows", written.len());
    ensure!(nth(&written, 0)?.id.to_string() == nth(&kept, 0)?.body, "the answer is not the one of the unit that won");
    Ok(())
}

/// Many units pay the same account and are paid by it while others read: every snapshot of the whole
/// adds up.
pub async fn audits_see_no_half_done_payment(world: World) -> anyhow::Result<()> {
    let users = fixtures::sign_up(&world, 2, 1000).await?;
    let (first, second) = (AccountId::of_user(nth(&users, 0)?.id), AccountId::of_user(nth(&users, 1)?.id));
    let writers: Vec<_> = [(first, second), (second, first)]
        .into_iter()
        .map(|(from, to)| {
            let world = world.clone();
            tokio::spawn(async move {
                for _ in 0..50 {
                    retried(|| pay(&world, from, to, 10)).await?;
                }
                Ok(())
            })
        })
        .collect();
    for _ in 0..20 {
        let violations = world.queries.violations(10).await?;
        ensure!(violations.is_empty(), "Threat 27: {violations:?}");
    }
    all(writers).await?;
    let mut draft = Draft::with(&world, &[first, second]).await.context("after the race")?;
    draft.pay(&world, AccountId::TREASURY, first, 1, TransferKind::Grant, None)?;
    world.write(&draft.finish()).await?;
    ensure!(world.queries.violations(10).await?.is_empty());
    Ok(())
}
