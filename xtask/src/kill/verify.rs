//! After the last kill: is everything there that was acknowledged, and once only?

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::kill::api::{Answer, Api, Kind, is_open, marker};
use crate::kill::journal::{Command, Outcome};
use crate::kill::load::{Record, Run};

/// How long a repeated command may take to be answered for certain.
const RETRY_LIMIT: Duration = Duration::from_secs(60);

/// What was checked, and what was wrong.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) orders: usize,
    pub(super) transfers: usize,
    pub(super) refused: usize,
    pub(super) cancelled: usize,
    /// Commands whose answer was lost, and how many of them turned out to have an effect once
    /// they had been repeated.
    pub(super) unknown: usize,
    pub(super) unknown_done: usize,
    pub(super) breaches: Vec<String>,
}

impl Findings {
    pub(super) fn add(&mut self, other: Self) {
        self.orders += other.orders;
        self.transfers += other.transfers;
        self.refused += other.refused;
        self.cancelled += other.cancelled;
        self.unknown += other.unknown;
        self.unknown_done += other.unknown_done;
        self.breaches.extend(other.breaches);
    }
}

/// Checks all that one client did.
pub(super) async fn verify(api: &Api, run: &Run, record: &mut Record) -> anyhow::Result<Findings> {
    let mut findings = Findings { cancelled: record.cancelled.len(), ..Findings::default() };
    // A long run may have used up the token's time.
    api.renew(&mut record.user).await?;
    settle_unknown(api, run, record, &mut findings).await?;
    find_acknowledged(api, record, &mut findings).await?;
    for kind in [Kind::Order, Kind::Transfer] {
        count_effects(api, kind, record, &mut findings).await?;
    }
    for id in &record.cancelled {
        let order = api.find(Kind::Order, &record.user, id).await?;
        if order.as_ref().is_some_and(is_open) {
            findings.breaches.push(format!("order {id}: its cancellation was acknowledged, and it is open"));
        }
    }
    Ok(findings)
}

/// Repeats every command without an answer, twice: what was done once must be told again, and not done again.
async fn settle_unknown(api: &Api, run: &Run, record: &mut Record, findings: &mut Findings) -> anyhow::Result<()> {
    let Record { user, entries, .. } = record;
    for entry in entries.iter_mut().filter(|entry| entry.outcome == Outcome::Unknown) {
        findings.unknown += 1;
        let Command { kind, key, body } = &entry.command;
        let mut outcomes = Vec::new();
        while outcomes.len() < 2 {
            let started = Instant::now();
            let outcome = loop {
                let answer = api.send(*kind, user, key, body).await;
                let outcome = run.journal.answered(&entry.command, &answer)?;
                match answer {
                    Answer::Unknown(reason) => anyhow::ensure!(
                        started.elapsed() < RETRY_LIMIT,
                        "the {} {key}, repeated for {} seconds, gets no certain answer: {reason}",
                        kind.name(),
                        RETRY_LIMIT.as_secs()
                    ),
                    _ => break outcome,
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            };
            outcomes.push(outcome);
        }
        outcomes.dedup();
        // A refusal is not kept, and what stood in the way may be gone the next time.
        let may_change = outcomes.first() == Some(&Outcome::Refused);
        if outcomes.len() > 1 && !may_change {
            findings
                .breaches
                .push(format!("{} {key}: repeated twice with the same key, it gave {outcomes:?}", kind.name()));
        }
        if let Some(outcome) = outcomes.pop() {
            findings.unknown_done += usize::from(matches!(outcome, Outcome::Acknowledged(_)));
            entry.outcome = outcome;
        }
    }
    Ok(())
}

/// Looks each acknowledged command up by its id.
async fn find_acknowledged(api: &Api, record: &Record, findings: &mut Findings) -> anyhow::Result<()> {
    for entry in &record.entries {
        let Command { kind, key, .. } = &entry.command;
        let Outcome::Acknowledged(id) = &entry.outcome else {
            findings.refused += 1;
            continue;
        };
        match kind {
            Kind::Order => findings.orders += 1,
            Kind::Transfer => findings.transfers += 1,
        }
        let name = kind.name();
        match api.find(*kind, &record.user, id).await? {
            None => findings.breaches.push(format!("{name} {id} ({key}): acknowledged and lost")),
            Some(found) => {
                let found = marker(*kind, &found);
                if found.as_deref() != Some(key) {
                    findings.breaches.push(format!("{name} {id}: acknowledged for the key {key}, and bears {found:?}"));
                }
            }
        }
    }
    Ok(())
}

/// Counts, in the lists of the API, what each command has brought about.
async fn count_effects(api: &Api, kind: Kind, record: &Record, findings: &mut Findings) -> anyhow::Result<()> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for marker in api.markers(kind, &record.user).await? {
        *counts.entry(marker).or_default() += 1;
    }
    for entry in record.entries.iter().filter(|entry| entry.command.kind == kind) {
        let key = &entry.command.key;
        let count = counts.get(key).copied().unwrap_or(0);
        let wanted = usize::from(matches!(entry.outcome, Outcome::Acknowledged(_)));
        if count != wanted {
            findings.breaches.push(format!(
                "{} {key}: {:?}, and the list has it {count} times, not {wanted}",
                kind.name(),
                entry.outcome
            ));
        }
    }
    Ok(())
}
