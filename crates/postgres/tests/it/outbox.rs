//! The order of events where transactions end in another order than they began. Threat 66.
//!
//! Each case forces its order with open transactions of its own, written as the store writes.

use bellwether_domain::ports::Outbox;
use bellwether_postgres::PgStore;
use tokio_postgres::Client;

use crate::database::{Database, NO_SERVER};

/// As `outbox::APPEND` in the store, with the text of one batch.
const APPEND: &str = "INSERT INTO event_batches (position, created_at, payload) SELECT nextval('event_positions'), now(), '[]' \
                      WHERE pg_current_xact_id() IS NOT NULL";

struct Stage {
    store: PgStore,
    database: Database,
}

impl Stage {
    async fn set() -> anyhow::Result<Option<Self>> {
        let Some(database) = Database::migrated().await? else {
            eprintln!("skipped: {NO_SERVER}");
            return Ok(None);
        };
        Ok(Some(Self { store: database.open().await?, database }))
    }

    /// An open transaction that has its id.
    async fn begin(&self) -> anyhow::Result<Client> {
        let client = self.database.raw().await?;
        client.batch_execute("BEGIN; SELECT pg_current_xact_id()").await?;
        Ok(client)
    }

    /// The positions after that one, when there are any. Transactions in other databases of the server hold
    /// back what is behind a gap, too.
    async fn soon_after(&self, position: i64) -> anyhow::Result<Vec<i64>> {
        loop {
            let found = self.after(position).await?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
    }

    /// The positions after that one.
    async fn after(&self, position: i64) -> anyhow::Result<Vec<i64>> {
        Ok(self.store.after(position, 100).await?.into_iter().map(|batch| batch.position).collect())
    }
}

/// The oldest position and the newest, as a store tells them.
async fn ends(store: &PgStore) -> anyhow::Result<Option<(i64, i64)>> {
    Ok(store.span().await?.map(|span| (span.oldest, span.newest)))
}

async fn append(client: &Client) -> anyhow::Result<()> {
    Ok(client.batch_execute(APPEND).await?)
}

async fn commit(client: &Client) -> anyhow::Result<()> {
    Ok(client.batch_execute("COMMIT").await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_waits_for_an_earlier_one_that_is_not_committed_yet() -> anyhow::Result<()> {
    let Some(stage) = Stage::set().await? else { return Ok(()) };
    let (one, two, three) = (stage.begin().await?, stage.begin().await?, stage.begin().await?);
    append(&one).await?;
    append(&two).await?;
    append(&three).await?;
    commit(&three).await?;
    assert_eq!(stage.after(0).await?, [0; 0]);
    commit(&one).await?;
    assert_eq!(stage.after(0).await?, [1]);
    assert_eq!(stage.after(1).await?, [0; 0]);
    commit(&two).await?;
    assert_eq!(stage.after(1).await?, [2, 3]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_that_a_rollback_left_is_passed_over() -> anyhow::Result<()> {
    let Some(stage) = Stage::set().await? else { return Ok(()) };
    let (one, two, three) = (stage.begin().await?, stage.begin().await?, stage.begin().await?);
    append(&one).await?;
    append(&two).await?;
    append(&three).await?;
    commit(&one).await?;
    commit(&three).await?;
    assert_eq!(stage.after(0).await?, [1]);
    two.batch_execute("ROLLBACK").await?;
    assert_eq!(stage.soon_after(1).await?, [3]);
    // A store that knows nothing yet comes to the same.
    let fresh = Stage { store: stage.database.open().await?, database: stage.database };
    assert_eq!(fresh.soon_after(1).await?, [3]);
    assert_eq!(ends(&fresh.store).await?, Some((1, 3)));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_that_runs_long_holds_back_what_is_behind_a_gap_and_nothing_else() -> anyhow::Result<()> {
    let Some(stage) = Stage::set().await? else { return Ok(()) };
    let stranger = stage.begin().await?;
    let (one, two, three) = (stage.begin().await?, stage.begin().await?, stage.begin().await?);
    append(&one).await?;
    commit(&one).await?;
    assert_eq!(stage.after(0).await?, [1], "there is no gap");
    append(&two).await?;
    append(&three).await?;
    two.batch_execute("ROLLBACK").await?;
    commit(&three).await?;
    // Nobody can tell that it is not the stranger's.
    assert_eq!(stage.after(1).await?, [0; 0]);
    assert_eq!(stage.after(1).await?, [0; 0]);
    commit(&stranger).await?;
    assert_eq!(stage.soon_after(1).await?, [3]);
    Ok(())
}

/// Who begins to follow begins with what is settled, whatever runs elsewhere on the server and however long.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_that_runs_long_keeps_nobody_from_beginning() -> anyhow::Result<()> {
    let Some(mut stage) = Stage::set().await? else { return Ok(()) };
    let Some(elsewhere) = Database::empty().await? else { return Ok(()) };
    let stranger = elsewhere.raw().await?;
    stranger.batch_execute("BEGIN; SELECT pg_current_xact_id()").await?;
    let (one, two, three) = (stage.begin().await?, stage.begin().await?, stage.begin().await?);
    append(&one).await?;
    commit(&one).await?;
    assert_eq!(ends(&stage.store).await?, Some((1, 1)), "there is no gap");
    append(&two).await?;
    append(&three).await?;
    two.batch_execute("ROLLBACK").await?;
    commit(&three).await?;
    let fresh = stage.database.open().await?;
    for store in [&stage.store, &fresh] {
        assert_eq!(ends(store).await?, Some((1, 1)), "what is behind the gap would not be given");
        assert!(store.waiting_since(1).await?.is_some() && store.waiting_since(3).await?.is_none());
    }
    // What a consumer has acted on was given, when the stranger was not there yet.
    one.batch_execute("INSERT INTO event_cursors (consumer, position) VALUES ('webhooks', 3)").await?;
    assert_eq!(ends(&stage.database.open().await?).await?, Some((1, 3)));
    assert_eq!(ends(&fresh).await?, Some((1, 3)));
    let four = stage.begin().await?;
    append(&four).await?;
    commit(&four).await?;
    assert_eq!(ends(&fresh).await?, Some((1, 4)));
    // Nor does it matter to one that starts now where the positions begin that are kept.
    one.batch_execute("DELETE FROM event_batches WHERE position < 3").await?;
    stage.store = stage.database.open().await?;
    assert_eq!(stage.after(0).await?, [3, 4]);
    commit(&stranger).await
}

/// The newest transaction that has ended may be older than one that drew before it and still runs: then a
/// snapshot that sees the gap has an `xmax` that is no bound for those who may have drawn in it.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_waits_for_an_earlier_one_of_a_newer_transaction() -> anyhow::Result<()> {
    let Some(stage) = Stage::set().await? else { return Ok(()) };
    let older = stage.begin().await?;
    let newer = stage.begin().await?;
    append(&newer).await?;
    append(&older).await?;
    commit(&older).await?;
    assert_eq!(stage.after(0).await?, [0; 0]);
    // Others come and go, and move the snapshot's bounds.
    for _ in 0..3 {
        let other = stage.begin().await?;
        append(&other).await?;
        commit(&other).await?;
        assert_eq!(stage.after(0).await?, [0; 0]);
    }
    commit(&newer).await?;
    assert_eq!(stage.after(0).await?, [1, 2, 3, 4, 5]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_position_is_told_only_when_nothing_can_come_before_it() -> anyhow::Result<()> {
    let Some(stage) = Stage::set().await? else { return Ok(()) };
    let (one, two) = (stage.begin().await?, stage.begin().await?);
    append(&one).await?;
    append(&two).await?;
    commit(&two).await?;
    let span = tokio::spawn({
        let store = stage.database.open().await?;
        async move { store.span().await }
    });
    commit(&one).await?;
    assert_eq!(span.await??.map(|span| span.newest), Some(2));
    assert_eq!(stage.after(0).await?, [1, 2]);
    Ok(())
}

/// A position is given again where a crash took the transaction that had it, and the log of the sequence with it. Who
/// had only seen it by then must not believe that everything up to there is settled.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_seen_and_never_reached_the_disk_settles_nothing() -> anyhow::Result<()> {
    let Some(mut stage) = Stage::set().await? else { return Ok(()) };
    let raw = stage.database.raw().await?;
    // The connection fails between what is seen and what brings it to the disk.
    raw.batch_execute(
        "CREATE FUNCTION public.pg_logical_emit_message(boolean, text, text) RETURNS pg_lsn LANGUAGE plpgsql \
         AS $$ BEGIN RAISE 'the connection is lost'; END $$; \
         DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = public, pg_catalog', current_database()); END $$; \
         SET synchronous_commit = off",
    )
    .await?;
    stage.store = stage.database.open().await?;
    // The server may be quick and bring it to the disk by itself.
    let mut safe = 0;
    loop {
        append(&raw).await?;
        match stage.after(safe).await {
            Ok(given) => safe = given.last().copied().unwrap_or(safe),
            Err(_) => break,
        }
    }
    let crash = format!(
        "DELETE FROM event_batches WHERE position > {safe}; SELECT setval('event_positions', {next}, false); \
         DROP FUNCTION public.pg_logical_emit_message",
        next = safe + 1
    );
    raw.batch_execute(&crash).await?;
    let (one, two) = (stage.begin().await?, stage.begin().await?);
    append(&one).await?;
    append(&two).await?;
    commit(&two).await?;
    assert_eq!(stage.after(safe).await?, [0; 0]);
    commit(&one).await?;
    assert_eq!(stage.after(safe).await?, [safe + 1, safe + 2]);
    Ok(())
}
