//! `bellwether`: a self-hosted prediction-market server in one binary.

mod admin;
mod audit;
mod cache_follower;
mod cli;
mod config;
mod demo;
mod doctor;
mod event_relay;
mod job_worker;
mod keys;
mod lock;
mod logging;
mod metrics;
mod migrate;
mod pause;
mod replay;
mod serve;
mod settings;
mod ticker;
mod wiring;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

/// Orders allocate much and little at a time, on several threads; the platform's allocator took a
/// quarter of what the server does for one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

// Not `actix_web::main`: storage runs on this multi-thread runtime, and actix's workers beside it.
#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bellwether: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let command = cli.command.clone().unwrap_or(Command::Serve { role: None });
    let settings = || settings::Settings::load(&cli);
    let config = || config::Config::read(&settings()?);
    match command {
        Command::Serve { .. } => serve::run(config()?).await?,
        Command::Migrate(action) => migrate::run(&config()?, action).await?,
        Command::Admin(action) => admin::run(&config()?, action).await?,
        Command::Keys(action) => keys::run(&config()?, &action).await?,
        Command::Audit(args) => return audit::run(&config()?, args).await,
        Command::Demo => demo::run(&config()?).await?,
        Command::Doctor => {
            let settings = settings()?;
            return doctor::run(&config::Config::read(&settings)?, &settings).await;
        }
        Command::Config(cli::ConfigAction::Print) => {
            let settings = settings()?;
            config::Config::read(&settings)?;
            print_line(&settings.to_toml());
        }
        Command::Replay(args) => replay::run(args).await?,
        Command::Openapi => print_line(&format!("{:#}", bellwether_http::openapi())),
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a line to standard output: what a command was asked for, as against what it logs. A
/// reader that has gone away, such as `head`, is no error.
pub(crate) fn print_line(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
