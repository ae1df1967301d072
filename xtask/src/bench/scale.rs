//! How the same load fares on a store that is full: throughput, latency, start-up and memory beside
//! those of the empty store, in one run.

use std::path::Path;

use serde::Serialize;

use crate::bench::measured::{Measured, Name};
use crate::bench::report::{of_others, write_page};
use crate::bench::tables::table;

/// One store, empty and full.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Scaled {
    pub(super) subject: Name,
    pub(super) empty: State,
    pub(super) full: State,
}

/// What was measured on a store in one state.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct State {
    /// From the start of the process until it was ready.
    pub(super) start_seconds: f64,
    /// Resident memory of the server when it was ready.
    pub(super) idle_bytes: u64,
    /// The same after the loads.
    pub(super) loaded_bytes: u64,
    /// Closed loops; then an open loop at half of what the empty store did.
    pub(super) loads: Vec<Measured>,
}

/// The scale of a run and what it measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ScaleReport {
    pub(super) command: String,
    pub(super) cores: usize,
    /// The share of them that others used before the run.
    pub(super) busy_before: f64,
    /// Open orders that were added, and trades.
    pub(super) orders: u64,
    pub(super) trades: u64,
    pub(super) markets: u64,
    pub(super) users: u64,
    pub(super) stores: Vec<Scaled>,
}

impl ScaleReport {
    /// The page.
    pub(super) fn text(&self) -> String {
        let rows = self.stores.iter().flat_map(rows);
        format!(
            "# Benchmarks: the scale of the state\n\n\
             Written by `{}` on a machine with {} cores that load, server and database share.\n{}\n{}\n\
             Full means {} open orders more in {} markets, of {} users, and {} trades. One market was made through the API, and\n\
             copied with its orders, trades and transfers by the store's own SQL, to other users; the mixed load keeps to its 50\n\
             markets, and orders in pairs go to all, at random. *At the same rate* is an open loop at half of what the empty store\n\
             did in the closed one. The target is a ratio below 1.3 (for orders/s above 0.77), and a start in less than 5 s. Such a\n\
             store is not audited, since copies are in nobody's accounts.\n",
            self.command,
            self.cores,
            of_others(self.busy_before),
            table(&["", "empty", "full", "full of empty"], rows),
            self.orders,
            self.markets,
            self.users,
            self.trades,
        )
    }

    /// Writes `scale.md` and `scale.json` in `docs/benchmarks`.
    pub(super) fn write(&self, root: &Path) -> anyhow::Result<()> {
        write_page(root, "scale", &self.text(), self)
    }
}

fn rows(store: &Scaled) -> Vec<Vec<String>> {
    let name = store.subject.text();
    let mut rows = Vec::new();
    for (empty, full) in store.empty.loads.iter().zip(&store.full.loads) {
        let what = format!("{name}, {}", empty.load.name());
        if let Some(clients) = empty.clients {
            let title = format!("{what}, {clients} clients: orders/s");
            rows.push(row(title, empty.per_second, full.per_second, 0));
            let title = format!("{what}, {clients} clients: p99 in ms");
            rows.push(row(title, empty.latency.p99_ms, full.latency.p99_ms, 1));
        } else {
            let title = format!("{what} at the same rate: p99 in ms");
            rows.push(row(title, empty.latency.p99_ms, full.latency.p99_ms, 1));
        }
    }
    let (empty, full) = (&store.empty, &store.full);
    rows.push(row(format!("{name}: start in s"), empty.start_seconds, full.start_seconds, 2));
    rows.push(row(format!("{name}: MB idle"), megabytes(empty.idle_bytes), megabytes(full.idle_bytes), 0));
    let title = format!("{name}: MB after the loads");
    rows.push(row(title, megabytes(empty.loaded_bytes), megabytes(full.loaded_bytes), 0));
    rows
}

fn row(title: String, empty: f64, full: f64, decimals: usize) -> Vec<String> {
    vec![title, format!("{empty:.decimals$}"), format!("{full:.decimals$}"), format!("{:.2}", full / empty)]
}

fn megabytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / (1024 * 1024)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::load::Load;
    use crate::bench::measured::tests::row as measured;

    fn state(per_second: f64) -> State {
        let closed = measured(Name::Sqlite, Load::Pairs, 64, per_second);
        let open = Measured { clients: None, ..closed.clone() };
        State { start_seconds: 0.5, idle_bytes: 20 << 20, loaded_bytes: 40 << 20, loads: vec![closed, open] }
    }

    #[test]
    fn shows_the_full_store_beside_the_empty_one() {
        let store = Scaled { subject: Name::Sqlite, empty: state(1000.0), full: state(800.0) };
        let report = ScaleReport {
            command: "cargo xtask bench".to_owned(),
            cores: 2,
            busy_before: 0.0,
            orders: 1000,
            trades: 10_000,
            markets: 10,
            users: 100,
            stores: vec![store],
        };
        let text = report.text();
        assert!(text.contains("| SQLite, orders in pairs, 64 clients: orders/s | 1000 | 800 | 0.80 |"), "{text}");
        assert!(text.contains("| SQLite, orders in pairs at the same rate: p99 in ms | 8.0 | 8.0 | 1.00 |"), "{text}");
        assert!(text.contains("| SQLite: start in s | 0.50 | 0.50 | 1.00 |"), "{text}");
    }
}
