//! strace, for faults in what the kernel answers: an interrupted process, a failing disk.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::server::Server;

/// How long the tracer may take to attach.
const LIMIT: Duration = Duration::from_secs(30);

/// The beginning of a command that runs traced: `-D` keeps the process that is traced our own child.
pub const STARTER: [&str; 5] = ["strace", "-D", "-f", "-qq", "-o/dev/null"];

/// Whether processes can be traced here. Says why a test is skipped where they cannot.
pub async fn is_there() -> bool {
    let tried = Command::new("strace").args(["-f", "-qq", "-o/dev/null", "true"]).stdin(Stdio::null()).output().await;
    let why = match tried {
        Ok(output) if output.status.success() => return true,
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => format!("strace: {error}"),
    };
    eprintln!("--- skipped: processes cannot be traced here ({why})");
    false
}

/// A tracer of a running server. Dropped, it lets go of the server.
#[derive(Debug)]
pub struct Tracer {
    _process: Child,
}

impl Tracer {
    /// Traces a server with these options from now on.
    ///
    /// # Panics
    /// When it cannot.
    pub async fn attach(server: &Server, options: &[&str]) -> Self {
        let id = server.process_id().expect("the server lives").to_string();
        let mut process = Command::new("strace")
            .args(["-f", "-o/dev/null", "-p", &id])
            .args(options)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("strace can be started");
        let mut lines = BufReader::new(process.stderr.take().expect("a pipe")).lines();
        let attached = async {
            while let Some(line) = lines.next_line().await.expect("strace says something") {
                if line.contains("attached") {
                    return;
                }
                eprintln!("{line}");
            }
            panic!("strace ended without attaching");
        };
        tokio::time::timeout(LIMIT, attached).await.expect("strace attaches in time");
        // It names each new thread, too; nobody reads that, and a full pipe must not stop it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self { _process: process }
    }
}
