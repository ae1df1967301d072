//! A Redis server that a test may do anything to.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bellwether_redis::RedisOptions;
use fred::clients::Client;
use fred::interfaces::ClientLike as _;
use fred::types::config::{Config, ReconnectPolicy};
use fred::types::{CustomCommand, FromValue};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::time::sleep;

/// The first port that is tried, and how many there are.
const PORTS: (u32, u32) = (10_000, 20_000);

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
        Some(Self { port: free_port(), settings: settings.iter().map(ToString::to_string).collect(), child: None })
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

    /// What it is started with the next time.
    pub(crate) fn change_settings(&mut self, settings: &[&str]) {
        self.settings = settings.iter().map(ToString::to_string).collect();
    }

    /// How to reach it, with the times that are the defaults.
    pub(crate) fn options(&self) -> RedisOptions {
        RedisOptions::parse(&format!("redis://127.0.0.1:{}", self.port)).expect("a URL")
    }

    /// Changes a setting.
    pub(crate) async fn set(&self, name: &str, value: &str) {
        self.tell(&format!("CONFIG SET {name} {value}")).await;
    }

    /// Gives it a command, and has its answer.
    pub(crate) async fn tell(&self, command: &str) -> String {
        self.ask(command).await
    }

    /// The same with any kind of answer.
    pub(crate) async fn ask<T: FromValue>(&self, command: &str) -> T {
        let mut config = Config::from_url(&format!("redis://127.0.0.1:{}", self.port)).expect("a URL");
        // It may just be starting.
        config.fail_fast = false;
        let client = Client::new(config, None, None, Some(ReconnectPolicy::new_constant(100, 50)));
        client.init().await.expect("the server is there");
        let mut words = command.split(' ').map(str::to_owned);
        let name = CustomCommand::new(words.next().expect("a command"), None, false);
        client.custom(name, words.collect()).await.expect("it is done")
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

/// A port that nobody listens on, below those that the kernel gives to whoever asks for any: nobody else gets it before
/// the server listens, or while it is down.
fn free_port() -> u16 {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let (first, count) = PORTS;
    // Processes that run at the same time begin far from each other.
    let start = std::process::id().wrapping_mul(97);
    let numbers = (0..count).map(|_| start.wrapping_add(ASKED.fetch_add(1, Ordering::Relaxed)) % count);
    let mut ports = numbers.filter_map(|number| u16::try_from(first + number).ok());
    ports.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).expect("a free port")
}

/// Three nodes, and a replica of the first.
pub(crate) struct OwnCluster {
    pub(crate) nodes: Vec<OwnServer>,
    _folders: Vec<TempDir>,
}

impl OwnCluster {
    /// `None`, and why, where there is no Redis.
    pub(crate) async fn start() -> Option<Self> {
        let (mut nodes, mut folders, mut bus_ports) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..4 {
            let (folder, bus_port) = (tempfile::tempdir().expect("a folder"), free_port());
            let dir = folder.path().to_str().expect("a path");
            let bus = bus_port.to_string();
            let settings = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "1000"];
            nodes.push(OwnServer::start(&[settings.as_slice(), &["--dir", dir]].concat())?);
            folders.push(folder);
            bus_ports.push(bus_port);
        }
        let [first, others @ ..] = nodes.as_slice() else { return None };
        for (epoch, (node, slots)) in nodes.iter().zip(["0 5460", "5461 10922", "10923 16383"]).enumerate() {
            node.tell(&format!("CLUSTER ADDSLOTSRANGE {slots}")).await;
            node.tell(&format!("CLUSTER SET-CONFIG-EPOCH {}", epoch + 1)).await;
        }
        for (other, bus_port) in others.iter().zip(bus_ports.iter().skip(1)) {
            first.tell(&format!("CLUSTER MEET 127.0.0.1 {} {bus_port}", other.port)).await;
        }
        let cluster = Self { nodes, _folders: folders };
        cluster.wait_until_all_know("cluster_known_nodes:4").await;
        let [first, _, _, replica] = cluster.nodes.as_slice() else { return None };
        let id = first.tell("CLUSTER MYID").await;
        replica.tell(&format!("CLUSTER REPLICATE {id}")).await;
        cluster.wait_until_all_know("cluster_state:ok").await;
        while !replica.tell("INFO replication").await.contains("master_link_status:up") {
            sleep(Duration::from_millis(50)).await;
        }
        Some(cluster)
    }

    /// Begins to move the slot of a key from its node to another, which then has what is not there yet: whoever asks is
    /// sent on.
    pub(crate) async fn begin_to_move(&self, key: &str) {
        let [first, second, third, _] = self.nodes.as_slice() else { return };
        let slot: u32 = first.ask(&format!("CLUSTER KEYSLOT {key}")).await;
        let (from, to) = match slot {
            0..=5460 => (first, second),
            5461..=10922 => (second, third),
            _ => (third, first),
        };
        let (source, target) = (from.tell("CLUSTER MYID").await, to.tell("CLUSTER MYID").await);
        to.tell(&format!("CLUSTER SETSLOT {slot} IMPORTING {source}")).await;
        from.tell(&format!("CLUSTER SETSLOT {slot} MIGRATING {target}")).await;
    }

    async fn wait_until_all_know(&self, what: &str) {
        for node in &self.nodes {
            while !node.tell("CLUSTER INFO").await.contains(what) {
                sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// How to reach it, with the times that are the defaults.
    pub(crate) fn options(&self) -> RedisOptions {
        let urls: Vec<_> = self.nodes.iter().map(|node| format!("redis://127.0.0.1:{}", node.port)).collect();
        RedisOptions::parse(&urls.join(",")).expect("URLs")
    }
}
