//! The server under test: one data folder and one database, many lives.

use std::ffi::OsStr;
use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::Signal;
use tokio::process::{Child, Command};

use crate::interrupts::Interrupts;
use crate::kill::api::Api;
use crate::{process, services};

/// How long the server may take until it serves; it migrates and recovers before that.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How long a graceful stop may take.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// How to start the server.
#[derive(Clone, Debug)]
pub(crate) struct Installation {
    pub(crate) binary: PathBuf,
    /// Where the server keeps its data.
    pub(crate) data: PathBuf,
    /// `None` for the embedded store in the data folder.
    pub(crate) database_url: Option<String>,
    /// Where its output goes.
    pub(crate) log: PathBuf,
    /// Settings beside the defaults, as environment variables.
    pub(crate) settings: Vec<(&'static str, String)>,
}

/// Settings for a load that all comes from one address, and as often as possible.
pub(crate) const UNLIMITED: [(&str, &str); 9] = [
    ("BELLWETHER_LIMIT_PUBLIC", "1000000000/1m"),
    ("BELLWETHER_LIMIT_USER", "1000000000/1m"),
    ("BELLWETHER_LIMIT_LOGIN", "1000000000/1m"),
    ("BELLWETHER_LIMIT_LOGIN_ADDRESS", "1000000000/1m"),
    ("BELLWETHER_LIMIT_LOGIN_ACCOUNT", "1000000000/1m"),
    ("BELLWETHER_LIMIT_PASSWORD", "1000000000/1m"),
    ("BELLWETHER_LIMIT_PASSWORD_ADDRESS", "1000000000/1m"),
    ("BELLWETHER_LIMIT_MADE", "1000000000/1m"),
    ("BELLWETHER_LIMIT_NEW_USERS", "1000000000/1m"),
];

/// Settings of texts that live for less long.
pub(crate) fn owned(settings: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// A life of the server. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
}

impl Installation {
    /// Starts the server on a port of its own and waits until it serves.
    pub(crate) async fn start(&self, interrupts: &Interrupts) -> anyhow::Result<Server> {
        // A new port for each life: the old one may be in use by another process by now.
        self.start_at(format!("127.0.0.1:{}", services::free_port()?), interrupts).await
    }

    /// Starts the server at an address, such as that of its last life, and waits until it serves.
    pub(crate) async fn start_at(&self, address: String, interrupts: &Interrupts) -> anyhow::Result<Server> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("cannot write {}", self.log.display()))?;
        let mut command = self.command("serve");
        command.args(["--listen", &address]).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("cannot start {}", process::name(&command)))?;
        let mut server = Server { child, address };
        interrupts.or(server.ready(self)).await?;
        Ok(server)
    }

    /// Runs the audit; its findings are the error.
    pub(crate) async fn audit(&self, interrupts: &Interrupts) -> anyhow::Result<()> {
        let mut command = self.command("audit");
        command.arg("--json").stdout(Stdio::piped()).kill_on_drop(true);
        let name = process::name(&command);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let output = interrupts.or(async { Ok(child.wait_with_output().await?) }).await?;
        anyhow::ensure!(
            output.status.success(),
            "the audit failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stdout).trim()
        );
        Ok(())
    }

    /// A command of the binary on this installation.
    pub(super) fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.binary);
        // Settings of the developer's own server must not reach this one.
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_setting(name)) {
            command.env_remove(name);
        }
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.arg(subcommand).arg("--data-dir").arg(&self.data).stdin(Stdio::null());
        if let Some(url) = &self.database_url {
            command.args(["--database-url", url]);
        }
        if let Some(parent) = self.data.parent() {
            // Nor must a configuration file in the folder that we were started from.
            command.current_dir(parent);
        }
        command
    }
}

impl Server {
    async fn ready(&mut self, installation: &Installation) -> anyhow::Result<()> {
        let api = Api::new(&self.address)?;
        let started = Instant::now();
        while started.elapsed() < READY_LIMIT {
            if api.is_ready().await {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait().context("cannot watch the server")? {
                anyhow::bail!("the server ended ({status}):\n{}", services::tail(&installation.log));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::bail!(
            "the server is not ready after {} seconds:\n{}",
            READY_LIMIT.as_secs(),
            services::tail(&installation.log)
        )
    }

    /// Ends the server as a power cut would, as far as a process can tell: SIGKILL.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        let ended = self.child.try_wait().context("cannot watch the server")?;
        if let Some(status) = ended {
            anyhow::bail!("the server ended by itself ({status}) before it was killed");
        }
        self.child.kill().await.context("cannot kill the server")
    }

    /// Asks the server to stop and waits for it.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(id) = self.child.id() {
            process::send(id, Signal::SIGTERM)?;
        }
        let status = tokio::time::timeout(STOP_LIMIT, self.child.wait())
            .await
            .with_context(|| format!("the server does not stop within {} seconds", STOP_LIMIT.as_secs()))?
            .context("cannot wait for the server")?;
        anyhow::ensure!(status.success(), "the server did not stop cleanly ({status})");
        Ok(())
    }
}

fn is_setting(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("BELLWETHER_") || name == "DATABASE_URL" || name == "REDIS_URL" || name == "REDIS_CLUSTER_URL"
}
