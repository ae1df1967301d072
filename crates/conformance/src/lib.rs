//! One test suite for the storage ports: what [`Store`], [`Queries`], [`Jobs`], [`Outbox`] and [`WebhookLog`] promise, every
//! implementation is held to here, so that all of them give the same answers. The suites of rate
//! limiters, caches and event buses are in [`limiter`], [`cache`] and [`bus`].
//!
//! # Testing an adapter of your own
//!
//! 1. Implement the ports of [`bellwether_domain::ports`]: [`Store`] (which opens units of work),
//!    [`Queries`], [`Jobs`], [`Outbox`] and [`WebhookLog`]. One struct may implement all.
//! 2. Count the statements that your store sends to its database. The suite compares the counts of
//!    an operation on few rows and on many: a loop that asks once for each row is found at once.
//! 3. Depend on `bellwether-conformance` in `[dev-dependencies]`, and say how a store is made:
//!
//! ```
//! use bellwether_conformance::{Harness, Skip, Subject, async_trait, anyhow};
//!
//! struct MyHarness;
//!
//! #[async_trait]
//! impl Harness for MyHarness {
//!     async fn fresh(&self) -> anyhow::Result<Subject> {
//!         // A database that no other test sees, migrated: only the accounts
//!         // `AccountId::TREASURY` and `AccountId::FEES` are in it. For instance:
//!         //
//!         //     let folder = tempfile::tempdir()?;
//!         //     let store = Arc::new(MyStore::open(folder.path()).await?);
//!         //     let counted = store.clone();
//!         //     Ok(Subject {
//!         //         store: store.clone(),
//!         //         elsewhere: Arc::new(MyStore::open(folder.path()).await?),
//!         //         queries: store.clone(),
//!         //         jobs: store.clone(),
//!         //         webhooks: store.clone(),
//!         //         outbox: store.clone(),
//!         //         statements: Box::new(move || counted.statements()),
//!         //         guard: Box::new(folder),
//!         //     })
//!         //
//!         // Where it cannot be made here, say why: the case counts as passed.
//!         Err(Skip::because("no server is running").into())
//!     }
//! }
//!
//! mod conformance {
//!     bellwether_conformance::conformance!(super::MyHarness);
//! }
//! # fn main() {}
//! ```
//!
//! 4. `cargo test` now runs one test for each promise, by name, such as
//!    `conformance::units::a_dropped_unit_leaves_nothing`. Each has a store of its own, a
//!    multi-thread runtime of its own, and [`TIME_LIMIT`].
//!
//! # What an adapter needs besides
//!
//! - Several units of work at once: cases begin up to [`MOST_UNITS`] tasks that each ask for one.
//!   They may queue for connections, as long as all are served well within the time limit.
//! - [`StoreError::Conflict`](bellwether_domain::ports::StoreError::Conflict) may be answered
//!   wherever units compete; the suite then runs the unit again, a bounded number of times.
//!   Nothing else is retried.
//! - The rows that the migrations make: the two house accounts, empty, and nothing else.
//!
//! # What the suite reads into the ports
//!
//! Where a port's documentation leaves room, every store still has to give the same answer:
//!
//! - An id that is asked for twice is answered once, but a pair or a book that is asked for twice
//!   is answered twice, since those answers come in the order of the questions.
//! - A market is deleted with its tags, outcomes, empty positions and ended orders. One with open
//!   orders or trades is refused as [`Corrupt`](bellwether_domain::ports::StoreError::Corrupt).
//! - So is everything else that a constraint refuses and that is no duplicate: unknown markets,
//!   users and accounts, amounts out of range.
//! - After an error a unit can only be rolled back: its commit fails, and nothing of it stays.
//! - Trades of the same microsecond follow each other by sequence in a candle.
//! - A sum that does not fit 64 bits is an error or the largest number, never a wrapped one; the
//!   audit sums beyond 64 bits exactly, or calls such a sum a violation where it must be one.
//! - Every microsecond from year 1 to the last that [`jiff::Timestamp`] holds round-trips. (The
//!   last second is beyond what `Timestamp::from_microsecond` takes.)
//!
//! # What the suite does not reach
//!
//! The ports give no way to change or delete a transfer or a trade; that the database refuses it
//! too is for the adapter's own tests. So are a connection that is lost while committing
//! ([`OutcomeUnknown`](bellwether_domain::ports::StoreError::OutcomeUnknown)) and durability after
//! a crash, which need a hand on the server.

pub mod bus;
pub mod cache;
mod cases;
mod fixtures;
pub mod limiter;
mod pages;
pub mod plans;
mod scene;
mod world;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bellwether_domain::ports::{Jobs, Outbox, Queries, Store, WebhookLog};

#[doc(hidden)]
pub use cases::*;
pub use fixtures::opened_market;
#[doc(hidden)]
pub use world::World;

pub use anyhow;
pub use async_trait::async_trait;

/// What one case may take, from the making of its store to its end.
pub const TIME_LIMIT: Duration = Duration::from_secs(60);

/// The largest number of tasks that ask for a unit of work at the same moment.
pub const MOST_UNITS: usize = 64;

/// Makes the stores that the suite runs against.
#[async_trait]
pub trait Harness: Send + Sync + 'static {
    /// A fresh, migrated store of its own, with nothing in it but the two house accounts.
    /// [`Skip`] as the error declines: the case then passes and prints why.
    async fn fresh(&self) -> anyhow::Result<Subject>;
}

/// The store that a case tests.
pub struct Subject {
    /// Its writing half.
    pub store: Arc<dyn Store>,
    /// The same database as another process opens it; or just the same store, where there cannot be another.
    pub elsewhere: Arc<dyn Store>,
    /// Its reading half.
    pub queries: Arc<dyn Queries>,
    /// Its queue of jobs.
    pub jobs: Arc<dyn Jobs>,
    /// Its webhooks.
    pub webhooks: Arc<dyn WebhookLog>,
    /// What happened in it.
    pub outbox: Arc<dyn Outbox>,
    /// How many statements this store has executed so far, transaction control included or not,
    /// as long as it is always the same for the same operation.
    pub statements: Box<dyn Fn() -> u64 + Send + Sync>,
    /// What must live until the case has ended: temporary directories, database guards.
    pub guard: Box<dyn Any + Send>,
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("statements", &(self.statements)()).finish_non_exhaustive()
    }
}

/// The error by which a [`Harness`] declines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip(String);

impl Skip {
    /// Declines, for a reason that the test's output shows.
    #[must_use]
    pub fn because(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "skipped: {}", self.0)
    }
}

impl std::error::Error for Skip {}

/// Runs one case on a store of its own: what each test that [`conformance!`] makes calls.
#[doc(hidden)]
pub fn run<H, C, F>(harness: H, case: C) -> anyhow::Result<()>
where
    H: Harness,
    C: FnOnce(World) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    run_within_limits(harness.fresh(), |subject| {
        let (world, guard) = World::of(subject);
        let outcome = case(world);
        async move {
            let outcome = outcome.await;
            drop(guard);
            outcome
        }
    })
}

/// Runs a case on what `fresh` makes, on a runtime of its own, within [`TIME_LIMIT`].
fn run_within_limits<S, F>(
    fresh: impl Future<Output = anyhow::Result<S>>,
    case: impl FnOnce(S) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    // At least four threads, so that tasks race on small machines too.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build()?;
    let result = runtime.block_on(async {
        let limited = tokio::time::timeout(TIME_LIMIT, async {
            match fresh.await {
                Ok(subject) => case(subject).await,
                Err(error) => match error.downcast::<Skip>() {
                    Ok(skip) => {
                        eprintln!("{skip}");
                        Ok(())
                    }
                    Err(error) => Err(error.context("the harness could not make what is to be tested")),
                },
            }
        });
        match limited.await {
            Ok(result) => result,
            Err(_) => {
                Err(anyhow::anyhow!("the case did not end within {} s: something waits for ever", TIME_LIMIT.as_secs()))
            }
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    result
}

/// Makes one `#[test]` for each case of the suite, in modules by concept. Takes an expression that
/// makes the [`Harness`]; it is evaluated once for each case. Call it inside a module of its own.
#[macro_export]
macro_rules! conformance {
    ($harness:expr $(,)?) => {
        fn harness() -> impl $crate::Harness {
            $harness
        }
        $crate::each_case! { $crate::tests_of }
    };
}

/// The tests of the modules and cases that it is given.
#[doc(hidden)]
#[macro_export]
macro_rules! tests_of {
    ($($module:ident { $($case:ident,)+ })+) => {
        $(mod $module {
            $(#[test]
            fn $case() -> $crate::anyhow::Result<()> {
                $crate::run(super::harness(), $crate::$module::$case)
            })+
        })+
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Declines;

    #[async_trait]
    impl Harness for Declines {
        async fn fresh(&self) -> anyhow::Result<Subject> {
            Err(anyhow::Error::from(Skip::because("no server is running")))
        }
    }

    struct Fails;

    #[async_trait]
    impl Harness for Fails {
        async fn fresh(&self) -> anyhow::Result<Subject> {
            Err(anyhow::anyhow!("the disk is gone"))
        }
    }

    async fn never(_: World) -> anyhow::Result<()> {
        Err(anyhow::anyhow!("the case ran"))
    }

    #[test]
    fn a_case_passes_where_the_harness_declines() {
        run(Declines, never).expect("declining is no failure");
    }

    #[test]
    fn a_case_fails_where_no_store_can_be_made() {
        let error = run(Fails, never).expect_err("there is no store");
        assert_eq!(format!("{error:#}"), "the harness could not make what is to be tested: the disk is gone");
    }
}
