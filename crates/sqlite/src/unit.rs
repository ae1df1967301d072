//! A unit of work: one transaction on the writer's thread, each call one hop to it.
//!
//! `BEGIN IMMEDIATE` takes SQLite's only write lock, so a row that is loaded in a unit is locked
//! already: `lock` and `load` are the same here.

use async_trait::async_trait;
use bellwether_domain::ids::MarketId;
use bellwether_domain::market::Market;
use bellwether_domain::market_memory::{Lent, Locked};
use bellwether_domain::ports::{
    Accounts, Answers, ApiKeys, CancelSwitches, Changes, Decided, EventCursors, Failures, Found, JobControl,
    MailTokens, Markets, OrderGroups, Orders, Positions, Scores, Sessions, StoreError, UnitOfWork, Users, Wanted,
    Webhooks,
};

use crate::connection::Connection;
use crate::error::Trouble;
use crate::writer::Transaction;
use crate::{accounts, answers, api_keys, audit_log, markets, order_groups, orders, outbox, positions, users, write};

/// A [`UnitOfWork`] on SQLite.
pub struct SqliteUnitOfWork {
    transaction: Transaction,
    /// A call failed or was abandoned half way: what the transaction holds is not what was decided.
    spoilt: bool,
    /// The markets that this unit has read, and what it knows of them.
    lent: Lent,
}

impl std::fmt::Debug for SqliteUnitOfWork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteUnitOfWork").field("spoilt", &self.spoilt).finish_non_exhaustive()
    }
}

impl SqliteUnitOfWork {
    pub(crate) const fn new(transaction: Transaction, lent: Lent) -> Self {
        Self { transaction, spoilt: false, lent }
    }

    /// What is known of these markets, and of those of which that was not known after all.
    async fn locked(&mut self, locked: Locked) -> Result<Vec<Market>, StoreError> {
        let ids: Vec<MarketId> = locked.stamps.iter().map(|(id, _)| *id).collect();
        let stamps = self.lent.locked(locked);
        if !stamps.is_empty() {
            let missing: Vec<MarketId> = stamps.iter().map(|(id, _)| *id).collect();
            let loaded = self.call(move |connection| markets::by_ids(connection, &missing)).await?;
            self.lent.loaded(stamps, loaded);
        }
        Ok(self.lent.markets(&ids))
    }

    /// Runs statements in one hop. A call that is dropped before its answer spoils the unit.
    pub(crate) async fn call<R: Send + 'static>(
        &mut self,
        job: impl FnOnce(&mut Connection) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        self.refuse_if_spoilt()?;
        self.spoilt = true;
        let result = self.transaction.run(job).await?;
        self.spoilt = false;
        Ok(result)
    }

    fn refuse_if_spoilt(&self) -> Result<(), StoreError> {
        if self.spoilt { Err(Trouble::UnitSpoilt.into()) } else { Ok(()) }
    }
}

#[async_trait]
impl UnitOfWork for SqliteUnitOfWork {
    fn users(&mut self) -> &mut dyn Users {
        self
    }

    fn accounts(&mut self) -> &mut dyn Accounts {
        self
    }

    fn markets(&mut self) -> &mut dyn Markets {
        self
    }

    fn orders(&mut self) -> &mut dyn Orders {
        self
    }

    fn positions(&mut self) -> &mut dyn Positions {
        self
    }

    fn answers(&mut self) -> &mut dyn Answers {
        self
    }

    fn sessions(&mut self) -> &mut dyn Sessions {
        self
    }

    fn mail_tokens(&mut self) -> &mut dyn MailTokens {
        self
    }

    fn failures(&mut self) -> &mut dyn Failures {
        self
    }

    fn api_keys(&mut self) -> &mut dyn ApiKeys {
        self
    }

    fn webhooks(&mut self) -> &mut dyn Webhooks {
        self
    }

    fn event_cursors(&mut self) -> &mut dyn EventCursors {
        self
    }

    fn order_groups(&mut self) -> &mut dyn OrderGroups {
        self
    }

    fn cancel_switches(&mut self) -> &mut dyn CancelSwitches {
        self
    }

    fn jobs(&mut self) -> &mut dyn JobControl {
        self
    }

    fn scores(&mut self) -> &mut dyn Scores {
        self
    }

    async fn load(&mut self, wanted: Wanted) -> Result<Found, StoreError> {
        self.refuse_if_spoilt()?;
        let (asked, known) = self.lent.answer(wanted);
        let (asked, mut found, locked) = if asked == Wanted::default() {
            (asked, Found::default(), Locked::default())
        } else {
            let to_load = self.lent.to_load(&asked.lock_markets);
            self.call(move |connection| {
                let (found, locked) = load(connection, &asked, &to_load)?;
                Ok((asked, found, locked))
            })
            .await?
        };
        found.markets = self.locked(locked).await?;
        self.lent.complete(known, &asked, &mut found);
        Ok(found)
    }

    async fn write(&mut self, changes: &Changes) -> Result<(), StoreError> {
        // Built here, so that the writer's thread only runs what is ready.
        let (steps, events) = (write::steps(changes, &self.lent), changes.events.clone());
        let batch = outbox::batch(changes)?;
        self.lent.begin_to_write();
        self.call(move |connection| {
            write::run(connection, steps)?;
            outbox::append(connection, batch)?;
            audit_log::append(connection, &events)
        })
        .await?;
        self.lent.wrote(changes);
        Ok(())
    }

    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        self.commit_telling(Box::new(|| {})).await
    }

    async fn commit_telling(mut self: Box<Self>, decided: Decided) -> Result<(), StoreError> {
        self.refuse_if_spoilt()?;
        self.lent.give_back();
        self.transaction.commit(decided).await
    }

    async fn rollback(self: Box<Self>) -> Result<(), StoreError> {
        self.transaction.rollback().await
    }
}

/// Everything in one hop; of the markets those that are `to_load`.
fn load(connection: &mut Connection, wanted: &Wanted, to_load: &[MarketId]) -> Result<(Found, Locked), StoreError> {
    let locked = markets::locked(connection, &wanted.lock_markets, to_load)?;
    let found = Found {
        answers: answers::find(connection, &wanted.answers)?,
        statuses: users::statuses(connection, &wanted.users)?,
        markets: Vec::new(),
        orders: orders::by_ids(connection, &wanted.orders)?,
        books: orders::books(connection, &wanted.books)?,
        order_groups: order_groups::by_ids(connection, &wanted.order_groups)?,
        grouped_orders: order_groups::open_orders(connection, &wanted.order_groups)?,
        with_client_ids: orders::with_client_ids(connection, &wanted.client_ids)?,
        open_counts: orders::count_open(connection, &wanted.open_counts)?,
        accounts: accounts::by_ids(connection, &wanted.lock_accounts)?,
        positions: positions::by_pairs(connection, &wanted.positions)?,
        key_usages: api_keys::usages(connection, &wanted.key_usages)?,
    };
    Ok((found, locked))
}
