//! What is said while a replay runs, and at its end.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::client::show_mills;

/// How many differences are written out.
const SHOWN: usize = 20;

/// What was done so far.
#[derive(Debug)]
pub(super) struct Progress {
    started: Instant,
    orders_planned: u64,
    markets_planned: u64,
    orders: AtomicU64,
    trades: AtomicU64,
    markets: AtomicU64,
    latencies: Mutex<Vec<Duration>>,
    last_order: Mutex<Duration>,
}

impl Progress {
    /// Begins now.
    pub(super) fn begin(orders: usize, markets: usize) -> Self {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Self {
            started: Instant::now(),
            orders_planned: count(orders),
            markets_planned: count(markets),
            orders: AtomicU64::new(0),
            trades: AtomicU64::new(0),
            markets: AtomicU64::new(0),
            latencies: Mutex::new(Vec::with_capacity(orders)),
            last_order: Mutex::new(Duration::ZERO),
        }
    }

    /// An order was answered after so long, with so many fills.
    pub(super) fn order(&self, latency: Duration, fills: usize) {
        self.orders.fetch_add(1, Ordering::Relaxed);
        self.trades.fetch_add(u64::try_from(fills).unwrap_or(0), Ordering::Relaxed);
        if let Ok(mut latencies) = self.latencies.lock() {
            latencies.push(latency);
        }
        if let Ok(mut last) = self.last_order.lock() {
            *last = self.started.elapsed();
        }
    }

    /// A market was settled.
    pub(super) fn market(&self) {
        self.markets.fetch_add(1, Ordering::Relaxed);
    }

    /// Says on standard error how far it is, until it is dropped: every second on a terminal,
    /// every ten in a log.
    pub(super) async fn show(&self) {
        let is_terminal = std::io::stderr().is_terminal();
        let pause = Duration::from_secs(if is_terminal { 1 } else { 10 });
        loop {
            tokio::time::sleep(pause).await;
            let orders = self.orders.load(Ordering::Relaxed);
            let line = format!(
                "replay: {orders} of {} orders ({:.0}/s), {} of {} markets settled",
                self.orders_planned,
                per_second(orders, self.started.elapsed()),
                self.markets.load(Ordering::Relaxed),
                self.markets_planned
            );
            let mut stderr = std::io::stderr().lock();
            // Progress that cannot be shown is not worth stopping for.
            let _ = if is_terminal { write!(stderr, "\r\x1b[K{line}") } else { writeln!(stderr, "{line}") };
        }
    }

    /// The figures at the end.
    pub(super) fn finish(self) -> Figures {
        let mut latencies = self.latencies.into_inner().unwrap_or_default();
        latencies.sort_unstable();
        let trading = self.last_order.into_inner().unwrap_or_default();
        Figures {
            orders: self.orders.into_inner(),
            trades: self.trades.into_inner(),
            markets: self.markets.into_inner(),
            trading,
            elapsed: self.started.elapsed(),
            latencies: [50, 95, 99].map(|percent| percentile(&latencies, percent)),
        }
    }
}

/// The latency below or at which so many per cent of a sorted list lie.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

fn per_second(count: u64, time: Duration) -> f64 {
    let seconds = time.as_secs_f64();
    // Counts of orders are far below 2^32, where a double is exact.
    let count = u32::try_from(count).map_or(f64::INFINITY, f64::from);
    if seconds > 0.0 { count / seconds } else { 0.0 }
}

/// Counts and times.
#[derive(Debug, Clone)]
pub(super) struct Figures {
    orders: u64,
    trades: u64,
    markets: u64,
    /// From the first request about a market to the last order's answer.
    trading: Duration,
    elapsed: Duration,
    /// p50, p95 and p99 of an order's answer.
    latencies: [Duration; 3],
}

/// What a replay came to.
#[derive(Debug)]
pub(super) struct Report {
    /// Counts and times.
    pub(super) figures: Figures,
    /// How many traders signed up.
    pub(super) traders: usize,
    /// The volume of all markets, in mills.
    pub(super) volume: i64,
    /// How often a request was repeated because there was no answer.
    pub(super) repeats: u64,
    /// What was rounded or left out, and how often.
    pub(super) notes: BTreeMap<String, u64>,
    /// Where the server and the file differ.
    pub(super) differences: Vec<String>,
}

impl Report {
    /// One line of JSON.
    pub(super) fn json(&self) -> String {
        let [p50, p95, p99] = self.figures.latencies.map(milliseconds);
        let rate = per_second(self.figures.orders, self.figures.trading);
        json!({
            "orders": self.figures.orders,
            "ordersPerSecond": (rate * 10.0).round() / 10.0,
            "trades": self.figures.trades,
            "markets": self.figures.markets,
            "traders": self.traders,
            "volume": show_mills(self.volume),
            "latencyMs": { "p50": p50, "p95": p95, "p99": p99 },
            "seconds": (self.figures.elapsed.as_secs_f64() * 1000.0).round() / 1000.0,
            "repeats": self.repeats,
            "notes": self.notes,
            "differences": self.differences,
        })
        .to_string()
    }

    /// Some lines for people.
    pub(super) fn text(&self) -> String {
        let Figures { orders, trades, markets, trading, elapsed, latencies } = &self.figures;
        let [p50, p95, p99] = latencies.map(milliseconds);
        let mut lines = vec![
            format!("{orders} orders and {trades} trades of {} traders in {markets} markets", self.traders),
            format!("volume {} credits", show_mills(self.volume)),
            format!(
                "{:.0} orders/s; an order takes p50 {p50} ms, p95 {p95} ms, p99 {p99} ms",
                per_second(*orders, *trading)
            ),
            format!("{:.1} s in all; {} requests were repeated", elapsed.as_secs_f64(), self.repeats),
        ];
        lines.extend(self.notes.iter().map(|(what, count)| format!("{count:>7} {what}")));
        if self.differences.is_empty() {
            lines.push(
                "volume, trades and last price of every market and every payout are as the file implies".to_owned(),
            );
        } else {
            lines.push(format!("{} differences:", self.differences.len()));
            lines.extend(self.differences.iter().take(SHOWN).cloned());
        }
        lines.join("\n")
    }
}

/// Milliseconds with three decimals.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_percentiles_by_the_nearest_rank() {
        let sorted: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&sorted, 50), Duration::from_millis(100));
        assert_eq!(percentile(&sorted, 99), Duration::from_millis(198));
        assert_eq!(percentile(&sorted[..1], 99), Duration::from_millis(1));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }

    #[test]
    fn writes_the_report_as_one_line_of_json() {
        let progress = Progress::begin(2, 1);
        progress.order(Duration::from_micros(1500), 1);
        progress.market();
        let report = Report {
            figures: progress.finish(),
            traders: 3,
            volume: 12_345,
            repeats: 0,
            notes: BTreeMap::from([("left out".to_owned(), 2)]),
            differences: vec![],
        };
        let line = report.json();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert!(!line.contains('\n'));
        assert_eq!((&value["volume"], &value["trades"]), (&json!("12.345"), &json!(1)));
        assert!(report.text().contains("as the file implies"));
    }
}
