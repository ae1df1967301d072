//! The wiring: one place for each port, chosen by configuration.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bellwether_domain::audit_log::Origin;
use bellwether_domain::ports::{Cache, Jobs, Mailer, Outbox, Queries, Sealer, Store, TokenSigner};
use bellwether_local::{LocalCache, LocalLimiter};
use bellwether_notify::{FileMailer, SmtpMailer};
use bellwether_postgres::{PgOptions, PgStore};
use bellwether_security::{
    BcryptHasher, CommonPasswordList, Ed25519Signer, HmacSealer, KeyFile, MasterKey, RandomTokens, SystemClock, UuidIds,
};
use bellwether_sqlite::{SqliteOptions, SqliteStore};
use bellwether_usecases::api_keys::KeyMemory;
use bellwether_usecases::caching::InvalidatingStore;
use bellwether_usecases::events::EventBell;
use bellwether_usecases::limits::Limiter;
use bellwether_usecases::mail::{Delivery, MailBell};
use bellwether_usecases::sessions::SessionMemory;
use bellwether_usecases::{Context, Policy};
use jiff::SignedDuration;

use crate::config::{Config, Database};

/// How long a command waits for a PostgreSQL server that is just starting. (`serve` is more patient.)
const COMMAND_PATIENCE: Duration = Duration::from_secs(5);
/// How much longer a mail is one process's to send than its mailer may take.
const LEASE_MARGIN: SignedDuration = SignedDuration::from_secs(3);
/// So long may be shown what another server has changed meanwhile.
const UNHEARD: Duration = Duration::from_secs(1);
/// More connections that read at the same time do not make SQLite faster.
const MAX_SQLITE_READERS: usize = 8;

/// The store in use.
#[derive(Clone)]
pub(crate) enum Backend {
    /// SQLite.
    Sqlite(Arc<SqliteStore>),
    /// PostgreSQL.
    Postgres(Arc<PgStore>),
}

impl Backend {
    /// Opens the configured store, making the SQLite file where there is none. Does not migrate.
    pub(crate) async fn open(config: &Config) -> anyhow::Result<Self> {
        if let Database::Sqlite(path) = &config.database
            && let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty())
        {
            make_private_folder(folder)?;
        }
        Self::connect(config, PgOptions::default().start_patience).await
    }

    /// Opens a store that must exist: what looks for faults in data must not make empty data first.
    pub(crate) async fn open_existing(config: &Config) -> anyhow::Result<Self> {
        if let Database::Sqlite(path) = &config.database
            && !path.exists()
        {
            bail!(
                "there is no database at {}; is --data-dir or --database-url right? (bellwether serve makes one)",
                path.display()
            );
        }
        Self::connect(config, COMMAND_PATIENCE).await
    }

    async fn connect(config: &Config, start_patience: Duration) -> anyhow::Result<Self> {
        let backend = match &config.database {
            Database::Sqlite(path) => {
                let readers = config.database_connections.min(MAX_SQLITE_READERS);
                let store = SqliteStore::open(path, SqliteOptions { readers, ..SqliteOptions::default() });
                store.map(Arc::new).map(Self::Sqlite)
            }
            Database::Postgres(url) => {
                let max_connections = config.database_connections;
                let options = PgOptions { max_connections, start_patience, ..PgOptions::default() };
                PgStore::connect(url, options).await.map(Arc::new).map(Self::Postgres)
            }
        };
        backend.with_context(|| format!("opening the database {}", config.database))
    }

    /// The writing half.
    #[must_use]
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Sqlite(store) => store.clone(),
            Self::Postgres(store) => store.clone(),
        }
    }

    /// The reading half.
    #[must_use]
    pub(crate) fn queries(&self) -> Arc<dyn Queries> {
        match self {
            Self::Sqlite(store) => store.clone(),
            Self::Postgres(store) => store.clone(),
        }
    }

    /// The queue of jobs.
    #[must_use]
    pub(crate) fn jobs(&self) -> Arc<dyn Jobs> {
        match self {
            Self::Sqlite(store) => store.clone(),
            Self::Postgres(store) => store.clone(),
        }
    }

    /// What happened.
    #[must_use]
    pub(crate) fn outbox(&self) -> Arc<dyn Outbox> {
        match self {
            Self::Sqlite(store) => store.clone(),
            Self::Postgres(store) => store.clone(),
        }
    }

    /// How many groups of commands it executes at a time: SQLite has one writer. On PostgreSQL groups that
    /// concern the same accounts wait for each other, so more than one pays only where they are small, or
    /// where processors would idle.
    fn groups_at_once(&self, group_limit: usize) -> usize {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        match self {
            Self::Sqlite(_) => 1,
            Self::Postgres(_) => (processors / 4).max(8 / group_limit.max(1)).clamp(1, 8),
        }
    }

    /// Applies pending migrations; their names.
    pub(crate) async fn migrate_up(&self) -> anyhow::Result<Vec<String>> {
        Ok(match self {
            Self::Sqlite(store) => store.migrate_up().await?,
            Self::Postgres(store) => store.migrate_up().await?,
        })
    }

    /// Reverts the newest migrations; their names.
    pub(crate) async fn migrate_down(&self, steps: usize) -> anyhow::Result<Vec<String>> {
        Ok(match self {
            Self::Sqlite(store) => store.migrate_down(steps).await?,
            Self::Postgres(store) => store.migrate_down(steps).await?,
        })
    }

    /// How many migrations are pending.
    pub(crate) async fn pending_migrations(&self) -> anyhow::Result<usize> {
        Ok(self.migration_status().await?.iter().filter(|(_, is_applied)| !is_applied).count())
    }

    /// All migrations, and whether each is applied.
    pub(crate) async fn migration_status(&self) -> anyhow::Result<Vec<(String, bool)>> {
        Ok(match self {
            Self::Sqlite(store) => store.migration_status().await?,
            Self::Postgres(store) => store.migration_status().await?,
        })
    }
}

/// The server's secret: the configured one, else the key file.
pub(crate) fn master_key(config: &Config) -> anyhow::Result<MasterKey> {
    match &config.secret_key {
        Some(secret) => MasterKey::from_secret(&secret.0).context("secret_key"),
        None => {
            make_private_folder(&config.data_dir)?;
            Ok(MasterKey::load_or_create(&config.key_file())?)
        }
    }
}

/// The signer of access tokens, with the keys of the file.
pub(crate) fn signer(config: &Config, master: &MasterKey) -> anyhow::Result<Arc<Ed25519Signer>> {
    make_private_folder(&config.data_dir)?;
    Ok(Arc::new(Ed25519Signer::open(KeyFile::at(config.signing_key_file()), master)?))
}

/// Every port of the use cases.
pub(crate) fn context(
    config: &Config,
    backend: &Backend,
    master: &MasterKey,
    signer: Arc<dyn TokenSigner>,
) -> anyhow::Result<Context> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let groups_at_once = backend.groups_at_once(config.policy.group_limit);
    let policy = Policy { groups_at_once, ..config.policy.clone() };
    let cache = cache(config, backend);
    Ok(Context {
        store: Arc::new(InvalidatingStore::new(backend.store(), Arc::clone(&cache))),
        queries: backend.queries(),
        outbox: backend.outbox(),
        event_bell: EventBell::default(),
        cache,
        clock: Arc::new(SystemClock),
        ids: Arc::new(UuidIds),
        hasher: Arc::new(BcryptHasher::new(config.password_cost, threads)?),
        common_passwords: Arc::new(CommonPasswordList::new()),
        signer,
        opaque_tokens: Arc::new(RandomTokens::of_sessions(master)?),
        mail_tokens: Arc::new(RandomTokens::of_mails(master)?),
        api_key_tokens: Arc::new(RandomTokens::of_api_keys(master)?),
        mail_bell: MailBell::default(),
        limiter: Limiter::new(Arc::new(LocalLimiter::new(config.limit_keys))),
        session_memory: SessionMemory::default(),
        key_memory: KeyMemory::default(),
        policy,
        origin: Origin::default(),
    })
}

/// What is cached in this process. Other servers may write to a PostgreSQL that this one reads, and this
/// cache does not hear of it; SQLite has one server.
fn cache(config: &Config, backend: &Backend) -> Arc<dyn Cache> {
    Arc::new(match backend {
        Backend::Sqlite(_) => LocalCache::new(config.cache_bytes),
        Backend::Postgres(_) => LocalCache::with_longest_life(config.cache_bytes, UNHEARD),
    })
}

/// What it takes to send mails, where the server listens at `address`.
pub(crate) fn delivery(config: &Config, backend: &Backend, address: &str) -> anyhow::Result<Delivery> {
    let mail = &config.mail;
    let mailer: Arc<dyn Mailer> = match &mail.smtp_url {
        Some(url) => Arc::new(SmtpMailer::new(&url.0, &mail.from, mail.timeout).context("smtp_url")?),
        None => Arc::new(FileMailer::new(config.mail_folder(), &mail.from).context("mail_from")?),
    };
    let public_url = mail.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
    let lease = SignedDuration::try_from(mail.timeout * 2).context("smtp_timeout")? + LEASE_MARGIN;
    Ok(Delivery { jobs: backend.jobs(), mailer, public_url: public_url.into(), lease })
}

/// The seal of cursors.
pub(crate) fn sealer(master: &MasterKey) -> anyhow::Result<Arc<dyn Sealer>> {
    Ok(Arc::new(HmacSealer::new(master)?))
}

/// For commands that work on the store beside a server: every port, over a store that is open. Such
/// commands give no tokens to anybody, so they need no secret of the server's.
pub(crate) fn command_context(config: &Config, backend: &Backend) -> anyhow::Result<Context> {
    let master = MasterKey::ephemeral()?;
    context(config, backend, &master, Arc::new(Ed25519Signer::of_secret(&master)?))
}

/// Makes a folder that only its owner can enter, where there is none.
pub(crate) fn make_private_folder(path: &std::path::Path) -> anyhow::Result<()> {
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::{Secret, of_flags};

    fn mode(path: &std::path::Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    /// Threat 72.
    #[test]
    fn a_first_start_makes_a_private_folder_and_key_and_a_weak_secret_makes_neither() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let mut config = of_flags(&["--data-dir", data.to_str().unwrap()]);
        config.secret_key = Some(Secret("changeme-changeme-changeme-1234567".to_owned()));
        let error = format!("{:#}", master_key(&config).unwrap_err());
        assert!(error.contains("secret_key") && error.contains("openssl rand") && !data.exists(), "{error}");

        config.secret_key = None;
        master_key(&config).unwrap();
        assert_eq!((mode(&data), mode(&config.key_file())), (0o700, 0o600));
    }
}
