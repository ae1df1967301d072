//! A unit of work: one transaction on one connection.
//!
//! Isolation is READ COMMITTED: what decides is locked, and read after it was locked. Row locks are
//! `FOR NO KEY UPDATE`, since keys never change: so a row that refers to a locked one can be
//! inserted meanwhile, and checks of references never wait.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use bellwether_domain::ids::{MarketId, UserId};
use bellwether_domain::market::Market;
use bellwether_domain::market_memory::{Lent, Locked};
use bellwether_domain::ports::{
    Accounts, Answers, ApiKeys, CancelSwitches, Changes, Decided, EventCursors, Failures, Found, JobControl,
    MailTokens, Markets, OrderGroups, Orders, Positions, Scores, Sessions, StoreError, UnitOfWork, Users, Wanted,
    Webhooks,
};
use diesel::result::{DatabaseErrorKind, Error};

use crate::connection::{Commit, Connection, Failure};
use crate::error::store_error;
use crate::replicas::{RecentWrites, concerned};
use crate::sql::Sql;
use crate::{accounts, answers, api_keys, audit_log, markets, order_groups, orders, positions, steps, users, write};

/// A [`UnitOfWork`] on PostgreSQL.
pub struct PgUnitOfWork {
    pub(crate) connection: Connection,
    /// The markets that this unit has locked, and what it knows of them.
    lent: Lent,
    /// Who has to see what this unit wrote, where there are replicas.
    writers: Option<Writers>,
}

/// Those for whom something was written, and where they are remembered.
struct Writers {
    recent: Arc<RecentWrites>,
    users: HashSet<UserId>,
}

impl std::fmt::Debug for PgUnitOfWork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PgUnitOfWork(..)")
    }
}

impl PgUnitOfWork {
    pub(crate) fn new(connection: Connection, lent: Lent, recent: Option<Arc<RecentWrites>>) -> Self {
        let writers = recent.map(|recent| Writers { recent, users: HashSet::new() });
        Self { connection, lent, writers }
    }

    /// What is known of the markets that were locked just now, and of those of which that was not known after all.
    async fn locked(&mut self, locked: Locked) -> Result<Vec<Market>, StoreError> {
        let ids: Vec<MarketId> = locked.stamps.iter().map(|(id, _)| *id).collect();
        let stamps = self.lent.locked(locked);
        if !stamps.is_empty() {
            let missing: Vec<MarketId> = stamps.iter().map(|(id, _)| *id).collect();
            let loaded = markets::by_ids(&mut self.connection, &missing).await?;
            self.lent.loaded(stamps, loaded);
        }
        Ok(self.lent.markets(&ids))
    }
}

#[async_trait]
impl UnitOfWork for PgUnitOfWork {
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
        if self.connection.is_spoilt() {
            return Err(Failure::Gone.into());
        }
        let (asked, known) = self.lent.answer(wanted);
        let (queries, order) = queries(&asked, &self.lent)?;
        let mut rows = Vec::new();
        if !queries.is_empty() {
            rows = self.connection.rows_all(queries).await?;
        }
        let (mut loaded, mut locked) = (Found::default(), Locked::default());
        for (kind, rows) in order.into_iter().zip(rows) {
            match kind {
                Kind::Answers => loaded.answers = answers::found(rows)?,
                Kind::Statuses => loaded.statuses = users::found_statuses(rows)?,
                Kind::Lock => locked = markets::found_locked(rows)?,
                Kind::Markets => locked.loaded = markets::found(rows)?,
                Kind::Orders => loaded.orders = orders::found(rows)?,
                Kind::Books => loaded.books = orders::found_books(rows, &asked.books)?,
                Kind::OrderGroups => loaded.order_groups = order_groups::found(rows)?,
                Kind::GroupedOrders => loaded.grouped_orders = orders::found(rows)?,
                Kind::ClientIds => loaded.with_client_ids = orders::found(rows)?,
                Kind::OpenCounts => loaded.open_counts = orders::found_counts(rows)?,
                Kind::Accounts => loaded.accounts = accounts::found(rows)?,
                Kind::Positions => loaded.positions = positions::found(rows)?,
                Kind::KeyUsages => loaded.key_usages = api_keys::found_usages(rows)?,
            }
        }
        loaded.markets = self.locked(locked).await?;
        self.lent.complete(known, &asked, &mut loaded);
        Ok(loaded)
    }

    async fn write(&mut self, changes: &Changes) -> Result<(), StoreError> {
        if let Some(writers) = &mut self.writers {
            writers.users.extend(concerned(changes));
        }
        let steps = write::steps(changes, &self.lent)?;
        self.lent.begin_to_write();
        steps::run(steps, &mut self.connection).await?;
        audit_log::append(&mut self.connection, &changes.events).await?;
        self.lent.wrote(changes);
        Ok(())
    }

    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        self.commit_telling(Box::new(|| {})).await
    }

    async fn commit_telling(mut self: Box<Self>, decided: Decided) -> Result<(), StoreError> {
        self.lent.give_back();
        let committed = self.connection.commit(decided, self.writers.is_some()).await;
        if let Some(writers) = self.writers.take() {
            writers.recent.put(&writers.users, committed.as_ref().ok().copied().flatten());
        }
        match committed {
            Ok(_) => Ok(()),
            Err(Commit::Undecided(Failure::Gone)) => Err(Failure::Gone.into()),
            Err(Commit::Undecided(Failure::Server(error))) if was_answered(&error) => Err(store_error(error)),
            Err(Commit::Undecided(failure) | Commit::Unflushed(failure)) => Err(outcome_unknown(failure)),
        }
    }

    async fn rollback(mut self: Box<Self>) -> Result<(), StoreError> {
        Ok(self.connection.end("ROLLBACK").await?)
    }
}

/// What a query of [`UnitOfWork::load`] is for.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Answers,
    Statuses,
    Lock,
    Markets,
    Orders,
    Books,
    OrderGroups,
    GroupedOrders,
    ClientIds,
    OpenCounts,
    Accounts,
    Positions,
    KeyUsages,
}

/// The queries for what is wanted, in the order that was promised, and what each is for.
fn queries(wanted: &Wanted, lent: &Lent) -> Result<(Vec<Sql>, Vec<Kind>), StoreError> {
    let mut queries = Vec::new();
    if !wanted.answers.is_empty() {
        queries.push((answers::wanted(&wanted.answers)?, Kind::Answers));
    }
    if !wanted.users.is_empty() {
        queries.push((users::wanted_statuses(&wanted.users), Kind::Statuses));
    }
    if !wanted.lock_markets.is_empty() {
        queries.push((markets::locked(&wanted.lock_markets), Kind::Lock));
        let to_load = lent.to_load(&wanted.lock_markets);
        if !to_load.is_empty() {
            queries.push((markets::wanted(&to_load), Kind::Markets));
        }
    }
    if !wanted.orders.is_empty() {
        queries.push((orders::wanted(&wanted.orders), Kind::Orders));
    }
    if !wanted.books.is_empty() {
        queries.push((orders::wanted_books(&wanted.books)?, Kind::Books));
    }
    if !wanted.order_groups.is_empty() {
        queries.push((order_groups::wanted(&wanted.order_groups), Kind::OrderGroups));
        queries.push((order_groups::wanted_orders(&wanted.order_groups), Kind::GroupedOrders));
    }
    if !wanted.client_ids.is_empty() {
        queries.push((orders::wanted_client_ids(&wanted.client_ids)?, Kind::ClientIds));
    }
    if !wanted.open_counts.is_empty() {
        queries.push((orders::wanted_counts(&wanted.open_counts)?, Kind::OpenCounts));
    }
    if !wanted.lock_accounts.is_empty() {
        queries.push((accounts::locked(&wanted.lock_accounts), Kind::Accounts));
    }
    if !wanted.positions.is_empty() {
        queries.push((positions::wanted(&wanted.positions)?, Kind::Positions));
    }
    if !wanted.key_usages.is_empty() {
        queries.push((api_keys::wanted_usages(&wanted.key_usages), Kind::KeyUsages));
    }
    Ok(queries.into_iter().unzip())
}

/// Nobody knows whether what was to be committed was, and will still be after a loss of power.
fn outcome_unknown(failure: Failure) -> StoreError {
    StoreError::OutcomeUnknown(match failure {
        Failure::Server(error) => error.into(),
        Failure::TimedOut(limit) => format!("no answer to the commit within {limit} ms").into(),
        Failure::Gone => "the connection is gone".into(),
    })
}

/// Whether the server itself said that it did not commit, as against a connection that was lost.
fn was_answered(error: &Error) -> bool {
    match error {
        Error::DatabaseError(DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand, _) => false,
        Error::DatabaseError(DatabaseErrorKind::Unknown, information) => {
            let message = information.message();
            !["connection", "terminating", "closed", "communicating"].iter().any(|text| message.contains(text))
        }
        Error::DatabaseError(..) => true,
        _ => false,
    }
}
