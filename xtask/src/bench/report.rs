//! What was measured, as a table and as files.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

/// One measurement.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Measured {
    /// What was measured: `pgbench`, or a store and what was asked of it.
    pub(super) what: String,
    /// How many sent at the same time.
    pub(super) clients: usize,
    /// How many were done in a second.
    pub(super) per_second: f64,
    /// How many were not done, out of all that were sent.
    pub(super) failed: u64,
    /// Latency percentiles in milliseconds: the 50th, 95th and 99th. For pgbench the mean alone.
    pub(super) latency_ms: Vec<f64>,
}

/// All measurements of a run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) seconds: u64,
    pub(super) rows: Vec<Measured>,
}

impl Report {
    /// The table, with each row's ratio to pgbench at the same number of clients.
    pub(super) fn table(&self) -> String {
        let mut text = "| what | clients | per second | of pgbench | failed | latency in ms |\n| --- | ---: | ---: | ---: | ---: | --- |\n".to_owned();
        for row in &self.rows {
            let baseline = self.rows.iter().find(|r| r.what.starts_with("pgbench") && r.clients == row.clients);
            let is_order = row.what.ends_with("orders");
            let ratio = baseline
                .filter(|_| is_order)
                .map_or_else(String::new, |baseline| format!("{:.2}", row.per_second / baseline.per_second));
            let names: &[&str] = if row.latency_ms.len() == 1 { &["mean"] } else { &["p50", "p95", "p99"] };
            let latency: Vec<String> =
                names.iter().zip(&row.latency_ms).map(|(name, ms)| format!("{name} {ms:.2}")).collect();
            text.push_str(&format!(
                "| {} | {} | {:.0} | {ratio} | {} | {} |\n",
                row.what,
                row.clients,
                row.per_second,
                row.failed,
                latency.join(", ")
            ));
        }
        text
    }

    /// Writes `docs/benchmarks.md` and `docs/benchmarks/latest.json` below `root`.
    pub(super) fn write(&self, root: &Path) -> anyhow::Result<()> {
        let folder = root.join("docs/benchmarks");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let json = serde_json::to_string_pretty(self)?;
        std::fs::write(folder.join("latest.json"), json + "\n")?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let page = format!(
            "# Benchmarks\n\n\
             Written by `cargo xtask bench --seconds {}` on a machine with {cores} cores that load, server and database share.\n\
             Ratios of one run say something; absolute figures differ from machine to machine.\n\n{}\n\
             How to read it\n\
             - *pgbench* does with plain tables what one matched order does, as one transaction: it locks the market and both\n  \
             accounts, moves the money, and writes order, trade, transfer, positions and the idempotency record.\n\
             - *orders* are `POST /api/v1/orders` over kept connections with an `Idempotency-Key` each. One of each pair rests,\n  \
             the other fills it; both count. Commits are durable: `synchronous_commit = on`, `synchronous = FULL`.\n\
             - *reads* are `GET /api/v1/markets/{{id}}` of one market.\n\
             - After each load `bellwether audit` found nothing; else the run would have failed.\n",
            self.seconds,
            self.table()
        );
        std::fs::write(root.join("docs/benchmarks.md"), page).context("cannot write docs/benchmarks.md")
    }
}

/// The 50th, 95th and 99th percentile in milliseconds.
pub(super) fn percentiles(latencies: &mut [Duration]) -> Vec<f64> {
    latencies.sort_unstable();
    [50, 95, 99]
        .iter()
        .map(|percent| {
            let index = latencies.len().saturating_sub(1) * percent / 100;
            latencies.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_latencies() {
        let mut latencies: Vec<Duration> = (1..=101).rev().map(Duration::from_millis).collect();
        assert_eq!(percentiles(&mut latencies), [51.0, 96.0, 100.0]);
        assert_eq!(percentiles(&mut []), [0.0, 0.0, 0.0]);
    }

    #[test]
    fn ratios_compare_with_pgbench_at_the_same_number_of_clients() {
        let row = |what: &str, clients, per_second| Measured {
            what: what.to_owned(),
            clients,
            per_second,
            failed: 0,
            latency_ms: vec![1.0],
        };
        let rows = vec![row("pgbench", 1, 100.0), row("pgbench", 8, 400.0), row("SQLite: orders", 8, 300.0)];
        let table = Report { seconds: 1, rows }.table();
        assert!(table.contains("| SQLite: orders | 8 | 300 | 0.75 |"), "{table}");
    }
}
