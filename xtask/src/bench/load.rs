//! The load: traders that send orders over kept connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;
use tokio::task::JoinSet;

use crate::bench::report::{Measured, percentiles};
use crate::kill::api::{Api, User};

/// How many markets the orders spread over.
const MARKETS: usize = 100;

/// A server that is ready to be measured.
pub(super) struct Load {
    http: reqwest::Client,
    base: String,
    traders: Arc<Vec<User>>,
    markets: Arc<Vec<String>>,
    /// Tells orders and keys of one measurement from those of another.
    next_key: Arc<AtomicU64>,
}

impl Load {
    /// Signs traders up, at least two, and opens the markets.
    pub(super) async fn prepare(address: &str, clients: usize) -> anyhow::Result<Self> {
        let api = Api::new(address)?;
        let mut traders = Vec::new();
        for number in 0..clients.max(2) {
            traders.push(api.sign_up(&format!("bench-{number}")).await?);
        }
        let creator = traders.first().context("there are no traders")?;
        let mut markets = Vec::new();
        for number in 0..MARKETS {
            markets.push(api.open_market(creator, &format!("bench-{number}")).await?);
        }
        let http = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(clients)
            .timeout(Duration::from_secs(20))
            .build()?;
        let next_key = Arc::new(AtomicU64::new(0));
        Ok(Self {
            http,
            base: format!("http://{address}/api/v1"),
            traders: Arc::new(traders),
            markets: Arc::new(markets),
            next_key,
        })
    }

    /// Orders from so many clients. Each sends pairs to a random market: one trader bids for `YES`,
    /// another buys `NO` at the complement, so that the second fills the first.
    pub(super) async fn orders(&self, store: &str, clients: usize, length: Duration) -> anyhow::Result<Measured> {
        let until = Instant::now() + length;
        let mut tasks = JoinSet::new();
        for client in 0..clients {
            let pair = Pair {
                http: self.http.clone(),
                url: format!("{}/orders", self.base),
                traders: Arc::clone(&self.traders),
                markets: Arc::clone(&self.markets),
                next_key: Arc::clone(&self.next_key),
                client,
            };
            tasks.spawn(async move { pair.send_until(until).await });
        }
        gather(&format!("{store}: orders"), clients, length, tasks).await
    }

    /// Reads of one market from so many clients.
    pub(super) async fn reads(&self, store: &str, clients: usize, length: Duration) -> anyhow::Result<Measured> {
        let market = self.markets.first().context("there are no markets")?;
        let (until, url) = (Instant::now() + length, format!("{}/markets/{market}", self.base));
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let (http, url) = (self.http.clone(), url.clone());
            tasks.spawn(async move {
                let mut done = Done::default();
                while Instant::now() < until {
                    done.count(http.get(&url)).await;
                }
                done
            });
        }
        gather(&format!("{store}: reads"), clients, length, tasks).await
    }
}

/// What one client did.
#[derive(Default)]
struct Done {
    latencies: Vec<Duration>,
    failed: u64,
}

impl Done {
    /// Sends a request and counts its answer.
    async fn count(&mut self, request: reqwest::RequestBuilder) {
        let start = Instant::now();
        let answer = request.send().await;
        let is_done = match answer {
            // The answer is read to its end, so that the connection is free again.
            Ok(answer) => answer.status().is_success() && answer.bytes().await.is_ok(),
            Err(_) => false,
        };
        if is_done { self.latencies.push(start.elapsed()) } else { self.failed += 1 }
    }
}

/// A client that sends pairs of orders.
struct Pair {
    http: reqwest::Client,
    url: String,
    traders: Arc<Vec<User>>,
    markets: Arc<Vec<String>>,
    next_key: Arc<AtomicU64>,
    client: usize,
}

impl Pair {
    async fn send_until(&self, until: Instant) -> Done {
        let mut done = Done::default();
        while Instant::now() < until {
            let market = self.pick(&self.markets, rand::random::<u32>());
            for (step, (outcome, price)) in [("YES", "0.500"), ("NO", "0.500")].into_iter().enumerate() {
                let (Some(market), Some(trader)) =
                    (market, self.traders.get((self.client + step) % self.traders.len()))
                else {
                    return done;
                };
                let body = json!({
                    "marketId": market, "outcome": outcome, "side": "buy", "type": "limit",
                    "price": price, "quantity": 1, "selfTradePrevention": "cancel_oldest",
                });
                let key = format!("bench-{}", self.next_key.fetch_add(1, Ordering::Relaxed));
                let request =
                    self.http.post(&self.url).header("Idempotency-Key", key).bearer_auth(trader.token()).json(&body);
                done.count(request).await;
            }
        }
        done
    }

    fn pick<'a>(&self, markets: &'a [String], random: u32) -> Option<&'a String> {
        let count = u32::try_from(markets.len()).ok()?;
        markets.get(usize::try_from(random.checked_rem(count)?).ok()?)
    }
}

async fn gather(what: &str, clients: usize, length: Duration, mut tasks: JoinSet<Done>) -> anyhow::Result<Measured> {
    let start = Instant::now();
    let (mut latencies, mut failed) = (Vec::new(), 0);
    while let Some(done) = tasks.join_next().await {
        let done = done.context("a client panicked")?;
        latencies.extend(done.latencies);
        failed += done.failed;
    }
    let seconds = start.elapsed().max(length).as_secs_f64();
    let count = u32::try_from(latencies.len()).context("more requests than can be counted")?;
    let per_second = f64::from(count) / seconds;
    Ok(Measured { what: what.to_owned(), clients, per_second, failed, latency_ms: percentiles(&mut latencies) })
}
