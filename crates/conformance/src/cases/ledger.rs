//! The walks over the whole ledger.

use anyhow::ensure;
use bellwether_domain::ids::{AccountId, TransferId};
use bellwether_domain::ledger::{Transfer, TransferKind};
use jiff::Timestamp;

use crate::fixtures::{self, Draft, nth};
use crate::world::World;

/// By payer, then by time and id, from anywhere: the whole ledger without gap or repetition, and every chain fits its
/// account, in the order of its numbers.
pub async fn chains_come_in_order_of_payer_and_time(world: World) -> anyhow::Result<()> {
    let users = fixtures::sign_up(&world, 4, 1000).await?;
    let ids: Vec<AccountId> = users.iter().map(|u| AccountId::of_user(u.id)).collect();
    for (from, to) in [(0, 1), (1, 2), (0, 2), (2, 0), (0, 3), (0, 1), (1, 0)] {
        let mut draft = Draft::with(&world, &ids).await?;
        for _ in 0..3 {
            draft.pay(&world, *nth(&ids, from)?, *nth(&ids, to)?, 1, TransferKind::Payment, None)?;
        }
        world.write(&draft.finish()).await?;
    }
    for limit in [1, 4, 100] {
        let mut seen: Vec<Transfer> = Vec::new();
        loop {
            let after = seen.last().map(place);
            let batch = world.queries.chains(after, limit).await?;
            ensure!(batch.len() <= usize::try_from(limit)?);
            let is_last = batch.len() < usize::try_from(limit)?;
            seen.extend(batch);
            if is_last {
                break;
            }
        }
        ensure!(seen.is_sorted_by_key(place), "with batches of {limit} the chains came as {seen:?}");
        seen.sort_by_key(|transfer| (transfer.from, transfer.paid_number));
        ensure!(seen.len() == 25, "with batches of {limit} {} transfers came", seen.len());
        let mut before: Option<&Transfer> = None;
        for transfer in &seen {
            let before = before.replace(transfer).filter(|before| before.from == transfer.from);
            let (number, hash) = before.map_or((0, [0; 32]), |before| (before.paid_number, before.hash));
            ensure!(transfer.paid_number == number + 1, "{transfer:?} came after number {number}");
            ensure!(transfer.hash == transfer.expected_hash(&hash), "the hash of {transfer:?} does not fit");
        }
    }
    Ok(())
}

fn place(transfer: &Transfer) -> (AccountId, Timestamp, TransferId) {
    (transfer.from, transfer.created_at, transfer.id)
}

/// A decision that was made of an account which has paid since is not written, and nothing of it: locks rule that out,
/// and this is what would be left were one forgotten.
pub async fn an_account_that_has_paid_meanwhile_is_not_written(world: World) -> anyhow::Result<()> {
    let users = fixtures::sign_up(&world, 2, 1000).await?;
    let ids: Vec<AccountId> = users.iter().map(|u| AccountId::of_user(u.id)).collect();
    let (payer, payee) = (*nth(&ids, 0)?, *nth(&ids, 1)?);
    let mut stale = Draft::with(&world, &ids).await?;
    stale.pay(&world, payer, payee, 1, TransferKind::Payment, None)?;
    let mut first = Draft::with(&world, &ids).await?;
    first.pay(&world, payer, payee, 1, TransferKind::Payment, None)?;
    world.write(&first.finish()).await?;
    let before = world.queries.accounts_after(None, 100).await?;
    let written = world.write(&stale.finish()).await;
    ensure!(written.is_err(), "a payment was written that was decided of a balance before another one");
    ensure!(world.queries.accounts_after(None, 100).await? == before, "something of it was written");
    ensure!(world.queries.violations(10).await?.is_empty());
    Ok(())
}

/// Every account once, by id, the house's too.
pub async fn accounts_come_in_id_order_from_anywhere(world: World) -> anyhow::Result<()> {
    fixtures::sign_up(&world, 9, 10).await?;
    let whole = world.queries.accounts_after(None, 1000).await?;
    ensure!(whole.len() == 11 && whole.is_sorted_by(|a, b| a.id < b.id), "{whole:?}");
    for limit in [1, 3, 11] {
        let mut seen = Vec::new();
        loop {
            let batch = world
                .queries
                .accounts_after(seen.last().map(|a: &bellwether_domain::ledger::Account| a.id), limit)
                .await?;
            if batch.is_empty() {
                break;
            }
            seen.extend(batch);
        }
        ensure!(seen == whole, "batches of {limit} gave {seen:?}");
    }
    Ok(())
}
