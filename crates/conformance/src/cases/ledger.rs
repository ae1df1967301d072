//! The walks over the whole ledger.

use anyhow::ensure;
use bellwether_domain::ids::AccountId;
use bellwether_domain::ledger::TransferKind;

use crate::fixtures::{self, Draft, nth};
use crate::world::World;

/// By payer, then by number, from anywhere: the whole ledger without gap or repetition, and every
/// chain fits its account.
pub async fn chains_come_in_order_of_payer_and_number(world: World) -> anyhow::Result<()> {
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
        let mut seen: Vec<(AccountId, i64)> = Vec::new();
        let mut chain = [0; 32];
        loop {
            let batch = world.queries.chains(seen.last().copied(), limit).await?;
            ensure!(batch.len() <= usize::try_from(limit)?);
            for transfer in &batch {
                if seen.last().is_none_or(|(payer, _)| *payer != transfer.from) {
                    chain = [0; 32];
                }
                ensure!(transfer.hash == transfer.expected_hash(&chain), "the hash of {transfer:?} does not fit");
                chain = transfer.hash;
                seen.push((transfer.from, transfer.paid_number));
            }
            if batch.len() < usize::try_from(limit)? {
                break;
            }
        }
        let mut sorted = seen.clone();
        sorted.sort_unstable();
        sorted.dedup();
        ensure!(seen == sorted && seen.len() == 25, "with batches of {limit} the chains came as {seen:?}");
    }
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
