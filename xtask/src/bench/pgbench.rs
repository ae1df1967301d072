//! The measure that orders are held against: PostgreSQL's own benchmark program, running what one
//! matched order writes, as one transaction.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::process::Command;

use crate::bench::latency::Latency;
use crate::bench::psql::Database;
use crate::interrupts::Interrupts;
use crate::process;

const TABLES: &str = "
DROP SCHEMA IF EXISTS baseline CASCADE; CREATE SCHEMA baseline;
CREATE TABLE baseline.markets (id int PRIMARY KEY, volume bigint NOT NULL, sequence bigint NOT NULL);
CREATE TABLE baseline.accounts (id int PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0), held bigint NOT NULL);
CREATE TABLE baseline.orders (id uuid PRIMARY KEY, market int NOT NULL, account int NOT NULL, price int NOT NULL,
    quantity bigint NOT NULL, remaining bigint NOT NULL, created_at timestamptz NOT NULL);
CREATE INDEX ON baseline.orders (market, price, created_at) WHERE remaining > 0;
CREATE TABLE baseline.trades (id uuid PRIMARY KEY, market int NOT NULL, price int NOT NULL, quantity bigint NOT NULL,
    created_at timestamptz NOT NULL);
CREATE TABLE baseline.transfers (id uuid PRIMARY KEY, payer int NOT NULL, payee int NOT NULL, amount bigint NOT NULL,
    created_at timestamptz NOT NULL);
CREATE TABLE baseline.positions (market int, account int, quantity bigint NOT NULL, PRIMARY KEY (market, account));
CREATE TABLE baseline.answers (account int, key uuid, body text NOT NULL, PRIMARY KEY (account, key));
INSERT INTO baseline.markets SELECT id, 0, 0 FROM generate_series(1, 100) id;
INSERT INTO baseline.accounts SELECT id, 1000000000000, 0 FROM generate_series(1, 1000) id;
INSERT INTO baseline.orders SELECT gen_random_uuid(), id, id, 500, 1000000000, 1000000000, now() FROM generate_series(1, 100) id;
";

const SCRIPT: &str = r"
\set market random(1, 100)
\set one random(1, 500)
\set other random(501, 1000)
BEGIN;
SELECT volume, sequence FROM baseline.markets WHERE id = :market FOR UPDATE;
SELECT id, balance, held FROM baseline.accounts WHERE id IN (:one, :other) ORDER BY id FOR UPDATE;
SELECT id, price, remaining FROM baseline.orders WHERE market = :market AND remaining > 0 ORDER BY price, created_at LIMIT 1;
INSERT INTO baseline.orders VALUES (gen_random_uuid(), :market, :one, 500, 10, 0, now());
UPDATE baseline.orders SET remaining = remaining - 10 WHERE market = :market AND remaining > 0;
UPDATE baseline.accounts SET balance = balance - 5000 WHERE id = :one;
UPDATE baseline.accounts SET balance = balance + 5000 WHERE id = :other;
UPDATE baseline.markets SET volume = volume + 5000, sequence = sequence + 1 WHERE id = :market;
INSERT INTO baseline.trades VALUES (gen_random_uuid(), :market, 500, 10, now());
INSERT INTO baseline.transfers VALUES (gen_random_uuid(), :one, :other, 5000, now());
INSERT INTO baseline.positions VALUES (:market, :one, 10), (:market, :other, -10)
    ON CONFLICT (market, account) DO UPDATE SET quantity = positions.quantity + excluded.quantity;
INSERT INTO baseline.answers VALUES (:one, gen_random_uuid(), '{}');
COMMIT;
";

/// The baseline's tables and script, ready to be measured.
pub(super) struct Baseline {
    database: Database,
    folder: TempDir,
}

/// What pgbench did.
pub(super) struct Transactions {
    /// How many were done.
    pub(super) count: usize,
    pub(super) per_second: f64,
    pub(super) failed: u64,
    pub(super) latency: Latency,
}

impl Baseline {
    /// Makes the tables in that database.
    pub(super) async fn prepare(database: &Database, interrupts: &Interrupts) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        fs::write(folder.path().join("order.sql"), SCRIPT)?;
        let tables = folder.path().join("tables.sql");
        fs::write(&tables, TABLES)?;
        database.run_file(&tables, interrupts).await.context("the baseline's tables cannot be made")?;
        Ok(Self { database: database.clone(), folder })
    }

    /// Runs the script with so many clients.
    pub(super) async fn measure(
        &self,
        clients: usize,
        length: Duration,
        interrupts: &Interrupts,
    ) -> anyhow::Result<Transactions> {
        let logs = tempfile::tempdir().context("cannot make a folder")?;
        let mut command = Command::new(self.database.program("pgbench"));
        command
            .args(["--no-vacuum", "--protocol", "prepared", "--jobs", if clients > 1 { "2" } else { "1" }])
            .args(["--client", &clients.to_string(), "--time", &length.as_secs().to_string()])
            .args(["--log", "--log-prefix"])
            .arg(logs.path().join("transactions"))
            .arg("--file")
            .arg(self.folder.path().join("order.sql"))
            .arg(&self.database.url);
        let output = process::read(command, interrupts).await.context("pgbench failed")?;
        let output = String::from_utf8_lossy(&output);
        let per_second = number_after(&output, "tps = ").context("pgbench did not tell its transactions per second")?;
        let failed = number_after(&output, "number of failed transactions: ").unwrap_or(0);
        let mut latencies = logged_latencies(logs.path())?;
        Ok(Transactions { count: latencies.len(), per_second, failed, latency: Latency::of(&mut latencies) })
    }
}

/// The latencies in pgbench's logs, one file for each of its threads.
fn logged_latencies(folder: &Path) -> anyhow::Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    for file in fs::read_dir(folder)? {
        let text = fs::read_to_string(file?.path())?;
        latencies.extend(text.lines().filter_map(logged_latency));
    }
    Ok(latencies)
}

/// The third field of a line: microseconds, or a word for a transaction that failed.
fn logged_latency(line: &str) -> Option<Duration> {
    line.split(' ').nth(2)?.parse().ok().map(Duration::from_micros)
}

fn number_after<T: std::str::FromStr>(text: &str, label: &str) -> Option<T> {
    let rest = text.split(label).nth(1)?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{logged_latency, number_after};

    #[test]
    fn reads_pgbenchs_figures() {
        let output = "number of failed transactions: 3 (0.000%)\ntps = 810.372640 (without initial connection time)";
        assert_eq!(number_after(output, "tps = "), Some(810.37264));
        assert_eq!(number_after(output, "number of failed transactions: "), Some(3));
        assert_eq!(number_after::<f64>(output, "nothing = "), None);
    }

    #[test]
    fn reads_latencies_of_transactions_that_were_done() {
        assert_eq!(logged_latency("0 199 2241 0 1175850568 995598"), Some(Duration::from_micros(2241)));
        assert_eq!(logged_latency("0 199 failed 0 1175850568 995598"), None);
        assert_eq!(logged_latency(""), None);
    }
}
