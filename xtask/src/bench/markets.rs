//! Reads on a store of few markets and on one of many, in one run: what is remembered, what is not, and pages of lists.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::bench::connection::{Connection, Request};
use crate::bench::copies::{Original, Store, market_id};
use crate::bench::latency::{Latency, float, median};
use crate::bench::load::order_body;
use crate::bench::machine::Process;
use crate::bench::measured::Name;
use crate::bench::psql::Database;
use crate::bench::report::{of_others, write_page};
use crate::bench::tables::table;
use crate::interrupts::Interrupts;
use crate::kill::api::{Answer, Api, Kind, User};
use crate::kill::server::{Installation, Server, UNLIMITED, owned};

/// What many are compared with.
const FEW: u64 = 1000;
/// How many ask at the same time.
const CLIENTS: u64 = 8;
/// The most that a read may take on a store of many, of what it takes on one of few.
const WANTED: f64 = 1.3;
/// A page of a list is deep after half of the few markets, or so many pages of a hundred.
const DEEP: u64 = 50;
/// In so many markets the reader has a position.
const POSITIONS: u64 = 100;
const SORTS: [&str; 3] = ["-createdAt", "closesAt", "-volume"];
/// Both stores are asked in turn so often, and the median counts: where the machine is slow for some seconds, both are.
const ROUNDS: u32 = 12;
const WARM_UP: Duration = Duration::from_millis(300);

/// A read on both stores.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Grown {
    store: Name,
    what: String,
    few: Rate,
    many: Rate,
    /// How much longer a read takes where there are many markets.
    time_ratio: f64,
    /// How much more of the processors it takes.
    processor_ratio: f64,
}

/// Answers to one kind of request.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rate {
    per_second: f64,
    latency: Latency,
    /// Processor time for each answer, of the server and of PostgreSQL.
    processor_us: f64,
}

impl Grown {
    /// Of the rounds, in each of which few were asked and then many.
    fn of(store: Name, what: String, few: &[Taken], many: &[Taken]) -> Self {
        let ratio = |of: fn(&Taken) -> f64| median(few.iter().zip(many).map(|(few, many)| of(many) / of(few)));
        let (time_ratio, processor_ratio) = (ratio(Taken::time_us), ratio(Taken::processor_us));
        Self { store, what, few: Rate::of(few), many: Rate::of(many), time_ratio, processor_ratio }
    }
}

/// What was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MarketsReport {
    pub(super) command: String,
    pub(super) cores: usize,
    /// The share of them that others used before the run.
    pub(super) busy_before: f64,
    pub(super) markets: u64,
    pub(super) rows: Vec<Grown>,
}

/// What a client asks for: paths by the number of the request.
#[derive(Clone)]
struct Read {
    what: String,
    path: Arc<dyn Fn(u64) -> String + Send + Sync>,
    token: Option<String>,
}

impl Read {
    fn of(what: impl Into<String>, path: impl Fn(u64) -> String + Send + Sync + 'static) -> Self {
        Self { what: what.into(), path: Arc::new(path), token: None }
    }

    fn same(what: impl Into<String>, path: String) -> Self {
        Self::of(what, move |_| path.clone())
    }
}

/// A store that was filled, between the lives of its server.
struct Filled {
    installation: Installation,
    reader: User,
    markets: u64,
    _folder: TempDir,
}

/// Fills two stores, and measures each read on both.
pub(super) async fn measure(
    name: Name,
    binary: &Path,
    databases: [Option<&Database>; 2],
    markets: u64,
    length: Duration,
    interrupts: &Interrupts,
) -> anyhow::Result<Vec<Grown>> {
    let [database_of_few, database_of_many] = databases;
    let few = Filled::make(name, binary, database_of_few, FEW, interrupts).await?;
    let many = Filled::make(name, binary, database_of_many, markets, interrupts).await?;
    let mut rows = Vec::new();
    for remembers in [false, true] {
        let (of_few, of_many) = (few.start(remembers, interrupts).await?, many.start(remembers, interrupts).await?);
        let (first, second) = (Asked::of(&of_few, database_of_few)?, Asked::of(&of_many, database_of_many)?);
        let on_few = interrupts.or(few.reads(&of_few, remembers)).await?;
        let on_many = interrupts.or(many.reads(&of_many, remembers)).await?;
        for (small, large) in on_few.into_iter().zip(on_many) {
            eprintln!("bench: {}: {}", name.text(), small.what);
            let compared = async {
                for (asked, read) in [(&first, &small), (&second, &large)] {
                    ask(asked, read, WARM_UP).await?;
                }
                let (mut on_small, mut on_large) = (Vec::new(), Vec::new());
                for _ in 0..ROUNDS {
                    on_small.push(ask(&first, &small, length / ROUNDS).await?);
                    on_large.push(ask(&second, &large, length / ROUNDS).await?);
                }
                Ok(Grown::of(name, small.what, &on_small, &on_large))
            };
            rows.push(interrupts.or(compared).await?);
        }
        of_few.stop().await?;
        of_many.stop().await?;
    }
    Ok(rows)
}

impl Filled {
    async fn make(
        name: Name,
        binary: &Path,
        database: Option<&Database>,
        markets: u64,
        interrupts: &Interrupts,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("bellwether-bench-").tempdir().context("cannot make a folder")?;
        let mut settings = UNLIMITED.to_vec();
        settings.extend([("BELLWETHER_PASSWORD_COST", "4"), ("BELLWETHER_ACCESS_TOKEN_TTL", "24h")]);
        let installation = Installation {
            binary: binary.to_owned(),
            data: folder.path().join("data"),
            database_url: database.map(|database| database.url.clone()),
            log: folder.path().join("server.log"),
            settings: owned(&settings),
        };
        let server = installation.start(interrupts).await.with_context(|| format!("{} does not start", name.text()))?;
        let (original, reader) = interrupts.or(prepare(&server.address)).await?;
        server.stop().await?;
        let store = match database {
            Some(database) => Store::Postgres(database.clone()),
            None => Store::Sqlite(installation.data.join("bellwether.db")),
        };
        eprintln!("bench: {}: copying a market {markets} times", name.text());
        let started = Instant::now();
        let copies = store.markets(&original, markets, (&reader.id, POSITIONS));
        store.fill(&copies, interrupts).await?;
        eprintln!("bench: {}: copied in {:.0} s", name.text(), started.elapsed().as_secs_f64());
        Ok(Self { installation, reader, markets, _folder: folder })
    }

    async fn start(&self, remembers: bool, interrupts: &Interrupts) -> anyhow::Result<Server> {
        let mut installation = self.installation.clone();
        if !remembers {
            installation.settings.extend(owned(&[("BELLWETHER_CACHE_BYTES", "0")]));
        }
        installation.start(interrupts).await
    }

    async fn reads(&self, server: &Server, remembers: bool) -> anyhow::Result<Vec<Read>> {
        let markets = self.markets;
        // By a step that has no factor with a number of markets, so that all are met, and never neighbours.
        let any = move |number: u64| market_id(1 + number.wrapping_mul(611_953) % markets);
        let asked_for = move |number: u64| any(number % FEW);
        if remembers {
            return Ok(vec![
                Read::same("remembered: `GET /markets/{id}`", format!("/markets/{}", any(1))),
                Read::same("remembered: `GET /markets`", "/markets".to_owned()),
            ]);
        }
        let mut reads = vec![
            Read::of("`GET /markets/{id}`, of a thousand", move |number| format!("/markets/{}", asked_for(number))),
            Read::of("`GET /markets/{id}/book`, of a thousand", move |number| {
                format!("/markets/{}/book", asked_for(number))
            }),
            Read::of("`GET /markets/{id}`, of all", move |number| format!("/markets/{}", any(number))),
            Read::of("`GET /markets/{id}/book`, of all", move |number| format!("/markets/{}/book", any(number))),
        ];
        let mut connection = Connection::open(&server.address).await?;
        let pages = (markets / 200).min(DEEP);
        for sort in SORTS {
            let deep = cursor_after(&mut connection, sort, pages).await?;
            let page = |start: &str| format!("/markets?sort={sort}{start}");
            reads.push(Read::same(format!("`?sort={sort}`, counted"), page("")));
            reads.push(Read::same(format!("`?sort={sort}`, first page"), page("&cursor=")));
            reads.push(Read::same(format!("`?sort={sort}`, deep page"), page(&format!("&cursor={deep}"))));
        }
        let own = Read::same("`GET /positions` of a user with 100", "/positions?cursor=".to_owned());
        reads.push(Read { token: Some(self.reader.token().to_owned()), ..own });
        Ok(reads)
    }
}

/// Opens a market with a trade and two orders that rest; it, and who reads.
async fn prepare(address: &str) -> anyhow::Result<(Original, User)> {
    let api = Api::new(address)?;
    let (mut maker, mut taker) = (api.sign_up("bench-maker").await?, api.sign_up("bench-taker").await?);
    let reader = api.sign_up("bench-reader").await?;
    let market = api.open_market(&maker, "bench-original").await?;
    for (number, (outcome, mills)) in [("YES", 500), ("NO", 500), ("YES", 400), ("NO", 400)].into_iter().enumerate() {
        let trader = if outcome == "YES" { &mut maker } else { &mut taker };
        let body = serde_json::from_str(&order_body(&market, outcome, mills, 1, "gtc"))?;
        let answer = api.send(Kind::Order, trader, &format!("bench-{number}"), &body).await;
        anyhow::ensure!(matches!(answer, Answer::Acknowledged(_)), "an order was answered {answer:?}");
    }
    Ok((Original { market, holder: maker.id }, reader))
}

#[derive(Deserialize)]
struct Listed {
    meta: Meta,
}

#[derive(Deserialize)]
struct Meta {
    pagination: Pagination,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pagination {
    next_cursor: Option<String>,
}

/// The cursor after so many pages of a hundred.
async fn cursor_after(connection: &mut Connection, sort: &str, pages: u64) -> anyhow::Result<String> {
    let mut cursor = String::new();
    for _ in 0..pages {
        let path = format!("/markets?sort={sort}&limit=100&cursor={cursor}");
        let request = Request { method: "GET", path: &path, token: None, idempotency_key: None, body: "" };
        let answer = connection.send(&request).await?;
        anyhow::ensure!(answer.status == 200, "{path} is answered {}", answer.status);
        let listed: Listed = serde_json::from_slice(answer.body).context("the answer is no list")?;
        cursor = listed.meta.pagination.next_cursor.context("the list is short")?;
    }
    Ok(cursor)
}

/// Latencies of some time.
struct Taken {
    latencies: Vec<Duration>,
    took: Duration,
    processor: Duration,
}

impl Taken {
    /// The time for each answer.
    fn time_us(&self) -> f64 {
        self.took.as_secs_f64() * 1e6 / float(self.latencies.len().max(1))
    }

    /// The processor time for each answer.
    fn processor_us(&self) -> f64 {
        self.processor.as_secs_f64() * 1e6 / float(self.latencies.len().max(1))
    }
}

impl Rate {
    /// The median of the rounds' figures, and the latencies of all of them.
    fn of(rounds: &[Taken]) -> Self {
        let mut latencies: Vec<Duration> = rounds.iter().flat_map(|round| round.latencies.iter().copied()).collect();
        Self {
            per_second: 1e6 / median(rounds.iter().map(Taken::time_us)),
            latency: Latency::of(&mut latencies),
            processor_us: median(rounds.iter().map(Taken::processor_us)),
        }
    }
}

/// Who is asked, and whose processor time that is.
struct Asked {
    address: String,
    server: Process,
    database: Option<Process>,
}

impl Asked {
    fn of(server: &Server, database: Option<&Database>) -> anyhow::Result<Self> {
        Ok(Self {
            address: server.address.clone(),
            server: Process::started_with(&["--listen", &server.address])?,
            database: database.map(Process::of_server).transpose()?,
        })
    }

    fn used(&self) -> anyhow::Result<Duration> {
        let database = self.database.map(Process::processor_time_of_family).transpose()?;
        Ok(self.server.processor_time()? + database.unwrap_or_default())
    }
}

/// Has all clients ask, again and again, for so long.
async fn ask(asked: &Asked, read: &Read, length: Duration) -> anyhow::Result<Taken> {
    let mut connections = Vec::new();
    for client in 0..CLIENTS {
        connections.push((client, Connection::open(&asked.address).await?));
    }
    let before = asked.used()?;
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for (client, mut connection) in connections {
        let read = read.clone();
        tasks.spawn(async move {
            let (mut latencies, mut number) = (Vec::new(), client);
            while start.elapsed() < length {
                let path = (read.path)(number);
                number += CLIENTS;
                let token = read.token.as_deref();
                let sent = Instant::now();
                let request = Request { method: "GET", path: &path, token, idempotency_key: None, body: "" };
                let status = connection.send(&request).await?.status;
                anyhow::ensure!(status == 200, "{path} is answered {status}");
                latencies.push(sent.elapsed());
            }
            Ok(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(done) = tasks.join_next().await {
        latencies.extend(done.context("a client panicked")??);
    }
    Ok(Taken { latencies, took: start.elapsed(), processor: asked.used()?.saturating_sub(before) })
}

impl MarketsReport {
    /// The page.
    pub(super) fn text(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            vec![
                format!("{}: {}", row.store.text(), row.what),
                format!("{:.0}", row.few.per_second),
                format!("{:.0}", row.many.per_second),
                format!("{:.2}", row.time_ratio),
                format!("{:.0}", row.few.processor_us),
                format!("{:.0}", row.many.processor_us),
                format!("{:.2}", row.processor_ratio),
                if row.processor_ratio <= WANTED { "met" } else { "missed" }.to_owned(),
            ]
        });
        let many = self.markets;
        let rates = [format!("answers/s of {FEW}"), format!("of {many}")];
        let times = [format!("processor (µs) of {FEW}"), format!("of {many}")];
        let ([rate, rate_of_many], [time, time_of_many]) = (rates, times);
        let head = ["", &rate, &rate_of_many, "time ratio", &time, &time_of_many, "processor ratio", "at most 1.3"];
        format!(
            "# Benchmarks: reads where there are many markets\n\n\
             Written by `{}` on a machine with {} cores that load, server and database share.\n{}\n{}\n\
             {CLIENTS} clients ask over kept connections, each again and again: on a store of {FEW} markets and on one of {many}, \
             in turn, {ROUNDS} times; medians of the rounds, and of their ratios.\nEach market has two orders that rest, and two holders. Nothing is remembered (`cache_bytes = 0`) but in the rows \
             that say so.\n*Of a thousand*: of the many, too, only {FEW} are asked for, which lie all over the store, as most of what \
             people ask for is of\na small part. *Of all*: each request is for another market, so that of the many nothing is ever in the \
             memory of a processor, nor of\nPostgreSQL or SQLite, but in that of the system: that row is of the machine as much as of the \
             server. A *deep* page is one by cursor, after half of the few \
             markets or {DEEP}00 of the\nmany. *Counted* is the first page with its total, which is counted up to 1,000.\n\
             Ratios are of the many to the few. Processor time is that of the server and of PostgreSQL for each answer; it \
             decides,\nsince the machine's other work leaves it as it is.\n",
            self.command,
            self.cores,
            of_others(self.busy_before),
            table(&head, rows),
        )
    }

    /// Writes `reads-at-scale.md` and `reads-at-scale.json` in `docs/benchmarks`.
    pub(super) fn write(&self, root: &Path) -> anyhow::Result<()> {
        write_page(root, "reads-at-scale", &self.text(), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_many_beside_few_by_the_median_of_the_rounds() {
        let round = |answers: usize, processor: u64| Taken {
            latencies: vec![Duration::from_millis(1); answers],
            took: Duration::from_secs(1),
            processor: Duration::from_millis(processor),
        };
        // In the last round the machine was slow.
        let few = [round(1300, 130), round(1300, 130), round(650, 260)];
        let many = [round(1000, 140), round(1000, 140), round(500, 280)];
        let row = Grown::of(Name::Sqlite, "`GET /markets/{id}`".to_owned(), &few, &many);
        let command = "cargo xtask bench --markets 1000000".to_owned();
        let report = MarketsReport { command, cores: 2, busy_before: 0.0, markets: 1_000_000, rows: vec![row] };
        let text = report.text();
        assert!(
            text.contains("| SQLite: `GET /markets/{id}` | 1300 | 1000 | 1.30 | 100 | 140 | 1.40 | missed |"),
            "{text}"
        );
    }
}
