//! `cargo xtask …`: what is done to the project rather than by it.
//!
//! Each command is a module of its own; this file only names them. Nothing of the product lives
//! here: the server's own commands are those of the `bellwether` binary.

mod arch;
mod bench;
mod cargo;
mod ci;
mod explain;
mod interrupts;
mod kill;
mod permissions;
mod process;
mod services;
mod test;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::interrupts::{Interrupted, Interrupts};

/// Development tasks of the Bellwether workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Hold the crates' dependencies against the table in xtask/src/arch.rs.
    Arch,
    /// Measure orders through HTTP on both stores, beside pgbench.
    Bench(bench::Options),
    /// Run what the continuous integration runs (.ci/run).
    Ci,
    /// Fill both stores, and print and check how every read is found.
    Explain(explain::Options),
    /// Kill the server and what it works with, again and again, and look for what was lost or done twice.
    Kill(kill::Options),
    /// Print who may do what, as Markdown, or hold docs/permissions.md against it.
    Permissions(permissions::Options),
    /// Start throw-away PostgreSQL and Redis servers, for a command or until Ctrl-C.
    Services(services::Options),
    /// Run every test, against throw-away PostgreSQL and Redis servers.
    Test {
        /// Handed to `cargo nextest run` (or `cargo test`): filters and flags.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.task) {
        Ok(code) => code,
        Err(error) => match error.downcast_ref::<Interrupted>() {
            Some(interrupted) => {
                eprintln!("xtask: {interrupted}");
                interrupted.exit_code()
            }
            None => {
                eprintln!("xtask: error: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

fn run(task: Task) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    runtime.block_on(async {
        let interrupts = Interrupts::listen()?;
        match task {
            Task::Arch => arch::run(&interrupts).await,
            // A load that is not optimised takes the machine from the server that it measures.
            Task::Bench(_) if cfg!(debug_assertions) => cargo::run_optimised(&interrupts).await,
            Task::Bench(options) => bench::run(options, &interrupts).await,
            Task::Ci => ci::run(&interrupts).await,
            Task::Explain(options) => explain::run(options, &interrupts).await,
            Task::Kill(options) => kill::run(options, &interrupts).await,
            Task::Permissions(options) => permissions::run(options, &interrupts).await,
            Task::Services(options) => services::run(options, &interrupts).await,
            Task::Test { args } => test::run(&args, &interrupts).await,
        }
    })
}
