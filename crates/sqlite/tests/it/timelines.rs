//! What triggers write: that timelines have what the tables have, and nothing else.

use anyhow::ensure;
use bellwether_conformance::plans::fill::{Dialect, statements};
use bellwether_domain::ports::Queries as _;
use bellwether_sqlite::{SqliteOptions, SqliteStore};
use diesel::connection::SimpleConnection;
use diesel::sql_types::BigInt;
use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection, sql_query};

const ROWS: u64 = 12_000;

/// What the tables say that timelines should have.
const HAPPENED: &str = "\
    SELECT user_id AS owner, created_at AS at, id AS entry, 0 AS what FROM orders \
    UNION ALL SELECT market_id, created_at, id, 2 FROM trades UNION ALL SELECT taker_id, created_at, id, 1 FROM trades \
    UNION ALL SELECT maker_id, created_at, id, 1 FROM trades WHERE maker_id <> taker_id \
    UNION ALL SELECT from_account, created_at, id, 3 FROM transfers UNION ALL SELECT to_account, created_at, id, 4 FROM transfers";

#[derive(Debug, QueryableByName)]
struct Counted {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

fn count(raw: &mut SqliteConnection, of: &str) -> anyhow::Result<i64> {
    let counted: Counted = sql_query(format!("SELECT count(*) AS number FROM ({of})")).get_result(raw)?;
    Ok(counted.number)
}

/// How many entries there are, each of which is right.
fn right(raw: &mut SqliteConnection) -> anyhow::Result<i64> {
    let entries = "SELECT owner, at, entry, what FROM timelines";
    let missing = count(raw, &format!("SELECT * FROM ({HAPPENED}) EXCEPT {entries}"))?;
    let (there, happened) = (count(raw, entries)?, count(raw, HAPPENED)?);
    ensure!(missing == 0 && there == happened, "of {happened} entries {missing} are missing, and {there} are there");
    Ok(there)
}

#[tokio::test(flavor = "multi_thread")]
async fn timelines_have_what_happened() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("bellwether.db");
    let store = SqliteStore::open(&path, SqliteOptions::default())?;
    store.migrate_up().await?;
    let mut raw = SqliteConnection::establish(path.to_str().unwrap_or_default())?;
    raw.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF")?;
    for sql in statements(Dialect::Sqlite, ROWS) {
        raw.batch_execute(&sql)?;
    }
    let all = right(&mut raw)?;
    ensure!(all > i64::try_from(5 * ROWS)?, "there are {all} entries");

    raw.batch_execute("DELETE FROM orders WHERE status = 'open'")?;
    let rest = right(&mut raw)?;
    ensure!(rest < all, "{rest} of {all} entries are left");

    drop(raw);
    let names = store.migration_status().await?;
    let before = names.iter().take_while(|(name, _)| !name.contains("timelines")).count();
    store.migrate_down(names.len() - before).await?;
    store.migrate_up().await?;
    let mut raw = SqliteConnection::establish(path.to_str().unwrap_or_default())?;
    ensure!(right(&mut raw)? == rest, "the entries were not made again");

    // Nothing else of these rows is as it should be, so it is looked for.
    let is_found = async || -> anyhow::Result<bool> {
        Ok(store.violations(u32::MAX).await?.iter().any(|violation| violation.message.contains("timelines")))
    };
    ensure!(!is_found().await?, "good timelines were found to be bad");
    ensure!(raw.batch_execute("UPDATE timelines SET what = 1 WHERE what = 2").is_err(), "an entry was changed");
    raw.batch_execute("DELETE FROM timelines WHERE entry = (SELECT id FROM orders LIMIT 1)")?;
    ensure!(is_found().await?, "an entry that is missing was not found");
    Ok(())
}
