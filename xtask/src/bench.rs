//! `cargo xtask bench`: orders through HTTP with durable commits, beside what the database does with
//! the same money movement as one transaction an order. All in one run, so that ratios mean something.
//!
//! Load, server and database share the machine: absolute figures say little, ratios more.

mod load;
mod pgbench;
mod report;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::bench::load::Load;
use crate::bench::report::{Measured, Report};
use crate::cargo;
use crate::interrupts::Interrupts;
use crate::kill::server::Installation;
use crate::services::{Needs, Services};

/// How the benchmark runs.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many seconds each measurement lasts.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How many clients send at the same time, one measurement for each number.
    #[arg(long, value_delimiter = ',', default_value = "1,8,32,64")]
    clients: Vec<usize>,
    /// Which stores are measured.
    #[arg(long, value_enum, default_value_t = Stores::Both)]
    store: Stores,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Stores {
    Sqlite,
    Postgres,
    Both,
}

/// Measures, prints the table, and writes `docs/benchmarks.md` and `docs/benchmarks/latest.json`.
pub(crate) async fn run(options: Options, interrupts: &Interrupts) -> anyhow::Result<ExitCode> {
    let binary = cargo::build_server(true, interrupts).await?;
    let services = Services::start(Needs::POSTGRES, interrupts).await?;
    let url = services.database_url.clone().context("PostgreSQL was asked for and is not there")?;
    let length = Duration::from_secs(options.seconds);
    let mut rows = Vec::new();

    if options.store != Stores::Sqlite {
        let baseline = pgbench::Baseline::prepare(&url, interrupts).await?;
        for clients in &options.clients {
            eprintln!("bench: pgbench, one transaction an order, {clients} clients");
            rows.push(baseline.measure(*clients, length, interrupts).await?);
        }
        rows.extend(serve_and_measure("PostgreSQL", &binary, Some(url), &options, length, interrupts).await?);
    }
    if options.store != Stores::Postgres {
        rows.extend(serve_and_measure("SQLite", &binary, None, &options, length, interrupts).await?);
    }
    let report = Report { rows, seconds: options.seconds };
    print_table(&report.table());
    report.write(&cargo::workspace_root())?;
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "the table is what was asked for")]
fn print_table(table: &str) {
    println!("{table}");
}

/// Starts a server on an empty store, measures it, and audits what the load left.
async fn serve_and_measure(
    store: &'static str,
    binary: &Path,
    database_url: Option<String>,
    options: &Options,
    length: Duration,
    interrupts: &Interrupts,
) -> anyhow::Result<Vec<Measured>> {
    let folder = tempfile::Builder::new().prefix("bellwether-bench-").tempdir().context("cannot make a folder")?;
    let installation = Installation {
        binary: binary.to_owned(),
        data: folder.path().join("data"),
        database_url,
        log: folder.path().join("server.log"),
        // Traders who run out of money would measure refusals.
        settings: vec![("BELLWETHER_SIGNUP_GRANT", "1000000")],
    };
    let server = installation.start(interrupts).await?;
    let most = options.clients.iter().copied().max().unwrap_or(1);
    eprintln!("bench: {store}: signing up {most} traders, opening markets");
    let load = interrupts.or(Load::prepare(&server.address, most)).await?;
    let mut rows = Vec::new();
    for clients in &options.clients {
        eprintln!("bench: {store}: orders, {clients} clients");
        rows.push(interrupts.or(load.orders(store, *clients, length)).await?);
    }
    eprintln!("bench: {store}: reads of one market, {most} clients");
    rows.push(interrupts.or(load.reads(store, most, length)).await?);
    server.stop().await?;
    installation.audit(interrupts).await.with_context(|| format!("after the load on {store}"))?;
    Ok(rows)
}
