//! A unit of work: one transaction on one connection.
//!
//! Isolation is READ COMMITTED: what decides is locked, and read after it was locked. Row locks are
//! `FOR NO KEY UPDATE`, since keys never change: so a row that refers to a locked one can be
//! inserted meanwhile, and checks of references never wait.

use std::collections::HashMap;

use async_trait::async_trait;
use bellwether_domain::ids::MarketId;
use bellwether_domain::market::Market;
use bellwether_domain::ports::{Accounts, Answers, Changes, Markets, Orders, Positions, StoreError, UnitOfWork, Users};
use diesel::result::{DatabaseErrorKind, Error};

use crate::connection::{Connection, Failure};
use crate::error::store_error;
use crate::write;

/// A [`UnitOfWork`] on PostgreSQL.
pub struct PgUnitOfWork {
    pub(crate) connection: Connection,
    /// The markets as this unit last saw them, so that a trade writes only what trades change.
    pub(crate) seen_markets: HashMap<MarketId, Market>,
}

impl std::fmt::Debug for PgUnitOfWork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PgUnitOfWork(..)")
    }
}

impl PgUnitOfWork {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection, seen_markets: HashMap::new() }
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

    async fn write(&mut self, changes: &Changes) -> Result<(), StoreError> {
        let steps = write::steps(changes, &self.seen_markets)?;
        write::run(steps, &mut self.connection).await?;
        for market in changes.new_markets.iter().chain(&changes.markets) {
            self.seen_markets.insert(market.id, market.clone());
        }
        for market in &changes.deleted_markets {
            self.seen_markets.remove(market);
        }
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        // The server answers COMMIT in a transaction that failed with ROLLBACK and no error; a
        // statement in it does err, so that what is acknowledged was committed.
        match self.connection.end("SELECT 1; COMMIT").await {
            Ok(()) => Ok(()),
            Err(Failure::Server(error)) if was_answered(&error) => Err(store_error(error)),
            Err(Failure::Server(error)) => Err(StoreError::OutcomeUnknown(error.into())),
            Err(Failure::TimedOut(limit)) => {
                Err(StoreError::OutcomeUnknown(format!("no answer to the commit within {limit} ms").into()))
            }
            Err(Failure::Gone) => Err(Failure::Gone.into()),
        }
    }

    async fn rollback(mut self: Box<Self>) -> Result<(), StoreError> {
        Ok(self.connection.end("ROLLBACK").await?)
    }
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
