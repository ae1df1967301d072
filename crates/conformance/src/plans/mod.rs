//! Whether every read goes by an index, however full the store: a store is filled by its own SQL
//! ([`fill`]), everything that can be asked is asked through the ports ([`reads`]), and whoever tests the store
//! has its planner explain each statement that passed ([`Statements`]).
//!
//! A read that is in no list here is an error of [`reads::each`], so a new one cannot be forgotten.

pub mod fill;
pub mod processor;
pub mod reads;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use self::fill::Places;
use self::processor::{Took, Workers};
use self::reads::Asked;

/// How many rows each large table gets where nothing else is asked for: few enough for every run of the tests.
const FEW: u64 = 12_000;
/// No read of a page takes as long on a store that is full: of a processor, or in all where that cannot be known.
const SLOW: Duration = Duration::from_millis(100);

/// How many rows each large table gets: what `BELLWETHER_PLAN_ROWS` says.
///
/// # Errors
/// Where that is no number, or too small a one.
pub fn rows() -> anyhow::Result<u64> {
    let Ok(text) = std::env::var("BELLWETHER_PLAN_ROWS") else { return Ok(FEW) };
    let rows = text.parse().context("BELLWETHER_PLAN_ROWS is not a number")?;
    ensure!(rows >= FEW, "BELLWETHER_PLAN_ROWS must be {FEW} or more");
    Ok(rows)
}

/// Whether the store is as full as `cargo xtask explain` makes it, and times mean something.
#[must_use]
pub fn is_large(rows: u64) -> bool {
    rows >= 500_000
}

/// More rows than this are not sorted for one page, by the planner's own estimate: what an average user,
/// market or category has is more.
#[must_use]
pub fn most_sorted(rows: u64) -> u64 {
    rows / 500
}

/// What was found of one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// The plan in a line.
    pub plan: String,
    /// Large tables that are read whole.
    pub scans: Vec<String>,
    /// What is gathered to be sorted, more than a page of it.
    pub sorts: Vec<String>,
}

/// What all reads came to: each statement once, with the first read that sent it; and how long reads took.
#[derive(Debug, Default)]
pub struct Report {
    explained: BTreeMap<String, (String, Explained)>,
    slow: Vec<(String, Took)>,
}

impl Report {
    /// Asks a filled store everything and has each new statement explained. `workers` are who does what it is asked.
    ///
    /// # Errors
    /// Where a read or an explanation fails.
    pub async fn of(
        asked: Asked<'_>,
        places: Places,
        statements: &Statements,
        workers: &Workers,
        mut explain: impl AsyncFnMut(&str) -> anyhow::Result<Explained>,
    ) -> anyhow::Result<Self> {
        let mut report = Self::default();
        let mut sent: Vec<(String, String)> = Vec::new();
        reads::large_lists_are_right(asked, places).await?;
        let _ = statements.take();
        reads::each(asked, places, workers, &mut |what, took| {
            sent.extend(statements.take().into_iter().map(|text| (text, what.to_owned())));
            if is_large(places.rows) && took.judged() > SLOW {
                report.slow.push((what.to_owned(), took));
            }
        })
        .await?;
        for (text, what) in sent {
            if !report.explained.contains_key(&text) && is_planned(&text) {
                let explained = explain(&text).await.with_context(|| format!("explaining {text}"))?;
                report.explained.insert(text, (what, explained));
            }
        }
        Ok(report)
    }

    /// Prints every plan in a line, then what is wrong.
    ///
    /// # Errors
    /// Where something is wrong.
    pub fn print(&self, store: &str) -> anyhow::Result<()> {
        let mut faults = Vec::new();
        for (text, (what, explained)) in &self.explained {
            eprintln!("{store} {what}\n    {}", explained.plan);
            let scans = unless_excused(&explained.scans, excuse_of_scan(what));
            let sorts = unless_excused(&explained.sorts, excuse(what));
            for fault in scans.iter().chain(sorts) {
                faults.push(format!("{what}: {fault}\n    {}\n    {text}", explained.plan));
            }
        }
        eprintln!("{store}: {} statements", self.explained.len());
        for (what, took) in &self.slow {
            let told = format!("{what} took {took}");
            match excuse(what) {
                Some(reason) => eprintln!("{store} {told}: {reason}"),
                None => faults.push(told),
            }
        }
        ensure!(faults.is_empty(), "{store}: {} faults\n{}", faults.len(), faults.join("\n"));
        Ok(())
    }
}

/// What is wrong, or nothing and the reason printed.
fn unless_excused<'f>(faults: &'f [String], reason: Option<&str>) -> &'f [String] {
    let Some(reason) = reason else { return faults };
    faults.iter().for_each(|fault| eprintln!("    {fault}: {reason}"));
    &[]
}

/// Why a read may go through a whole table, where it may.
fn excuse_of_scan(read: &str) -> Option<&'static str> {
    let counts_jobs = read.starts_with("Jobs.jobs ") && read.ends_with(" counted");
    counts_jobs.then_some("an administrator's count, of at most 1000 of a table that is emptied as it is worked off")
}

/// Why a read may sort more than a page, or take long in a store that is full, where it may.
fn excuse(read: &str) -> Option<&'static str> {
    if read.starts_with("Queries.positions ") {
        return Some("what was spent changes with every trade, so it is in no index");
    }
    if read.starts_with("Queries.orders user by ") && read.contains("updatedAt") {
        return Some("one user's orders are sorted; an index more would be kept up by every order, and every fill");
    }
    let in_order_of_closing = read.contains(" by closesAt ") || read.contains(" by -closesAt ");
    let is_out_of_order = (read.contains("volume") && !read.contains(" all "))
        || read.contains(" tag=")
        || (read.contains(" closes") && !in_order_of_closing);
    if read.starts_with("Queries.users q ") || (read.starts_with("Queries.markets ") && is_out_of_order) {
        return Some("no index has the filter beside the order: few are gathered, and many walked past");
    }
    if read.starts_with("Queries.users created") && read.contains("isplayName") {
        return Some("an administrator's list, walked in the order of names");
    }
    let own = ["Queries.orders user ", "Queries.trades user ", "Queries.transfers account "];
    let narrowed = own.iter().any(|list| read.strip_prefix(list).is_some_and(|rest| !rest.starts_with("by ")));
    if narrowed {
        return Some("one user's rows are passed over; an index more would be kept up by every order");
    }
    if read.starts_with("WebhookLog.deliveries webhook state=") {
        return Some("one webhook's deliveries are passed over; they are forgotten after some days");
    }
    if read == "Queries.statistics" || read == "Queries.book" {
        return Some("what one user traded, or what rests at the prices that are shown, is summed up");
    }
    let few = [
        "Queries.trades user order ",
        "Users.lock_",
        "Queries.bots_of",
        "Queries.order_groups_of",
        "Sessions.lock_of_user",
        "Queries.candles",
    ];
    few.iter().any(|name| read.starts_with(name)).then_some("they are few")
}

/// Whether a statement has a plan: `BEGIN` and its like have none.
fn is_planned(text: &str) -> bool {
    let word = text.trim_start_matches(['(', ' ']).split_whitespace().next().unwrap_or_default();
    ["SELECT", "WITH", "UPDATE", "DELETE", "INSERT"].contains(&word)
}

/// The texts of the statements that stores send, as they tell of them at the level `trace`.
#[derive(Debug, Clone, Default)]
pub struct Statements(Arc<Mutex<Vec<String>>>);

impl Statements {
    /// Listens from now on, in the whole process.
    ///
    /// # Errors
    /// Where somebody else does.
    pub fn listen() -> anyhow::Result<Self> {
        let statements = Self::default();
        let only = Targets::new().with_target("bellwether::statements", LevelFilter::TRACE);
        tracing_subscriber::registry().with(statements.clone().with_filter(only)).try_init()?;
        Ok(statements)
    }

    /// What came since it was last asked.
    #[must_use]
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: Subscriber> Layer<S> for Statements {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        event.record(&mut Texts(&mut texts));
    }
}

struct Texts<'a>(&'a mut Vec<String>);

impl Visit for Texts<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "statement" {
            self.0.push(value.to_owned());
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}
