//! Every read goes by an index: the plans that PostgreSQL makes of the statements.

use std::time::Duration;

use anyhow::Context as _;
use bellwether_conformance::plans::fill::{Dialect, Places, statements};
use bellwether_conformance::plans::processor::Workers;
use bellwether_conformance::plans::reads::Asked;
use bellwether_conformance::plans::{Explained, Report, Statements, most_sorted, rows};
use bellwether_postgres::{PLANS, PgOptions, PgStore};
use serde_json::Value;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::database::{Database, NO_SERVER};

/// Tables of a few rows, whatever they are read by.
const SMALL: [&str; 2] = ["audit_head", "event_cursors"];

/// Each plan is made as the store has it made: once for all values.
#[tokio::test]
async fn every_read_goes_by_an_index() -> anyhow::Result<()> {
    let listened = Statements::listen()?;
    let Some(database) = Database::migrated().await? else {
        eprintln!("{NO_SERVER}");
        return Ok(());
    };
    let places = Places { rows: rows()? };
    let raw = database.raw().await?;
    // The references are as they should be, and asking for each of them takes longer than all the rest.
    raw.batch_execute("SET session_replication_role = replica; SET synchronous_commit = off").await?;
    for sql in statements(Dialect::Postgres, places.rows) {
        raw.batch_execute(&sql).await.with_context(|| sql.clone())?;
    }
    raw.batch_execute("VACUUM ANALYZE").await?;
    raw.batch_execute(PLANS).await?;
    // Whatever is read first of a full store comes from the disk.
    let patience = Duration::from_secs(60);
    let options = PgOptions { pool_timeout: patience, io_timeout: patience, ..PgOptions::default() };
    let store = PgStore::connect(&database.url(), options).await?;
    let asked = Asked::of(&store);
    let workers = Workers::OfDatabase(database.name().to_owned());
    let explain = async |text: &str| explain(&raw, text, most_sorted(places.rows)).await;
    let report = Report::of(asked, places, &listened, &workers, explain).await?;
    report.print("PostgreSQL")
}

async fn explain(raw: &Client, text: &str, most_sorted: u64) -> anyhow::Result<Explained> {
    raw.batch_execute(&format!("PREPARE explained AS {text}")).await?;
    let values = vec!["NULL"; parameters(text)].join(", ");
    let values = if values.is_empty() { values } else { format!("({values})") };
    let answer = raw.simple_query(&format!("EXPLAIN (FORMAT JSON) EXECUTE explained{values}")).await?;
    raw.batch_execute("DEALLOCATE explained").await?;
    let json = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let plan: Value = serde_json::from_str(json.context("there is no plan")?)?;
    let root = plan.pointer("/0/Plan").context("the plan has no root")?;
    let mut explained = Explained { plan: String::new(), scans: Vec::new(), sorts: Vec::new() };
    look(root, most_sorted, &mut explained);
    Ok(explained)
}

/// How many parameters a statement has: the number of the last.
fn parameters(text: &str) -> usize {
    let numbers = text.split('$').skip(1).map(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(0)
    });
    numbers.max().unwrap_or(0)
}

fn look(node: &Value, most_sorted: u64, explained: &mut Explained) {
    let text = |name: &str| node.get(name).and_then(Value::as_str).unwrap_or_default();
    let parts = || node.get("Plans").and_then(Value::as_array).into_iter().flatten();
    let (kind, table) = (text("Node Type"), text("Relation Name"));
    explained.plan.push_str(kind);
    let place = [text("Index Name"), table].into_iter().find(|name| !name.is_empty());
    if let Some(place) = place {
        explained.plan.push_str(&format!(" of {place}"));
    }
    if node.get("Filter").is_some() {
        explained.plan.push_str(" (filtered)");
    }
    if kind == "Seq Scan" && !SMALL.contains(&table) {
        explained.scans.push(format!("reads all of {table}"));
    }
    if kind.starts_with("Gather") {
        explained.scans.push("starts parallel workers".to_owned());
    }
    if kind == "Sort" {
        let rows = parts().filter_map(|part| part.get("Plan Rows").and_then(Value::as_u64)).sum::<u64>();
        if rows > most_sorted {
            explained.sorts.push(format!("sorts {rows} rows by {}", node.get("Sort Key").unwrap_or(&Value::Null)));
        }
    }
    let mut between = " < ";
    for part in parts() {
        explained.plan.push_str(between);
        look(part, most_sorted, explained);
        between = " + ";
    }
}
