//! A throw-away PostgreSQL server, and a streaming replica of it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::Signal;
use tokio::process::Command;

use crate::interrupts::Interrupts;
use crate::process;
use crate::services::sandbox::{Sandbox, free_port, random_password, tail};

const NAME: &str = "PostgreSQL";
const REPLICA_NAME: &str = "PostgreSQL (replica)";
const ROLE: &str = "bellwether";
const DATABASE: &str = "bellwether";
const START_LIMIT: Duration = Duration::from_secs(60);
/// The pause before a server that did not start is started again.
const PAUSE: Duration = Duration::from_millis(100);

/// A server that takes writes.
#[derive(Debug)]
pub(super) struct Primary {
    /// An empty database, whose role may create more of them.
    pub(super) url: String,
    port: u16,
    password: String,
    place: Place,
}

impl Primary {
    /// Ends it without any leave-taking: SIGKILL as by the kernel, SIGQUIT as by its `immediate` mode.
    pub(super) fn end(&self, signal: Signal, sandbox: &mut Sandbox) -> anyhow::Result<()> {
        sandbox.end(self.place.name, signal)
    }

    /// Starts it again after that, on its data and at its address.
    pub(super) async fn start_again(&self, sandbox: &mut Sandbox, interrupts: &Interrupts) -> anyhow::Result<()> {
        let started = Instant::now();
        // What it leaves behind when it is killed goes by itself, a moment later; till then it does not start.
        while started.elapsed() < START_LIMIT {
            if self.place.serve(self.port, sandbox, interrupts).await? {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        anyhow::bail!("{} does not start again:\n{}", self.place.name, tail(&self.place.log))
    }
}

/// Where a server's programs, data and log are.
#[derive(Debug)]
struct Place {
    name: &'static str,
    programs: PathBuf,
    folder: PathBuf,
    data: PathBuf,
    log: PathBuf,
}

/// Creates a cluster and starts it.
pub(super) async fn start(programs: &Path, sandbox: &mut Sandbox, interrupts: &Interrupts) -> anyhow::Result<Primary> {
    let folder = sandbox.path("postgres");
    let data = folder.join("data");
    let log = sandbox.path("postgres.log");
    let password = random_password();
    sandbox.account().create_folder(&folder)?;

    let password_file = folder.join("password");
    sandbox.account().create_file(&password_file, &format!("{password}\n"))?;
    let mut initdb = sandbox.command(&programs.join("initdb"), &folder, &log)?;
    initdb
        .arg("--pgdata")
        .arg(&data)
        .args(["--username", ROLE, "--encoding", "UTF8", "--no-locale", "--auth-local", "reject"])
        // Not scram-sha-256: its thousands of rounds on the client's side, in an unoptimised
        // build, would take longer than most tests, and the password never leaves this machine.
        .args(["--auth-host", "password", "--pwfile"])
        .arg(&password_file)
        // Concerns this one command: nothing is in the cluster yet that could be lost.
        .arg("--no-sync");
    let status = process::run(Command::from(initdb), interrupts).await?;
    anyhow::ensure!(status.success(), "initdb failed ({status}):\n{}", tail(&log));

    // A server for one session, on its standard input: so no client program is needed.
    let mut single = sandbox.command(&programs.join("postgres"), &folder, &log)?;
    single.args(["--single", "-D"]).arg(&data).arg("postgres").stdin(Stdio::piped());
    let mut session = single.spawn().context("cannot start postgres")?;
    if let Some(mut stdin) = session.stdin.take() {
        writeln!(stdin, "CREATE DATABASE {DATABASE};").context("cannot speak to postgres")?;
    }
    let created =
        process::wait_blocking(&mut session, START_LIMIT) && session.wait().is_ok_and(|status| status.success());
    if !created {
        drop(session.kill());
    }
    anyhow::ensure!(created, "cannot create the database `{DATABASE}`:\n{}", tail(&log));

    let place = Place { name: NAME, programs: programs.to_owned(), folder, data, log };
    let port = place.serve_somewhere(sandbox, interrupts).await?;
    Ok(Primary { url: format!("postgres://{ROLE}:{password}@127.0.0.1:{port}/{DATABASE}"), port, password, place })
}

/// Copies a running primary, and starts the copy as its streaming replica; the URL of the same database there.
pub(super) async fn start_replica(
    primary: &Primary,
    programs: &Path,
    sandbox: &mut Sandbox,
    interrupts: &Interrupts,
) -> anyhow::Result<String> {
    let folder = sandbox.path("replica");
    let (data, log) = (folder.join("data"), sandbox.path("replica.log"));
    sandbox.account().create_folder(&folder)?;
    let mut copy = sandbox.command(&programs.join("pg_basebackup"), &folder, &log)?;
    copy.env("PGPASSWORD", &primary.password)
        .args(["--host", "127.0.0.1", "--port", &primary.port.to_string(), "--username", ROLE, "--no-password"])
        .args(["--checkpoint", "fast", "--wal-method", "stream", "--no-sync", "--write-recovery-conf", "--pgdata"])
        .arg(&data);
    let status = process::run(Command::from(copy), interrupts).await?;
    anyhow::ensure!(status.success(), "pg_basebackup failed ({status}):\n{}", tail(&log));
    let place = Place { name: REPLICA_NAME, programs: programs.to_owned(), folder, data, log };
    let port = place.serve_somewhere(sandbox, interrupts).await?;
    Ok(format!("postgres://{ROLE}:{}@127.0.0.1:{port}/{DATABASE}", primary.password))
}

impl Place {
    /// Starts a server on a free port; which one that is.
    async fn serve_somewhere(&self, sandbox: &mut Sandbox, interrupts: &Interrupts) -> anyhow::Result<u16> {
        // Another process may take the port between our asking for it and PostgreSQL's binding it.
        for _ in 0..3 {
            let port = free_port()?;
            if self.serve(port, sandbox, interrupts).await? {
                eprintln!("xtask: {} ({}) listens on 127.0.0.1:{port}", self.name, self.programs.display());
                return Ok(port);
            }
        }
        anyhow::bail!("{} does not start:\n{}", self.name, tail(&self.log))
    }

    /// Starts a server on that port, and waits until it takes connections (true) or has ended (false).
    async fn serve(&self, port: u16, sandbox: &mut Sandbox, interrupts: &Interrupts) -> anyhow::Result<bool> {
        let mut server = sandbox.command(&self.programs.join("postgres"), &self.folder, &self.log)?;
        server.arg("-D").arg(&self.data).args(["-p", &port.to_string()]);
        // Log files are used again rather than removed, as they are where a server has run for a while; in memory there
        // is no need for so many.
        let kept = if sandbox.is_in_memory() { ["80MB", "1GB"] } else { ["2GB", "4GB"] };
        for setting in [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={}", self.folder.display()),
            // As in production: what is acknowledged is on the disk.
            "synchronous_commit=on".to_owned(),
            "max_connections=300".to_owned(),
            format!("min_wal_size={}", kept[0]),
            format!("max_wal_size={}", kept[1]),
        ] {
            server.args(["-c", &setting]);
        }
        sandbox.start(self.name, server)?;
        let started = Instant::now();
        while started.elapsed() < START_LIMIT {
            interrupts.check()?;
            if sandbox.id(self.name).is_some_and(|id| self.is_ready(id)) {
                return Ok(true);
            }
            if !sandbox.is_running(self.name) {
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::bail!("{} is not ready after {} seconds", self.name, START_LIMIT.as_secs())
    }

    /// Whether the process of that id takes connections. `pg_ctl` looks at the same: the file's first line is the
    /// process, which may be one that was killed, and its eighth the state.
    fn is_ready(&self, id: u32) -> bool {
        let state = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let line = |number| state.lines().nth(number).map(str::trim);
        line(0) == Some(id.to_string().as_str()) && line(7).is_some_and(|state| ["ready", "standby"].contains(&state))
    }
}
