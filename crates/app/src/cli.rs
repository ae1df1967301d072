//! The command line.

use std::path::PathBuf;

use clap::builder::{NonEmptyStringValueParser, RangedU64ValueParser};
use clap::{Args, Parser, Subcommand};

use crate::replay::ReplayArgs;

/// A self-hosted prediction-market server.
#[derive(Debug, Clone, Parser)]
#[command(name = "bellwether", version, about)]
pub(crate) struct Cli {
    /// The configuration file; by default bellwether.toml in the data folder, if it is there.
    #[arg(long, global = true, env = "BELLWETHER_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where to listen, such as 127.0.0.1:8080.
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,
    /// The folder for the database and the key.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// sqlite://PATH or postgres://USER:PASSWORD@HOST/DATABASE. Not empty, as an unset variable of a shell is: that would
    /// be another database than the one that is meant.
    #[arg(long, global = true, value_name = "URL", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) database_url: Option<String>,
    /// redis://USER:PASSWORD@HOST:PORT/DATABASE, for the cache "redis".
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) redis_url: Option<String>,
    /// What to do; serve, where nothing is said.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

impl Cli {
    /// The settings that were given as flags.
    #[must_use]
    pub(crate) fn flags(&self) -> Vec<(&'static str, &str)> {
        let role = match &self.command {
            Some(Command::Serve { role }) => role,
            _ => &None,
        };
        let given = [
            ("role", role),
            ("listen", &self.listen),
            ("data_dir", &self.data_dir),
            ("database_url", &self.database_url),
            ("redis_url", &self.redis_url),
        ];
        given.into_iter().filter_map(|(key, value)| value.as_deref().map(|v| (key, v))).collect()
    }
}

/// What the program can do.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Command {
    /// Serve the API. Migrates the database first.
    Serve {
        /// api, worker, or both: answer requests, do what is due in the background, or all of it.
        #[arg(long)]
        role: Option<String>,
    },
    /// Change the database's schema.
    #[command(subcommand)]
    Migrate(MigrateAction),
    /// Look after administrators.
    #[command(subcommand)]
    Admin(AdminAction),
    /// Look after the keys that sign access tokens.
    #[command(subcommand)]
    Keys(KeysAction),
    /// Check every invariant against the database. Exit code 1 and a list when one is broken.
    Audit(AuditArgs),
    /// Send recorded trades through the API of a running server, and check the outcome.
    Replay(ReplayArgs),
    /// Fill an empty server with lively markets.
    Demo,
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigAction),
    /// Check the set-up and say how to mend it.
    Doctor,
    /// Print the OpenAPI document of the API.
    Openapi,
}

/// Migrations.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum MigrateAction {
    /// Apply what is pending.
    Up,
    /// Revert the newest migrations. The rows that they hold are lost.
    Down {
        /// How many.
        #[arg(long, default_value_t = 1, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
        steps: usize,
    },
    /// List all migrations.
    Status,
}

/// Administrators.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum AdminAction {
    /// Make an administrator, or make one of the user with that address.
    Create {
        /// The address to sign in with.
        #[arg(long)]
        email: String,
        /// The name that others see.
        #[arg(long)]
        display_name: String,
        /// Read the password from standard input; at a terminal it is asked for, and not shown. (There is no flag for the
        /// password itself: others could read it.)
        #[arg(long, required = true)]
        password_stdin: bool,
    },
}

/// Signing keys.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum KeysAction {
    /// Begin to sign with a new key. Running servers pick it up within seconds, and nobody is signed
    /// out: the key before it verifies until its tokens have expired.
    Rotate {
        /// Trust no key from before any more, from now on. Clients have to refresh their access tokens.
        #[arg(long)]
        compromised: bool,
    },
    /// List the keys and what each is for.
    List,
}

/// How to audit.
#[derive(Debug, Clone, Args)]
pub(crate) struct AuditArgs {
    /// Answer in JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// List at most so many violations.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
}

/// The configuration.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ConfigAction {
    /// Print the values in force, and where each comes from. Secrets are masked.
    Print,
}
