//! A throw-away PostgreSQL server, and a streaming replica of it.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::process::Command;

use crate::interrupts::Interrupts;
use crate::process;
use crate::services::sandbox::{Sandbox, free_port, random_password, tail};

const NAME: &str = "PostgreSQL";
const REPLICA_NAME: &str = "PostgreSQL (replica)";
const ROLE: &str = "bellwether";
const DATABASE: &str = "bellwether";
const START_LIMIT: Duration = Duration::from_secs(60);

/// A server that takes writes.
#[derive(Debug)]
pub(super) struct Primary {
    /// An empty database, whose role may create more of them.
    pub(super) url: String,
    port: u16,
    password: String,
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

    let port = serve(NAME, programs, sandbox, (&folder, &data, &log), interrupts).await?;
    Ok(Primary { url: format!("postgres://{ROLE}:{password}@127.0.0.1:{port}/{DATABASE}"), port, password })
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
    let port = serve(REPLICA_NAME, programs, sandbox, (&folder, &data, &log), interrupts).await?;
    Ok(format!("postgres://{ROLE}:{}@127.0.0.1:{port}/{DATABASE}", primary.password))
}

/// Starts a server on the data in the second of these places; its port.
async fn serve(
    name: &'static str,
    programs: &Path,
    sandbox: &mut Sandbox,
    (folder, data, log): (&Path, &Path, &Path),
    interrupts: &Interrupts,
) -> anyhow::Result<u16> {
    // Another process may take the port between our asking for it and PostgreSQL's binding it.
    for _ in 0..3 {
        let port = free_port()?;
        let mut server = sandbox.command(&programs.join("postgres"), folder, log)?;
        server.arg("-D").arg(data).args(["-p", &port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("unix_socket_directories={}", folder.display()),
            // As in production: what is acknowledged is on the disk.
            "synchronous_commit=on".to_owned(),
            "max_connections=200".to_owned(),
            // Log files are used again rather than removed, as they are where a server has run for a while.
            "min_wal_size=2GB".to_owned(),
            "max_wal_size=4GB".to_owned(),
        ] {
            server.args(["-c", &setting]);
        }
        sandbox.start(name, server)?;
        if is_ready(name, sandbox, data, interrupts).await? {
            eprintln!("xtask: {name} ({}) listens on 127.0.0.1:{port}", programs.display());
            return Ok(port);
        }
    }
    anyhow::bail!("{name} does not start:\n{}", tail(log))
}

/// Waits until the server takes connections (true) or has ended (false).
async fn is_ready(name: &str, sandbox: &mut Sandbox, data: &Path, interrupts: &Interrupts) -> anyhow::Result<bool> {
    let started = Instant::now();
    while started.elapsed() < START_LIMIT {
        interrupts.check()?;
        // `pg_ctl` looks at the same: the file's eighth line is the server's state.
        let state = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
        if state.lines().nth(7).is_some_and(|state| ["ready", "standby"].contains(&state.trim())) {
            return Ok(true);
        }
        if !sandbox.is_running(name) {
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!("{name} is not ready after {} seconds", START_LIMIT.as_secs())
}
