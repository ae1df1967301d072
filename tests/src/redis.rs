//! A Redis server that a test may do anything to.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::server::free_port;

/// What Redis and Valkey are called.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];
/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// It is killed when it is dropped.
#[derive(Debug)]
pub struct Redis {
    program: &'static str,
    port: u16,
    child: Option<Child>,
}

impl Redis {
    /// One that runs. None, and a line that says why, where there is no Redis.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Option<Self> {
        let mut redis = Self::prepare()?;
        redis.restart().await;
        Some(redis)
    }

    /// One that does not run yet. None, and a line that says why, where there is no Redis.
    #[must_use]
    pub fn prepare() -> Option<Self> {
        let is_there = |program: &&str| Command::new(program).arg("--version").output().is_ok();
        let Some(program) = PROGRAMS.into_iter().find(is_there) else {
            eprintln!("--- skipped: there is no redis-server in PATH");
            return None;
        };
        Some(Self { program, port: free_port(), child: None })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The settings of a server that uses it.
    #[must_use]
    pub fn settings(&self) -> [(&'static str, String); 2] {
        [("CACHE", "redis".to_owned()), ("REDIS_URL", self.url())]
    }

    /// Starts it where it ran before, with nothing in it.
    ///
    /// # Panics
    /// When it runs, or does not start.
    pub async fn restart(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let mut command = Command::new(self.program);
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        self.child = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("Redis can be started"));
        let started = Instant::now();
        while self.try_tell("PING").await.is_err() {
            assert!(started.elapsed() < PATIENCE, "Redis does not start");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Gives it a command of plain words, and has its answer as Redis writes it.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn tell(&self, command: &str) -> String {
        self.try_tell(command).await.expect("Redis answers")
    }

    async fn try_tell(&self, command: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        // It closes the connection behind the answer.
        stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// The names of all its keys that match, as far as they are text.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn keys(&self, pattern: &str) -> Vec<String> {
        let answer = self.tell(&format!("KEYS {pattern}")).await;
        answer.lines().filter(|line| !line.starts_with(['$', '*', '+'])).map(str::to_owned).collect()
    }

    /// It hangs.
    ///
    /// # Panics
    /// When it does not run.
    pub fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// It goes on.
    ///
    /// # Panics
    /// When it does not run.
    pub fn go_on(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// It is gone at once.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it can be killed");
            child.wait().expect("it has gone");
        }
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().expect("it runs").id();
        kill(Pid::from_raw(i32::try_from(id).expect("a process id")), signal).expect("it is ours");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
