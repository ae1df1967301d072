//! Live streams: how soon those who follow a market are told of a trade, and what it costs to keep many who wait.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde::Serialize;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::bench::connection::{Connection, Request};
use crate::bench::latency::{Latency, float};
use crate::bench::machine::Process;
use crate::bench::psql::Database;
use crate::bench::report::{of_others, write_page};
use crate::bench::tables::table;
use crate::interrupts::Interrupts;
use crate::kill::api::{Api, User};
use crate::kill::server::{Installation, Server, UNLIMITED, owned};

/// How many follow the market, half by each way.
const SUBSCRIBERS: usize = 1_000;
/// The pause between trades: twenty in a second.
const BETWEEN_TRADES: Duration = Duration::from_millis(50);
/// So many trades before anything counts.
const WARM_UP: usize = 20;
/// How soon nearly all are to be told, in milliseconds.
const WANTED_P99_MS: f64 = 100.0;
/// How many connections wait for something to happen.
const IDLE: usize = 5_000;
/// What they may cost in all, in megabytes.
const WANTED_MEGABYTES: f64 = 100.0;
/// How long a server is watched that has nothing to do.
const WATCHED: Duration = Duration::from_secs(10);
/// How many connect at the same time.
const AT_ONCE: usize = 100;
/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// In each message of a trade, and nowhere else.
const TRADE: &[u8] = b"\"type\":\"trade.executed\"";
const HELLO: &[u8] = b"\"type\":\"hello\"";

/// Where those who follow are, and where it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Place {
    Sqlite,
    Postgres,
    /// The trades are made at one server, and those who follow are at another one on the same database.
    OtherServer,
}

impl Place {
    pub(super) const ALL: [Self; 3] = [Self::Sqlite, Self::Postgres, Self::OtherServer];

    pub(super) fn has_database(self) -> bool {
        self != Self::Sqlite
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
            Self::OtherServer => "PostgreSQL, at another server",
        }
    }
}

/// How somebody follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Way {
    Events,
    WebSocket,
}

impl Way {
    const ALL: [Self; 2] = [Self::Events, Self::WebSocket];

    const fn text(self) -> &'static str {
        match self {
            Self::Events => "server-sent events",
            Self::WebSocket => "WebSocket",
        }
    }

    /// What is sent to begin with.
    fn request(self, address: &str, channel: &str) -> String {
        match self {
            Self::Events => format!("GET /api/v1/stream?channels={channel} HTTP/1.1\r\nHost: {address}\r\n\r\n"),
            Self::WebSocket => format!(
                "GET /api/v1/ws?channels={channel} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\n\
                 Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            ),
        }
    }
}

/// How soon those who follow in one way were told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told {
    place: Place,
    way: Way,
    subscribers: usize,
    trades: usize,
    latency: Latency,
}

/// What a server uses that has nothing to do.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Idle {
    place: Place,
    connections: usize,
    resident_before: u64,
    resident_after: u64,
    /// Hundredths of one processor, with nobody there and with everybody.
    busy_before: f64,
    busy_after: f64,
}

impl Idle {
    fn megabytes(&self) -> f64 {
        megabytes(self.resident_after.saturating_sub(self.resident_before))
    }
}

/// What was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LiveReport {
    pub(super) command: String,
    pub(super) cores: usize,
    /// The share of them that others used before the run.
    pub(super) busy_before: f64,
    pub(super) told: Vec<Told>,
    pub(super) idle: Vec<Idle>,
}

/// Lets this process, and the servers that it starts, have as many connections as it may.
pub(super) fn raise_limit() -> anyhow::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).context("cannot ask how many files may be open")?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("cannot raise how many files may be open")
}

/// Starts a server in this place, and measures how soon subscribers are told of trades.
pub(super) async fn delivery(
    place: Place,
    binary: &Path,
    database: Option<&Database>,
    length: Duration,
    interrupts: &Interrupts,
) -> anyhow::Result<Vec<Told>> {
    let folder = tempfile::Builder::new().prefix("bellwether-bench-").tempdir().context("cannot make a folder")?;
    let server = start(place, binary, database, &folder.path().join("one"), interrupts).await?;
    let other = match place {
        Place::OtherServer => Some(start(place, binary, database, &folder.path().join("two"), interrupts).await?),
        Place::Sqlite | Place::Postgres => None,
    };
    let world = interrupts.or(World::prepare(&server, length)).await?;
    eprintln!("bench: {}: {SUBSCRIBERS} follow a market", place.text());
    let address = other.as_ref().map_or(&server.address, |other| &other.address);
    let told = interrupts.or(world.measure(place, &server.address, address)).await?;
    server.stop().await?;
    if let Some(other) = other {
        other.stop().await?;
    }
    Ok(told)
}

/// Starts a server in this place, and measures what it costs that many wait.
pub(super) async fn idle(
    place: Place,
    binary: &Path,
    database: Option<&Database>,
    interrupts: &Interrupts,
) -> anyhow::Result<Idle> {
    let folder = tempfile::Builder::new().prefix("bellwether-bench-").tempdir().context("cannot make a folder")?;
    let server = start(place, binary, database, &folder.path().join("one"), interrupts).await?;
    let process = Process::started_with(&["--listen", &server.address])?;
    eprintln!("bench: {}: {IDLE} connections", place.text());
    let measure = async {
        // What the first request of a kind takes once is no cost of connections.
        drop(connect_all(&server.address, "markets", 10).await?);
        let resident_before = process.resident_bytes()?;
        let busy_before = busy(process).await?;
        let connections = connect_all(&server.address, "markets", IDLE).await?;
        let busy_after = busy(process).await?;
        let resident_after = process.resident_bytes()?;
        let connections = connections.len();
        Ok(Idle { place, connections, resident_before, resident_after, busy_before, busy_after })
    };
    let idle = interrupts.or(measure).await?;
    server.stop().await?;
    Ok(idle)
}

async fn start(
    place: Place,
    binary: &Path,
    database: Option<&Database>,
    folder: &Path,
    interrupts: &Interrupts,
) -> anyhow::Result<Server> {
    let mut settings = UNLIMITED.to_vec();
    settings.extend([
        ("BELLWETHER_PASSWORD_COST", "4"),
        ("BELLWETHER_SIGNUP_GRANT", "100000000"),
        ("BELLWETHER_STREAMS_PER_ADDRESS", "10000"),
        // Servers on one database have one secret.
        ("BELLWETHER_SECRET_KEY", "bWVhc3VyZWQgYWxvbmcgd2l0aCBpdHMgbmVpZ2hib3Vycw=="),
    ]);
    std::fs::create_dir_all(folder).context("cannot make a folder")?;
    let installation = Installation {
        binary: binary.to_owned(),
        data: folder.join("data"),
        database_url: database.map(|database| database.url.clone()),
        log: folder.join("server.log"),
        settings: owned(&settings),
    };
    installation.start(interrupts).await.with_context(|| format!("{} does not start", place.text()))
}

/// How many hundredths of a processor a process uses.
async fn busy(process: Process) -> anyhow::Result<f64> {
    let (before, start) = (process.processor_time()?, Instant::now());
    tokio::time::sleep(WATCHED).await;
    let used = process.processor_time()?.saturating_sub(before);
    Ok(used.as_secs_f64() / start.elapsed().as_secs_f64() * 100.0)
}

/// A market in which an order rests that all others fill, and who places them.
struct World {
    market: String,
    taker: User,
    trades: usize,
}

impl World {
    async fn prepare(server: &Server, length: Duration) -> anyhow::Result<Self> {
        let api = Api::new(&server.address)?;
        let (maker, taker) = (api.sign_up("bench-maker").await?, api.sign_up("bench-taker").await?);
        let market = api.open_market(&maker, "bench-live").await?;
        let mut connection = Connection::open(&server.address).await?;
        place(&mut connection, &maker, &market, "NO", "0.600", 1_000_000, "rests").await?;
        let wanted = length.as_millis() / BETWEEN_TRADES.as_millis();
        Ok(Self { market, taker, trades: WARM_UP + usize::try_from(wanted)? })
    }

    /// Has all follow at one address while trades are made at the other.
    async fn measure(&self, place: Place, trading: &str, following: &str) -> anyhow::Result<Vec<Told>> {
        let connections = connect_all(following, &format!("market:{}", self.market), SUBSCRIBERS).await?;
        let mut listening = JoinSet::new();
        for (way, connection) in connections {
            let trades = self.trades;
            listening.spawn(async move { listen(connection, trades).await.map(|heard| (way, heard)) });
        }
        let sent = self.trade(trading).await?;
        let mut told = Way::ALL.map(|way| (way, 0, Vec::new()));
        while let Some(heard) = listening.join_next().await {
            let (way, heard) = heard.context("one who followed panicked")??;
            for (_, subscribers, latencies) in told.iter_mut().filter(|(of, _, _)| *of == way) {
                *subscribers += 1;
                let took = sent.iter().zip(&heard).skip(WARM_UP);
                latencies.extend(took.map(|(sent, heard)| heard.saturating_duration_since(*sent)));
            }
        }
        let trades = self.trades - WARM_UP;
        let of_way = |(way, subscribers, mut latencies): (Way, usize, Vec<Duration>)| Told {
            place,
            way,
            subscribers,
            trades,
            latency: Latency::of(&mut latencies),
        };
        Ok(told.map(of_way).into())
    }

    /// Makes the trades; when each was sent.
    async fn trade(&self, address: &str) -> anyhow::Result<Vec<Instant>> {
        let mut connection = Connection::open(address).await?;
        let mut sent = Vec::with_capacity(self.trades);
        let mut ticks = tokio::time::interval(BETWEEN_TRADES);
        for number in 0..self.trades {
            ticks.tick().await;
            sent.push(Instant::now());
            place(&mut connection, &self.taker, &self.market, "YES", "0.400", 1, &format!("trade-{number}")).await?;
        }
        Ok(sent)
    }
}

async fn place(
    connection: &mut Connection,
    user: &User,
    market: &str,
    outcome: &str,
    price: &str,
    quantity: u32,
    key: &str,
) -> anyhow::Result<()> {
    let body = json!({
        "marketId": market, "outcome": outcome, "side": "buy", "type": "limit", "price": price, "quantity": quantity,
    })
    .to_string();
    let token = Some(user.token());
    let request = Request { method: "POST", path: "/orders", token, idempotency_key: Some(key), body: &body };
    let answer = connection.send(&request).await?;
    anyhow::ensure!(answer.status == 201, "an order is answered {}", String::from_utf8_lossy(answer.body));
    Ok(())
}

/// Has so many follow a channel, half by each way; they have all been greeted.
async fn connect_all(address: &str, channel: &str, count: usize) -> anyhow::Result<Vec<(Way, TcpStream)>> {
    let (mut connecting, mut connections) = (JoinSet::new(), Vec::with_capacity(count));
    for number in 0..count {
        if connecting.len() == AT_ONCE
            && let Some(connected) = connecting.join_next().await
        {
            connections.push(connected.context("a client panicked")??);
        }
        let way = if number % 2 == 0 { Way::Events } else { Way::WebSocket };
        let (address, request) = (address.to_owned(), way.request(address, channel));
        connecting.spawn(async move {
            let greeted = tokio::time::timeout(PATIENCE, greeted(&address, &request)).await;
            greeted.context("nobody was greeted in time")?.map(|connection| (way, connection))
        });
    }
    while let Some(connected) = connecting.join_next().await {
        connections.push(connected.context("a client panicked")??);
    }
    Ok(connections)
}

/// Connects, and waits for the greeting.
async fn greeted(address: &str, request: &str) -> anyhow::Result<TcpStream> {
    let mut connection = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
    connection.write_all(request.as_bytes()).await?;
    let mut heard = Vec::new();
    while occurrences(&heard, HELLO) == 0 {
        anyhow::ensure!(connection.read_buf(&mut heard).await? > 0, "refused: {}", String::from_utf8_lossy(&heard));
    }
    Ok(connection)
}

/// Waits for so many trades; when each was heard of.
async fn listen(mut connection: TcpStream, trades: usize) -> anyhow::Result<Vec<Instant>> {
    let mut times = Vec::with_capacity(trades);
    let mut heard = Vec::with_capacity(4096);
    while times.len() < trades {
        let read = tokio::time::timeout(PATIENCE, connection.read_buf(&mut heard)).await;
        anyhow::ensure!(read.context("no trade is told of any more")?? > 0, "a stream has ended");
        let now = Instant::now();
        times.extend(std::iter::repeat_n(now, occurrences(&heard, TRADE)));
        // What is left may be the beginning of another one.
        let kept = heard.len().saturating_sub(TRADE.len() - 1);
        heard.drain(..kept);
    }
    times.truncate(trades);
    Ok(times)
}

/// How often `wanted` is in there. It does not overlap itself.
fn occurrences(text: &[u8], wanted: &[u8]) -> usize {
    text.windows(wanted.len()).filter(|window| *window == wanted).count()
}

fn megabytes(bytes: u64) -> f64 {
    float(usize::try_from(bytes / 1024).unwrap_or(usize::MAX)) / 1024.0
}

impl LiveReport {
    /// The page.
    pub(super) fn text(&self) -> String {
        let told = self.told.iter().map(|row| {
            vec![
                format!("{}: {}", row.place.text(), row.way.text()),
                row.subscribers.to_string(),
                format!("{:.1}", row.latency.p50_ms),
                format!("{:.1}", row.latency.p90_ms),
                format!("{:.1}", row.latency.p99_ms),
                format!("{:.1}", row.latency.p999_ms),
                format!("below {WANTED_P99_MS:.0}"),
            ]
        });
        let idle = self.idle.iter().map(|row| {
            vec![
                row.place.text().to_owned(),
                row.connections.to_string(),
                format!("{:.0}", megabytes(row.resident_before)),
                format!("{:.0}", megabytes(row.resident_after)),
                format!("{:.0}", row.megabytes()),
                format!("below {WANTED_MEGABYTES:.0}"),
                format!("{:.1}", row.busy_before),
                format!("{:.1}", row.busy_after),
            ]
        });
        format!(
            "# Benchmarks: live streams\n\n\
             Written by `{}` on a machine with {} cores that load, server and database share.\n{}\n\
             ## How soon a trade is told\n\n{}\n\
             {SUBSCRIBERS} clients follow a market, half by each way, while somebody fills a resting order, {} times in a second. The \
             time counts\nfrom the sending of the order to when the message is read, for each client and trade; {} trades. With \
             each trade there is\na `book.changed` besides.\n\n\
             ## What it costs that many wait\n\n{}\n\
             Resident memory of the server before and after clients have connected, half by each way, to follow `markets`, in which \
             nothing\nhappens; and how much of one processor it uses, in hundredths, with nobody there and with everybody.\n",
            self.command,
            self.cores,
            of_others(self.busy_before),
            table(&["", "clients", "p50 (ms)", "p90 (ms)", "p99 (ms)", "p99.9 (ms)", "p99 wanted"], told),
            1000 / BETWEEN_TRADES.as_millis().max(1),
            self.told.first().map_or(0, |row| row.trades),
            table(
                &[
                    "",
                    "clients",
                    "before (MB)",
                    "after (MB)",
                    "they cost (MB)",
                    "wanted",
                    "busy before (%)",
                    "busy after (%)"
                ],
                idle
            ),
        )
    }

    /// Writes `live.md` and `live.json` in `docs/benchmarks`.
    pub(super) fn write(&self, root: &Path) -> anyhow::Result<()> {
        write_page(root, "live", &self.text(), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_how_soon_and_at_what_cost() {
        let latency = Latency { p99_ms: 12.3, ..Latency::default() };
        let told = Told { place: Place::Sqlite, way: Way::Events, subscribers: 500, trades: 200, latency };
        let idle = Idle {
            place: Place::Postgres,
            connections: 5000,
            resident_before: 30 << 20,
            resident_after: 90 << 20,
            busy_before: 0.25,
            busy_after: 1.0,
        };
        let command = "cargo xtask bench --live".to_owned();
        let text = LiveReport { command, cores: 2, busy_before: 0.0, told: vec![told], idle: vec![idle] }.text();
        assert!(text.contains("| SQLite: server-sent events | 500 | 0.0 | 0.0 | 12.3 | 0.0 | below 100 |"), "{text}");
        assert!(text.contains("| PostgreSQL | 5000 | 30 | 90 | 60 | below 100 | 0.2 | 1.0 |"), "{text}");
    }

    #[test]
    fn counts_what_is_heard_in_pieces() {
        assert_eq!(occurrences(b"xabxab", b"ab"), 2);
        assert_eq!(occurrences(b"a", b"ab"), 0);
    }
}
