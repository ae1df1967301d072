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
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;

use crate::cli::{Cli, Command};

/// Orders allocate much and little at a time, on several threads; the platform's allocator took a
/// quarter of what the server does for one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// So long the process waits at its end for what cannot be interrupted.
const LAST_PATIENCE: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    match on_runtime(run(Cli::parse())) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bellwether: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Does this work on a runtime of its own. Not actix's: storage runs on this multi-thread runtime, and actix's workers beside
/// it. Dropped, a runtime would wait for its threads for blocking work, such as for a check of an audit, which may take
/// minutes. Nothing that was acknowledged depends on them; the moment is for the stores to be closed.
fn on_runtime<R>(work: impl Future<Output = anyhow::Result<R>>) -> anyhow::Result<R> {
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(LAST_PATIENCE);
    done
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn the_end_does_not_wait_for_blocking_work() {
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        // Work that would never end.
        let (release, held) = channel::<()>();
        let (ended, has_ended) = channel();
        std::thread::spawn(move || {
            let done = on_runtime(async move {
                tokio::task::spawn_blocking(move || {
                    begun.send(()).unwrap();
                    let _ = held.recv();
                });
                has_begun.await?;
                Ok(())
            });
            ended.send(done.is_ok()).unwrap();
        });
        assert_eq!(has_ended.recv_timeout(Duration::from_secs(60)), Ok(true));
        drop(release);
    }
}
