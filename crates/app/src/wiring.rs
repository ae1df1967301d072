//! The wiring: one place for each port, chosen by configuration.

use std::sync::Arc;


use anyhow::Context as _;
use bellwether_domain::ports::{Queries, Sealer, Store};
use bellwether_security::{BcryptHasher, Ed25519Signer, HmacSealer, MasterKey, SystemClock, UuidIds};
use bellwether_sqlite::{SqliteOptions, SqliteStore};
use bellwether_usecases::Context;

use crate::config::{Config, Database};

/// The store in use.
#[derive(Clone)]
pub enum Backend {
    /// SQLite.
    Sqlite(Arc<SqliteStore>),
}

impl Backend {
    /// Opens the configured store. Does not migrate.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        match &config.database {
            Database::Sqlite(path) => {
                if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
                    make_private_folder(folder)?;
                }
                let options = SqliteOptions { readers: config.database_connections.min(8), ..SqliteOptions::default() };
                let store = SqliteStore::open(path, options)
                    .map_err(anyhow::Error::from)
                    .with_context(|| format!("opening the database {}", path.display()))?;
                Ok(Self::Sqlite(Arc::new(store)))
            }
            Database::Postgres(_) => anyhow::bail!("not yet"),
        }
    }

    /// The writing half.
    #[must_use]
    pub fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Sqlite(store) => store.clone(),
        }
    }

    /// The reading half.
    #[must_use]
    pub fn queries(&self) -> Arc<dyn Queries> {
        match self {
            Self::Sqlite(store) => store.clone(),
        }
    }

    /// Applies pending migrations; their names.
    pub async fn migrate_up(&self) -> anyhow::Result<Vec<String>> {
        Ok(match self {
            Self::Sqlite(store) => store.migrate_up().await?,
        })
    }

    /// Reverts the newest migrations; their names.
    pub async fn migrate_down(&self, steps: usize) -> anyhow::Result<Vec<String>> {
        Ok(match self {
            Self::Sqlite(store) => store.migrate_down(steps).await?,
        })
    }

    /// All migrations, and whether each is applied.
    pub async fn migration_status(&self) -> anyhow::Result<Vec<(String, bool)>> {
        Ok(match self {
            Self::Sqlite(store) => store.migration_status().await?,
        })
    }
}

/// The server's secret: the configured one, else the key file.
pub fn master_key(config: &Config) -> anyhow::Result<MasterKey> {
    match &config.secret_key {
        Some(secret) => MasterKey::from_secret(&secret.0).context("secret_key"),
        None => {
            make_private_folder(&config.data_dir)?;
            Ok(MasterKey::load_or_create(&config.key_file())?)
        }
    }
}

/// Every port of the use cases.
pub fn context(config: &Config, backend: &Backend, master: &MasterKey) -> anyhow::Result<Context> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Context {
        store: backend.store(),
        queries: backend.queries(),
        clock: Arc::new(SystemClock),
        ids: Arc::new(UuidIds),
        hasher: Arc::new(BcryptHasher::new(config.password_cost, threads)?),
        signer: Arc::new(Ed25519Signer::new(master)?),
        policy: config.policy.clone(),
    })
}

/// The seal of cursors.
pub fn sealer(master: &MasterKey) -> anyhow::Result<Arc<dyn Sealer>> {
    Ok(Arc::new(HmacSealer::new(master)?))
}

/// For commands that work on the store beside a server: opened, migrated, with every port.
pub async fn command_context(config: &Config) -> anyhow::Result<Context> {
    let backend = Backend::open(config).await?;
    backend.migrate_up().await?;
    context(config, &backend, &master_key(config)?)
}

/// Makes a folder that only its owner can enter, where there is none.
pub fn make_private_folder(path: &std::path::Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if path.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("making the data folder {}; choose another with --data-dir", path.display()))
}
