//! The schema's way up and down.

use anyhow::{Context as _, ensure};
use bellwether_domain::ids::{MarketId, UserId};
use bellwether_domain::ports::{Queries, StoreError};
use bellwether_sqlite::{SqliteOptions, SqliteStore};
use diesel::connection::SimpleConnection;
use diesel::sql_types::{Nullable, Text};
use diesel::{Connection, QueryableByName, RunQueryDsl, SqliteConnection, sql_query};
use uuid::Uuid;

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

/// Threat 69. What an older program would read and write is not what a newer one left.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_of_a_newer_program_is_named_and_nothing_is_done() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("bellwether.db");
    let store = SqliteStore::open(&path, SqliteOptions::default())?;
    store.migrate_up().await?;
    store.migrate_down(1).await?;
    let mut outside = SqliteConnection::establish(path.to_str().unwrap_or_default())?;
    outside.batch_execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('20991231000001')")?;
    let (up, status) = (store.migrate_up().await.map(drop), store.migration_status().await.map(drop));
    for refused in [up, status, store.migrate_down(1).await.map(drop)] {
        let said = format!("{refused:?}");
        ensure!(said.contains("20991231000001, that this program does not know; start the newer version"), "{said}");
    }
    outside.batch_execute("DELETE FROM __diesel_schema_migrations WHERE version = '20991231000001'")?;
    ensure!(store.migrate_up().await?.len() == 1);
    Ok(())
}

/// The market of the positions.
const MARKET: u128 = 9;

/// Shares of so many outcomes as the table has them.
fn list(outcomes: i64, of: fn(i64) -> i64) -> String {
    let shares: Vec<String> = (0..outcomes).map(|outcome| of(outcome).to_string()).collect();
    format!("[{}]", shares.join(","))
}

/// Users with positions in one market: of no outcome, of two and of twenty.
fn fill_positions(path: &std::path::Path) -> anyhow::Result<()> {
    let market = format!("X'{MARKET:032x}'");
    let mut connection = SqliteConnection::establish(path.to_str().unwrap_or_default())?;
    for (number, outcomes, settled_at) in [(1, 0, "NULL"), (2, 2, "NULL"), (3, 20, "7")] {
        let (free, held) = (list(outcomes, |outcome| 100 + outcome), list(outcomes, |outcome| outcome % 3));
        let user = format!("X'{number:032x}'");
        connection.batch_execute(&format!(
            "INSERT INTO users (id, display_name, role, status, email_verified, version, created_at, updated_at) \
                 VALUES ({user}, 'Ada', 'user', 'active', 0, 1, 0, 0); \
             INSERT OR IGNORE INTO markets (id, slug, question, description, creator_id, status, closes_at, fee_bps, \
                 fee_recipient, version, created_at, updated_at) \
                 VALUES ({market}, 'rain', 'Rain?', '', {user}, 'open', 0, 0, 'house', 1, 0, 0); \
             INSERT INTO positions (market_id, user_id, spent, received, settled_at, free, held, counted) \
                 VALUES ({market}, {user}, {number}, 5, {settled_at}, '{free}', '{held}', {number} % 2)"
        ))?;
    }
    Ok(())
}

/// Positions and their shares, however they are kept.
fn positions(path: &std::path::Path) -> anyhow::Result<Vec<Object>> {
    let mut connection = SqliteConnection::establish(path.to_str().unwrap_or_default())?;
    let query = "SELECT hex(market_id) || hex(user_id) AS name, \
                     spent || ' ' || received || ' ' || coalesce(settled_at, 'open') || ' ' || counted AS sql FROM positions \
                 UNION ALL \
                 SELECT hex(market_id) || hex(user_id) || ' ' || outcome, quantity || ' ' || held FROM holdings \
                 ORDER BY name";
    Ok(sql_query(query).load(&mut connection)?)
}

async fn violations(store: &SqliteStore) -> anyhow::Result<Vec<String>> {
    let mut found: Vec<String> = store.violations(100).await?.iter().map(|found| format!("{found:?}")).collect();
    found.sort_unstable();
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_keep_their_shares_in_a_row_and_in_rows() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("bellwether.db");
    let store = SqliteStore::open(&path, SqliteOptions::default())?;
    let names = store.migrate_up().await?;
    fill_positions(&path)?;
    let (before, broken) = (positions(&path)?, violations(&store).await?);
    ensure!(before.len() == 3 + 2 + 20, "{before:?}");
    let (user, market) = (UserId(Uuid::from_u128(3)), MarketId(Uuid::from_u128(MARKET)));
    let position = store.position(user, market).await?;
    let last = position.as_ref().and_then(|position| position.holdings.last());
    ensure!(last.is_some_and(|last| (last.quantity.count(), last.held.count()) == (120, 1)), "{position:?}");

    let steps = names.iter().rev().take_while(|name| !name.contains("positions_in_a_row")).count() + 1;
    store.migrate_down(steps).await?;
    ensure!(positions(&path)? == before, "on the way down");
    store.migrate_up().await?;
    ensure!(positions(&path)? == before, "on the way up");
    ensure!(store.position(user, market).await? == position && violations(&store).await? == broken);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_store_breaks_no_invariant() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    ensure!(fixture.store.violations(100).await?.is_empty());
    ensure!(fixture.store.accounts_after(None, 10).await?.len() == 2);
    Ok(())
}

/// The statement that writes an order that was filled, of these ids.
fn filled_order(id: &str, market: &str, user: &str) -> String {
    format!(
        "INSERT INTO orders (id, market_id, user_id, outcome, side, order_type, backing, quantity, filled, remaining, reserved, cost, \
             fee, time_in_force, post_only, self_trade_prevention, status, book, book_side, sequence, created_at, updated_at) \
             VALUES ({id}, {market}, {user}, 0, 'buy', 'market', 'cash', 6, 6, 0, 0, 3000, 0, 'ioc', 0, 'cancel_newest', \
                 'filled', 0, 'buy', 0, 0, 0)"
    )
}

/// Two trades in each of three markets, the second before the first by a clock that was set back: one that is being counted, whose trades
/// are counted in part; one whose trades all are; and one that is counted.
fn fill_countings(path: &std::path::Path) -> anyhow::Result<()> {
    let mut connection = SqliteConnection::establish(path.to_str().unwrap_or_default())?;
    let (user, order) = (format!("X'{:032x}'", 7), format!("X'{:032x}'", 70));
    connection.batch_execute(&format!(
        "INSERT INTO users (id, display_name, role, status, email_verified, version, created_at, updated_at) \
             VALUES ({user}, 'Ada', 'user', 'active', 0, 1, 0, 0); \
         INSERT INTO markets (id, slug, question, description, creator_id, status, closes_at, fee_bps, fee_recipient, version, \
             created_at, updated_at) \
             SELECT unhex(printf('%032x', value)), value, 'Rain?', '', {user}, 'resolved', 0, 0, 'house', 1, 0, 0 \
             FROM json_each('[1, 2, 3]'); \
         {}",
        filled_order(&order, &format!("X'{:032x}'", 1), &user)
    ))?;
    for (market, users_through, trades_through, done) in [(1, 0, 1, 0), (2, 7, 2, 0), (3, 7, 2, 1)] {
        let id = |number: u32| format!("X'{number:032x}'");
        let trade = |number: u32, at: u32| {
            let own = market * 10 + number;
            format!(
                "INSERT INTO trades (id, market_id, sequence, outcome, price, quantity, cost, taker_side, settlement, taker_order, \
                     taker_id, fee, created_at) \
                     VALUES ({}, {}, {number}, 0, 500, 1, 500, 'buy', 'mint', {order}, {user}, 0, {at});",
                id(own),
                id(market),
            )
        };
        connection.batch_execute(&format!(
            "{first}{second} \
             INSERT INTO countings (market_id, trades_through, users_through, done) \
                 VALUES ({place}, {trades_through}, {through}, {done}); \
             INSERT INTO market_scores (market_id, user_id, trades, volume, judged_shares, missed) \
                 VALUES ({place}, {user}, 1, 500, 0, 0)",
            first = trade(1, 200),
            second = trade(2, 100),
            place = id(market),
            through = id(users_through),
        ))?;
    }
    Ok(())
}

/// What is counted goes on after the last trade in the order of time, where it was that of sequences. What was counted of trades in
/// part is begun anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_counting_goes_on_where_it_was_or_begins_anew() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let path = fixture.folder.path().join("bellwether.db");
    let names = fixture.store.migration_status().await?;
    let before = names.iter().take_while(|(name, _)| !name.contains("fewer_indexes")).count();
    let steps = names.len() - before;
    fixture.store.migrate_down(steps).await?;
    fill_countings(&path)?;
    fixture.store.migrate_up().await?;
    let countings = |what: &str| -> anyhow::Result<Vec<String>> {
        let mut connection = SqliteConnection::establish(path.to_str().unwrap_or_default())?;
        let rows: Vec<Object> = sql_query(format!(
            "SELECT {what} || ' ' || (SELECT count(*) FROM market_scores WHERE market_scores.market_id = countings.market_id) \
             AS name, NULL AS sql FROM countings ORDER BY market_id"
        ))
        .load(&mut connection)?;
        Ok(rows.into_iter().map(|row| row.name).collect())
    };
    let found = countings(
        "coalesce(last_traded_at, 'none') || ' ' || coalesce(nullif(ltrim(hex(last_trade), '0'), ''), 'none')",
    )?;
    ensure!(found == ["none none 0", "200 15 1", "200 1F 1"], "{found:?}");
    fixture.store.migrate_down(steps).await?;
    let found = countings("trades_through")?;
    ensure!(found == ["-1 0", "2 1", "2 1"], "{found:?}");
    fixture.store.migrate_up().await?;
    Ok(())
}

#[derive(QueryableByName)]
struct Operation {
    #[diesel(sql_type = Text)]
    opcode: String,
}

/// Columns that may have one of three words or more, of the tables that have rows here.
const WORDS: [(&str, &str); 7] = [
    ("users", "role"),
    ("users", "status"),
    ("markets", "status"),
    ("orders", "time_in_force"),
    ("orders", "self_trade_prevention"),
    ("orders", "status"),
    ("orders", "end_reason"),
];

/// The checks that refuse a word that is none of a column's, as [`WORDS`] has the columns.
fn refused(connection: &mut SqliteConnection) -> anyhow::Result<Vec<String>> {
    let mut checks = Vec::new();
    for (table, column) in WORDS {
        let written = connection.batch_execute(&format!("UPDATE {table} SET {column} = 'lost'"));
        let said = written.err().with_context(|| format!("{table} took 'lost' as {column}"))?.to_string();
        checks.push(said.trim_start_matches("CHECK constraint failed: ").to_owned());
    }
    Ok(checks)
}

/// How many tables SQLite makes for itself to write one row to each table.
fn tables_made(connection: &mut SqliteConnection) -> anyhow::Result<usize> {
    let writes: Vec<Object> = sql_query(
        "SELECT tables.name, 'INSERT INTO ' || tables.name || ' VALUES (' || group_concat('?') || ')' AS sql \
             FROM sqlite_schema AS tables, pragma_table_info(tables.name) WHERE tables.type = 'table' GROUP BY tables.name",
    )
    .load(connection)?;
    let mut made = 0;
    for write in writes {
        let program = sql_query(format!("EXPLAIN {}", write.sql.unwrap_or_default()));
        let operations: Vec<Operation> = program.load(connection).with_context(|| write.name)?;
        made += operations.iter().filter(|operation| operation.opcode == "OpenEphemeral").count();
    }
    Ok(made)
}

/// The checks are changed in the text of the tables, and so have to be what they were, to connections that have read the schema before too.
#[tokio::test(flavor = "multi_thread")]
async fn checks_refuse_the_same_rows_and_make_no_table() -> anyhow::Result<()> {
    let fixture = Fixture::new().await?;
    let path = fixture.folder.path().join("bellwether.db");
    let names = fixture.store.migration_status().await?;
    let changed = names.iter().take_while(|(name, _)| !name.contains("checks_compare")).count();
    fixture.store.migrate_down(names.len() - changed).await?;
    let mut connection = SqliteConnection::establish(path.to_str().context("the path is not UTF-8")?)?;
    fill_positions(&path)?;
    let ids = [70, MARKET, 1].map(|id| format!("X'{id:032x}'"));
    connection.batch_execute(&filled_order(&ids[0], &ids[1], &ids[2]))?;
    ensure!(refused(&mut connection)? == WORDS.map(|(table, column)| format!("{table}_{column}")));
    ensure!(tables_made(&mut connection)? > 0, "what the migration changes was not there");

    fixture.store.migrate_up().await?;
    ensure!(refused(&mut connection)? == WORDS.map(|(table, column)| format!("{table}_{column}")));
    ensure!(tables_made(&mut connection)? == 0, "a row is checked against a table that is made for it");
    let found: Vec<Object> =
        sql_query("SELECT integrity_check AS name, NULL AS sql FROM pragma_integrity_check").load(&mut connection)?;
    ensure!(found.iter().map(|object| object.name.as_str()).eq(["ok"]), "{found:?}");
    Ok(())
}
