//! The pool, beginning units of work, and the options of both.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bellwether_domain::market_memory::{Lent, MarketMemory};
use bellwether_domain::ports::{Store, StoreError, UnitOfWork};
use deadpool::Runtime;
use deadpool::managed::Timeouts;
use diesel::ConnectionError;
use diesel::connection::{DebugQuery, InstrumentationEvent};
use diesel_async::pooled_connection::deadpool::Pool;
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection};
use futures_util::FutureExt;
use tokio::time::Instant;

use crate::connecting::{connect, no_connection, told};
use crate::connection::Connection;
use crate::error::Trouble;
use crate::horizon::Horizon;
use crate::replicas::RecentWrites;
use crate::rows::TypeNumbers;
use crate::sql::Sql;
use crate::unit::PgUnitOfWork;

/// Under which name every statement is told of, at the level `trace`.
const STATEMENTS: &str = "bellwether::statements";
/// The oldest server that is known to do.
const MIN_VERSION: i64 = 140_000;

/// How a store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PgOptions {
    /// The most connections.
    pub max_connections: usize,
    /// How long a unit of work or a read waits for a free connection before it is refused.
    pub pool_timeout: Duration,
    /// How long a statement may go without an answer before its connection is given up.
    pub io_timeout: Duration,
    /// How long a statement waits for a row lock before the unit conflicts.
    pub lock_timeout: Duration,
    /// How long a server that is just starting is waited for.
    pub start_patience: Duration,
}

impl Default for PgOptions {
    fn default() -> Self {
        Self {
            max_connections: 16,
            pool_timeout: Duration::from_secs(1),
            io_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(3),
            start_patience: Duration::from_secs(30),
        }
    }
}

/// Everything in one PostgreSQL database, over a pool of connections.
pub struct PgStore {
    pool: Pool<AsyncPgConnection>,
    options: PgOptions,
    counter: Arc<AtomicU64>,
    type_numbers: TypeNumbers,
    memory: Arc<MarketMemory>,
    /// Where writers are remembered, if there are replicas.
    recent: OnceLock<Arc<RecentWrites>>,
    pub(crate) horizon: Mutex<Horizon>,
}

impl std::fmt::Debug for PgStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PgStore").field("options", &self.options).finish_non_exhaustive()
    }
}

impl PgStore {
    /// Opens a pool to the database of that URL and checks that the server is fit: its version, its
    /// encoding, and that what it acknowledges is durable. Does not migrate.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] where the server cannot be reached within the patience, or is unfit.
    pub async fn connect(url: &str, options: PgOptions) -> Result<Self, StoreError> {
        let store = Self::lazy(url, options)?;
        let patience = Instant::now() + options.start_patience;
        loop {
            match store.assert_fit().await {
                Err(error) if Instant::now() < patience && is_worth_waiting(&error) => {
                    tracing::info!(error = told(&error), "waiting for PostgreSQL");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                result => return result.map(|()| store),
            }
        }
    }

    /// A pool to the database of that URL, which need not be there.
    pub(crate) fn lazy(url: &str, options: PgOptions) -> Result<Self, StoreError> {
        if url.contains("sslmode=require") || url.contains("sslmode=verify") {
            let advice =
                "this version speaks to PostgreSQL without TLS: use a local server, a tunnel, or sslmode=disable";
            return Err(Trouble::Unfit(advice.to_owned()).into());
        }
        let counter = Arc::new(AtomicU64::new(0));
        let type_numbers = TypeNumbers::default();
        let pool = pool(url, options, &counter, &type_numbers)?;
        let (memory, recent, horizon) = (Arc::default(), OnceLock::new(), Mutex::default());
        Ok(Self { pool, options, counter, type_numbers, memory, recent, horizon })
    }

    /// Remembers there from now on who wrote what; no where that is done already.
    pub(crate) fn remember_writes(&self, recent: Arc<RecentWrites>) -> bool {
        self.recent.set(recent).is_ok()
    }

    /// Where writers are remembered, if there are replicas.
    pub(crate) fn recent(&self) -> Option<&RecentWrites> {
        self.recent.get().map(Arc::as_ref)
    }

    /// How many statements all connections have executed so far, those of transactions included.
    #[must_use]
    pub fn statements(&self) -> u64 {
        self.counter.load(Ordering::Relaxed)
    }

    /// How many connections are in use, and how many there may be.
    #[must_use]
    pub fn connections(&self) -> (usize, usize) {
        let status = self.pool.status();
        (status.size.saturating_sub(status.available), status.max_size)
    }

    /// A connection out of the pool.
    pub(crate) async fn connection(&self) -> Result<Connection, StoreError> {
        let pooled = self.pool.get().await.map_err(|e| no_connection(&e))?;
        Ok(Connection::new(pooled, self.options.io_timeout, self.type_numbers.clone()))
    }

    pub(crate) const fn pool(&self) -> &Pool<AsyncPgConnection> {
        &self.pool
    }

    /// A server that acknowledges what a loss of power undoes must not be used.
    async fn assert_fit(&self) -> Result<(), StoreError> {
        const SETTINGS: &str = "SELECT current_setting('server_version_num')::bigint, current_setting('server_encoding'), \
                                current_setting('fsync'), current_setting('synchronous_commit')";
        let mut connection = self.connection().await?;
        let Some(mut row) = connection.one(Sql::new(SETTINGS)).await? else { return Ok(()) };
        let (version, encoding, fsync, commit) = (row.int()?, row.text()?, row.text()?, row.text()?);
        let fault = if version < MIN_VERSION {
            format!("PostgreSQL 14 or newer is needed, the server is {version}")
        } else if encoding != "UTF8" {
            format!("the database must be encoded in UTF8, not {encoding}: create it with ENCODING 'UTF8'")
        } else if fsync != "on" {
            "the server runs with fsync = off, which loses acknowledged writes: turn it on".to_owned()
        } else if commit == "off" || commit == "local" {
            format!("synchronous_commit = {commit} loses acknowledged writes: set it to on")
        } else {
            return Ok(());
        };
        Err(Trouble::Unfit(fault).into())
    }
}

/// Whether the server may do a moment later: it is not there yet, or was lost while it was asked.
fn is_worth_waiting(error: &StoreError) -> bool {
    let StoreError::Unavailable(source) = error else { return false };
    match source.downcast_ref() {
        Some(Trouble::NoConnection { may_pass, .. }) => *may_pass,
        Some(Trouble::TimedOut(_)) | None => true,
        Some(Trouble::UnitSpoilt | Trouble::Unfit(_)) => false,
    }
}

fn pool(
    url: &str,
    options: PgOptions,
    counter: &Arc<AtomicU64>,
    type_numbers: &TypeNumbers,
) -> Result<Pool<AsyncPgConnection>, StoreError> {
    let (counter, type_numbers) = (Arc::clone(counter), type_numbers.clone());
    let mut config = ManagerConfig::<AsyncPgConnection>::default();
    // Without a query at each checkout: what the pool holds was left idle, and a connection that
    // broke meanwhile is told by its first statement and discarded.
    config.recycling_method = RecyclingMethod::Fast;
    config.custom_setup = Box::new(move |url| {
        let (url, counter) = (url.to_owned(), Arc::clone(&counter));
        type_numbers.forget();
        set_up(url, options, counter).boxed()
    });
    let manager = AsyncDieselConnectionManager::new_with_config(url, config);
    let timeouts = Timeouts {
        wait: Some(options.pool_timeout),
        create: Some(options.io_timeout),
        recycle: Some(options.io_timeout),
    };
    Pool::builder(manager)
        .max_size(options.max_connections)
        .timeouts(timeouts)
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|e| Trouble::NoConnection { cause: e.to_string(), may_pass: false }.into())
}

/// Tells of a statement by its text alone: its values are nobody's business.
fn tell_of(query: &dyn DebugQuery) {
    if tracing::enabled!(target: STATEMENTS, tracing::Level::TRACE) {
        let text = query.to_string();
        let (statement, _) = text.split_once(" -- binds:").unwrap_or((&text, ""));
        tracing::trace!(target: STATEMENTS, statement);
    }
}

/// How statements are planned. Each has an index to go by, its text is known, and its plan is the
/// same whatever its values: so it is planned once for each connection, rather than at each use, which
/// took as long as most statements run. A plan that is kept must not come from statistics of a table
/// that was empty when they were gathered, so plans that read whole tables are taken last. None is worth the
/// milliseconds that it takes to start parallel workers, which plans for average rows would ask for.
pub const PLANS: &str = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; \
                     SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off; \
                     SET max_parallel_workers_per_gather = 0";

async fn set_up(
    url: String,
    options: PgOptions,
    counter: Arc<AtomicU64>,
) -> Result<AsyncPgConnection, ConnectionError> {
    let mut connection = connect(&url).await?;
    let limit = |timeout: Duration| timeout.as_millis();
    // The messages are in English, since errors are told apart by them.
    let words = format!(
        "SET lc_messages = 'C'; SET TIME ZONE 'UTC'; {PLANS}; SET lock_timeout = {}; SET statement_timeout = {}; \
         SET idle_in_transaction_session_timeout = {}",
        limit(options.lock_timeout),
        limit(options.io_timeout),
        limit(options.io_timeout * 4),
    );
    connection.batch_execute(&words).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
    connection.set_instrumentation(move |event: InstrumentationEvent<'_>| {
        if let InstrumentationEvent::StartQuery { query, .. } = event {
            counter.fetch_add(1, Ordering::Relaxed);
            tell_of(query);
        }
    });
    Ok(connection)
}

#[async_trait]
impl Store for PgStore {
    async fn begin(&self) -> Result<Box<dyn UnitOfWork>, StoreError> {
        let mut connection = self.connection().await?;
        connection.begin("BEGIN");
        Ok(Box::new(PgUnitOfWork::new(connection, Lent::of(&self.memory), self.recent.get().cloned())))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers the first connection with the first of these, an SQLSTATE and a message, and so on.
    async fn refusing(answers: Vec<(&'static str, &'static str)>) -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("postgres://ann:CANARY@{}/x", listener.local_addr().unwrap());
        tokio::spawn(async move {
            for (code, message) in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut startup = [0; 1024];
                assert!(stream.read(&mut startup).await.unwrap() > 8);
                let fields = format!("SFATAL\0VFATAL\0C{code}\0M{message}\0\0");
                let length = u32::try_from(fields.len() + 4).unwrap();
                let answer = [b"E", length.to_be_bytes().as_slice(), fields.as_bytes()].concat();
                stream.write_all(&answer).await.unwrap();
            }
        });
        url
    }

    async fn failure(url: &str) -> StoreError {
        PgStore::lazy(url, PgOptions::default()).unwrap().connection().await.map(drop).unwrap_err()
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_yet_is_waited_for_and_the_cause_is_told() {
        let unused = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
        let starting = refusing(vec![("57P03", "the database system is starting up")]).await;
        for (url, cause) in [
            (format!("postgres://ann:CANARY@{unused}/x"), "Connection refused"),
            ("postgres://ann:CANARY@%2Fno-such-folder/x".to_owned(), "No such file"),
            // No name server is asked for a name that cannot be one.
            (format!("postgres://ann:CANARY@{}/x", "n".repeat(64)), "lookup"),
            (starting, "the database system is starting up"),
        ] {
            let error = failure(&url).await;
            let said = told(&error);
            assert!(is_worth_waiting(&error) && said.contains(cause), "{said}");
            assert!(!said.contains("CANARY") && said.matches(cause).count() == 1, "{said}");
        }
    }

    #[tokio::test]
    async fn what_waiting_does_not_mend_is_told_at_once() {
        let password = refusing(vec![("28P01", "password authentication failed for user \"ann\"")]).await;
        let database = refusing(vec![("3D000", "database \"x\" does not exist")]).await;
        for (url, cause) in [
            (password.as_str(), "password authentication failed"),
            (database.as_str(), "does not exist"),
            ("postgres://ann:CANARY@h/x?CANARY=1", "postgres://USER:PASSWORD@HOST/DATABASE"),
        ] {
            let error = failure(url).await;
            let said = told(&error);
            assert!(!is_worth_waiting(&error) && said.contains(cause) && !said.contains("CANARY"), "{said}");
        }
    }

    #[tokio::test]
    async fn a_server_is_tried_again_until_it_says_what_does_not_pass() {
        let url = refusing(vec![
            ("57P03", "the database system is starting up"),
            ("53300", "sorry, too many clients already"),
            ("28P01", "password authentication failed for user \"ann\""),
        ]);
        let said = told(&PgStore::connect(&url.await, PgOptions::default()).await.unwrap_err());
        assert!(said.contains("password authentication failed"), "{said}");
    }
}
