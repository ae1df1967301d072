//! Throw-away PostgreSQL and Redis servers.
//!
//! [`Services::start`] is for every task that needs a server; the command `cargo xtask services`
//! is a thin layer over it. Servers listen on free ports of 127.0.0.1 alone, ask for a random
//! password (other users of the machine must not get in), and keep their data in one temporary
//! folder. Both go when the [`Services`] value is dropped, and also when this process is killed:
//! see [`sandbox`].

mod account;
pub(crate) mod install;
pub(crate) mod memory;
mod postgres;
mod redis;
mod sandbox;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use nix::sys::signal::Signal;
use tokio::process::Command;

use crate::interrupts::Interrupts;
use crate::process;
use crate::services::sandbox::Sandbox;
pub(crate) use crate::services::sandbox::{free_port, tail};

/// Which servers `cargo xtask services` starts, and for what.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Start these alone, with commas between them.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Service>,
    /// Leave the servers up after the command has ended, until Ctrl-C: to look into the data.
    #[arg(long)]
    keep: bool,
    /// Runs with DATABASE_URL, DATABASE_REPLICA_URL, REDIS_URL and REDIS_CLUSTER_URL set; its exit code is passed on.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Service {
    Postgres,
    /// A streaming replica of that PostgreSQL.
    Replica,
    Redis,
    RedisCluster,
}

/// The servers that a task needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    pub(crate) postgres: bool,
    /// A replica of that; only with it.
    pub(crate) replica: bool,
    pub(crate) redis: bool,
    pub(crate) redis_cluster: bool,
}

impl Needs {
    pub(crate) const ALL: Self = Self { postgres: true, replica: true, redis: true, redis_cluster: true };
    pub(crate) const POSTGRES: Self = Self { postgres: true, replica: false, redis: false, redis_cluster: false };

    /// Whether the program of Redis is needed.
    fn redis_program(self) -> bool {
        self.redis || self.redis_cluster
    }

    fn is_empty(self) -> bool {
        !self.postgres && !self.redis_program()
    }
}

/// Servers that run as long as this value lives.
#[derive(Debug)]
pub(crate) struct Services {
    /// Where PostgreSQL is, when it was asked for.
    pub(crate) database_url: Option<String>,
    /// Where its replica is, when it was asked for and could be made: of a server that is not ours none is.
    pub(crate) replica_url: Option<String>,
    /// Where Redis is, when it was asked for.
    pub(crate) redis_url: Option<String>,
    /// Where the cluster of three Redis servers is, when it was asked for.
    pub(crate) redis_cluster_url: Option<String>,
    /// The servers that may be ended and started again, since they are ours.
    postgres: Option<postgres::Primary>,
    redis: Option<redis::Node>,
    /// Stops the servers when it is dropped; `None` when nothing had to be started.
    sandbox: Option<Sandbox>,
}

/// A server that [`Services`] can end and start again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    Postgres,
    Redis,
}

impl Services {
    /// Takes the servers that DATABASE_URL, REDIS_URL and REDIS_CLUSTER_URL name, and starts what else `needs` asks
    /// for, after installing it if that is possible. Their data are on the disk.
    ///
    /// # Errors
    /// When a server is neither there nor installable, or does not start: the message says how to
    /// get it by hand.
    pub(crate) async fn start(needs: Needs, interrupts: &Interrupts) -> anyhow::Result<Self> {
        Self::start_in(None, needs, interrupts).await
    }

    /// The same, with the data in memory where a folder in it is given.
    ///
    /// # Errors
    /// As [`Services::start`].
    pub(crate) async fn start_in(memory: Option<&Path>, needs: Needs, interrupts: &Interrupts) -> anyhow::Result<Self> {
        let mut services = Self {
            database_url: given("DATABASE_URL", needs.postgres),
            replica_url: given("DATABASE_REPLICA_URL", needs.replica),
            redis_url: given("REDIS_URL", needs.redis),
            redis_cluster_url: given("REDIS_CLUSTER_URL", needs.redis_cluster),
            postgres: None,
            redis: None,
            sandbox: None,
        };
        let missing = Needs {
            postgres: needs.postgres && services.database_url.is_none(),
            replica: needs.replica && services.database_url.is_none(),
            redis: needs.redis && services.redis_url.is_none(),
            redis_cluster: needs.redis_cluster && services.redis_cluster_url.is_none(),
        };
        if missing.is_empty() {
            return Ok(services);
        }
        let programs = install::find_or_install(missing, interrupts).await?;
        let mut sandbox = Sandbox::create(memory)?;
        if let Some(programs) = &programs.postgres {
            let primary = postgres::start(programs, &mut sandbox, interrupts).await?;
            if missing.replica {
                services.replica_url =
                    Some(postgres::start_replica(&primary, programs, &mut sandbox, interrupts).await?);
            }
            services.database_url = Some(primary.url.clone());
            services.postgres = Some(primary);
        }
        if let Some(program) = &programs.redis {
            if missing.redis {
                let node = redis::start(program, &mut sandbox, interrupts).await?;
                services.redis_url = Some(node.url());
                services.redis = Some(node);
            }
            if missing.redis_cluster {
                services.redis_cluster_url = Some(redis::start_cluster(program, &mut sandbox, interrupts).await?);
            }
        }
        services.sandbox = Some(sandbox);
        Ok(services)
    }

    /// Whether the server was started here, rather than named by the environment.
    pub(crate) fn owns(&self, which: Own) -> bool {
        match which {
            Own::Postgres => self.postgres.is_some(),
            Own::Redis => self.redis.is_some(),
        }
    }

    /// Ends a server that is ours without any leave-taking. Redis by SIGKILL, whatever the signal.
    pub(crate) fn end(&mut self, which: Own, signal: Signal) -> anyhow::Result<()> {
        let sandbox = self.sandbox.as_mut().context("no server is ours")?;
        match which {
            Own::Postgres => self.postgres.as_ref().context("PostgreSQL is not ours")?.end(signal, sandbox),
            Own::Redis => self.redis.as_ref().context("Redis is not ours")?.end(sandbox),
        }
    }

    /// Starts it again, on its data and at its address, and waits until it answers.
    pub(crate) async fn start_again(&mut self, which: Own, interrupts: &Interrupts) -> anyhow::Result<()> {
        let sandbox = self.sandbox.as_mut().context("no server is ours")?;
        match which {
            Own::Postgres => {
                let primary = self.postgres.as_ref().context("PostgreSQL is not ours")?;
                primary.start_again(sandbox, interrupts).await
            }
            Own::Redis => self.redis.as_ref().context("Redis is not ours")?.start_again(sandbox, interrupts).await,
        }
    }

    /// The variables by which a child process finds the servers.
    pub(crate) fn env(&self) -> Vec<(&'static str, &str)> {
        [
            ("DATABASE_URL", &self.database_url),
            ("DATABASE_REPLICA_URL", &self.replica_url),
            ("REDIS_URL", &self.redis_url),
            ("REDIS_CLUSTER_URL", &self.redis_cluster_url),
        ]
        .into_iter()
        .filter_map(|(name, url)| Some((name, url.as_deref()?)))
        .collect()
    }
}

/// The command `cargo xtask services`.
pub(crate) async fn run(options: Options, interrupts: &Interrupts) -> anyhow::Result<ExitCode> {
    let wanted = |service| options.only.is_empty() || options.only.contains(&service);
    let needs = Needs {
        postgres: wanted(Service::Postgres) || wanted(Service::Replica),
        replica: wanted(Service::Replica),
        redis: wanted(Service::Redis),
        redis_cluster: wanted(Service::RedisCluster),
    };
    let services = Services::start(needs, interrupts).await?;
    let mut code = ExitCode::SUCCESS;
    if let Some((program, args)) = options.command.split_first() {
        let mut command = Command::new(program);
        command.args(args).envs(services.env());
        code = process::exit_code(process::run(command, interrupts).await?);
        if !options.keep {
            return Ok(code);
        }
    }
    // On standard output and in a shell's own form, so that it can be pasted.
    let mut out = std::io::stdout();
    for (name, url) in services.env() {
        writeln!(out, "export {name}='{url}'")?;
    }
    out.flush()?;
    eprintln!("xtask: press Ctrl-C to stop the servers and remove their data");
    interrupts.received().await;
    Ok(code)
}

/// The value of `variable` if it is wanted and set; an empty one counts as unset.
fn given(variable: &str, wanted: bool) -> Option<String> {
    let url = std::env::var(variable).ok().filter(|url| wanted && !url.is_empty())?;
    eprintln!("xtask: using the server that {variable} names");
    Some(url)
}
