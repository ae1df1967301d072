//! The queue of jobs: how many small ones a server does, put aside while it is idle and done at once.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use crate::bench::latency::float;
use crate::bench::psql::Database;
use crate::bench::report::{of_others, write_page};
use crate::bench::tables::table;
use crate::interrupts::Interrupts;
use crate::kill::server::{Installation, UNLIMITED, owned};

/// How many jobs there are in a round.
const JOBS: usize = 20_000;
/// How many rounds; the first one warms up.
const ROUNDS: usize = 6;
/// How many are wanted in a second.
const WANTED: f64 = 2_000.0;
/// How long a round may take.
const LIMIT: Duration = Duration::from_secs(120);

/// What was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JobsReport {
    pub(super) command: String,
    pub(super) cores: usize,
    /// The share of them that others used before the run.
    pub(super) busy_before: f64,
    /// Jobs in a second, round by round.
    pub(super) per_second: Vec<f64>,
}

/// Starts a server, and measures how long it takes for what is put aside to be done.
pub(super) async fn measure(binary: &Path, database: &Database, interrupts: &Interrupts) -> anyhow::Result<Vec<f64>> {
    let folder = tempfile::Builder::new().prefix("bellwether-bench-").tempdir().context("cannot make a folder")?;
    let installation = Installation {
        binary: binary.to_owned(),
        data: folder.path().join("data"),
        database_url: Some(database.url.clone()),
        log: folder.path().join("server.log"),
        settings: owned(&UNLIMITED),
    };
    let server = installation.start(interrupts).await.context("the server does not start")?;
    let put_aside = format!(
        "INSERT INTO jobs (id, kind, payload, state, run_at, attempts, created_at) \
         SELECT gen_random_uuid(), 'probe', '', 'waiting', now(), 0, now() FROM generate_series(1, {JOBS}); \
         SELECT pg_notify('bellwether_jobs', 'probe')"
    );
    let mut rates = Vec::new();
    for round in 0..ROUNDS {
        database.run(&put_aside, interrupts).await?;
        let start = Instant::now();
        while database.run("SELECT count(*) FROM jobs WHERE kind = 'probe'", interrupts).await?.trim() != "0" {
            anyhow::ensure!(start.elapsed() < LIMIT, "{JOBS} jobs were not done within {} s", LIMIT.as_secs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let rate = float(JOBS) / start.elapsed().as_secs_f64();
        eprintln!("bench: {rate:.0} jobs/s");
        if round > 0 {
            rates.push(rate);
        }
    }
    server.stop().await?;
    Ok(rates)
}

impl JobsReport {
    /// The page.
    pub(super) fn text(&self) -> String {
        let mean = self.per_second.iter().sum::<f64>() / float(self.per_second.len().max(1));
        let least = self.per_second.iter().copied().fold(f64::INFINITY, f64::min);
        let row = |what: &str, value: f64, wanted: String| vec![what.to_owned(), format!("{value:.0}"), wanted];
        let rows = [row("mean", mean, String::new()), row("least", least, format!("at least {WANTED:.0}"))];
        format!(
            "# Benchmarks: jobs\n\n\
             Written by `{}` on a machine with {} cores that server and database share.\n{}\n{}\n\
             {JOBS} jobs that do nothing (`probe`) are put aside on PostgreSQL at once, in each of {} rounds after one that\n\
             warms up, and one server does them: it claims them in batches, runs them, and tells in batches that they are\n\
             done. Each call is durable. The time is taken from when they are committed until none is left.\n",
            self.command,
            self.cores,
            of_others(self.busy_before),
            table(&["", "jobs/s", "wanted"], rows.into_iter()),
            self.per_second.len(),
        )
    }

    /// Writes `jobs.md` and `jobs.json` in `docs/benchmarks`.
    pub(super) fn write(&self, root: &Path) -> anyhow::Result<()> {
        write_page(root, "jobs", &self.text(), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_mean_and_the_worst_round() {
        let command = "cargo xtask bench --jobs".to_owned();
        let report = JobsReport { command, cores: 2, busy_before: 0.0, per_second: vec![4000.0, 3000.0] };
        let text = report.text();
        assert!(text.contains("| mean | 3500 |") && text.contains("| least | 3000 | at least 2000 |"), "{text}");
    }
}
