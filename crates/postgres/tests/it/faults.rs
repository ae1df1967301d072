//! Lost connections, full pools, and what the schema itself refuses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bellwether_domain::ids::AccountId;
use bellwether_domain::ports::{Changes, Queries, Store, StoreError};
use bellwether_postgres::{PgOptions, PgStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::database::{Database, NO_SERVER};

macro_rules! database {
    () => {
        match Database::migrated().await? {
            Some(database) => database,
            None => {
                eprintln!("skipped: {NO_SERVER}");
                return Ok(());
            }
        }
    };
}

/// Threat 39: the database itself refuses to change what was written to the ledger.
#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_and_the_audit_log_are_append_only() -> anyhow::Result<()> {
    let database = database!();
    let raw = database.raw().await?;
    for table in ["transfers", "trades", "audit_log"] {
        for sql in [
            format!("UPDATE {table} SET created_at = now()"),
            format!("DELETE FROM {table}"),
            format!("TRUNCATE {table} CASCADE"),
        ] {
            let error = raw.batch_execute(&sql).await.unwrap_err();
            assert!(error.as_db_error().is_some_and(|e| e.message().contains("append-only")), "{sql}: {error}");
        }
    }
    Ok(())
}

/// Threat 66: a database that would acknowledge what a loss of power undoes is not used.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_commits_without_waiting_for_the_disk_is_refused() -> anyhow::Result<()> {
    let database = database!();
    let name = database.url().parse::<tokio_postgres::Config>()?.get_dbname().unwrap_or_default().to_owned();
    for (value, is_safe) in [("off", false), ("local", false), ("on", true)] {
        let sql = format!("ALTER DATABASE {name} SET synchronous_commit = {value}");
        database.raw().await?.batch_execute(&sql).await?;
        match PgStore::connect(&database.url(), PgOptions::default()).await {
            Ok(_) => assert!(is_safe, "synchronous_commit = {value} is accepted"),
            Err(error) => {
                assert!(!is_safe, "{error:?}");
                let why = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                assert!(why.contains("synchronous_commit"), "{why}");
            }
        }
    }
    Ok(())
}

/// A unit that is dropped frees its locks at once: another gets them that would wait for nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_unit_frees_its_locks() -> anyhow::Result<()> {
    let database = database!();
    // Longer than a busy machine takes, and shorter than a transaction lasts that nobody ends.
    let patience = Duration::from_secs(10);
    let options =
        PgOptions { pool_timeout: patience, io_timeout: patience, lock_timeout: patience, ..PgOptions::default() };
    let store = PgStore::connect(&database.url(), options).await?;
    for _ in 0..20 {
        let mut unit = store.begin().await?;
        unit.accounts().lock(&[AccountId::FEES]).await?;
        drop(unit);
        let mut next = store.begin().await?;
        next.accounts().lock(&[AccountId::FEES]).await?;
        next.rollback().await?;
    }
    Ok(())
}

/// Threat 62: a full pool refuses within its time limit, and works again once something is given back.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_pool_refuses_soon_and_recovers_by_itself() -> anyhow::Result<()> {
    let database = database!();
    let options = PgOptions { max_connections: 2, pool_timeout: Duration::from_millis(300), ..PgOptions::default() };
    let store = PgStore::connect(&database.url(), options).await?;
    let (one, two) = (store.begin().await?, store.begin().await?);
    let asked = Instant::now();
    assert!(matches!(store.begin().await, Err(StoreError::Unavailable(_))));
    assert!(asked.elapsed() < Duration::from_secs(30), "refused rather than hanging");
    drop(one);
    two.rollback().await?;
    store.begin().await?.rollback().await?;
    Ok(())
}

/// Threat 64: a server that ends a connection in the middle of a unit.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_server_ends_is_unavailable_and_replaced() -> anyhow::Result<()> {
    let database = database!();
    let store = PgStore::connect(&database.url(), PgOptions::default()).await?;
    let mut unit = store.begin().await?;
    unit.accounts().lock(&[AccountId::FEES]).await?;
    let end_all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    database.raw().await?.batch_execute(end_all).await?;
    let error = unit.accounts().lock(&[AccountId::TREASURY]).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    drop(unit);
    // Idle connections of the pool are gone too: each is found out by its first use.
    let mut tries = 0;
    while store.ping().await.is_err() {
        tries += 1;
        assert!(tries < 20, "the pool recovers");
    }
    Ok(())
}

/// Where a proxy between store and server cuts the connection.
#[derive(Clone, Copy, PartialEq)]
enum Cut {
    /// Before the server hears of the commit.
    Before,
    /// After it has heard, before the store hears of the answer.
    After,
}

/// A proxy that lets everything through until it is armed, and then cuts at the first `COMMIT`.
async fn proxy(target: String, cut: Cut, armed: Arc<AtomicBool>) -> anyhow::Result<std::net::SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (target, armed) = (target.clone(), Arc::clone(&armed));
            tokio::spawn(async move {
                let Ok(server) = TcpStream::connect(target).await else { return };
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let back = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
                let mut buffer = vec![0; 65536];
                while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
                    let bytes = buffer.get(..length).unwrap_or_default();
                    if armed.load(Ordering::SeqCst) && bytes.windows(6).any(|w| w == b"COMMIT") {
                        // The answer must not get through, so the way back is closed first.
                        back.abort();
                        if cut == Cut::After {
                            let _sent = to_server.write_all(bytes).await;
                            let _flushed = to_server.flush().await;
                            // Until the server has closed its side there is no telling that it has read the commit.
                            let _closed = to_server.shutdown().await;
                        }
                        return;
                    }
                    if to_server.write_all(bytes).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(address)
}

/// Threat 64: a connection that is cut while committing leaves it unknown, and is never taken for success.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_while_committing_leaves_the_outcome_unknown() -> anyhow::Result<()> {
    let database = database!();
    let config: tokio_postgres::Config = database.url().parse()?;
    let port = config.get_ports().first().copied().unwrap_or(5432);
    for cut in [Cut::Before, Cut::After] {
        let armed = Arc::new(AtomicBool::new(false));
        let address = proxy(format!("127.0.0.1:{port}"), cut, Arc::clone(&armed)).await?;
        let user = config.get_user().unwrap_or("postgres");
        let password = config.get_password().map(|p| String::from_utf8_lossy(p).into_owned()).unwrap_or_default();
        let name = config.get_dbname().unwrap_or_default();
        let url = format!("postgres://{user}:{password}@{address}/{name}");
        let store =
            PgStore::connect(&url, PgOptions { io_timeout: Duration::from_secs(20), ..PgOptions::default() }).await?;
        let mut unit = store.begin().await?;
        unit.accounts().lock(&[AccountId::FEES]).await?;
        unit.write(&Changes::default()).await?;
        armed.store(true, Ordering::SeqCst);
        let error = unit.commit().await.unwrap_err();
        assert!(matches!(error, StoreError::OutcomeUnknown(_)), "{error:?}");
    }
    Ok(())
}
