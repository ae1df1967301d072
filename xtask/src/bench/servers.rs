//! Several servers on one PostgreSQL and one Redis, beside one of them: throughput, and the processor time that each
//! request costs servers and database.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use crate::bench::client::Tally;
use crate::bench::closed_loop;
use crate::bench::latency::{Latency, float};
use crate::bench::load::Load;
use crate::bench::machine::Process;
use crate::bench::measured::Name;
use crate::bench::psql::Database;
use crate::bench::report::{of_others, write_page};
use crate::bench::subject::settings;
use crate::bench::tables::table;
use crate::bench::world::World;
use crate::interrupts::Interrupts;
use crate::kill::server::{Installation, Server, owned};

const LOADS: [Load; 4] = [Load::Pairs, Load::Mixed, Load::Transfers, Load::Reads];
const WARM_UP: Duration = Duration::from_secs(1);

/// What came of a load that went to so many servers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spread {
    load: Load,
    servers: usize,
    /// Requests of all kinds that were answered in a second.
    per_second: f64,
    latency: Latency,
    failed: u64,
    /// Processor time for each request: of all servers together, of PostgreSQL, of Redis, and of the load itself.
    server_us: f64,
    database_us: f64,
    redis_us: f64,
    load_us: f64,
}

/// What was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ServersReport {
    pub(super) command: String,
    pub(super) cores: usize,
    /// The share of them that others used before the run.
    pub(super) busy_before: f64,
    pub(super) clients: usize,
    pub(super) rows: Vec<Spread>,
}

/// Whose processor time is looked at.
struct Watched {
    servers: Vec<Process>,
    database: Process,
    redis: Process,
}

/// Processor time used by each.
#[derive(Clone, Copy, Default)]
struct Used {
    servers: Duration,
    database: Duration,
    redis: Duration,
    load: Duration,
}

impl Watched {
    fn of(servers: &[&Server], database: &Database, redis_url: &str) -> anyhow::Result<Self> {
        let servers = servers.iter().map(|server| Process::started_with(&["--listen", &server.address]));
        let redis_port = reqwest::Url::parse(redis_url)?.port().context("the URL of Redis has no port")?;
        Ok(Self {
            servers: servers.collect::<anyhow::Result<_>>()?,
            database: Process::of_server(database)?,
            // Redis shows itself as one word.
            redis: Process::started_with(&[&format!("redis-server 127.0.0.1:{redis_port}")])?,
        })
    }

    fn used(&self) -> anyhow::Result<Used> {
        let mut servers = Duration::ZERO;
        for server in &self.servers {
            servers += server.processor_time()?;
        }
        Ok(Used {
            servers,
            database: self.database.processor_time_of_family()?,
            redis: self.redis.processor_time()?,
            load: Process::this().processor_time()?,
        })
    }
}

/// Loads one server and so many, in turn, and audits what is left.
pub(super) async fn measure(
    binary: &Path,
    (database, redis_url): (&Database, &str),
    (count, clients): (usize, usize),
    seed: u64,
    length: Duration,
    interrupts: &Interrupts,
) -> anyhow::Result<Vec<Spread>> {
    let folder = tempfile::Builder::new().prefix("bellwether-bench-").tempdir().context("cannot make a folder")?;
    let mut settings = settings(Name::Postgres);
    settings.extend([("BELLWETHER_CACHE", "redis"), ("BELLWETHER_REDIS_URL", redis_url)]);
    let installation = Installation {
        binary: binary.to_owned(),
        data: folder.path().join("data"),
        database_url: Some(database.url.clone()),
        log: folder.path().join("server.log"),
        settings: owned(&settings),
    };
    let first = installation.start(interrupts).await.context("the first server does not start")?;
    let mut others = Vec::new();
    for _ in 1..count {
        others.push(installation.start(interrupts).await.context("another server does not start")?);
    }
    let all: Vec<&Server> = std::iter::once(&first).chain(&others).collect();
    let watched = Watched::of(&all, database, redis_url)?;
    eprintln!("bench: signing up traders, opening markets");
    let mut world = interrupts.or(World::prepare(&first.address, seed)).await?;
    world.add_servers(others.iter().map(|server| server.address.clone()).collect());
    let world = Arc::new(world);
    let mut rows = Vec::new();
    for load in LOADS {
        interrupts.or(closed_loop::run(&world, load, clients, WARM_UP)).await?;
        let mut of = [(1, Sum::default()), (count, Sum::default())];
        // One after the other, and back, so that a machine that gets slower does so for both.
        for place in [0, 1, 1, 0] {
            let Some((servers, sum)) = of.get_mut(place) else { continue };
            eprintln!("bench: {} to {servers} of the servers", load.name());
            world.ask_servers(*servers);
            let before = watched.used()?;
            let (mut tally, took) = interrupts.or(closed_loop::run(&world, load, clients, length / 2)).await?;
            sum.add(&mut tally, load, took, before, watched.used()?);
        }
        rows.extend(of.map(|(servers, sum)| sum.row(load, servers)));
    }
    for server in others.into_iter().chain([first]) {
        server.stop().await?;
    }
    eprintln!("bench: audit");
    installation.audit(interrupts).await?;
    Ok(rows)
}

/// What two measurements of the same come to.
#[derive(Default)]
struct Sum {
    answered: usize,
    failed: u64,
    latencies: Vec<Duration>,
    took: Duration,
    used: Used,
}

impl Sum {
    fn add(&mut self, tally: &mut Tally, load: Load, took: Duration, before: Used, after: Used) {
        self.answered += tally.answered();
        self.failed += tally.failed.values().sum::<u64>();
        self.latencies.extend(tally.latencies.remove(&load.kind()).unwrap_or_default());
        self.took += took;
        self.used.servers += after.servers.saturating_sub(before.servers);
        self.used.database += after.database.saturating_sub(before.database);
        self.used.redis += after.redis.saturating_sub(before.redis);
        self.used.load += after.load.saturating_sub(before.load);
    }

    fn row(mut self, load: Load, servers: usize) -> Spread {
        let each = |time: Duration| time.as_secs_f64() * 1e6 / float(self.answered.max(1));
        Spread {
            load,
            servers,
            per_second: float(self.answered) / self.took.as_secs_f64(),
            failed: self.failed,
            server_us: each(self.used.servers),
            database_us: each(self.used.database),
            redis_us: each(self.used.redis),
            load_us: each(self.used.load),
            latency: Latency::of(&mut self.latencies),
        }
    }
}

impl ServersReport {
    /// The page.
    pub(super) fn text(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            vec![
                format!("{} through {}", row.load.name(), row.servers),
                format!("{:.0}", row.per_second),
                format!("{:.1}", row.latency.p50_ms),
                format!("{:.1}", row.latency.p99_ms),
                format!("{:.0}", row.server_us),
                format!("{:.0}", row.database_us),
                format!("{:.0}", row.redis_us),
                format!("{:.0}", row.load_us),
                row.failed.to_string(),
            ]
        });
        let head = [
            "",
            "requests/s",
            "p50 (ms)",
            "p99 (ms)",
            "servers (µs)",
            "PostgreSQL (µs)",
            "Redis (µs)",
            "load (µs)",
            "failed",
        ];
        format!(
            "# Benchmarks: several servers\n\n\
             Written by `{}` on a machine with {} cores that load, servers, database and Redis share.\n{}\n{}\n\
             {} clients, spread over one server or over several on the same PostgreSQL and Redis, in turn. Microseconds are \
             processor time\nfor each request that was answered: of all servers together, of all of PostgreSQL's processes, of \
             Redis, and of the load itself.\nSince they share the processors, several servers cannot answer more here than one; \
             what each request costs, and whom, says what they\nwould on machines of their own. Latencies are of the requests that \
             the load is about. Afterwards `bellwether audit` found nothing.\n",
            self.command,
            self.cores,
            of_others(self.busy_before),
            table(&head, rows),
            self.clients,
        )
    }

    /// Writes `servers.md` and `servers.json` in `docs/benchmarks`.
    pub(super) fn write(&self, root: &Path) -> anyhow::Result<()> {
        write_page(root, "servers", &self.text(), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::load::Kind;

    #[test]
    fn shows_what_a_request_costs_whom() {
        let used = |servers, database| Used {
            servers: Duration::from_millis(servers),
            database: Duration::from_millis(database),
            ..Used::default()
        };
        let mut sum = Sum::default();
        let mut tally = Tally::default();
        let latencies = vec![Duration::from_millis(2); 1000];
        tally.latencies.insert(Kind::Order, latencies);
        sum.add(&mut tally, Load::Pairs, Duration::from_secs(1), used(100, 50), used(300, 150));
        let rows = vec![sum.row(Load::Pairs, 3)];
        let command = "cargo xtask bench --servers 3".to_owned();
        let text = ServersReport { command, cores: 2, busy_before: 0.0, clients: 64, rows }.text();
        assert!(text.contains("| orders in pairs through 3 | 1000 | 2.0 | 2.0 | 200 | 100 | 0 | 0 | 0 |"), "{text}");
    }
}
