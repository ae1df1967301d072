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
}

impl Victim {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Worker => "worker",
            Self::Postgres => "PostgreSQL",
            Self::Redis => "Redis",
        }
    }

    /// Whether requests fail while it is gone.
    pub(super) fn is_needed(self) -> bool {
        matches!(self, Self::Server | Self::Postgres)
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
            self.turns.push(Victim::Server);
            self.turns.extend(self.worker.as_ref().map(|_| Victim::Worker));
            let owns = |which| self.services.as_ref().is_some_and(|services| services.owns(which));
            self.turns.extend(owns(Own::Postgres).then_some(Victim::Postgres));
            self.turns.extend(owns(Own::Redis).then_some(Victim::Redis));
            self.turns.shuffle(random);
        }
        self.turns.pop().unwrap_or(Victim::Server)
    }

    /// Kills it.
    pub(super) async fn kill(&mut self, victim: Victim, random: &mut StdRng) -> anyhow::Result<()> {
        match victim {
            Victim::Server => self.server.end().await?,
            Victim::Worker => self.worker.as_mut().context("there is no worker")?.end().await?,
            Victim::Postgres => {
                // Of a SIGKILL its other processes have to hear first; the other one ends them all at once.
                let signal = if random.random_bool(0.5) { Signal::SIGKILL } else { Signal::SIGQUIT };
                self.services.as_mut().context("there are no services")?.end(Own::Postgres, signal)?;
            }
            Victim::Redis => {
                self.services.as_mut().context("there are no services")?.end(Own::Redis, Signal::SIGKILL)?;
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
        match victim {
            Victim::Server => self.server.begin_again(interrupts).await?,
            Victim::Worker => self.worker.as_mut().context("there is no worker")?.begin_again(interrupts).await?,
            Victim::Postgres | Victim::Redis => {
                let which = if victim == Victim::Postgres { Own::Postgres } else { Own::Redis };
                self.services.as_mut().context("there are no services")?.start_again(which, interrupts).await?;
            }
        }
        Ok(started.elapsed())
    }

    /// Asks our processes to stop, which all of them must do cleanly.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        if let Some(worker) = self.worker {
            worker.stop().await.context("the worker")?;
        }
        self.server.stop().await.context("the server")
    }
}
