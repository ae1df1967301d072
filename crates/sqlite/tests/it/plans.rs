//! Every read goes by an index: the plans that SQLite makes of the statements.

use std::cell::RefCell;
use std::path::Path;

use anyhow::Context as _;
use bellwether_conformance::plans::fill::{Dialect, Places, statements};
use bellwether_conformance::plans::processor::Workers;
use bellwether_conformance::plans::reads::Asked;
use bellwether_conformance::plans::{Explained, Report, Statements, rows};
use bellwether_sqlite::{SqliteOptions, SqliteStore};
use diesel::connection::SimpleConnection;
use diesel::sql_types::Text;
use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection, sql_query};

/// What is read whole: what a statement makes itself, and tables of a few rows. Accounts are walked in the order
/// of their ids, which is the table's own.
const MADE_OR_SMALL: [&str; 16] = [
    "CONSTANT ROW",
    "(subquery",
    "few",
    "p",
    "traded",
    "kept",
    "fresh",
    "held",
    "begun",
    "due",
    "dead",
    "heads",
    "oldest",
    "sqlite_master",
    "accounts",
    "event_cursors",
];

#[derive(Debug, QueryableByName)]
struct Step {
    #[diesel(sql_type = Text)]
    detail: String,
}

#[derive(Debug, QueryableByName)]
struct Index {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    sql: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_read_goes_by_an_index() -> anyhow::Result<()> {
    let listened = Statements::listen()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("bellwether.db");
    SqliteStore::open(&path, SqliteOptions::default())?.migrate_up().await?;
    let places = Places { rows: rows()? };
    let raw = RefCell::new(filled(&path, places)?);
    let store = SqliteStore::open(&path, SqliteOptions::default())?;
    let asked = Asked::of(&store);
    let report = Report::of(asked, places, &listened, &Workers::ThisProcess, async |text| {
        let steps: Vec<Step> = sql_query(format!("EXPLAIN QUERY PLAN {text}")).load(&mut *raw.borrow_mut())?;
        Ok(explained(&steps))
    })
    .await?;
    report.print("SQLite")
}

/// A connection to the file, after everything was written to it.
fn filled(path: &Path, places: Places) -> anyhow::Result<SqliteConnection> {
    let mut raw = SqliteConnection::establish(path.to_str().context("the path is not UTF-8")?)?;
    // Nothing here has to outlive the test, and the references are as they should be.
    raw.batch_execute(
        "PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -262144",
    )?;
    // Built at the end, from sorted rows, indexes take a fraction of the time.
    let indexes: Vec<Index> =
        sql_query("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL").load(&mut raw)?;
    let drops = indexes.iter().map(|index| format!("DROP INDEX {}", index.name));
    let made = indexes.iter().map(|index| index.sql.clone());
    for sql in drops.chain(statements(Dialect::Sqlite, places.rows)).chain(made) {
        raw.batch_execute(&sql).with_context(|| sql.clone())?;
    }
    raw.batch_execute("PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(raw)
}

fn explained(steps: &[Step]) -> Explained {
    let steps: Vec<&str> = steps.iter().map(|step| step.detail.as_str()).collect();
    let of = |is_so: fn(&str) -> bool| steps.iter().filter(|step| is_so(step)).map(|step| (*step).to_owned()).collect();
    Explained { plan: steps.join("; "), scans: of(reads_all), sorts: of(sorts_all) }
}

/// An index may be walked from its beginning, since its first rows are the page.
fn reads_all(step: &str) -> bool {
    let Some(table) = step.strip_prefix("SCAN ") else { return false };
    let has_index = table.contains(" USING ");
    !has_index && !MADE_OR_SMALL.iter().any(|name| table.starts_with(name))
}

fn sorts_all(step: &str) -> bool {
    step.contains("USE TEMP B-TREE FOR ORDER BY")
}
