//! The measure that orders are held against: PostgreSQL's own benchmark program, running what one
//! matched order writes, as one transaction.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use tokio::process::Command;

use crate::bench::report::Measured;
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
    url: String,
    programs: PathBuf,
    folder: tempfile::TempDir,
}

impl Baseline {
    /// Makes the tables on the server of that URL.
    pub(super) async fn prepare(url: &str, interrupts: &Interrupts) -> anyhow::Result<Self> {
        let programs = programs()?;
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        std::fs::write(folder.path().join("order.sql"), SCRIPT)?;
        std::fs::write(folder.path().join("tables.sql"), TABLES)?;
        let mut command = Command::new(programs.join("psql"));
        command
            .args(["--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--file"])
            .arg(folder.path().join("tables.sql"))
            .arg(url);
        command.env("PGOPTIONS", "--client-min-messages=warning");
        process::read(command, interrupts).await.context("the baseline's tables cannot be made")?;
        Ok(Self { url: url.to_owned(), programs, folder })
    }

    /// Runs the script with so many clients.
    pub(super) async fn measure(
        &self,
        clients: usize,
        length: Duration,
        interrupts: &Interrupts,
    ) -> anyhow::Result<Measured> {
        let mut command = Command::new(self.programs.join("pgbench"));
        command
            .args(["--no-vacuum", "--protocol", "prepared", "--jobs", if clients > 1 { "2" } else { "1" }])
            .args(["--client", &clients.to_string(), "--time", &length.as_secs().to_string(), "--file"])
            .arg(self.folder.path().join("order.sql"))
            .arg(&self.url);
        let output = process::read(command, interrupts).await.context("pgbench failed")?;
        let output = String::from_utf8_lossy(&output);
        let per_second = number_after(&output, "tps = ").context("pgbench did not tell its transactions per second")?;
        let latency = number_after(&output, "latency average = ").unwrap_or(0.0);
        Ok(Measured { what: "pgbench".to_owned(), clients, per_second, failed: 0, latency_ms: vec![latency] })
    }
}

/// Where PostgreSQL's client programs are.
fn programs() -> anyhow::Result<PathBuf> {
    let in_path = process::find_in_path("pgbench").and_then(|program| program.parent().map(PathBuf::from));
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("pgbench").exists()).max();
    in_path.or(newest).context("pgbench is not there; it comes with PostgreSQL: apt-get install postgresql")
}

fn number_after(text: &str, label: &str) -> Option<f64> {
    let rest = text.split(label).nth(1)?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::number_after;

    #[test]
    fn reads_pgbenchs_figures() {
        let output = "latency average = 1.234 ms\ninitial connection time = 5 ms\ntps = 810.372640 (without initial connection time)";
        assert_eq!(number_after(output, "tps = "), Some(810.37264));
        assert_eq!(number_after(output, "latency average = "), Some(1.234));
        assert_eq!(number_after(output, "nothing = "), None);
    }
}
