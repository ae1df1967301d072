//! A Redis server that a test may do anything to.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};

use bellwether_redis::RedisOptions;
use fred::clients::Client;
use fred::interfaces::ClientLike as _;
use fred::types::{CustomCommand, Value, config::Config};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// It is killed when it is dropped.
pub(crate) struct OwnServer {
    port: u16,
    settings: Vec<String>,
    child: Option<Child>,
}

impl OwnServer {
    /// One that is not started yet; `None`, and why, where there is no Redis.
    pub(crate) fn prepare(settings: &[&str]) -> Option<Self> {
        if Command::new("redis-server").arg("--version").output().is_err() {
            eprintln!("skipped: there is no redis-server in PATH");
            return None;
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        Some(Self { port, settings: settings.iter().map(ToString::to_string).collect(), child: None })
    }

    /// One that is started.
    pub(crate) fn start(settings: &[&str]) -> Option<Self> {
        let mut server = Self::prepare(settings)?;
        server.restart();
        Some(server)
    }

    /// Starts it where it ran before, with nothing in it.
    pub(crate) fn restart(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(&self.settings).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("redis-server starts"));
    }

    /// How to reach it, with the times that are the defaults.
    pub(crate) fn options(&self) -> RedisOptions {
        RedisOptions::parse(&format!("redis://127.0.0.1:{}", self.port)).expect("a URL")
    }

    /// Changes a setting.
    pub(crate) async fn set(&self, name: &str, value: &str) {
        let url = format!("redis://127.0.0.1:{}", self.port);
        let client = Client::new(Config::from_url(&url).expect("a URL"), None, None, None);
        client.init().await.expect("the server is there");
        let command = CustomCommand::new_static("CONFIG", None, false);
        client.custom::<Value, _>(command, vec!["SET", name, value]).await.expect("the setting is changed");
    }

    /// It hangs.
    pub(crate) fn pause(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// It goes on.
    pub(crate) fn go_on(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// It is gone.
    pub(crate) fn kill(&mut self) {
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

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.kill();
    }
}
