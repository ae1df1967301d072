//! What a case is given: the store under test, and a source of ids that never repeats.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::bail;
use bellwether_domain::ids::{AccountId, MarketId, UserId};
use bellwether_domain::ports::{Changes, Jobs, Outbox, Queries, Store, StoreError, UnitOfWork, WebhookLog};
use uuid::Uuid;

use crate::Subject;

/// How often a unit of work that conflicts with others is run again before a case gives up.
const MOST_TRIES: u32 = 1000;

/// The store under test. Cheap to clone, so that every task of a case has its own.
#[derive(Clone)]
pub struct World {
    /// Its writing half.
    pub(crate) store: Arc<dyn Store>,
    /// The same as another process opens it.
    pub(crate) elsewhere: Arc<dyn Store>,
    /// Its reading half.
    pub(crate) queries: Arc<dyn Queries>,
    /// Its queue of jobs.
    pub(crate) jobs: Arc<dyn Jobs>,
    /// Its webhooks.
    pub(crate) webhooks: Arc<dyn WebhookLog>,
    /// What happened in it.
    pub(crate) outbox: Arc<dyn Outbox>,
    statements: Arc<dyn Fn() -> u64 + Send + Sync>,
    drawn: Arc<AtomicU64>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("drawn", &self.drawn).finish_non_exhaustive()
    }
}

impl World {
    /// The world of a subject, and what must outlive it.
    pub(crate) fn of(subject: Subject) -> (Self, Box<dyn Any + Send>) {
        let world = Self {
            store: subject.store,
            elsewhere: subject.elsewhere,
            queries: subject.queries,
            jobs: subject.jobs,
            webhooks: subject.webhooks,
            outbox: subject.outbox,
            statements: Arc::from(subject.statements),
            drawn: Arc::new(AtomicU64::new(1)),
        };
        (world, subject.guard)
    }

    /// A number that was not drawn before in this world.
    pub(crate) fn number(&self) -> u64 {
        self.drawn.fetch_add(1, Ordering::Relaxed)
    }

    /// A fresh UUIDv7, larger than all that were drawn before.
    pub(crate) fn id(&self) -> Uuid {
        const MILLISECOND: u128 = 1_795_000_000_000;
        Uuid::from_u128((MILLISECOND << 80) | (0x7 << 76) | (0b10 << 62) | u128::from(self.number()))
    }

    /// How many statements the store has executed so far.
    pub(crate) fn statements(&self) -> u64 {
        (self.statements)()
    }

    /// Begins a unit of work.
    pub(crate) async fn begin(&self) -> Result<Box<dyn UnitOfWork>, StoreError> {
        self.store.begin().await
    }

    /// Writes and commits in one unit of work, after locking every changed row. On an error the
    /// unit is rolled back, which must work.
    pub(crate) async fn write(&self, changes: &Changes) -> Result<(), StoreError> {
        let mut unit = self.begin().await?;
        match lock_and_write(&mut *unit, changes).await {
            Ok(()) => unit.commit().await,
            Err(error) => {
                unit.rollback().await?;
                Err(error)
            }
        }
    }
}

async fn lock_and_write(unit: &mut dyn UnitOfWork, changes: &Changes) -> Result<(), StoreError> {
    let users: Vec<UserId> = changes.users.iter().map(|u| u.id).collect();
    let mut markets: Vec<MarketId> = changes.markets.iter().map(|m| m.id).collect();
    markets.extend(&changes.deleted_markets);
    markets.extend(changes.new_orders.iter().chain(&changes.orders).map(|o| o.market));
    markets.extend(changes.positions.iter().map(|p| p.market));
    markets.extend(changes.trades.iter().map(|t| t.market));
    markets.sort_unstable();
    markets.dedup();
    let accounts: Vec<AccountId> = changes.accounts.iter().map(|a| a.id).collect();
    if !users.is_empty() {
        unit.users().lock(&users).await?;
    }
    if !markets.is_empty() {
        unit.markets().lock(&markets).await?;
    }
    if !accounts.is_empty() {
        unit.accounts().lock(&accounts).await?;
    }
    unit.write(changes).await
}

/// Runs a unit of work again while it conflicts with others, a bounded number of times. Every
/// other error is the case's.
pub(crate) async fn retried<T, F>(step: impl Fn() -> F) -> anyhow::Result<T>
where
    F: Future<Output = Result<T, StoreError>>,
{
    for _ in 0..MOST_TRIES {
        match step().await {
            Err(StoreError::Conflict(_)) => tokio::task::yield_now().await,
            Err(error) => return Err(error.into()),
            Ok(value) => return Ok(value),
        }
    }
    bail!("a unit of work still conflicted after {MOST_TRIES} tries")
}

/// Waits for all tasks, and fails with the first that failed.
pub(crate) async fn all<T: Send + 'static>(
    tasks: Vec<tokio::task::JoinHandle<anyhow::Result<T>>>,
) -> anyhow::Result<Vec<T>> {
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        results.push(task.await??);
    }
    Ok(results)
}
