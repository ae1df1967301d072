//! Throw-away Redis: one server, or a cluster of three.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::Signal;

use crate::interrupts::Interrupts;
use crate::services::sandbox::{Sandbox, free_port, random_password, tail};

const START_LIMIT: Duration = Duration::from_secs(30);
/// The servers of a cluster, and which of the 16,384 slots are theirs.
const NODES: [(&str, &str); 3] =
    [("Redis node 1", "0 5460"), ("Redis node 2", "5461 10922"), ("Redis node 3", "10923 16383")];

/// A server.
#[derive(Debug)]
pub(super) struct Node {
    name: &'static str,
    program: PathBuf,
    port: u16,
    /// Where it talks with other nodes; unused without a cluster.
    bus_port: u16,
    password: String,
    /// Settings beside those that every node has.
    settings: &'static str,
}

impl Node {
    /// Where it is.
    pub(super) fn url(&self) -> String {
        format!("redis://default:{}@127.0.0.1:{}/0", self.password, self.port)
    }

    /// Kills it. It keeps nothing.
    pub(super) fn end(&self, sandbox: &mut Sandbox) -> anyhow::Result<()> {
        sandbox.end(self.name, Signal::SIGKILL)
    }

    /// Starts it again after that, at its address.
    pub(super) async fn start_again(&self, sandbox: &mut Sandbox, interrupts: &Interrupts) -> anyhow::Result<()> {
        let is_running = self.serve(sandbox, interrupts).await?;
        anyhow::ensure!(is_running, "{} does not start again:\n{}", self.name, tail(&self.log(sandbox)));
        Ok(())
    }

    /// What its folder and its log are called.
    fn path(&self) -> String {
        self.name.to_lowercase().replace(' ', "-")
    }

    fn log(&self, sandbox: &Sandbox) -> PathBuf {
        sandbox.path(&format!("{}.log", self.path()))
    }

    /// Starts it and waits until it answers (true) or has ended (false).
    async fn serve(&self, sandbox: &mut Sandbox, interrupts: &Interrupts) -> anyhow::Result<bool> {
        let Self { name, port, bus_port, password, settings, .. } = self;
        let folder = sandbox.path(&self.path());
        let mut server = sandbox.command(&self.program, &folder, &self.log(sandbox))?;
        // Settings by standard input: everybody can read the arguments of a process.
        server.arg("-").stdin(Stdio::piped());
        sandbox.start(name, server)?;
        if let Some(mut stdin) = sandbox.take_stdin() {
            let cluster = if settings.is_empty() { String::new() } else { format!("cluster-port {bus_port}\n") };
            write!(
                stdin,
                "bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {}\n\
                 daemonize no\nsave \"\"\nappendonly no\n{settings}{cluster}",
                folder.display()
            )
            .context("cannot hand Redis its settings")?;
        }
        let mut is_running = true;
        wait_for(name, interrupts, || {
            is_running = sandbox.is_running(name);
            !is_running || self.ask("PING").is_ok_and(|answer| answer.contains("PONG"))
        })
        .await?;
        Ok(is_running)
    }

    /// Its answers to commands, one after the other.
    fn ask(&self, commands: &str) -> std::io::Result<String> {
        let limit = Some(Duration::from_secs(1));
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(limit)?;
        stream.set_write_timeout(limit)?;
        write!(stream, "AUTH {}\r\n{commands}\r\nQUIT\r\n", self.password)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Gives commands, none of which may fail.
    fn tell(&self, commands: &str) -> anyhow::Result<()> {
        let answer = self.ask(commands).with_context(|| format!("{} does not answer", self.name))?;
        let error = answer.lines().find(|line| line.starts_with('-'));
        anyhow::ensure!(error.is_none(), "{} refuses `{commands}`: {}", self.name, error.unwrap_or_default());
        Ok(())
    }
}

/// Starts a server.
pub(super) async fn start(program: &Path, sandbox: &mut Sandbox, interrupts: &Interrupts) -> anyhow::Result<Node> {
    let node = start_node("Redis", program, random_password(), "", sandbox, interrupts).await?;
    eprintln!("xtask: Redis ({}) listens on 127.0.0.1:{}", program.display(), node.port);
    Ok(node)
}

/// Starts three servers, makes a cluster of them without replicas, and returns its URL.
pub(super) async fn start_cluster(
    program: &Path,
    sandbox: &mut Sandbox,
    interrupts: &Interrupts,
) -> anyhow::Result<String> {
    let password = random_password();
    let mut nodes = Vec::new();
    for (name, _) in NODES {
        let settings = "cluster-enabled yes\ncluster-announce-ip 127.0.0.1\n";
        nodes.push(start_node(name, program, password.clone(), settings, sandbox, interrupts).await?);
    }
    for (epoch, (node, (_, slots))) in nodes.iter().zip(NODES).enumerate() {
        // An epoch each from the start, or the nodes would first have to find out that they share one.
        node.tell(&format!("CLUSTER ADDSLOTSRANGE {slots}\r\nCLUSTER SET-CONFIG-EPOCH {}", epoch + 1))?;
    }
    let (first, others) = nodes.split_first().context("a cluster has nodes")?;
    for other in others {
        first.tell(&format!("CLUSTER MEET 127.0.0.1 {} {}", other.port, other.bus_port))?;
    }
    wait_for("the Redis cluster", interrupts, || {
        // Of every node, since each learns of the others by itself.
        let knows_all = |node: &Node| {
            node.ask("CLUSTER INFO").is_ok_and(|info| {
                info.contains("cluster_state:ok") && info.contains(&format!("cluster_size:{}", NODES.len()))
            })
        };
        nodes.iter().all(knows_all)
    })
    .await?;
    let ports: Vec<_> = nodes.iter().map(|node| node.port.to_string()).collect();
    eprintln!("xtask: a Redis cluster ({}) listens on 127.0.0.1:{}", program.display(), ports.join(", "));
    let seeds: Vec<_> = others.iter().map(|node| format!("node=127.0.0.1:{}", node.port)).collect();
    Ok(format!("redis-cluster://default:{password}@127.0.0.1:{}?{}", first.port, seeds.join("&")))
}

/// Starts one server, with more settings.
async fn start_node(
    name: &'static str,
    program: &Path,
    password: String,
    settings: &'static str,
    sandbox: &mut Sandbox,
    interrupts: &Interrupts,
) -> anyhow::Result<Node> {
    let mut node = Node { name, program: program.to_owned(), port: 0, bus_port: 0, password, settings };
    sandbox.account().create_folder(&sandbox.path(&node.path()))?;
    // Another process may take a port between our asking for it and Redis's binding it.
    for _ in 0..3 {
        (node.port, node.bus_port) = (free_port()?, free_port()?);
        if node.serve(sandbox, interrupts).await? {
            return Ok(node);
        }
    }
    anyhow::bail!("{name} does not start:\n{}", tail(&node.log(sandbox)))
}

/// Waits until `is_ready`.
async fn wait_for(what: &str, interrupts: &Interrupts, mut is_ready: impl FnMut() -> bool) -> anyhow::Result<()> {
    let started = Instant::now();
    while started.elapsed() < START_LIMIT {
        interrupts.check()?;
        if is_ready() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!("{what} is not ready after {} seconds", START_LIMIT.as_secs())
}
