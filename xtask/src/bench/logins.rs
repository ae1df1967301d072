//! Sign-ins: how many, of the hashes that the machine can do, and what they cost those who read.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::bench::latency::{Latency, float};
use crate::bench::load::{Kind, Load};
use crate::bench::measured::Name;
use crate::bench::psql::Database;
use crate::bench::report::{of_others, write_page};
use crate::bench::tables::table;
use crate::bench::world::World;
use crate::bench::{closed_loop, machine, open_loop};
use crate::interrupts::Interrupts;
use crate::kill::api::{Api, PASSWORD};
use crate::kill::server::{Installation, UNLIMITED, owned};

/// How many sign in at the same time, each again and again.
const CLIENTS: usize = 50;
/// How many reads come in a second meanwhile, at random moments.
const READS_PER_SECOND: f64 = 200.0;
/// The cost that the server has by default.
pub(super) const COST: u32 = 12;
/// How many hashes may take, of the machine's time, for other things than hashing.
const WANTED_OF_HASHES: f64 = 0.9;
/// How much longer reads may take.
const WANTED_OF_IDLE: f64 = 3.0;

/// What was measured on one store.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Logins {
    pub(super) subject: Name,
    /// Sign-ins in a second.
    pub(super) per_second: f64,
    pub(super) latency: Latency,
    /// `GET /markets/{id}` while nobody signs in.
    pub(super) idle_reads: Latency,
    /// The same while all do.
    pub(super) reads: Latency,
}

/// What was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LoginsReport {
    pub(super) command: String,
    pub(super) cores: usize,
    /// The share of them that others used before the run.
    pub(super) busy_before: f64,
    pub(super) cost: u32,
    /// Hashes in a second on all cores, without a server.
    pub(super) hashes_per_second: f64,
    pub(super) stores: Vec<Logins>,
}

/// How many hashes the machine does in a second when it does nothing else.
pub(super) async fn hashes_per_second(length: Duration) -> anyhow::Result<f64> {
    let hash = bcrypt::hash(PASSWORD, COST).context("cannot hash a password")?;
    let start = Instant::now();
    let mut threads = JoinSet::new();
    for _ in 0..machine::cores() {
        let hash = hash.clone();
        threads.spawn_blocking(move || {
            let mut count = 0_usize;
            while start.elapsed() < length {
                bcrypt::verify(PASSWORD, &hash)?;
                count += 1;
            }
            // Each thread's rate is its own: the last hash of one ends later than that of another.
            Ok::<_, bcrypt::BcryptError>(float(count) / start.elapsed().as_secs_f64())
        });
    }
    let mut all = 0.0;
    while let Some(rate) = threads.join_next().await {
        all += rate.context("a thread panicked")??;
    }
    Ok(all)
}

/// Starts a server with the default cost, and has everybody sign in at once.
pub(super) async fn measure(
    subject: Name,
    binary: &Path,
    database: Option<&Database>,
    seed: u64,
    length: Duration,
    interrupts: &Interrupts,
) -> anyhow::Result<Logins> {
    let folder = tempfile::Builder::new().prefix("bellwether-bench-").tempdir().context("cannot make a folder")?;
    let installation = Installation {
        binary: binary.to_owned(),
        data: folder.path().join("data"),
        database_url: database.map(|database| database.url.clone()),
        log: folder.path().join("server.log"),
        settings: owned(&UNLIMITED),
    };
    let server = installation.start(interrupts).await.with_context(|| format!("{} does not start", subject.text()))?;
    eprintln!("bench: {}: signing users up", subject.text());
    let world = Arc::new(interrupts.or(prepare(&server.address, seed)).await?);
    eprintln!("bench: {}: reads while nobody signs in", subject.text());
    let reads = |length| open_loop::run(&world, Load::Reads, READS_PER_SECOND, length);
    interrupts.or(reads(Duration::from_secs(1))).await?;
    let (mut idle, _) = interrupts.or(reads(length)).await?;
    eprintln!("bench: {}: {CLIENTS} sign in again and again", subject.text());
    let logins = closed_loop::run(&world, Load::Logins, CLIENTS, length);
    let both = async { tokio::try_join!(logins, reads(length)) };
    let ((mut logins, took), (mut busy, _)) = interrupts.or(both).await?;
    for tally in [&idle, &logins, &busy] {
        anyhow::ensure!(tally.failed.is_empty(), "{}: requests failed: {:?}", subject.text(), tally.failed);
    }
    server.stop().await?;
    installation.audit(interrupts).await.with_context(|| format!("after sign-ins on {}", subject.text()))?;
    let per_second = float(logins.count(Kind::Login)) / took.as_secs_f64();
    Ok(Logins {
        subject,
        per_second,
        latency: logins.latency(Kind::Login),
        idle_reads: idle.latency(Kind::Read),
        reads: busy.latency(Kind::Read),
    })
}

/// Users to sign in, and a market to read.
async fn prepare(address: &str, seed: u64) -> anyhow::Result<World> {
    let api = Api::new(address)?;
    let mut joining = JoinSet::new();
    for number in 0..CLIENTS {
        let api = api.clone();
        joining.spawn(async move { api.sign_up(&format!("bench-{number}")).await });
    }
    let mut users = Vec::new();
    while let Some(user) = joining.join_next().await {
        users.push(user.context("a sign-up panicked")??);
    }
    let creator = users.first().context("there are no users")?;
    let market = api.open_market(creator, "bench-read").await?;
    World::of(address, seed, users, vec![market.clone()], vec![market])
}

impl LoginsReport {
    /// The page.
    pub(super) fn text(&self) -> String {
        let rows = self.stores.iter().flat_map(|store| self.rows(store));
        format!(
            "# Benchmarks: sign-ins\n\n\
             Written by `{}` on a machine with {} cores that load, server and database share.\n{}\n{}\n\
             {CLIENTS} clients sign in at once, each again and again, at bcrypt's cost {}, which this machine hashes {:.1} \
             times\na second on all cores when it does nothing else. Meanwhile {READS_PER_SECOND:.0} requests \
             `GET /markets/{{id}}` come in a second at\nrandom moments. Afterwards `bellwether audit` found nothing.\n",
            self.command,
            self.cores,
            of_others(self.busy_before),
            table(&["", "measured", "compared with", "ratio", "wanted"], rows),
            self.cost,
            self.hashes_per_second,
        )
    }

    fn rows(&self, store: &Logins) -> [Vec<String>; 3] {
        let name = store.subject.text();
        let row = |what: &str, measured: f64, with: f64, wanted: String| {
            let ratio = format!("{:.2}", measured / with);
            vec![format!("{name}: {what}"), format!("{measured:.2}"), format!("{with:.2}"), ratio, wanted]
        };
        let at_most = format!("at most {WANTED_OF_IDLE}");
        [
            row(
                "sign-ins/s, of hashes/s",
                store.per_second,
                self.hashes_per_second,
                format!("at least {WANTED_OF_HASHES}"),
            ),
            row("p99 of a read in ms, of idle", store.reads.p99_ms, store.idle_reads.p99_ms, at_most),
            row("p50 of a read in ms, of idle", store.reads.p50_ms, store.idle_reads.p50_ms, String::new()),
        ]
    }

    /// Writes `logins.md` and `logins.json` in `docs/benchmarks`.
    pub(super) fn write(&self, root: &Path) -> anyhow::Result<()> {
        write_page(root, "logins", &self.text(), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_sign_ins_beside_hashes_and_reads_beside_idle_ones() {
        let latency = |p99_ms| Latency { p50_ms: 0.5, p99_ms, ..Latency::default() };
        let store = Logins {
            subject: Name::Sqlite,
            per_second: 7.2,
            latency: latency(6000.0),
            idle_reads: latency(1.0),
            reads: latency(2.5),
        };
        let command = "cargo xtask bench --logins".to_owned();
        let (cores, busy_before, hashes_per_second) = (2, 0.0, 8.0);
        let report = LoginsReport { command, cores, busy_before, cost: COST, hashes_per_second, stores: vec![store] };
        let text = report.text();
        assert!(text.contains("| SQLite: sign-ins/s, of hashes/s | 7.20 | 8.00 | 0.90 | at least 0.9 |"), "{text}");
        assert!(text.contains("| SQLite: p99 of a read in ms, of idle | 2.50 | 1.00 | 2.50 | at most 3 |"), "{text}");
        assert!(text.contains("hashes 8.0 times"), "{text}");
    }
}
