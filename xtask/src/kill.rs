//! `cargo xtask kill`: the server is killed in the middle of its work, and nothing that it
//! acknowledged may be gone or done twice.
//!
//! Clients send transfers and orders, each with an idempotency key, and keep a journal. The server
//! is killed (SIGKILL) at random moments and started again on the same data. At the end every
//! acknowledged command must be found, every unanswered one is repeated with its key and must have
//! had one effect, and `bellwether audit` must find nothing.
//!
//! Then the same while `bellwether replay` sends recorded trades, with webhooks and live clients who are told of
//! them; on PostgreSQL the server, a worker, PostgreSQL and Redis are killed in turn. See [`replay`].
//!
//! A killed process loses nothing that it has handed to the kernel, so this does not prove that the
//! data survive a power cut.

mod accounts;
mod admin;
pub(crate) mod api;
mod audience;
mod books;
mod follower;
mod jobs;
mod journal;
mod load;
mod outbox;
mod receiver;
mod replay;
pub(crate) mod server;
mod streams;
mod told;
mod verify;
mod victims;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::cargo;
use crate::interrupts::Interrupts;
use crate::kill::api::Api;
use crate::kill::journal::Journal;
use crate::kill::load::{Phase, Run};
use crate::kill::server::{Installation, Server, UNLIMITED, owned};
use crate::kill::verify::Findings;
use crate::services::{Needs, Services};

/// How many breaches are printed; the journal has the rest.
const SHOWN: usize = 20;

/// How often to kill what.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How often something is killed under load, and how often during replays, for each store.
    #[arg(long, default_value_t = 50)]
    kills: u32,
    /// The store that the server uses.
    #[arg(long, value_enum, default_value_t = Stores::Both)]
    store: Stores,
    /// How many clients send commands at the same time.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(2..=100))]
    clients: u64,
    /// Repeats the choices of an earlier run; the moments of the kills vary all the same.
    #[arg(long)]
    seed: Option<u64>,
    /// Build the server with the release profile.
    #[arg(long)]
    release: bool,
    /// Test this binary instead of building one.
    #[arg(long, value_name = "PATH", conflicts_with = "release")]
    bin: Option<PathBuf>,
    /// Replay this recording of trades instead of the sample that is part of the project.
    #[arg(long, value_name = "FILE")]
    recording: Option<PathBuf>,
    /// Replay only so many rows of the recording.
    #[arg(long, value_name = "ROWS")]
    limit: Option<usize>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Stores {
    Sqlite,
    Postgres,
    Both,
}

/// Runs the test; the exit code tells whether anything was lost or done twice.
pub(crate) async fn run(options: Options, interrupts: &Interrupts) -> anyhow::Result<ExitCode> {
    let binary = match &options.bin {
        Some(binary) => binary.canonicalize().with_context(|| format!("there is no {}", binary.display()))?,
        None => cargo::build_server(options.release, interrupts).await?,
    };
    let seed = options.seed.unwrap_or_else(rand::random);
    let mut clean = true;
    if matches!(options.store, Stores::Sqlite | Stores::Both) {
        clean &= run_on("sqlite", None, &binary, seed, &options, interrupts).await?;
    }
    if matches!(options.store, Stores::Postgres | Stores::Both) {
        let mut services = Services::start(Needs { redis: true, ..Needs::POSTGRES }, interrupts).await?;
        clean &= run_on("postgres", Some(&mut services), &binary, seed, &options, interrupts).await?;
    }
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Tests one store; returns whether all was well. The files of a run that found something stay.
async fn run_on(
    store: &str,
    services: Option<&mut Services>,
    binary: &Path,
    seed: u64,
    options: &Options,
    interrupts: &Interrupts,
) -> anyhow::Result<bool> {
    let folder = tempfile::Builder::new()
        .prefix(&format!("bellwether-kill-{store}-"))
        .tempdir()
        .context("cannot create a temporary folder")?;
    eprintln!("kill: {store}: {} kills, {} clients, --seed {seed}", options.kills, options.clients);
    let installation = Installation {
        binary: binary.to_owned(),
        data: folder.path().join("data"),
        database_url: services.as_ref().and_then(|services| services.database_url.clone()),
        log: folder.path().join("server.log"),
        // Passwords are not what is tested here, and hundreds of people sign up.
        settings: owned(&[&UNLIMITED[..], &[("BELLWETHER_PASSWORD_COST", "4")]].concat()),
    };
    let journal = folder.path().join("journal.jsonl");
    let result = kill_and_verify(&installation, &journal, seed, options, interrupts).await;
    let clean = match &result {
        Ok(findings) => report(store, findings),
        Err(_) => false,
    };
    let clean = match &result {
        Ok(_) => replay::kill_and_verify(&installation, services, seed, options, interrupts).await? && clean,
        Err(_) => clean,
    };
    if !clean && interrupts.check().is_ok() {
        eprintln!("kill: {store}: journals, logs and data stay in {}", folder.keep().display());
    }
    result.map(|_| clean)
}

async fn kill_and_verify(
    installation: &Installation,
    journal: &Path,
    seed: u64,
    options: &Options,
    interrupts: &Interrupts,
) -> anyhow::Result<Findings> {
    let mut server = installation.start(interrupts).await?;
    let api = Api::new(&server.address)?;
    let mut users = Vec::new();
    for number in 0..options.clients {
        users.push(interrupts.or(api.sign_up(&format!("kill-{seed:016x}-{number}"))).await?);
    }
    let creator = users.first().context("there are no clients")?;
    let market = api.open_market(creator, &format!("kill-{seed:016x}")).await?;
    let run = Arc::new(Run {
        seed,
        market,
        users: users.iter().map(|user| user.id.clone()).collect(),
        journal: Journal::create(journal)?,
        pause: Duration::ZERO,
    });

    let (phase, receiver) = watch::channel(Phase::Up(api));
    let mut clients = JoinSet::new();
    for (number, user) in (0..).zip(users) {
        clients.spawn(load::client(Arc::clone(&run), number, user, receiver.clone()));
    }
    server = kill_often(server, installation, &run, &phase, options.kills, interrupts).await?;
    phase.send_replace(Phase::Over);
    let records = interrupts.or(join(clients)).await?;

    let api = Api::new(&server.address)?;
    let mut checks = JoinSet::new();
    for mut record in records {
        let (api, run) = (api.clone(), Arc::clone(&run));
        checks.spawn(async move { verify::verify(&api, &run, &mut record).await });
    }
    let mut findings = Findings::default();
    for found in interrupts.or(join(checks)).await? {
        findings.add(found);
    }

    if let Err(error) = server.stop().await {
        findings.breaches.push(format!("{error:#}"));
    }
    if let Err(error) = installation.audit(interrupts).await {
        interrupts.check()?;
        findings.breaches.push(format!("{error:#}"));
    }
    // Fewer than one for each kill: the kills hit an idle server and prove nothing.
    let kills = usize::try_from(options.kills)?;
    if findings.orders < kills || findings.transfers < kills {
        findings.breaches.push(format!(
            "the run proves nothing: {} orders and {} transfers acknowledged with {kills} kills; \
             the journal says why the others were refused",
            findings.orders, findings.transfers
        ));
    }
    Ok(findings)
}

/// Kills and restarts the server at random moments; returns its last life.
async fn kill_often(
    mut server: Server,
    installation: &Installation,
    run: &Run,
    phase: &watch::Sender<Phase>,
    kills: u32,
    interrupts: &Interrupts,
) -> anyhow::Result<Server> {
    let mut random = StdRng::seed_from_u64(run.seed);
    for kill in 1..=kills {
        work(&mut random, interrupts).await?;
        server.kill().await?;
        phase.send_replace(Phase::Down);
        run.journal.note("kill")?;
        let started = Instant::now();
        server = installation.start(interrupts).await?;
        run.journal.note("restart")?;
        phase.send_replace(Phase::Up(Api::new(&server.address)?));
        eprintln!("kill: {kill} of {kills}, serving again after {} ms", started.elapsed().as_millis());
    }
    // The last life must show that it can work, too.
    work(&mut random, interrupts).await?;
    Ok(server)
}

/// Lets the clients work for a moment of random length.
async fn work(random: &mut StdRng, interrupts: &Interrupts) -> anyhow::Result<()> {
    let moment = Duration::from_millis(random.random_range(200..=1500));
    interrupts
        .or(async {
            tokio::time::sleep(moment).await;
            Ok(())
        })
        .await
}

/// The results of all tasks, or the first error.
async fn join<T: 'static>(mut tasks: JoinSet<anyhow::Result<T>>) -> anyhow::Result<Vec<T>> {
    let mut results = Vec::new();
    while let Some(result) = tasks.join_next().await {
        results.push(result.context("a client panicked")??);
    }
    Ok(results)
}

/// Prints what was found; returns whether all was well.
fn report(store: &str, findings: &Findings) -> bool {
    eprintln!(
        "kill: {store}: {} orders and {} transfers acknowledged, {} cancellations, {} refused; \
         {} without an answer, of which {} had taken effect or did so when repeated",
        findings.orders,
        findings.transfers,
        findings.cancelled,
        findings.refused,
        findings.unknown,
        findings.unknown_done
    );
    for breach in findings.breaches.iter().take(SHOWN) {
        eprintln!("kill: {store}: {breach}");
    }
    let hidden = findings.breaches.len().saturating_sub(SHOWN);
    if hidden > 0 {
        eprintln!("kill: {store}: and {hidden} more");
    }
    if findings.breaches.is_empty() {
        eprintln!("kill: {store}: nothing lost, nothing done twice, the audit is clean");
    }
    findings.breaches.is_empty()
}
