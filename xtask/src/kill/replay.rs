//! Processes are killed while `bellwether replay` sends recorded trades through the API, two clients trade and pay
//! each other beside it, and webhooks and live clients are told of all of it.
//!
//! On PostgreSQL there are a server, a worker, PostgreSQL and Redis, and each is killed in turn, or all of them
//! together; on SQLite the one server. At the end every figure must be the recording's, everybody paid once, no event or job lost, each webhook
//! told at least once and in order in each market, and each live client exactly what the outbox has. (Threats 35, 45,
//! 48 and 64.)

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::cargo;
use crate::interrupts::Interrupts;
use crate::kill::api::{Api, PASSWORD, User};
use crate::kill::audience::{Audience, Figures};
use crate::kill::journal::Journal;
use crate::kill::load::{self, Phase, Run};
use crate::kill::outbox::Tail;
use crate::kill::server::{Installation, owned};
use crate::kill::verify::{self, Findings};
use crate::kill::victims::Processes;
use crate::kill::{Options, accounts, join};
use crate::services::Services;

const EMAIL: &str = "root@example.org";
/// How long each of the two clients rests after a command: what they do is to be told, and not to be much.
const CLIENTS_PAUSE: Duration = Duration::from_millis(40);
/// The longest time until the next kill, in milliseconds, where the recording does not get on.
const LONGEST_CALM: u64 = 3_000;
/// The most trades until the next kill, times the number that would spread the kills evenly.
const SPREAD: u64 = 2;
/// One kill in so many comes after the last trade, while others are still told of what happened.
const LATE: u32 = 5;

/// Replays the recording, again and again, with as many kills in the middle; returns whether all was well.
pub(super) async fn kill_and_verify(
    installation: &Installation,
    services: Option<&mut Services>,
    seed: u64,
    options: &Options,
    interrupts: &Interrupts,
) -> anyhow::Result<bool> {
    let started = Instant::now();
    let sample = || cargo::workspace_root().join("tests/fixtures/trades_polymarket_2026.csv");
    let recording =
        options.recording.clone().unwrap_or_else(sample).canonicalize().context("cannot find the recording")?;
    let step = SPREAD * rows(&recording, options.limit)? / (u64::from(options.kills) + 1);
    let installation = prepared(installation, services.as_deref());

    let mut processes = Processes::start(&installation, services, interrupts).await?;
    let address = processes.address().to_owned();
    let api = Api::new(&address)?;
    let admin = make_administrator(&installation, &api).await?;
    let mut users = Vec::new();
    for number in 0..2 {
        users.push(interrupts.or(api.sign_up(&format!("told-{seed:016x}-{number}"))).await?);
    }
    let [ann, ben] = users.as_slice() else { anyhow::bail!("there are not two clients") };
    let market = api.open_market(ann, &format!("told-{seed:016x}")).await?;
    let mut audience = Audience::gather(&address, admin, [ann, ben], &market).await?;

    let journal = installation.log.with_file_name("replay.jsonl");
    let run = Arc::new(Run {
        seed: !seed,
        market,
        users: users.iter().map(|user| user.id.clone()).collect(),
        journal: Journal::create(&journal)?,
        pause: CLIENTS_PAUSE,
    });
    let (phase, receiver) = watch::channel(Phase::Up(api.clone()));
    let mut clients = JoinSet::new();
    for (number, user) in (0..).zip(users) {
        clients.spawn(load::client(Arc::clone(&run), number, user, receiver.clone()));
    }
    let mut replays = Replays::start(installation.clone(), recording, options.limit, format!("http://{address}"));
    let late = options.kills / LATE;
    let mut moments = Moments { random: StdRng::seed_from_u64(seed), step, kills: options.kills - late };
    kill_often(&mut processes, &mut audience, &phase, &run, &mut moments, interrupts).await?;
    let outputs = interrupts.or(replays.finish()).await?;
    phase.send_replace(Phase::Over);
    let records = interrupts.or(join(clients)).await?;
    // Most messages to webhooks are sent now, and what is sent twice or not at all would be now.
    moments.kills = late;
    kill_often(&mut processes, &mut audience, &phase, &run, &mut moments, interrupts).await?;

    let mut findings = Findings::default();
    let mut kept = Vec::new();
    for mut record in records {
        findings.add(interrupts.or(verify::verify(&api, &run, &mut record)).await?);
        kept.push(record);
    }
    let (events, breaches, figures) = interrupts.or(audience.settle(&kept)).await?;
    findings.breaches.extend(breaches);
    drop(audience);
    let sums = judge(&outputs, &mut findings);
    let told = accounts::of_replays(&events);
    if told != (sums.orders, sums.trades) {
        findings.breaches.push(format!(
            "replays had {} orders and {} trades acknowledged, and the events tell of {told:?}",
            sums.orders, sums.trades
        ));
    }
    let kills = processes.kills().clone();
    if let Err(error) = processes.stop().await {
        findings.breaches.push(format!("{error:#}"));
    }
    if let Err(error) = installation.audit(interrupts).await {
        interrupts.check()?;
        findings.breaches.push(format!("{error:#}"));
    }
    if sums.repeats == 0 || figures.resumed == 0 || figures.deliveries == 0 || figures.proved == 0 {
        findings.breaches.push("the run proves nothing: the kills met nobody".to_owned());
    }
    let kills: Vec<String> = kills.into_iter().map(|(victim, count)| format!("{} {count}", victim.name())).collect();
    say(&kills.join(", "), &sums, &figures, started.elapsed());
    Ok(crate::kill::report("replay", &findings))
}

/// The installation with what this part needs besides.
fn prepared(installation: &Installation, services: Option<&Services>) -> Installation {
    let mut installation = installation.clone();
    // The receiver is on this machine, which no server calls by itself.
    installation.settings.extend(owned(&[("BELLWETHER_WEBHOOKS_ALLOW", "127.0.0.0/8")]));
    if let Some(url) = services.and_then(|services| services.redis_url.as_deref()) {
        installation.settings.extend(owned(&[("BELLWETHER_CACHE", "redis"), ("BELLWETHER_REDIS_URL", url)]));
    }
    installation
}

async fn make_administrator(installation: &Installation, api: &Api) -> anyhow::Result<User> {
    let mut command = installation.command("admin");
    command.args(["create", "--email", EMAIL, "--display-name", "Root", "--password-stdin"]);
    let output = fed(&mut command).await?.wait_with_output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "cannot make an administrator: {}", said.trim());
    api.sign_in(EMAIL).await
}

/// When kills come.
struct Moments {
    random: StdRng,
    /// The most trades until the next.
    step: u64,
    kills: u32,
}

/// Kills one after the other and starts it again, at random moments.
async fn kill_often(
    processes: &mut Processes<'_>,
    audience: &mut Audience,
    phase: &watch::Sender<Phase>,
    run: &Run,
    moments: &mut Moments,
    interrupts: &Interrupts,
) -> anyhow::Result<()> {
    let Moments { random, step, kills } = moments;
    let before = phase.borrow().clone();
    for kill in 1..=*kills {
        interrupts.or(moment(audience.tail(), *step, random)).await?;
        let victim = processes.next(random);
        processes.kill(victim, random).await.with_context(|| format!("cannot kill {}", victim.name()))?;
        run.journal.note(&format!("kill {}", victim.name()))?;
        if victim.is_needed() {
            phase.send_replace(Phase::Down);
        }
        let absent = processes.start_again(victim, random, interrupts).await?;
        run.journal.note(&format!("restart {}", victim.name()))?;
        phase.send_replace(before.clone());
        audience.follow_replays()?;
        eprintln!("kill: replay: {kill} of {kills}, {}, back after {} ms", victim.name(), absent.as_millis());
    }
    Ok(())
}

/// Lets a random number of trades happen, and then a moment pass.
async fn moment(tail: &Tail, step: u64, random: &mut StdRng) -> anyhow::Result<()> {
    let target = tail.trades() + random.random_range(0..=step);
    let patience = Duration::from_millis(random.random_range(0..LONGEST_CALM));
    let started = Instant::now();
    while tail.trades() < target && started.elapsed() < patience {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tokio::time::sleep(Duration::from_millis(random.random_range(0..150))).await;
    Ok(())
}

/// Replays, one after the other. They end when this is dropped.
struct Replays {
    is_enough: watch::Sender<bool>,
    replaying: JoinHandle<anyhow::Result<Vec<Output>>>,
}

impl Drop for Replays {
    fn drop(&mut self) {
        self.replaying.abort();
    }
}

impl Replays {
    fn start(installation: Installation, recording: PathBuf, limit: Option<usize>, url: String) -> Self {
        let (is_enough, enough) = watch::channel(false);
        let replaying = tokio::spawn(async move {
            let mut outputs: Vec<Output> = Vec::new();
            // One that failed is reported, and a further one would say the same.
            while outputs.last().is_none_or(|output| output.status.success() && !*enough.borrow()) {
                let mut command = installation.command("replay");
                command.arg(&recording).args(["--url", &url, "--json"]);
                command.args(["--admin-email", EMAIL, "--admin-password-stdin"]);
                if let Some(limit) = limit {
                    command.args(["--limit", &limit.to_string()]);
                }
                outputs.push(fed(&mut command).await?.wait_with_output().await?);
            }
            Ok(outputs)
        });
        Self { is_enough, replaying }
    }

    /// Waits for the one that runs, and begins no other.
    async fn finish(&mut self) -> anyhow::Result<Vec<Output>> {
        self.is_enough.send_replace(true);
        (&mut self.replaying).await.context("a replay panicked")?
    }
}

/// How many trades the recording has, up to the limit.
fn rows(recording: &Path, limit: Option<usize>) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(recording).with_context(|| format!("cannot read {}", recording.display()))?;
    let rows = text.lines().count().saturating_sub(1);
    Ok(u64::try_from(rows.min(limit.unwrap_or(rows)))?)
}

/// Starts a command that reads the administrator's password.
async fn fed(command: &mut Command) -> anyhow::Result<Child> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().context("cannot start the binary")?;
    let mut stdin = child.stdin.take().context("there is no pipe")?;
    stdin.write_all(PASSWORD.as_bytes()).await.context("the password is not read")?;
    Ok(child)
}

/// What replays come to.
#[derive(Debug, Default)]
struct Sums {
    replays: usize,
    orders: u64,
    trades: u64,
    repeats: u64,
}

/// Adds the replays up; those that found a difference are breaches.
fn judge(outputs: &[Output], findings: &mut Findings) -> Sums {
    let mut sums = Sums { replays: outputs.len(), ..Sums::default() };
    for output in outputs {
        let said = String::from_utf8_lossy(&output.stdout);
        let summary: Value = serde_json::from_str(&said).unwrap_or_default();
        let number = |name: &str| summary.get(name).and_then(Value::as_u64).unwrap_or(0);
        sums.orders += number("orders");
        sums.trades += number("trades");
        sums.repeats += number("repeats");
        if !output.status.success() {
            findings.breaches.push(format!("a replay failed: {said}{}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    sums
}

fn say(kills: &str, sums: &Sums, figures: &Figures, took: Duration) {
    eprintln!(
        "kill: replay: killed: {kills}; {} replays with {} orders, {} trades, {} requests repeated",
        sums.replays, sums.orders, sums.trades, sums.repeats
    );
    eprintln!(
        "kill: replay: {} events; {} deliveries to webhooks, {} sent again; {} live clients told {} events, back {} \
         times, {} times too slow, {} checksums of books right; {} jobs; settled {} s after the end, {} s in all",
        figures.events,
        figures.deliveries,
        figures.redelivered,
        figures.clients,
        figures.told,
        figures.resumed,
        figures.slow,
        figures.proved,
        figures.jobs,
        figures.settled_after.as_secs(),
        took.as_secs()
    );
}
