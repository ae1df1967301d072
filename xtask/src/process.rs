//! Child processes: run one to its end, pass its exit code on, and stop it when we are told to
//! stop.

use std::ffi::OsStr;
use std::io::IsTerminal as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::interrupts::{Interrupted, Interrupts};

/// How long a command may take to end after it was told to.
const GRACE: Duration = Duration::from_secs(15);

/// Runs `command` to its end with our own standard streams.
///
/// # Errors
/// When it cannot be started, or [`Interrupted`] when a signal came first; the command has then
/// ended too.
pub(crate) async fn run(mut command: Command, interrupts: &Interrupts) -> anyhow::Result<ExitStatus> {
    interrupts.check()?;
    let mut child = spawn(&mut command)?;
    tokio::select! {
        status = child.wait() => {
            status.with_context(|| format!("cannot wait for {}", name(&command)))
        }
        interrupted = interrupts.received() => {
            stop(&mut child, interrupted).await?;
            Err(interrupted.into())
        }
    }
}

/// Runs `command` to its end and returns what it wrote to standard output; standard error is ours.
///
/// # Errors
/// As [`run`], and when the command fails.
pub(crate) async fn read(mut command: Command, interrupts: &Interrupts) -> anyhow::Result<Vec<u8>> {
    interrupts.check()?;
    command.stdout(Stdio::piped()).kill_on_drop(true);
    let child = spawn(&mut command)?;
    let output = interrupts
        .or(async { child.wait_with_output().await.with_context(|| format!("cannot wait for {}", name(&command))) })
        .await?;
    anyhow::ensure!(output.status.success(), "{} failed ({})", name(&command), output.status);
    Ok(output.stdout)
}

/// Our own exit code for a child that ended with `status`.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    let code =
        status.code().or_else(|| status.signal().map(|signal| 128 + signal)).and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

/// The full path of `program`, if PATH has it.
pub(crate) fn find_in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

/// Sends `signal` to the process `id`. One that has ended already is no error.
pub(crate) fn send(id: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = i32::try_from(id).with_context(|| format!("{id} is no process id"))?;
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot send {} to process {id}", signal.as_str())),
    }
}

/// A command as one would type it, for messages.
pub(crate) fn name(command: &Command) -> String {
    let command = command.as_std();
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

fn spawn(command: &mut Command) -> anyhow::Result<Child> {
    command.spawn().with_context(|| format!("cannot start {}", name(command)))
}

async fn stop(child: &mut Child, interrupted: Interrupted) -> anyhow::Result<()> {
    let Some(id) = child.id() else { return Ok(()) };
    // A terminal sends Ctrl-C to the child as well, and many programs take a second one as "at
    // once, without cleaning up".
    let from_terminal = interrupted.signal == Signal::SIGINT && std::io::stdin().is_terminal();
    if !from_terminal {
        send(id, interrupted.signal)?;
    }
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        child.kill().await.context("cannot kill the command")?;
    }
    Ok(())
}

/// Waits, without a runtime, until `child` has ended, at most until `limit` has passed.
/// Returns whether it has.
pub(crate) fn wait_blocking(child: &mut std::process::Child, limit: Duration) -> bool {
    let started = Instant::now();
    loop {
        match child.try_wait() {
            Ok(None) if started.elapsed() < limit => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(None) => return false,
            Ok(Some(_)) | Err(_) => return true,
        }
    }
}
