//! `cargo xtask explain`: fills both stores, has every read explained, prints the plans and how long reads took,
//! and fails where one reads a large table whole, sorts more than a page, or takes long.
//!
//! The work is done by the stores' own tests (`plans.rs` of each, over `conformance::plans`), which every run of
//! the tests includes with fewer rows.

use std::process::ExitCode;

use clap::Args;

use crate::interrupts::Interrupts;
use crate::services::{Needs, Services};
use crate::{cargo, process};

/// How full the stores are.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many rows each large table gets.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(12_000..))]
    rows: u64,
}

/// Runs the tests of the plans; the exit code is theirs.
pub(crate) async fn run(options: Options, interrupts: &Interrupts) -> anyhow::Result<ExitCode> {
    let services = Services::start(Needs::POSTGRES, interrupts).await?;
    let mut command = cargo::cargo();
    command
        .args(["test", "--package", "bellwether-sqlite", "--package", "bellwether-postgres", "--test", "it"])
        .args(["--no-fail-fast", "--", "plans::", "--nocapture"])
        .envs(services.env())
        .env("BELLWETHER_PLAN_ROWS", options.rows.to_string());
    Ok(process::exit_code(process::run(command, interrupts).await?))
}
