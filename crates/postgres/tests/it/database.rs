//! A database of its own for each test.

use std::time::Duration;

use anyhow::Context;
use bellwether_postgres::{PgOptions, PgStore};
use tokio_postgres::NoTls;
use uuid::Uuid;

/// Why a test does nothing.
pub(crate) const NO_SERVER: &str = "DATABASE_URL is not set; run the tests with `make test`, which starts a server";

/// An empty database that is dropped with this value.
pub(crate) struct Database {
    server: String,
    name: String,
}

impl Database {
    /// A database without tables; none where there is no server.
    pub(crate) async fn empty() -> anyhow::Result<Option<Self>> {
        let Ok(server) = std::env::var("DATABASE_URL") else { return Ok(None) };
        #[expect(clippy::disallowed_methods, reason = "a name that no other test has")]
        let name = format!("test_{}", Uuid::now_v7().simple());
        let database = Self { server, name };
        database.on_server(&format!("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0", database.name)).await?;
        Ok(Some(database))
    }

    /// A database with the schema.
    pub(crate) async fn migrated() -> anyhow::Result<Option<Self>> {
        let Some(database) = Self::empty().await? else { return Ok(None) };
        database.open().await?.migrate_up().await?;
        Ok(Some(database))
    }

    /// Its name, which no other has.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        self.url_on(&self.server)
    }

    /// The address of the same database on another server.
    pub(crate) fn url_on(&self, server: &str) -> String {
        let (server, query) = server.split_once('?').unwrap_or((server, ""));
        let (base, _) = server.rsplit_once('/').unwrap_or((server, ""));
        if query.is_empty() { format!("{base}/{}", self.name) } else { format!("{base}/{}?{query}", self.name) }
    }

    /// A store on it that waits for its turn as long as a crowd may need, and for answers and locks as long as a busy
    /// machine may take.
    pub(crate) async fn open(&self) -> anyhow::Result<PgStore> {
        let patience = Duration::from_secs(30);
        let options =
            PgOptions { pool_timeout: patience, io_timeout: patience, lock_timeout: patience, ..PgOptions::default() };
        Ok(PgStore::connect(&self.url(), options).await?)
    }

    /// A connection that knows nothing of the store.
    pub(crate) async fn raw(&self) -> anyhow::Result<tokio_postgres::Client> {
        connect(&self.url()).await
    }

    async fn on_server(&self, sql: &str) -> anyhow::Result<()> {
        Ok(connect(&self.server).await?.batch_execute(sql).await?)
    }
}

pub(crate) async fn connect(url: &str) -> anyhow::Result<tokio_postgres::Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.context("connecting to DATABASE_URL")?;
    tokio::spawn(connection);
    Ok(client)
}

impl Drop for Database {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let server = self.server.clone();
        // A runtime of its own: the test's may be ending.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async { Ok::<_, anyhow::Error>(connect(&server).await?.batch_execute(&drop).await?) })
        });
        if let Ok(Err(error)) = dropped.join() {
            eprintln!("the test's database {} is left behind: {error:#}", self.name);
        }
    }
}
