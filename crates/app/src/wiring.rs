//! The wiring: one place for each port, chosen by configuration.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bellwether_domain::audit_log::Origin;
use bellwether_domain::ports::{
    Cache, EventBus, EventLog, Jobs, Mailer, Meter, Notices, Outbox, Queries, RateLimiter, Replicas, Sealer, Store,
    TokenSigner, Unmetered, WebhookLog,
};
use bellwether_local::{LocalBus, LocalCache, LocalLimiter, NearCache};
use bellwether_notify::{FileMailer, SmtpMailer};
use bellwether_outgoing::{Guard, GuardedCaller};
use bellwether_postgres::{PgNotices, PgOptions, PgReplicas, PgStore};
use bellwether_redis::{LimiterClock, RedisBus, RedisCache, RedisEventLog, RedisLimiter, RedisLink};
use bellwether_security::{
    BcryptHasher, CommonPasswordList, DerivedSigner, Ed25519Signer, HmacSealer, KeyFile, MasterKey, RandomTokens,
    SystemClock, UuidIds,
};
use bellwether_sqlite::{SqliteOptions, SqliteStore};
use bellwether_usecases::api_keys::KeyMemory;
use bellwether_usecases::caching::InvalidatingStore;
use bellwether_usecases::candles::CandleMemory;
use bellwether_usecases::events::EventBell;
use bellwether_usecases::jobs::{Auditing, CleaningUp, Handler, JobBell, Probing};
use bellwether_usecases::limits::Limiter;
use bellwether_usecases::mail::Delivery;
use bellwether_usecases::scoring::Scoring;
use bellwether_usecases::sessions::SessionMemory;
use bellwether_usecases::switches::Cancelling;
use bellwether_usecases::webhooks::{Delivering, WebhookPorts};
use bellwether_usecases::{Context, Policy};

use crate::config::{Config, Database, MAX_SQLITE_READERS};

/// How long a command waits for a PostgreSQL server that is just starting. (`serve` is more patient.)
const COMMAND_PATIENCE: Duration = Duration::from_secs(5);
/// So long may be shown what another server has changed meanwhile, where nobody says that it has.
const UNHEARD: Duration = Duration::from_secs(1);
/// How long an answer is kept in Redis, and then in the process at most: together no longer than that.
const SHARED_LIFE: Duration = Duration::from_millis(600);
const NEAR_LIFE: Duration = UNHEARD.saturating_sub(SHARED_LIFE);
/// How long a server that starts waits for Redis, before it starts without.
const REDIS_PATIENCE: Duration = Duration::from_secs(1);

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
                let options = PgOptions { start_patience, ..pg_options(config) };
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

    /// What happened.
    #[must_use]
    pub(crate) fn outbox(&self) -> Arc<dyn Outbox> {
        match self {
            Self::Sqlite(store) => store.clone(),
            Self::Postgres(store) => store.clone(),
        }
    }

    /// How many connections are in use, and how many there may be: on SQLite of those that read.
    #[must_use]
    pub(crate) fn connections(&self) -> (usize, usize) {
        match self {
            Self::Sqlite(store) => store.connections(),
            Self::Postgres(store) => store.connections(),
        }
    }

    /// Webhooks and what they were sent.
    #[must_use]
    pub(crate) fn webhook_log(&self) -> Arc<dyn WebhookLog> {
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

    /// How many groups of commands it executes at a time: SQLite has one writer. On PostgreSQL one group is read for while
    /// another is written; those that concern the same accounts wait for each other, so more than two pay only where
    /// they are small, or where processors would idle.
    fn groups_at_once(&self, group_limit: usize) -> usize {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        match self {
            Self::Sqlite(_) => 1,
            Self::Postgres(_) => (processors / 4).max(8 / group_limit.max(1)).clamp(2, 8),
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
    shared: &Shared,
    master: &MasterKey,
    signer: Arc<dyn TokenSigner>,
) -> anyhow::Result<Context> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let groups_at_once = backend.groups_at_once(config.policy.group_limit);
    let policy = Policy { groups_at_once, ..config.policy.clone() };
    let store = InvalidatingStore::new(backend.store(), Arc::clone(&shared.cache));
    Ok(Context {
        store: Arc::new(store.metered(Arc::clone(&shared.meter))),
        queries: backend.queries(),
        replicas: replicas(config, backend)?,
        outbox: backend.outbox(),
        event_bell: EventBell::default(),
        cache: Arc::clone(&shared.cache),
        clock: Arc::new(SystemClock),
        ids: Arc::new(UuidIds),
        hasher: Arc::new(BcryptHasher::new(config.password_cost, threads)?),
        common_passwords: Arc::new(CommonPasswordList::new()),
        signer,
        opaque_tokens: Arc::new(RandomTokens::of_sessions(master)?),
        mail_tokens: Arc::new(RandomTokens::of_mails(master)?),
        api_key_tokens: Arc::new(RandomTokens::of_api_keys(master)?),
        webhooks: webhooks(config, backend, master)?,
        jobs: backend.jobs(),
        job_bell: JobBell::default(),
        meter: Arc::clone(&shared.meter),
        limiter: shared.limiter(),
        session_memory: SessionMemory::default().telling(Arc::clone(&shared.bus)),
        key_memory: KeyMemory::default().telling(Arc::clone(&shared.bus)),
        candle_memory: CandleMemory::default(),
        policy,
        origin: Origin::default(),
    })
}

fn webhooks(config: &Config, backend: &Backend, master: &MasterKey) -> anyhow::Result<WebhookPorts> {
    Ok(WebhookPorts {
        log: backend.webhook_log(),
        signer: Arc::new(DerivedSigner::new(master)?),
        caller: Arc::new(GuardedCaller::new(Guard::allowing(config.webhooks_allow.clone()))?),
    })
}

fn pg_options(config: &Config) -> PgOptions {
    PgOptions {
        max_connections: config.database_connections,
        io_timeout: config.database_timeout,
        ..PgOptions::default()
    }
}

/// The replicas of a PostgreSQL, where some are configured.
fn replicas(config: &Config, backend: &Backend) -> anyhow::Result<Option<Arc<dyn Replicas>>> {
    let Backend::Postgres(primary) = backend else { return Ok(None) };
    if config.read_urls.is_empty() {
        return Ok(None);
    }
    let urls: Vec<String> = config.read_urls.iter().map(|url| url.0.clone()).collect();
    let replicas = PgReplicas::start(Arc::clone(primary), &urls, pg_options(config), config.read_max_lag);
    Ok(Some(Arc::new(replicas.context("read_urls")?)))
}

/// What servers on one database have together: by way of Redis, or else each its own.
pub(crate) struct Shared {
    cache: Arc<dyn Cache>,
    limiter: Arc<dyn RateLimiter>,
    /// Carries messages between them.
    pub(crate) bus: Arc<dyn EventBus>,
    /// None where each has its own.
    pub(crate) redis: Option<Arc<RedisLink>>,
    /// Is told what goes on.
    meter: Arc<dyn Meter>,
}

impl Shared {
    /// As it is configured. A Redis that is away is no error.
    pub(crate) async fn open(config: &Config, backend: &Backend) -> Self {
        let Some(options) = &config.redis else { return Self::within_process(config, backend) };
        let link = RedisLink::open(options.clone());
        let bus: Arc<dyn EventBus> = Arc::new(RedisBus::open(Arc::clone(&link)));
        if !link.wait_until_connected(REDIS_PATIENCE).await {
            tracing::warn!("Redis cannot be reached: starting without it, and going on to try");
        }
        let far = Arc::new(RedisCache::new(Arc::clone(&link)).with_longest_life(SHARED_LIFE));
        let near = LocalCache::with_longest_life(config.cache_bytes, NEAR_LIFE);
        let fallback = Arc::new(LocalLimiter::new(config.limit_keys));
        Self {
            cache: Arc::new(NearCache::open(near, far, SHARED_LIFE, Arc::clone(&bus)).await),
            limiter: Arc::new(RedisLimiter::new(Arc::clone(&link), LimiterClock::Server, fallback)),
            bus,
            redis: Some(link),
            meter: Arc::new(Unmetered),
        }
    }

    /// The same, which tells what goes on.
    pub(crate) fn metered(self, meter: Arc<dyn Meter>) -> Self {
        Self { meter, ..self }
    }

    /// Of one process alone. Other servers may write to a PostgreSQL that this one reads, and this cache does not hear
    /// of it; SQLite has one server.
    fn within_process(config: &Config, backend: &Backend) -> Self {
        let cache = match backend {
            Backend::Sqlite(_) => LocalCache::new(config.cache_bytes),
            Backend::Postgres(_) => LocalCache::with_longest_life(config.cache_bytes, UNHEARD),
        };
        let limiter = Arc::new(LocalLimiter::new(config.limit_keys));
        let (bus, meter) = (Arc::new(LocalBus::new()), Arc::new(Unmetered));
        Self { cache: Arc::new(cache), limiter, bus, redis: None, meter }
    }
}

impl Shared {
    /// What limits are counted by.
    fn limiter(&self) -> Limiter {
        let limiter = Limiter::new(Arc::clone(&self.limiter));
        if self.redis.is_some() { limiter.shared() } else { limiter }
    }

    /// The log of events beside the store, where there is one.
    pub(crate) fn event_log(&self, config: &Config) -> Option<Arc<dyn EventLog>> {
        let (link, most) = (self.redis.as_ref()?, config.redis_events?);
        Some(Arc::new(RedisEventLog::new(Arc::clone(link), most)))
    }
}

/// What it takes to send mails, where the server listens at `address`.
pub(crate) fn delivery(config: &Config, address: &str) -> anyhow::Result<Delivery> {
    let mail = &config.mail;
    let mailer: Arc<dyn Mailer> = match &mail.smtp_url {
        Some(url) => Arc::new(SmtpMailer::new(&url.0, &mail.from, mail.timeout).context("smtp_url")?),
        None => Arc::new(FileMailer::new(config.mail_folder(), &mail.from).context("mail_from")?),
    };
    let public_url = mail.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
    Ok(Delivery { mailer, public_url: public_url.into() })
}

/// Who does which jobs.
pub(crate) fn handlers(delivery: Delivery) -> Vec<Arc<dyn Handler>> {
    vec![
        Arc::new(delivery),
        Arc::new(Delivering),
        Arc::new(Cancelling),
        Arc::new(Scoring),
        Arc::new(Auditing),
        Arc::new(CleaningUp),
        Arc::new(Probing),
    ]
}

/// What servers on one store tell each other at once. SQLite has one server.
pub(crate) fn notices(config: &Config) -> Option<Box<dyn Notices>> {
    match &config.database {
        Database::Sqlite(_) => None,
        Database::Postgres(url) => Some(Box::new(PgNotices::of(url))),
    }
}

/// The seal of cursors.
pub(crate) fn sealer(master: &MasterKey) -> anyhow::Result<Arc<dyn Sealer>> {
    Ok(Arc::new(HmacSealer::new(master)?))
}

/// For commands that work on the store beside a server: every port, over a store that is open. Such
/// commands give no tokens to anybody, so they need no secret of the server's.
pub(crate) fn command_context(config: &Config, backend: &Backend) -> anyhow::Result<Context> {
    let master = MasterKey::ephemeral()?;
    let shared = Shared::within_process(config, backend);
    context(config, backend, &shared, &master, Arc::new(Ed25519Signer::of_secret(&master)?))
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

    use bellwether_domain::ids::{MarketId, UserId};
    use bellwether_domain::market::{FeeRecipient, Market, MarketStatus, Outcome};
    use bellwether_domain::money::{Credits, FeeRate};
    use bellwether_domain::ports::{MockQueries, Quota};
    use bellwether_domain::text::Slug;
    use jiff::Timestamp;
    use uuid::Uuid;

    use jiff::SignedDuration;

    use super::*;
    use crate::config::{Secret, of_flags};

    fn mode(path: &std::path::Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn a_market() -> Market {
        Market {
            id: MarketId(Uuid::from_u128(0x0193_a5e0_0000_7000_8000_0000_0000_00bb)),
            slug: Slug::parse("rain-tomorrow").unwrap(),
            question: "Rain?".to_owned(),
            description: String::new(),
            category: None,
            tags: vec![],
            creator: UserId(Uuid::from_u128(1)),
            outcomes: ["YES", "NO"].map(|name| Outcome { name: name.to_owned(), last_price: None }).to_vec(),
            status: MarketStatus::Open,
            closes_at: Timestamp::MAX,
            fee_rate: FeeRate::ZERO,
            fee_recipient: FeeRecipient::House,
            maker: None,
            volume: Credits::ZERO,
            trade_count: 0,
            sequence: 1,
            proposal: None,
            resolution: None,
            settled_at: None,
            version: 1,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        }
    }

    /// Threat 42: all at once, over HTTP, of a market that nobody has read before.
    #[actix_web::test]
    async fn ten_thousand_who_ask_first_for_a_market_make_one_query() {
        const READERS: usize = 10_000;
        let folder = tempfile::tempdir().unwrap();
        let mut config = of_flags(&["--data-dir", folder.path().to_str().unwrap()]);
        config.policy.limits.public =
            config.policy.limits.public.with(Quota::new(1_000_000, SignedDuration::from_hours(1)));
        config.http.max_in_flight = READERS;
        let backend = Backend::open(&config).await.unwrap();
        let (market, mut queries) = (a_market(), MockQueries::new());
        let path = format!("/api/v1/markets/{}", market.id);
        queries.expect_market().times(1).returning(move |_| Ok(Some(market.clone())));
        queries.expect_best_prices().times(1).returning(|_| Ok(Vec::new()));
        let ctx = Context { queries: Arc::new(queries), ..command_context(&config, &backend).unwrap() };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let trading = bellwether_usecases::trading::Trading::new(ctx.clone());
        let seals = sealer(&MasterKey::ephemeral().unwrap()).unwrap();
        let app = bellwether_http::App::new(ctx, trading, seals, runtime.handle().clone(), config.http.clone());
        let service = actix_web::test::init_service(bellwether_http::service(&app)).await;
        let ask =
            |_| actix_web::test::call_service(&service, actix_web::test::TestRequest::get().uri(&path).to_request());
        let answers = futures_util::future::join_all((0..READERS).map(ask)).await;
        assert!(answers.iter().all(|answer| answer.status().is_success()));
        runtime.shutdown_background();
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
