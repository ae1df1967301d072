//! A server that is measured: started on an empty store, loaded, and audited at the end.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::bench::client::Tally;
use crate::bench::copies::{Sizes, Store};
use crate::bench::latency::float;
use crate::bench::load::{Kind, Load};
use crate::bench::machine::{self, Process};
use crate::bench::measured::{Measured, Memory, Name};
use crate::bench::prefill::ORDERS_A_MARKET;
use crate::bench::psql::Database;
use crate::bench::world::World;
use crate::bench::{closed_loop, copies, open_loop, prefill};
use crate::interrupts::Interrupts;
use crate::kill::server::{Installation, Server, UNLIMITED, owned};

/// The setting that bounds how many requests share a commit.
const GROUP_LIMIT: (&str, &str) = ("BELLWETHER_GROUP_LIMIT", "1");

/// How a load is sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// So many clients, each waiting for its answers.
    Closed(usize),
    /// Requests at random moments, so many in a second, whatever the answers: this share of the knee.
    Open { per_second: f64, of_knee: f64 },
}

/// A running server with its traders and markets.
pub(super) struct Subject {
    pub(super) name: Name,
    installation: Installation,
    server: Server,
    process: Process,
    /// Its database, when it is not in the folder.
    database: Option<Database>,
    world: Arc<World>,
    idle_bytes: u64,
    /// Whether the ledger's sums do not hold, because rows were copied.
    is_copied: bool,
    /// Holds data and log as long as the subject lives.
    _folder: TempDir,
}

impl Subject {
    /// Starts a server and prepares it. `None` for a server that does not know the setting for groups.
    pub(super) async fn start(
        name: Name,
        binary: &Path,
        database: Option<Database>,
        seed: u64,
        interrupts: &Interrupts,
    ) -> anyhow::Result<Option<Self>> {
        let folder = tempfile::Builder::new().prefix("bellwether-bench-").tempdir().context("cannot make a folder")?;
        let installation = Installation {
            binary: binary.to_owned(),
            data: folder.path().join("data"),
            database_url: database.as_ref().map(|database| database.url.clone()),
            log: folder.path().join("server.log"),
            settings: owned(&settings(name)),
        };
        let server = match installation.start(interrupts).await {
            Err(error) if name == Name::PostgresAlone && format!("{error:#}").contains("group_limit") => {
                return Ok(None);
            }
            result => result.with_context(|| format!("{} does not start", name.text()))?,
        };
        let process = Process::started_with(&["--listen", &server.address])?;
        let idle_bytes = process.resident_bytes()?;
        eprintln!("bench: {}: signing up traders, opening markets", name.text());
        let world = Arc::new(interrupts.or(World::prepare(&server.address, seed)).await?);
        Ok(Some(Self {
            name,
            installation,
            server,
            process,
            database,
            world,
            idle_bytes,
            is_copied: false,
            _folder: folder,
        }))
    }

    /// Sends a load and says what came of it.
    pub(super) async fn measure(
        &self,
        load: Load,
        pace: Pace,
        length: Duration,
        interrupts: &Interrupts,
    ) -> anyhow::Result<Measured> {
        eprintln!("bench: {}: {}, {}", self.name.text(), load.name(), pace.text());
        let written_before = self.written_bytes(interrupts).await?;
        let used_before = Process::this().processor_time()?;
        let (server_before, database_before) = self.processor_times()?;
        let (tally, took) = match pace {
            Pace::Closed(clients) => interrupts.or(closed_loop::run(&self.world, load, clients, length)).await?,
            Pace::Open { per_second, .. } => {
                interrupts.or(open_loop::run(&self.world, load, per_second, length)).await?
            }
        };
        let used = Process::this().processor_time()?.saturating_sub(used_before);
        let (server, database) = self.processor_times()?;
        let written = self.written_bytes(interrupts).await?.saturating_sub(written_before);
        let measured = self.measured(load, pace, tally, took, used);
        for (reason, count) in &measured.failed {
            eprintln!("bench: {}: {count} failed: {reason}", self.name.text());
        }
        // Of the mixed load a part would be that of cancels.
        let of_orders = |figure: f64| (load == Load::Pairs).then_some(figure);
        let bytes_per_order = of_orders(bytes_each(written, measured.done));
        let server_us_per_order = of_orders(micros_each(server.saturating_sub(server_before), measured.done));
        let took = database.zip(database_before).map(|(after, before)| after.saturating_sub(before));
        let database_us_per_order = took.and_then(|took| of_orders(micros_each(took, measured.done)));
        Ok(Measured { bytes_per_order, server_us_per_order, database_us_per_order, ..measured })
    }

    /// Processor time so far of the server, and of the database where it has one.
    fn processor_times(&self) -> anyhow::Result<(Duration, Option<Duration>)> {
        let of_database = |database| Process::of_server(database)?.processor_time_of_family();
        Ok((self.process.processor_time()?, self.database.as_ref().map(of_database).transpose()?))
    }

    fn measured(&self, load: Load, pace: Pace, mut tally: Tally, took: Duration, used: Duration) -> Measured {
        let seconds = took.as_secs_f64();
        let rate = |kind| float(tally.count(kind)) / seconds;
        let (clients, offered_per_second, of_knee) = match pace {
            Pace::Closed(clients) => (Some(clients), None, None),
            Pace::Open { per_second, of_knee } => (None, Some(per_second), Some(of_knee)),
        };
        let beside = |kind| (load == Load::Mixed).then(|| rate(kind));
        let (per_second, cancels_per_second, reads_per_second) =
            (rate(load.kind()), beside(Kind::Cancel), beside(Kind::Read));
        let done = tally.count(load.kind());
        let latency = tally.latency(load.kind());
        Measured {
            subject: self.name,
            load,
            clients,
            offered_per_second,
            of_knee,
            answered_per_second: float(tally.answered()) / seconds,
            done,
            per_second,
            cancels_per_second,
            reads_per_second,
            late_cancels_per_second: (load == Load::Mixed).then(|| float(tally.late_cancels) / seconds),
            failed: tally.failed,
            latency,
            bytes_per_order: None,
            load_share: Some(used.as_secs_f64() / seconds / float(machine::cores())),
            server_us_per_order: None,
            database_us_per_order: None,
        }
    }

    /// What has been written for durability so far: PostgreSQL's log, or all that SQLite wrote.
    async fn written_bytes(&self, interrupts: &Interrupts) -> anyhow::Result<u64> {
        match &self.database {
            Some(database) => database.log_bytes(interrupts).await,
            None => self.process.written_bytes(),
        }
    }

    /// Fills the store with so many orders and trades, and starts the server again; from then on orders in pairs go to all
    /// markets. What is copied is in nobody's accounts, so that such a store is not audited.
    pub(super) async fn fill(mut self, full: Full, interrupts: &Interrupts) -> anyhow::Result<(Self, Restart)> {
        let original = interrupts.or(prefill::fill(&self.world)).await?;
        self.server.stop().await?;
        let store = match &self.database {
            Some(database) => Store::Postgres(database.clone()),
            None => Store::Sqlite(self.installation.data.join("bellwether.db")),
        };
        eprintln!("bench: {}: copying a market {} times", self.name.text(), full.markets());
        let started = Instant::now();
        store.fill(&store.exchange(&original, full.sizes()), interrupts).await?;
        eprintln!("bench: {}: copied in {:.0} s", self.name.text(), started.elapsed().as_secs_f64());
        let world = Arc::get_mut(&mut self.world).context("the store is filled under load")?;
        world.add_pair_markets((1..=full.markets()).map(copies::market_id).collect());
        let (server, process, restart) = begin(&self.installation, &self.world, interrupts).await?;
        Ok((Self { server, process, is_copied: true, ..self }, restart))
    }

    /// Stops the server and starts it again on the same data.
    pub(super) async fn restart(self, interrupts: &Interrupts) -> anyhow::Result<(Self, Restart)> {
        self.server.stop().await?;
        let (server, process, restart) = begin(&self.installation, &self.world, interrupts).await?;
        Ok((Self { server, process, ..self }, restart))
    }

    /// Resident memory now, in bytes.
    pub(super) fn resident_bytes(&self) -> anyhow::Result<u64> {
        self.process.resident_bytes()
    }

    /// Stops the server and audits what the load left, unless rows were copied.
    ///
    /// # Errors
    /// When the audit finds anything.
    pub(super) async fn finish(self, interrupts: &Interrupts) -> anyhow::Result<Memory> {
        let loaded_bytes = self.process.resident_bytes()?;
        self.server.stop().await?;
        if self.is_copied {
            return Ok(Memory { subject: self.name, idle_bytes: self.idle_bytes, loaded_bytes });
        }
        eprintln!("bench: {}: audit", self.name.text());
        self.installation.audit(interrupts).await.with_context(|| format!("after the load on {}", self.name.text()))?;
        Ok(Memory { subject: self.name, idle_bytes: self.idle_bytes, loaded_bytes })
    }
}

/// How full a store is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Full {
    /// Open orders.
    pub(super) orders: u64,
    pub(super) trades: u64,
}

impl Full {
    /// The markets among which the orders are.
    pub(super) fn markets(self) -> u64 {
        self.orders / ORDERS_A_MARKET
    }

    /// The users whose orders they are.
    pub(super) fn users(self) -> u64 {
        self.orders / 10
    }

    fn sizes(self) -> Sizes {
        Sizes { markets: self.markets(), users: self.users(), times: (self.trades / self.orders.max(1)).max(1) }
    }
}

/// Starts a server where it was before.
async fn begin(
    installation: &Installation,
    world: &World,
    interrupts: &Interrupts,
) -> anyhow::Result<(Server, Process, Restart)> {
    let start = Instant::now();
    let server = installation.start_at(world.address.clone(), interrupts).await?;
    let took = start.elapsed();
    let process = Process::started_with(&["--listen", &server.address])?;
    let restart = Restart { seconds: took.as_secs_f64(), resident_bytes: process.resident_bytes()? };
    Ok((server, process, restart))
}

/// A start on data that were there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Restart {
    /// Until the server was ready.
    pub(super) seconds: f64,
    pub(super) resident_bytes: u64,
}

impl Pace {
    /// As the tables name it.
    pub(super) fn text(self) -> String {
        match self {
            Self::Closed(clients) => format!("{clients} clients"),
            Self::Open { per_second, .. } => format!("{per_second:.0} requests a second"),
        }
    }
}

/// The settings of a server that is loaded.
pub(super) fn settings(name: Name) -> Vec<(&'static str, &'static str)> {
    let mut settings = vec![
        // Traders who run out of money, orders or time would measure refusals.
        ("BELLWETHER_SIGNUP_GRANT", "100000000"),
        ("BELLWETHER_MAX_OPEN_ORDERS", "100000"),
        ("BELLWETHER_ACCESS_TOKEN_TTL", "24h"),
        // Hundreds of people sign up, and passwords are not what is measured.
        ("BELLWETHER_PASSWORD_COST", "4"),
    ];
    settings.extend(UNLIMITED);
    if name == Name::PostgresAlone {
        settings.push(GROUP_LIMIT);
    }
    settings
}

/// Microseconds for each of so many.
pub(super) fn micros_each(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e6 / float(count.max(1))
}

/// Bytes for each of so many.
pub(super) fn bytes_each(bytes: u64, count: usize) -> f64 {
    // Kilobytes keep the number within 32 bits; the rest is less than a byte of an order.
    let kilobytes = u32::try_from(bytes / 1024).unwrap_or(u32::MAX);
    f64::from(kilobytes) * 1024.0 / float(count.max(1))
}
