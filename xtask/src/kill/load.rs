//! The clients: they trade and pay each other while the server lives, and never give up.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::watch;

use crate::kill::api::{Answer, Api, Kind, Order, User, transfer_body};
use crate::kill::journal::{Command, Entry, Journal, Outcome};

/// Whether there is a server to talk to.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    Up(Api),
    Down,
    Over,
}

/// What a client has done, and whom it did it as.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) user: User,
    pub(super) entries: Vec<Entry>,
    /// Ids of the orders whose cancellation was acknowledged.
    pub(super) cancelled: Vec<String>,
}

/// What all clients of a run have in common.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) seed: u64,
    pub(super) market: String,
    /// The ids of all users.
    pub(super) users: Vec<String>,
    pub(super) journal: Journal,
    /// How long each client rests after a command.
    pub(super) pause: Duration,
}

/// Sends commands as `user` until the phase is [`Phase::Over`].
pub(super) async fn client(
    run: Arc<Run>,
    number: u64,
    user: User,
    mut phase: watch::Receiver<Phase>,
) -> anyhow::Result<Record> {
    let mut random = StdRng::seed_from_u64(run.seed.wrapping_add(number));
    let mut record = Record { user, entries: Vec::new(), cancelled: Vec::new() };
    for sequence in 0_u64.. {
        let Some(api) = next_server(&mut phase).await else {
            break;
        };
        let key = format!("kill-{:016x}-{number}-{sequence}", run.seed);
        let (command, rests) = next_command(&run, &record.user.id, key, &mut random);

        run.journal.invoke(&command)?;
        let answer = api.send(command.kind, &mut record.user, &command.key, &command.body).await;
        let outcome = run.journal.answered(&command, &answer)?;
        if let (Outcome::Acknowledged(id), true) = (&outcome, rests)
            // Else the book would fill up until every order is refused for lack of funds.
            && random.random_bool(0.8)
            && api.cancel(&record.user, id).await
        {
            record.cancelled.push(id.clone());
        }
        record.entries.push(Entry { command, outcome });
        if matches!(answer, Answer::Unknown(_)) {
            // Most likely the server has just been killed, and the phase will say so in a moment.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(run.pause).await;
    }
    Ok(record)
}

/// Waits for a server; `None` when the run is over.
async fn next_server(phase: &mut watch::Receiver<Phase>) -> Option<Api> {
    let phase = phase.wait_for(|phase| !matches!(phase, Phase::Down)).await.ok()?;
    match &*phase {
        Phase::Up(api) => Some(api.clone()),
        Phase::Down | Phase::Over => None,
    }
}

/// A transfer or an order, and whether that order may rest on the book. Small ones near one price,
/// buys as often as sells: so that most of them trade, and funds last for any length of run.
fn next_command(run: &Run, own: &str, key: String, random: &mut StdRng) -> (Command, bool) {
    if random.random_bool(0.4) {
        let others: Vec<_> = run.users.iter().filter(|user| *user != own).collect();
        if let Some(to) = others.choose(random) {
            let body = transfer_body(to, random.random_range(1..=9), &key);
            return (Command { kind: Kind::Transfer, key, body }, false);
        }
    }
    let rests = random.random_bool(0.5);
    let order = Order {
        market: &run.market,
        outcome: if random.random_bool(0.5) { "YES" } else { "NO" },
        side: if random.random_bool(0.5) { "buy" } else { "sell" },
        price_mills: random.random_range(480..=520),
        quantity: random.random_range(1..=3),
        rests,
        key: &key,
    };
    let body = order.body();
    (Command { kind: Kind::Order, key, body }, rests)
}
