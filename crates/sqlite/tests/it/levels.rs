//! What triggers write of books: that levels have what rests, and nothing else.

use anyhow::{Context as _, ensure};
use bellwether_conformance::plans::fill::{Dialect, statements};
use bellwether_domain::ports::Queries as _;
use bellwether_sqlite::{SqliteOptions, SqliteStore};
use diesel::connection::SimpleConnection;
use diesel::sql_types::BigInt;
use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection, sql_query};

const ROWS: u64 = 12_000;

const RESTING: &str = "SELECT market_id, book, book_side, book_price, sum(remaining), count(*) FROM orders \
                       WHERE status = 'open' GROUP BY 1, 2, 3, 4";
const LEVELS: &str = "SELECT market_id, book, book_side, book_price, quantity, orders FROM book_levels";

/// What may become of orders, in one statement for many of them.
const CHANGES: [&str; 7] = [
    "UPDATE orders SET remaining = remaining + 1, quantity = quantity + 1 WHERE status = 'open'",
    "UPDATE orders SET book_price = 1000 - book_price WHERE status = 'open' AND sequence % 3 = 0",
    "UPDATE orders SET status = 'cancelled', remaining = 0, reserved = 0 WHERE status = 'open' AND sequence % 5 = 0",
    "UPDATE orders SET status = 'open', remaining = 2, quantity = filled + 2, book_price = 7 \
         WHERE status <> 'open' AND sequence % 7 = 0",
    "CREATE TEMP TABLE taken AS SELECT * FROM orders WHERE sequence % 6 = 0",
    "DELETE FROM orders WHERE sequence % 6 = 0",
    "INSERT INTO orders SELECT * FROM taken",
];

#[derive(Debug, QueryableByName)]
struct Counted {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

fn count(raw: &mut SqliteConnection, of: &str) -> anyhow::Result<i64> {
    let counted: Counted = sql_query(format!("SELECT count(*) AS number FROM ({of})")).get_result(raw)?;
    Ok(counted.number)
}

/// How many levels there are, each of which is right.
fn right(raw: &mut SqliteConnection) -> anyhow::Result<i64> {
    let missing = count(raw, &format!("{RESTING} EXCEPT {LEVELS}"))?;
    let (there, wanted) = (count(raw, LEVELS)?, count(raw, RESTING)?);
    ensure!(missing == 0 && there == wanted, "of {wanted} levels {missing} are missing, and {there} are there");
    Ok(there)
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_have_what_rests() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("bellwether.db");
    let store = SqliteStore::open(&path, SqliteOptions::default())?;
    store.migrate_up().await?;
    let connect = || -> anyhow::Result<SqliteConnection> {
        let mut raw = SqliteConnection::establish(path.to_str().context("the path is not UTF-8")?)?;
        raw.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF")?;
        Ok(raw)
    };
    let mut raw = connect()?;
    for sql in statements(Dialect::Sqlite, ROWS) {
        raw.batch_execute(&sql)?;
    }
    ensure!(right(&mut raw)? > 0, "nothing rests");
    for change in CHANGES {
        raw.batch_execute(change).context(change)?;
        right(&mut raw).context(change)?;
    }
    drop(raw);

    let names = store.migration_status().await?;
    let before = names.iter().take_while(|(name, _)| !name.contains("book_levels")).count();
    store.migrate_down(names.len() - before).await?;
    store.migrate_up().await?;
    let mut raw = connect()?;
    right(&mut raw).context("the levels were not made again")?;

    // Nothing else of these rows is as it should be, so it is looked for.
    let is_found = async || -> anyhow::Result<usize> {
        let found = store.violations(u32::MAX).await?;
        Ok(found.iter().filter(|violation| violation.message.starts_with("the level at ")).count())
    };
    ensure!(is_found().await? == 0, "good levels were found to be bad");
    raw.batch_execute(
        "UPDATE book_levels SET orders = orders + 1 WHERE (market_id, book, book_side, book_price) \
             = (SELECT market_id, book, book_side, book_price FROM book_levels LIMIT 1)",
    )?;
    ensure!(is_found().await? == 2, "a level that counts too much was not found");
    Ok(())
}
