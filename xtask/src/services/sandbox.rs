//! The temporary folder with the servers in it, and the certainty that both go.
//!
//! Dropping a [`Sandbox`] stops its servers and removes its folder: at the end, after an error,
//! after a signal and in a panic. For the one case in which nothing of ours runs any more, a
//! `kill -9`, a small shell process stands watch: it reads from a pipe whose other end only we
//! hold, and cleans up when that closes.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::process;
use crate::services::account::Account;

/// How long a server may take to stop before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// `$1` is the folder; each line of standard input is `begun` or `ended`, and the id of a server's process.
const WATCHMAN: &str = r#"
trap '' INT TERM HUP
pids=
while read -r what pid; do
    others=
    for one in $pids; do [ "$one" = "$pid" ] || others="$others $one"; done
    case $what in
        begun) pids="$others $pid" ;;
        ended) pids=$others ;;
    esac
done
[ -n "$pids" ] && kill -INT $pids
for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ -n "$pids" ] && kill -0 $pids && sleep 0.5
done
[ -n "$pids" ] && kill -KILL $pids
rm -rf -- "$1"
"#;

/// A folder and the servers that keep their data in it.
#[derive(Debug)]
pub(super) struct Sandbox {
    account: Account,
    in_memory: bool,
    folder: Option<TempDir>,
    servers: Vec<(&'static str, Child)>,
    watchman: Option<(Child, ChildStdin)>,
}

impl Sandbox {
    /// Makes the folder, in that folder in memory or else where temporary files are.
    pub(super) fn create(memory: Option<&Path>) -> anyhow::Result<Self> {
        let account = Account::for_servers()?;
        let parent = memory.map_or_else(|| account.temporary_folder(), Path::to_owned);
        let folder =
            tempfile::Builder::new().prefix("bellwether-services-").tempdir_in(&parent).with_context(|| {
                format!("cannot create a folder in {}; set TMPDIR to a folder that can be written to", parent.display())
            })?;
        // The servers' account must reach its own folders inside, which nobody else can read.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o711))
            .with_context(|| format!("cannot open {} to the servers", folder.path().display()))?;
        let watchman = post_watchman(folder.path())?;
        let in_memory = memory.is_some();
        Ok(Self { account, in_memory, folder: Some(folder), servers: Vec::new(), watchman: Some(watchman) })
    }

    /// Whom the servers run as.
    pub(super) fn account(&self) -> Account {
        self.account
    }

    /// Whether what the servers write takes memory.
    pub(super) const fn is_in_memory(&self) -> bool {
        self.in_memory
    }

    /// A path inside the folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.as_ref().map(|folder| folder.path().join(name)).unwrap_or_default()
    }

    /// A command that runs as the servers' account, inside `folder`, logging to `log`.
    pub(super) fn command(&self, program: &Path, folder: &Path, log: &Path) -> anyhow::Result<Command> {
        let open = || {
            File::options()
                .create(true)
                .append(true)
                .open(log)
                .with_context(|| format!("cannot write {}", log.display()))
        };
        let mut command = Command::new(program);
        command
            .current_dir(folder)
            // A locale that this machine names but does not have would be an error.
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(open()?)
            .stderr(open()?)
            // Out of reach of the terminal's Ctrl-C: the tests that use the servers end first.
            .process_group(0);
        self.account.run_as(&mut command);
        Ok(command)
    }

    /// Starts a server that is stopped with the sandbox.
    pub(super) fn start(&mut self, name: &'static str, mut command: Command) -> anyhow::Result<()> {
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let id = child.id();
        self.servers.push((name, child));
        self.tell_watchman("begun", id)
    }

    /// Ends the server `name`, which must be running, by a signal, and waits until it has gone.
    pub(super) fn end(&mut self, name: &str, signal: Signal) -> anyhow::Result<()> {
        let place = self.servers.iter().rposition(|(server, _)| *server == name);
        let (_, mut child) = self.servers.remove(place.with_context(|| format!("{name} was not started"))?);
        if let Some(status) = child.try_wait().with_context(|| format!("cannot watch {name}"))? {
            anyhow::bail!("{name} ended by itself ({status})");
        }
        process::send(child.id(), signal)?;
        if !process::wait_blocking(&mut child, STOP_LIMIT) {
            drop(child.kill());
            drop(child.wait());
            anyhow::bail!("{name} does not end by {}", signal.as_str());
        }
        // Its id may be another process's from now on.
        self.tell_watchman("ended", child.id())
    }

    /// The id of the process of the server `name`.
    pub(super) fn id(&self, name: &str) -> Option<u32> {
        self.servers.iter().rfind(|(server, _)| *server == name).map(|(_, child)| child.id())
    }

    fn tell_watchman(&mut self, what: &str, id: u32) -> anyhow::Result<()> {
        if let Some((_, pipe)) = &mut self.watchman {
            writeln!(pipe, "{what} {id}").context("the clean-up process has gone")?;
        }
        Ok(())
    }

    /// The standard input of the server that was started last, if it was piped.
    pub(super) fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.servers.last_mut().and_then(|(_, child)| child.stdin.take())
    }

    /// Whether the server `name` still runs.
    pub(super) fn is_running(&mut self, name: &str) -> bool {
        self.servers
            .iter_mut()
            .rfind(|(server, _)| *server == name)
            .is_some_and(|(_, child)| matches!(child.try_wait(), Ok(None)))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for (name, server) in &mut self.servers {
            // For PostgreSQL SIGINT is the fast stop: it does not wait for its clients to go.
            let asked = process::send(server.id(), Signal::SIGINT);
            if asked.is_err() || !process::wait_blocking(server, STOP_LIMIT) {
                eprintln!("xtask: {name} does not stop; killing it");
                drop(server.kill());
                drop(server.wait());
            }
        }
        if let Some(folder) = self.folder.take() {
            let path = folder.path().to_owned();
            if let Err(error) = folder.close() {
                eprintln!("xtask: cannot remove {}: {error}", path.display());
            }
        }
        // Last, so that a kill during the lines above is still seen to; and without closing its
        // pipe first, so that it does not signal ids that may be somebody else's by now.
        if let Some((mut child, pipe)) = self.watchman.take() {
            drop(child.kill());
            drop(child.wait());
            drop(pipe);
        }
    }
}

fn post_watchman(folder: &Path) -> anyhow::Result<(Child, ChildStdin)> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", WATCHMAN, "bellwether-services"])
        .arg(folder)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("cannot start /bin/sh")?;
    let pipe = child.stdin.take().context("the clean-up process has no standard input")?;
    Ok((child, pipe))
}

/// A port of 127.0.0.1 that was free a moment ago.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("127.0.0.1 has no free port")?;
    Ok(listener.local_addr()?.port())
}

/// A password that nobody guesses: 128 bits in hexadecimal.
pub(super) fn random_password() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// The end of the file `path`, for an error message.
pub(crate) fn tail(path: &Path) -> String {
    const LINES: usize = 15;
    let text = fs::read_to_string(path).unwrap_or_default();
    let skipped = text.lines().count().saturating_sub(LINES);
    text.lines().skip(skipped).map(|line| format!("    {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::Sandbox;

    /// A sandbox with something that would run for ever; the process and the folder.
    fn occupied() -> (Sandbox, Pid, PathBuf) {
        let mut sandbox = Sandbox::create(None).expect("a sandbox");
        let folder = sandbox.path("");
        let log = sandbox.path("log");
        let mut command = sandbox.command(Path::new("/bin/sleep"), &folder, &log).expect("a command");
        command.arg("1000");
        sandbox.start("sleep", command).expect("a server");
        assert!(sandbox.is_running("sleep"));
        let id = sandbox.servers[0].1.id();
        (sandbox, Pid::from_raw(i32::try_from(id).expect("a process id")), folder)
    }

    fn is_gone(process: Pid, folder: &Path) -> bool {
        kill(process, None).is_err() && !fs::exists(folder).expect("an answer")
    }

    #[test]
    fn stops_its_servers_and_removes_its_folder_when_it_is_dropped() {
        let (sandbox, process, folder) = occupied();
        assert!(folder.is_dir());
        drop(sandbox);
        assert!(is_gone(process, &folder));
    }

    #[test]
    fn ends_a_server_once_and_then_knows_it_no_more() {
        let (mut sandbox, process, _) = occupied();
        sandbox.end("sleep", Signal::SIGKILL).expect("it runs");
        assert!(kill(process, None).is_err());
        assert_eq!(sandbox.id("sleep"), None);
        sandbox.end("sleep", Signal::SIGKILL).expect_err("it has gone");
    }

    #[test]
    fn stops_its_servers_and_removes_its_folder_in_a_panic() {
        let (sandbox, process, folder) = occupied();
        let panicked = std::thread::spawn(move || {
            let _sandbox = sandbox;
            panic!("on purpose");
        });
        assert!(panicked.join().is_err());
        assert!(is_gone(process, &folder));
    }

    #[test]
    fn leaves_the_cleaning_to_the_watchman_when_its_owner_is_killed() {
        let (mut sandbox, process, folder) = occupied();
        // What a SIGKILL does to us, seen from outside: the pipe closes and nothing is dropped.
        let (_, pipe) = sandbox.watchman.take().expect("a watchman");
        drop(pipe);
        let started = Instant::now();
        // The process is still our child: it has to be waited for before it is gone.
        while sandbox.is_running("sleep") || folder.exists() {
            assert!(started.elapsed() < Duration::from_secs(20), "nobody cleaned up");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(is_gone(process, &folder));
    }
}
