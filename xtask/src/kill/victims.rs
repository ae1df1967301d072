//! The processes of an installation, each of which can be killed and started again: the server, a worker beside
//! it, PostgreSQL and Redis; or the one server on SQLite.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use nix::sys::signal::Signal;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use crate::interrupts::Interrupts;
use crate::kill::server::{Installation, Server};
use crate::services::{Own, Services};

/// The longest time that what was killed is gone for before it is started again.
const LONGEST_ABSENCE: Duration = Duration::from_millis(400);

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Victim {
    Server,
    Worker,
    Postgres,
    Redis,
    /// All of them, as when a machine dies.
    All,
}

impl Victim {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Worker => "worker",
            Self::Postgres => "PostgreSQL",
            Self::Redis => "Redis",
            Self::All => "all at once",
        }
    }

    /// Whether requests fail while it is gone.
    pub(super) fn is_needed(self) -> bool {
        matches!(self, Self::Server | Self::Postgres | Self::All)
    }
}

/// One of our processes, in all its lives.
struct Life {
    installation: Installation,
    address: String,
    server: Option<Server>,
}

impl Life {
    async fn begin(installation: Installation, interrupts: &Interrupts) -> anyhow::Result<Self> {
        let server = installation.start(interrupts).await?;
        Ok(Self { installation, address: server.address.clone(), server: Some(server) })
    }

    async fn end(&mut self) -> anyhow::Result<()> {
        self.server.take().context("it does not run")?.kill().await
    }

    async fn begin_again(&mut self, interrupts: &Interrupts) -> anyhow::Result<()> {
        self.server = Some(self.installation.start_at(self.address.clone(), interrupts).await?);
        Ok(())
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.server.context("it does not run")?.stop().await
    }
}

/// The processes.
pub(super) struct Processes<'a> {
    server: Life,
    worker: Option<Life>,
    services: Option<&'a mut Services>,
    /// Whose turn it is; everybody has one before anybody has another.
    turns: Vec<Victim>,
    kills: BTreeMap<Victim, u32>,
}

impl<'a> Processes<'a> {
    /// Starts one server that does everything; or, with services, one for requests and a worker.
    pub(super) async fn start(
        installation: &Installation,
        services: Option<&'a mut Services>,
        interrupts: &Interrupts,
    ) -> anyhow::Result<Self> {
        let of_role = |role: &'static str| {
            let mut installation = installation.clone();
            installation.settings.push(("BELLWETHER_ROLE", role.to_owned()));
            installation.log = installation.log.with_file_name(format!("{role}.log"));
            installation
        };
        let is_split = services.is_some();
        let server = Life::begin(of_role(if is_split { "api" } else { "both" }), interrupts).await?;
        let worker = if is_split { Some(Life::begin(of_role("worker"), interrupts).await?) } else { None };
        Ok(Self { server, worker, services, turns: Vec::new(), kills: BTreeMap::new() })
    }

    /// Where the server is, in all its lives.
    pub(super) fn address(&self) -> &str {
        &self.server.address
    }

    /// How often each was killed.
    pub(super) fn kills(&self) -> &BTreeMap<Victim, u32> {
        &self.kills
    }

    /// Who is killed next: in each round everybody that is ours, in any order.
    pub(super) fn next(&mut self, random: &mut StdRng) -> Victim {
        if self.turns.is_empty() {
            self.turns = self.all();
            if self.turns.len() > 1 {
                self.turns.push(Victim::All);
            }
            self.turns.shuffle(random);
        }
        self.turns.pop().unwrap_or(Victim::Server)
    }

    /// All that are ours, in the order in which they have to be started.
    fn all(&self) -> Vec<Victim> {
        let owns = |which| self.services.as_ref().is_some_and(|services| services.owns(which));
        let postgres = owns(Own::Postgres).then_some(Victim::Postgres);
        let redis = owns(Own::Redis).then_some(Victim::Redis);
        let worker = self.worker.as_ref().map(|_| Victim::Worker);
        [postgres, redis, Some(Victim::Server), worker].into_iter().flatten().collect()
    }

    /// Those that are meant.
    fn meant(&self, victim: Victim) -> Vec<Victim> {
        if victim == Victim::All { self.all() } else { vec![victim] }
    }

    /// Kills it.
    pub(super) async fn kill(&mut self, victim: Victim, random: &mut StdRng) -> anyhow::Result<()> {
        let mut meant = self.meant(victim);
        meant.shuffle(random);
        for one in meant {
            if let Some(which) = own(one) {
                // Of a SIGKILL PostgreSQL's other processes have to hear first; the other one ends them all at once.
                let signal = if random.random_bool(0.5) { Signal::SIGKILL } else { Signal::SIGQUIT };
                self.services.as_mut().context("there are no services")?.end(which, signal)?;
            } else {
                self.life(one)?.end().await?;
            }
        }
        *self.kills.entry(victim).or_default() += 1;
        Ok(())
    }

    /// Starts it again after a moment, and waits until it serves; how long all of that took.
    pub(super) async fn start_again(
        &mut self,
        victim: Victim,
        random: &mut StdRng,
        interrupts: &Interrupts,
    ) -> anyhow::Result<Duration> {
        let started = Instant::now();
        tokio::time::sleep(LONGEST_ABSENCE.mul_f64(random.random())).await;
        for one in self.meant(victim) {
            if let Some(which) = own(one) {
                self.services.as_mut().context("there are no services")?.start_again(which, interrupts).await?;
            } else {
                self.life(one)?.begin_again(interrupts).await?;
            }
        }
        Ok(started.elapsed())
    }

    fn life(&mut self, victim: Victim) -> anyhow::Result<&mut Life> {
        let worker = self.worker.as_mut().filter(|_| victim == Victim::Worker);
        if victim == Victim::Worker { worker.context("there is no worker") } else { Ok(&mut self.server) }
    }

    /// Asks our processes to stop, which all of them must do cleanly.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        if let Some(worker) = self.worker {
            worker.stop().await.context("the worker")?;
        }
        self.server.stop().await.context("the server")
    }
}

/// What the services call it, if it is theirs.
fn own(victim: Victim) -> Option<Own> {
    match victim {
        Victim::Postgres => Some(Own::Postgres),
        Victim::Redis => Some(Own::Redis),
        Victim::Server | Victim::Worker | Victim::All => None,
    }
}
