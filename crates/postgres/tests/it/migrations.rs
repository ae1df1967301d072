//! The schema's steps.

use std::collections::{BTreeMap, BTreeSet};

use crate::database::{Database, NO_SERVER};

const SCHEMA: &str = "SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable \
                      FROM information_schema.columns WHERE table_schema = 'public' \
                      UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' \
                      UNION ALL SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint \
                      WHERE connamespace = 'public'::regnamespace UNION ALL SELECT tgname FROM pg_trigger WHERE NOT tgisinternal";

async fn schema(database: &Database) -> anyhow::Result<BTreeSet<String>> {
    let rows = database.raw().await?.query(SCHEMA, &[]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn up_down_up_gives_the_same_schema() -> anyhow::Result<()> {
    let Some(database) = Database::migrated().await? else {
        eprintln!("skipped: {NO_SERVER}");
        return Ok(());
    };
    let store = database.open().await?;
    let before = schema(&database).await?;
    let status = store.migration_status().await?;
    assert!(status.iter().all(|(_, is_applied)| *is_applied));
    let reverted = store.migrate_down(status.len()).await?;
    assert_eq!(reverted.len(), status.len());
    assert!(schema(&database).await?.iter().all(|line| line.contains("__diesel")));
    assert_eq!(store.migrate_up().await?.len(), status.len());
    assert_eq!(schema(&database).await?, before);
    Ok(())
}

const KEYS: &str = "SELECT table_name::text, array_agg(column_name::text ORDER BY ordinal_position) \
                    FROM information_schema.key_column_usage \
                    JOIN information_schema.table_constraints USING (table_schema, table_name, constraint_name) \
                    WHERE table_schema = 'public' AND constraint_type = 'PRIMARY KEY' GROUP BY table_name";
/// But for those that are spread by who pays, and by the webhook.
const OF_MARKETS: &str = "SELECT table_name::text FROM information_schema.columns \
                          JOIN information_schema.tables USING (table_schema, table_name) \
                          WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND column_name = 'market_id' \
                          AND table_name NOT IN ('transfers', 'webhook_deliveries')";

/// What grows with the markets, or with payments, can be spread by its key over partitions and servers.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_table_is_spread_by_is_in_its_key() -> anyhow::Result<()> {
    let Some(database) = Database::migrated().await? else {
        eprintln!("skipped: {NO_SERVER}");
        return Ok(());
    };
    let raw = database.raw().await?;
    let keys = raw.query(KEYS, &[]).await?;
    let keys: BTreeMap<String, Vec<String>> = keys.iter().map(|row| (row.get(0), row.get(1))).collect();
    let of_markets = raw.query(OF_MARKETS, &[]).await?;
    assert!(of_markets.len() >= 8, "{of_markets:?}");
    for row in of_markets {
        let table: String = row.get(0);
        assert!(keys[&table].iter().any(|column| column == "market_id"), "{table}: {keys:?}");
    }
    assert_eq!(keys["transfers"], ["id", "from_account"]);
    Ok(())
}

/// Threat 69: servers that start together migrate once.
#[tokio::test(flavor = "multi_thread")]
async fn servers_that_start_together_migrate_once() -> anyhow::Result<()> {
    let Some(database) = Database::empty().await? else {
        eprintln!("skipped: {NO_SERVER}");
        return Ok(());
    };
    let stores = [database.open().await?, database.open().await?, database.open().await?];
    let [one_store, two, three] = &stores;
    let (one, two, three) = tokio::join!(one_store.migrate_up(), two.migrate_up(), three.migrate_up());
    let mut applied = [one?.len(), two?.len(), three?.len()];
    applied.sort_unstable();
    assert_eq!(applied, [0, 0, one_store.migration_status().await?.len()]);
    Ok(())
}

/// Threat 69. What an older program would read and write is not what a newer one left.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_of_a_newer_program_is_named_and_nothing_is_done() -> anyhow::Result<()> {
    let Some(database) = Database::migrated().await? else {
        eprintln!("skipped: {NO_SERVER}");
        return Ok(());
    };
    let (store, raw) = (database.open().await?, database.raw().await?);
    store.migrate_down(1).await?;
    raw.batch_execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('20991231000001')").await?;
    let (up, status) = (store.migrate_up().await.map(drop), store.migration_status().await.map(drop));
    for refused in [up, status, store.migrate_down(1).await.map(drop)] {
        let said = format!("{refused:?}");
        assert!(said.contains("20991231000001, that this program does not know; start the newer version"), "{said}");
    }
    raw.batch_execute("DELETE FROM __diesel_schema_migrations WHERE version = '20991231000001'").await?;
    assert_eq!(store.migrate_up().await?.len(), 1);
    Ok(())
}
