//! One throw-away Redis server.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::interrupts::Interrupts;
use crate::services::sandbox::{Sandbox, free_port, random_password, tail};

const NAME: &str = "Redis";
const START_LIMIT: Duration = Duration::from_secs(30);

/// Starts a server and returns its URL.
pub(super) async fn start(program: &Path, sandbox: &mut Sandbox, interrupts: &Interrupts) -> anyhow::Result<String> {
    let folder = sandbox.path("redis");
    let log = sandbox.path("redis.log");
    let password = random_password();
    sandbox.account().create_folder(&folder)?;

    // Another process may take the port between our asking for it and Redis's binding it.
    for _ in 0..3 {
        let port = free_port()?;
        let mut server = sandbox.command(program, &folder, &log)?;
        // Settings by standard input: everybody can read the arguments of a process.
        server.arg("-").stdin(Stdio::piped());
        sandbox.start(NAME, server)?;
        if let Some(mut stdin) = sandbox.take_stdin() {
            write!(
                stdin,
                "bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {}\n\
                 daemonize no\nsave \"\"\nappendonly no\n",
                folder.display()
            )
            .context("cannot hand Redis its settings")?;
        }
        if is_ready(sandbox, port, &password, interrupts).await? {
            eprintln!("xtask: {NAME} ({}) listens on 127.0.0.1:{port}", program.display());
            return Ok(format!("redis://default:{password}@127.0.0.1:{port}/0"));
        }
    }
    anyhow::bail!("{NAME} does not start:\n{}", tail(&log))
}

/// Waits until the server answers (true) or has ended (false).
async fn is_ready(sandbox: &mut Sandbox, port: u16, password: &str, interrupts: &Interrupts) -> anyhow::Result<bool> {
    let started = Instant::now();
    while started.elapsed() < START_LIMIT {
        interrupts.check()?;
        if !sandbox.is_running(NAME) {
            return Ok(false);
        }
        if ping(port, password).is_ok_and(|answer| answer.contains("PONG")) {
            return Ok(true);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!("{NAME} does not answer after {} seconds", START_LIMIT.as_secs())
}

fn ping(port: u16, password: &str) -> std::io::Result<String> {
    let limit = Some(Duration::from_secs(1));
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(limit)?;
    stream.set_write_timeout(limit)?;
    write!(stream, "AUTH {password}\r\nPING\r\nQUIT\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
