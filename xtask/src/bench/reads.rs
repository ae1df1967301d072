//! Reads that are remembered, beside the same server answering with as many bytes and nothing behind it: with what is
//! around every request (its id, its line in the log, its limit, headers), and bare.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::bench::connection::{Connection, Request};
use crate::bench::latency::{Latency, float};
use crate::bench::psql::Database;
use crate::bench::report::{of_others, write_page};
use crate::bench::tables::table;
use crate::interrupts::Interrupts;
use crate::kill::api::{Api, User};
use crate::kill::server::{Installation, Server, UNLIMITED, owned};
use crate::services::free_port;

/// How many ask at the same time, each again and again.
const CLIENTS: usize = 64;
/// How many markets there are: the first page of the list is full.
const MARKETS: usize = 40;
/// How many of the constant server's answers a market has to reach, and a page.
const WANTED_OF_MARKET: f64 = 0.8;
const WANTED_OF_LIST: f64 = 0.5;
/// Fills what is remembered before anything is measured.
const WARM_UP: Duration = Duration::from_millis(500);
/// How long the constant server may take to start.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where the server that is measured keeps its rows and what it remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Place {
    Sqlite,
    Postgres,
    PostgresAndRedis,
}

impl Place {
    pub(super) const ALL: [Self; 3] = [Self::Sqlite, Self::Postgres, Self::PostgresAndRedis];

    /// Whether it has a database of its own.
    pub(super) fn has_database(self) -> bool {
        self != Self::Sqlite
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
            Self::PostgresAndRedis => "PostgreSQL and Redis",
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum What {
    Market,
    Book,
    List,
}

impl What {
    const ALL: [Self; 3] = [Self::Market, Self::Book, Self::List];

    fn path(self, market: &str) -> String {
        match self {
            Self::Market => format!("/markets/{market}"),
            Self::Book => format!("/markets/{market}/book"),
            Self::List => "/markets".to_owned(),
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Market => "`GET /markets/{id}`",
            Self::Book => "`GET /markets/{id}/book`",
            Self::List => "`GET /markets`",
        }
    }

    fn wanted(self) -> String {
        match self {
            Self::Market => format!("at least {WANTED_OF_MARKET}"),
            Self::Book => String::new(),
            Self::List => format!("at least {WANTED_OF_LIST}"),
        }
    }
}

/// Answers to one kind of request.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rate {
    per_second: f64,
    latency: Latency,
    /// The length of the body.
    bytes: usize,
}

/// A read, and constant answers of the same length, measured before and after it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Compared {
    place: Place,
    what: What,
    read: Rate,
    /// From behind what is around every request.
    enclosed: BeforeAndAfter,
    /// From the web server alone.
    bare: BeforeAndAfter,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BeforeAndAfter {
    before: Rate,
    after: Rate,
}

impl BeforeAndAfter {
    fn per_second(&self) -> f64 {
        f64::midpoint(self.before.per_second, self.after.per_second)
    }
}

/// What was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReadsReport {
    pub(super) command: String,
    pub(super) cores: usize,
    /// The share of them that others used before the run.
    pub(super) busy_before: f64,
    pub(super) rows: Vec<Compared>,
}

/// The programs that are measured.
#[derive(Debug)]
pub(super) struct Programs<'a> {
    pub(super) server: &'a Path,
    pub(super) constant: PathBuf,
}

/// Starts a server in this place, and measures each read of it.
pub(super) async fn measure(
    place: Place,
    programs: &Programs<'_>,
    database: Option<&Database>,
    redis_url: Option<&str>,
    length: Duration,
    interrupts: &Interrupts,
) -> anyhow::Result<Vec<Compared>> {
    let folder = tempfile::Builder::new().prefix("bellwether-bench-").tempdir().context("cannot make a folder")?;
    let mut settings = UNLIMITED.to_vec();
    settings.push(("BELLWETHER_PASSWORD_COST", "4"));
    if let Some(url) = redis_url {
        settings.extend([("BELLWETHER_CACHE", "redis"), ("BELLWETHER_REDIS_URL", url)]);
    }
    let installation = Installation {
        binary: programs.server.to_owned(),
        data: folder.path().join("data"),
        database_url: database.map(|database| database.url.clone()),
        log: folder.path().join("server.log"),
        settings: owned(&settings),
    };
    let server = installation.start(interrupts).await.with_context(|| format!("{} does not start", place.text()))?;
    let market = interrupts.or(prepare(&server)).await?;
    let mut rows = Vec::new();
    for what in What::ALL {
        eprintln!("bench: {}: {}", place.text(), what.text());
        let path = what.path(&market);
        let compared = async {
            let Rate { bytes, .. } = ask(&server.address, &path, WARM_UP).await?;
            let around = Around { log: &folder.path().join("constant.log"), redis_url };
            let enclosed = Constant::start(&programs.constant, bytes, Some(around)).await?;
            let bare = Constant::start(&programs.constant, bytes, None).await?;
            let enclosed_before = enclosed.ask(&path, length).await?;
            let bare_before = bare.ask(&path, length).await?;
            let read = ask(&server.address, &path, length).await?;
            let bare = BeforeAndAfter { before: bare_before, after: bare.ask(&path, length).await? };
            let enclosed = BeforeAndAfter { before: enclosed_before, after: enclosed.ask(&path, length).await? };
            Ok(Compared { place, what, read, enclosed, bare })
        };
        rows.push(interrupts.or(compared).await?);
    }
    server.stop().await?;
    Ok(rows)
}

/// Opens markets; the first of them, in which there are some orders.
async fn prepare(server: &Server) -> anyhow::Result<String> {
    let api = Api::new(&server.address)?;
    let user: User = api.sign_up("bench-reader").await?;
    let mut first = None;
    for number in 0..MARKETS {
        let market = api.open_market(&user, &format!("bench-reads-{number}")).await?;
        first.get_or_insert(market);
    }
    first.context("there are no markets")
}

/// A server with nothing behind it. Dropping it kills the process.
struct Constant {
    address: String,
    _child: Child,
}

/// What is around every request to Bellwether.
struct Around<'a> {
    log: &'a Path,
    /// Where requests are counted, if not in the process.
    redis_url: Option<&'a str>,
}

impl Constant {
    async fn start(program: &Path, bytes: usize, around: Option<Around<'_>>) -> anyhow::Result<Self> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(program);
        command.args([&address, &bytes.to_string()]).stdin(Stdio::null()).kill_on_drop(true);
        if let Some(Around { log, redis_url }) = around {
            let log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
            command.arg("enclosed").args(redis_url).stderr(log);
        }
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let started = Instant::now();
        while tokio::net::TcpStream::connect(&address).await.is_err() {
            anyhow::ensure!(started.elapsed() < PATIENCE, "the constant server does not start");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(Self { address, _child: child })
    }

    async fn ask(&self, path: &str, length: Duration) -> anyhow::Result<Rate> {
        ask(&self.address, path, WARM_UP).await?;
        ask(&self.address, path, length).await
    }
}

/// Has all clients ask for one path, again and again, for so long.
async fn ask(address: &str, path: &str, length: Duration) -> anyhow::Result<Rate> {
    let mut connections = Vec::new();
    for _ in 0..CLIENTS {
        connections.push(Connection::open(address).await?);
    }
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for mut connection in connections {
        let path = path.to_owned();
        tasks.spawn(async move {
            let (mut latencies, mut bytes) = (Vec::new(), 0);
            while start.elapsed() < length {
                let asked = Instant::now();
                let request = Request { method: "GET", path: &path, token: None, idempotency_key: None, body: "" };
                let answer = connection.send(&request).await?;
                anyhow::ensure!(answer.status == 200, "{path} is answered {}", answer.status);
                bytes = answer.body.len();
                latencies.push(asked.elapsed());
            }
            Ok((latencies, bytes))
        });
    }
    let (mut all, mut bytes) = (Vec::new(), 0);
    while let Some(done) = tasks.join_next().await {
        let (latencies, length) = done.context("a client panicked")??;
        all.extend(latencies);
        bytes = length;
    }
    let per_second = float(all.len()) / start.elapsed().as_secs_f64();
    Ok(Rate { per_second, latency: Latency::of(&mut all), bytes })
}

impl ReadsReport {
    /// The page.
    pub(super) fn text(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            let ratio = |constant: &BeforeAndAfter| format!("{:.2}", row.read.per_second / constant.per_second());
            vec![
                format!("{}: {}", row.place.text(), row.what.text()),
                row.read.bytes.to_string(),
                format!("{:.0}", row.read.per_second),
                format!("{:.0}", row.enclosed.per_second()),
                ratio(&row.enclosed),
                row.what.wanted(),
                format!("{:.0}", row.bare.per_second()),
                ratio(&row.bare),
                format!("{:.2}", row.read.latency.p50_ms),
                format!("{:.2}", row.read.latency.p99_ms),
                format!("{:.2}", row.enclosed.before.latency.p99_ms),
            ]
        });
        let head = [
            "",
            "bytes",
            "answers/s",
            "constant/s",
            "ratio",
            "wanted",
            "bare/s",
            "ratio to bare",
            "p50 (ms)",
            "p99 (ms)",
            "constant p99 (ms)",
        ];
        format!(
            "# Benchmarks: reads that are remembered\n\n\
             Written by `{}` on a machine with {} cores that load, server and database share.\n{}\n{}\n\
             {CLIENTS} clients ask for the same thing over kept connections, without a token, each again and again. Requests are \
             counted by\nthe rate limiter and logged as they are by default. *Constant* is the same server with one thing in place \
             of all routes,\nwhich answers with as many bytes: around it is what is around every request, its id, limit, headers and \
             line in the log,\nand behind it nothing. *Bare* is the web server alone that Bellwether runs on (actix-web), with as many \
             threads and the same\nallocator, and no line in a log. Both are measured before and after, and count by the mean. With \
             Redis each request is one\nquestion to it, by the rate limiter, and so it is for *constant*.\n",
            self.command,
            self.cores,
            of_others(self.busy_before),
            table(&head, rows),
        )
    }

    /// Writes `reads.md` and `reads.json` in `docs/benchmarks`.
    pub(super) fn write(&self, root: &Path) -> anyhow::Result<()> {
        write_page(root, "reads", &self.text(), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_reads_beside_what_is_constant() {
        let rate = |per_second| Rate { per_second, latency: Latency::default(), bytes: 1234 };
        let constant = |before, after| BeforeAndAfter { before: rate(before), after: rate(after) };
        let row = Compared {
            place: Place::Sqlite,
            what: What::Market,
            read: rate(900.0),
            enclosed: constant(950.0, 1050.0),
            bare: constant(2900.0, 3100.0),
        };
        let command = "cargo xtask bench --reads".to_owned();
        let text = ReadsReport { command, cores: 2, busy_before: 0.0, rows: vec![row] }.text();
        let wanted = "| SQLite: `GET /markets/{id}` | 1234 | 900 | 1000 | 0.90 | at least 0.8 | 3000 | 0.30 |";
        assert!(text.contains(wanted), "{text}");
    }
}
