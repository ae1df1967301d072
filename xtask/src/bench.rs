//! `cargo xtask bench`: orders through HTTP with durable commits, beside what the database does with
//! the same money movement as one transaction an order. All in one run, so that ratios mean something.
//!
//! Load, server and database share the machine: absolute figures say little, ratios more. What is
//! compared is measured side by side, at one number of clients after the other.

mod against;
mod client;
mod closed_loop;
mod connection;
mod copies;
mod jobs;
mod latency;
mod live;
mod load;
mod logins;
mod machine;
mod markets;
mod measured;
mod open_loop;
mod pgbench;
mod plot;
mod prefill;
mod psql;
mod reads;
mod report;
mod scale;
mod servers;
mod subject;
mod tables;
mod targets;
mod world;
mod zipf;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::bench::against::{Compared, Two};
use crate::bench::jobs::JobsReport;
use crate::bench::live::LiveReport;
use crate::bench::load::Load;
use crate::bench::logins::LoginsReport;
use crate::bench::machine::Process;
use crate::bench::markets::MarketsReport;
use crate::bench::measured::{Figures, Measured, Name};
use crate::bench::pgbench::Baseline;
use crate::bench::psql::Database;
use crate::bench::reads::{Place, Programs, ReadsReport};
use crate::bench::report::Report;
use crate::bench::scale::{ScaleReport, Scaled, State};
use crate::bench::servers::ServersReport;
use crate::bench::subject::{Full, Pace, Restart, Subject};
use crate::bench::targets::{HALF_LOAD, HIGH_LOAD};
use crate::cargo;
use crate::interrupts::Interrupts;
use crate::services::{Needs, Services};

/// Fills books and caches before anything is measured.
const WARM_UP: Duration = Duration::from_secs(2);

/// How the benchmark runs.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many seconds each measurement lasts.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// How many clients send at the same time, one measurement for each number.
    #[arg(long, value_delimiter = ',', default_value = "1,8,32,64,128,256")]
    clients: Vec<usize>,
    /// Which stores are measured.
    #[arg(long, value_enum, default_value_t = Stores::Both)]
    store: Stores,
    /// Decides what clients ask for, and when.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Measure this binary instead of building one.
    #[arg(long, value_name = "PATH")]
    bin: Option<PathBuf>,
    /// Compare an empty store with one of so many open orders, and ten times as many trades, instead of all else.
    #[arg(long, value_name = "ORDERS", value_parser = clap::value_parser!(u64).range(1000..))]
    scale: Option<u64>,
    /// Measure sign-ins instead of all else.
    #[arg(long, conflicts_with = "scale")]
    logins: bool,
    /// Measure the queue of jobs on PostgreSQL instead of all else.
    #[arg(long, conflicts_with_all = ["scale", "logins"])]
    jobs: bool,
    /// Measure reads that are remembered instead of all else, beside a web server with nothing behind it.
    #[arg(long, conflicts_with_all = ["scale", "logins", "jobs"])]
    reads: bool,
    /// Compare reads on a store of a thousand markets with one of so many, instead of all else.
    #[arg(long, value_name = "MARKETS", value_parser = clap::value_parser!(u64).range(10_000..))]
    #[arg(conflicts_with_all = ["scale", "logins", "jobs", "reads"])]
    markets: Option<u64>,
    /// Compare one server on PostgreSQL and Redis with so many, instead of all else.
    #[arg(long, value_name = "SERVERS", value_parser = clap::value_parser!(u16).range(2..=9))]
    #[arg(conflicts_with_all = ["scale", "logins", "jobs", "reads", "markets"])]
    servers: Option<u16>,
    /// Measure live streams instead of all else.
    #[arg(long, conflicts_with_all = ["scale", "logins", "jobs", "reads", "markets", "servers"])]
    live: bool,
    /// Compare orders with those of this other binary, in turns, instead of all else.
    #[arg(long, value_name = "PATH")]
    #[arg(conflicts_with_all = ["scale", "logins", "jobs", "reads", "markets", "servers", "live"])]
    against: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Stores {
    Sqlite,
    Postgres,
    Both,
}

impl Stores {
    /// The servers that are measured, and the database of each that needs one.
    fn subjects(self) -> impl Iterator<Item = (Name, Option<&'static str>)> {
        let all = [
            (Name::PostgresAlone, Some("bellwether_bench_alone")),
            (Name::Postgres, Some("bellwether_bench")),
            (Name::Sqlite, None),
        ];
        all.into_iter().filter(move |(_, database)| match self {
            Self::Sqlite => database.is_none(),
            Self::Postgres => database.is_some(),
            Self::Both => true,
        })
    }
}

/// Measures, prints the tables, and writes `docs/benchmarks.md` and what it shows.
pub(crate) async fn run(options: Options, interrupts: &Interrupts) -> anyhow::Result<ExitCode> {
    let there = |path: &PathBuf| path.canonicalize().with_context(|| format!("there is no {}", path.display()));
    let binary = match &options.bin {
        Some(binary) => there(binary)?,
        None => cargo::build_server(true, interrupts).await?,
    };
    let against = options.against.as_ref().map(there).transpose()?;
    let constant = match options.reads {
        true => Some(cargo::build_constant(interrupts).await?),
        false => None,
    };
    let redis = options.reads || options.servers.is_some();
    let services = Services::start(Needs { redis, ..Needs::POSTGRES }, interrupts).await?;
    let url = services.database_url.as_ref().context("PostgreSQL was asked for and is not there")?;
    let busy_before = machine::busy_share(Duration::from_secs(1)).await?;
    let bench = Bench { options, server: Database::new(url)?, busy_before, interrupts };
    if let Some(other) = against {
        let compared = bench.against(&binary, &other).await?;
        print_report(&against::text(&compared));
        return Ok(ExitCode::SUCCESS);
    }
    let root = cargo::workspace_root();
    let shown = |text: String, written: anyhow::Result<()>| {
        print_report(&text);
        written.map(|()| ExitCode::SUCCESS)
    };
    if let Some(orders) = bench.options.scale {
        let report = bench.scale(&binary, orders).await?;
        return shown(report.text(), report.write(&root));
    }
    if bench.options.logins {
        let report = bench.logins(&binary).await?;
        return shown(report.text(), report.write(&root));
    }
    if bench.options.jobs {
        let report = bench.jobs(&binary).await?;
        return shown(report.text(), report.write(&root));
    }
    if bench.options.live {
        let report = bench.live(&binary).await?;
        return shown(report.text(), report.write(&root));
    }
    if let Some(constant) = constant {
        let programs = Programs { server: &binary, constant };
        let report = bench.reads(&programs, services.redis_url.as_deref()).await?;
        return shown(report.text(), report.write(&root));
    }
    if let Some(markets) = bench.options.markets {
        let report = bench.markets(&binary, markets).await?;
        return shown(report.text(), report.write(&root));
    }
    if let Some(servers) = bench.options.servers {
        let redis_url = services.redis_url.as_deref().context("Redis was asked for and is not there")?;
        let report = bench.servers(&binary, redis_url, usize::from(servers)).await?;
        return shown(report.text(), report.write(&root));
    }
    let figures = bench.run(&binary).await?;
    let report = Report::new(bench.options.command(), figures);
    shown(report.text(), report.write(&root))
}

#[expect(clippy::print_stdout, reason = "the tables are what was asked for")]
fn print_report(text: &str) {
    println!("{text}");
}

impl Options {
    /// The command that repeats the run on a binary built from the same sources.
    fn command(&self) -> String {
        if self.jobs {
            return "cargo xtask bench --jobs".to_owned();
        }
        if let Some(servers) = self.servers {
            return format!("cargo xtask bench --servers {servers} --seconds {} --seed {}", self.seconds, self.seed);
        }
        if self.live {
            return format!("cargo xtask bench --live --seconds {}", self.seconds);
        }
        let store = self.store.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        if let Some(markets) = self.markets {
            return format!("cargo xtask bench --markets {markets} --seconds {} --store {store}", self.seconds);
        }
        let clients: Vec<String> = self.clients.iter().map(ToString::to_string).collect();
        let which = match (self.logins, self.reads) {
            (true, _) => " --logins",
            (_, true) => " --reads",
            _ => "",
        };
        let scale = self.scale.map_or_else(String::new, |orders| format!(" --scale {orders}"));
        format!(
            "cargo xtask bench --seconds {} --clients {} --store {store} --seed {}{scale}{which}",
            self.seconds,
            clients.join(","),
            self.seed
        )
    }
}

/// A run.
struct Bench<'a> {
    options: Options,
    server: Database,
    busy_before: f64,
    interrupts: &'a Interrupts,
}

impl Bench<'_> {
    async fn run(&self, binary: &Path) -> anyhow::Result<Figures> {
        let subjects = self.start(binary).await?;
        let mut figures = Figures {
            cores: machine::cores(),
            busy_before: self.busy_before,
            seconds: self.options.seconds,
            ..Figures::default()
        };
        self.closed_loops(&subjects, &mut figures).await?;
        self.open_loops(&subjects, &mut figures).await?;
        for subject in subjects {
            figures.memory.push(subject.finish(self.interrupts).await?);
        }
        self.remove_databases().await?;
        Ok(figures)
    }

    /// An empty database of that name, where a server needs one.
    async fn fresh(&self, name: Option<&str>) -> anyhow::Result<Option<Database>> {
        match name {
            Some(name) => Ok(Some(self.server.fresh(name, self.interrupts).await?)),
            None => Ok(None),
        }
    }

    async fn remove_databases(&self) -> anyhow::Result<()> {
        for database in self.options.store.subjects().filter_map(|(_, database)| database) {
            self.server.remove(database, self.interrupts).await?;
        }
        Ok(())
    }

    /// Starts every server that is measured, each on an empty store of its own.
    async fn start(&self, binary: &Path) -> anyhow::Result<Vec<Subject>> {
        if let Err(error) = self.server.age_log(self.interrupts).await {
            eprintln!("bench: PostgreSQL makes new log files while it is measured: {error:#}");
        }
        let mut subjects = Vec::new();
        // What a commit for each request costs is no question of scale.
        let is_wanted = |name| self.options.scale.is_none() || name != Name::PostgresAlone;
        for (name, database) in self.options.store.subjects().filter(|(name, _)| is_wanted(*name)) {
            let database = self.fresh(database).await?;
            let subject = Subject::start(name, binary, database, self.options.seed, self.interrupts).await?;
            if subject.is_none() {
                eprintln!("bench: {} is left out: this binary has no setting for groups", name.text());
            }
            subjects.extend(subject);
        }
        for subject in &subjects {
            subject.measure(Load::Mixed, Pace::Closed(8), WARM_UP, self.interrupts).await?;
        }
        Ok(subjects)
    }

    /// Throughput, at one number of clients after the other, the baseline and all servers in turn.
    async fn closed_loops(&self, subjects: &[Subject], figures: &mut Figures) -> anyhow::Result<()> {
        let baseline = Baseline::prepare(&self.server, self.interrupts).await?;
        if !self.options.clients.contains(&1) {
            // The time of one commit is what latencies are held against.
            figures.closed.push(self.baseline(&baseline, 1).await?);
        }
        for clients in &self.options.clients {
            figures.closed.push(self.baseline(&baseline, *clients).await?);
            for subject in subjects {
                for load in orders_of(subject.name) {
                    figures.closed.push(self.measure(subject, *load, Pace::Closed(*clients)).await?);
                }
            }
        }
        let most = self.options.clients.iter().copied().max().unwrap_or(1);
        for subject in subjects.iter().filter(|subject| subject.name != Name::PostgresAlone) {
            for load in [Load::Transfers, Load::Reads] {
                figures.closed.push(self.measure(subject, load, Pace::Closed(most)).await?);
            }
        }
        Ok(())
    }

    /// Latency, at shares of what each server did at its knee.
    async fn open_loops(&self, subjects: &[Subject], figures: &mut Figures) -> anyhow::Result<()> {
        for subject in subjects.iter().filter(|subject| subject.name != Name::PostgresAlone) {
            for load in orders_of(subject.name) {
                let Some(knee) = figures.best(subject.name, *load).map(|row| row.answered_per_second) else { continue };
                for of_knee in [HALF_LOAD, HIGH_LOAD] {
                    let pace = Pace::Open { per_second: knee * of_knee, of_knee };
                    figures.open.push(self.measure(subject, *load, pace).await?);
                }
            }
        }
        Ok(())
    }

    /// Compares two binaries on each store.
    async fn against(&self, binary: &Path, other: &Path) -> anyhow::Result<Vec<Compared>> {
        const DATABASES: [&str; 2] = ["bellwether_bench", "bellwether_bench_other"];
        let mut all = Vec::new();
        for (name, database) in self.options.store.subjects() {
            let start = async |binary, own| {
                let database = self.fresh(database.and(Some(own))).await?;
                let subject = Subject::start(name, binary, database, self.options.seed, self.interrupts).await?;
                subject.context("this binary has no setting for groups")
            };
            let [one, two] = DATABASES;
            let two = Two { this: start(binary, one).await?, other: start(other, two).await? };
            all.extend(self.compare(&two).await?);
            two.this.finish(self.interrupts).await?;
            two.other.finish(self.interrupts).await?;
            for database in DATABASES {
                self.server.remove(database, self.interrupts).await?;
            }
        }
        Ok(all)
    }

    /// Measures each store empty, fills it, and measures it again.
    async fn scale(&self, binary: &Path, orders: u64) -> anyhow::Result<ScaleReport> {
        let mut stores = Vec::new();
        let full = Full { orders, trades: orders.saturating_mul(10) };
        for subject in self.start(binary).await? {
            let name = subject.name;
            let (subject, restart) = subject.restart(self.interrupts).await?;
            let empty = self.state(&subject, restart, None).await?;
            let (subject, restart) = subject.fill(full, self.interrupts).await?;
            let filled = self.state(&subject, restart, Some(&empty)).await?;
            // A full store is tens of gigabytes: the next one is to find room.
            subject.finish(self.interrupts).await?;
            let mut subjects = self.options.store.subjects();
            if let Some(database) = subjects.find_map(|(of, database)| database.filter(|_| of == name)) {
                self.server.remove(database, self.interrupts).await?;
            }
            stores.push(Scaled { subject: name, empty, full: filled });
        }
        let (command, busy_before) = (self.options.command(), self.busy_before);
        Ok(ScaleReport {
            command,
            cores: machine::cores(),
            busy_before,
            orders,
            trades: full.trades,
            markets: full.markets(),
            users: full.users(),
            stores,
        })
    }

    /// Measures sign-ins on each store.
    async fn logins(&self, binary: &Path) -> anyhow::Result<LoginsReport> {
        eprintln!("bench: hashes without a server");
        let hashes_per_second = self.interrupts.or(logins::hashes_per_second(self.length())).await?;
        let mut stores = Vec::new();
        // What a commit for each request costs is no question of sign-ins.
        for (name, database) in self.options.store.subjects().filter(|(name, _)| *name != Name::PostgresAlone) {
            let database = self.fresh(database).await?;
            let (seed, length) = (self.options.seed, self.length());
            stores.push(logins::measure(name, binary, database.as_ref(), seed, length, self.interrupts).await?);
        }
        self.remove_databases().await?;
        Ok(LoginsReport {
            command: self.options.command(),
            cores: machine::cores(),
            busy_before: self.busy_before,
            cost: logins::COST,
            hashes_per_second,
            stores,
        })
    }

    /// Measures the queue of jobs.
    async fn jobs(&self, binary: &Path) -> anyhow::Result<JobsReport> {
        const DATABASE: &str = "bellwether_bench_jobs";
        let database = self.server.fresh(DATABASE, self.interrupts).await?;
        let per_second = jobs::measure(binary, &database, self.interrupts).await?;
        self.server.remove(DATABASE, self.interrupts).await?;
        let (command, busy_before) = (self.options.command(), self.busy_before);
        Ok(JobsReport { command, cores: machine::cores(), busy_before, per_second })
    }

    /// Measures live streams in each place.
    async fn live(&self, binary: &Path) -> anyhow::Result<LiveReport> {
        const DATABASE: &str = "bellwether_bench_live";
        live::raise_limit()?;
        let (mut told, mut idle) = (Vec::new(), Vec::new());
        for place in live::Place::ALL {
            let database = self.fresh(place.has_database().then_some(DATABASE)).await?;
            let database = database.as_ref();
            told.extend(live::delivery(place, binary, database, self.length(), self.interrupts).await?);
            if place != live::Place::OtherServer {
                idle.push(live::idle(place, binary, database, self.interrupts).await?);
            }
        }
        self.server.remove(DATABASE, self.interrupts).await?;
        let (command, busy_before) = (self.options.command(), self.busy_before);
        Ok(LiveReport { command, cores: machine::cores(), busy_before, told, idle })
    }

    /// Measures reads in each place.
    async fn reads(&self, programs: &Programs<'_>, redis_url: Option<&str>) -> anyhow::Result<ReadsReport> {
        const DATABASE: &str = "bellwether_bench_reads";
        let mut rows = Vec::new();
        for place in Place::ALL {
            let database = self.fresh(place.has_database().then_some(DATABASE)).await?;
            let redis_url = redis_url.filter(|_| place == Place::PostgresAndRedis);
            rows.extend(
                reads::measure(place, programs, database.as_ref(), redis_url, self.length(), self.interrupts).await?,
            );
        }
        self.server.remove(DATABASE, self.interrupts).await?;
        let (command, busy_before) = (self.options.command(), self.busy_before);
        Ok(ReadsReport { command, cores: machine::cores(), busy_before, rows })
    }

    /// Measures reads on few markets and on many, on each store.
    async fn markets(&self, binary: &Path, markets: u64) -> anyhow::Result<MarketsReport> {
        const DATABASES: [&str; 2] = ["bellwether_bench_few", "bellwether_bench_many"];
        let mut rows = Vec::new();
        for (name, database) in self.options.store.subjects().filter(|(name, _)| *name != Name::PostgresAlone) {
            let databases = match database {
                Some(_) => {
                    let [few, many] = DATABASES.map(|name| self.server.fresh(name, self.interrupts));
                    Some((few.await?, many.await?))
                }
                None => None,
            };
            let of = databases.as_ref().map_or([None; 2], |(few, many)| [Some(few), Some(many)]);
            rows.extend(markets::measure(name, binary, of, markets, self.length(), self.interrupts).await?);
        }
        for name in DATABASES {
            self.server.remove(name, self.interrupts).await?;
        }
        let (command, busy_before) = (self.options.command(), self.busy_before);
        Ok(MarketsReport { command, cores: machine::cores(), busy_before, markets, rows })
    }

    /// Measures one server and so many.
    async fn servers(&self, binary: &Path, redis_url: &str, count: usize) -> anyhow::Result<ServersReport> {
        const DATABASE: &str = "bellwether_bench_servers";
        const CLIENTS: usize = 64;
        let database = self.server.fresh(DATABASE, self.interrupts).await?;
        let of = (&database, redis_url);
        let sizes = (count, CLIENTS);
        let rows = servers::measure(binary, of, sizes, self.options.seed, self.length(), self.interrupts).await?;
        self.server.remove(DATABASE, self.interrupts).await?;
        let (command, busy_before) = (self.options.command(), self.busy_before);
        Ok(ServersReport { command, cores: machine::cores(), busy_before, clients: CLIENTS, rows })
    }

    /// Measures a store in its state, in the open loop at the rate of the state that it is compared with.
    async fn state(&self, subject: &Subject, restart: Restart, other: Option<&State>) -> anyhow::Result<State> {
        let mut loads = Vec::new();
        for load in orders_of(subject.name) {
            subject.measure(*load, Pace::Closed(8), WARM_UP, self.interrupts).await?;
            for clients in &self.options.clients {
                loads.push(self.measure(subject, *load, Pace::Closed(*clients)).await?);
            }
            let of_load = |row: &&Measured| row.load == *load && row.clients.is_some();
            let compared = other.map_or(&loads, |other| &other.loads);
            let most = compared.iter().filter(of_load).map(|row| row.answered_per_second).fold(0.0, f64::max);
            let pace = Pace::Open { per_second: most * HALF_LOAD, of_knee: HALF_LOAD };
            loads.push(self.measure(subject, *load, pace).await?);
        }
        let Restart { seconds: start_seconds, resident_bytes: idle_bytes } = restart;
        Ok(State { start_seconds, idle_bytes, loaded_bytes: subject.resident_bytes()?, loads })
    }

    async fn measure(&self, subject: &Subject, load: Load, pace: Pace) -> anyhow::Result<Measured> {
        subject.measure(load, pace, self.length(), self.interrupts).await
    }

    async fn baseline(&self, baseline: &Baseline, clients: usize) -> anyhow::Result<Measured> {
        eprintln!("bench: pgbench, {clients} clients");
        let before = self.server.log_bytes(self.interrupts).await?;
        let database = Process::of_server(&self.server)?;
        let used_before = database.processor_time_of_family()?;
        let done = baseline.measure(clients, self.length(), self.interrupts).await?;
        let used = database.processor_time_of_family()?.saturating_sub(used_before);
        let written = self.server.log_bytes(self.interrupts).await?.saturating_sub(before);
        let failed = (done.failed > 0).then(|| ("the transaction failed".to_owned(), done.failed));
        Ok(Measured {
            subject: Name::Pgbench,
            load: Load::Pairs,
            clients: Some(clients),
            offered_per_second: None,
            of_knee: None,
            answered_per_second: done.per_second,
            done: done.count,
            per_second: done.per_second,
            cancels_per_second: None,
            reads_per_second: None,
            late_cancels_per_second: None,
            failed: BTreeMap::from_iter(failed),
            latency: done.latency,
            bytes_per_order: Some(subject::bytes_each(written, done.count)),
            load_share: None,
            server_us_per_order: None,
            database_us_per_order: Some(subject::micros_each(used, done.count)),
        })
    }

    fn length(&self) -> Duration {
        Duration::from_secs(self.options.seconds)
    }
}

/// The loads of orders that a server is measured with.
const fn orders_of(name: Name) -> &'static [Load] {
    match name {
        // It shows what a commit for each request costs; the mixed load would show it again.
        Name::PostgresAlone | Name::Pgbench => &[Load::Pairs],
        Name::Postgres | Name::Sqlite => &[Load::Pairs, Load::Mixed],
    }
}
