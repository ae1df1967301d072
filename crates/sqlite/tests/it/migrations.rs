//! The schema's way up and down.

use anyhow::ensure;
use bellwether_domain::ports::{Queries, StoreError};
use bellwether_sqlite::{SqliteOptions, SqliteStore};
use diesel::connection::SimpleConnection;
use diesel::sql_types::{Nullable, Text};
use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection, sql_query};

use crate::store::Fixture;

#[derive(QueryableByName, Debug, PartialEq)]
struct Object {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Nullable<Text>)]
    sql: Option<String>,
}

/// Every table, index and trigger, and the rows that migrations make.
fn schema(path: &std::path::Path) -> anyhow::Result<Vec<Object>> {
    let mut connection = SqliteConnection::establish(path.to_str().unwrap_or_default())?;
    let mut objects: Vec<Object> =
        sql_query("SELECT name, sql FROM sqlite_schema ORDER BY name").load(&mut connection)?;
    objects.extend(
        sql_query("SELECT hex(id) AS name, quote(chain) AS sql FROM accounts ORDER BY id")
            .load::<Object>(&mut connection)?,
    );
    Ok(objects)
}

/// Threat 69.
#[tokio::test(flavor = "multi_thread")]
async fn up_down_and_up_again_leaves_the_same_schema() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("bellwether.db");
    let store = SqliteStore::open(&path, SqliteOptions::default())?;
    ensure!(store.migration_status().await?.iter().all(|(_, applied)| !applied));
    let names = store.migrate_up().await?;
    ensure!(names.len() == store.migration_status().await?.len() && names.is_sorted(), "{names:?}");
    ensure!(store.migrate_up().await?.is_empty(), "a second run found something to do");
    let first = schema(&path)?;

    for steps in 1..=names.len() {
        let reverted = store.migrate_down(steps).await?;
        ensure!(reverted.iter().eq(names.iter().rev().take(steps)), "{reverted:?}");
        let applied = store.migration_status().await?.into_iter().filter(|(_, applied)| *applied).count();
        ensure!(applied == names.len() - steps);
        store.migrate_up().await?;
        ensure!(schema(&path)? == first, "the schema differs after {steps} steps down and up");
    }
    ensure!(store.migrate_down(100).await?.len() == names.len());
    let mut connection = SqliteConnection::establish(path.to_str().unwrap_or_default())?;
    let left: Vec<Object> =
        sql_query("SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE '\\_\\_diesel%' ESCAPE '\\' AND name NOT LIKE 'sqlite_%'")
            .load(&mut connection)?;
    ensure!(left.is_empty(), "left over: {left:?}");
    Ok(())
}

/// Threat 69. A migration that fails half way leaves nothing of itself, and can be run again.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_fails_leaves_nothing() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("bellwether.db");
    let store = SqliteStore::open(&path, SqliteOptions::default())?;
    let mut outside = SqliteConnection::establish(path.to_str().unwrap_or_default())?;
    // The third migration makes `orders` before it comes to `trades`.
    outside.batch_execute("CREATE TABLE trades (id INTEGER)")?;
    let failed = store.migrate_up().await;
    ensure!(matches!(failed, Err(StoreError::Corrupt(_))), "{failed:?}");
    let applied: Vec<bool> = store.migration_status().await?.into_iter().map(|(_, applied)| applied).collect();
    ensure!(
        applied.iter().filter(|applied| **applied).count() == 2 && applied.starts_with(&[true, true]),
        "{applied:?}"
    );
    ensure!(outside.batch_execute("SELECT 1 FROM orders").is_err(), "half a migration stayed");
    outside.batch_execute("DROP TABLE trades")?;
    ensure!(store.migrate_up().await?.len() == applied.len() - 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_store_breaks_no_invariant() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    ensure!(fixture.store.violations(100).await?.is_empty());
    ensure!(fixture.store.accounts_after(None, 10).await?.len() == 2);
    Ok(())
}
