//! The storage ports on one SQLite file: the embedded default.
//!
//! [`SqliteStore`] implements [`Store`](bellwether_domain::ports::Store) and
//! [`Queries`](bellwether_domain::ports::Queries). What lives where:
//!
//! - `store`, `writer`, `readers`, `connection`: the file, the thread that writes, the connections
//!   that read, and how each is set up. WAL, one writer.
//! - `flushes`: the thread that brings what is committed to the disk, before anybody is told.
//! - `checkpoints`: the thread that copies the write-ahead log into the file.
//! - `unit`, `write`: units of work and how a decision's changes become statements.
//! - `sql`, `lists`: statements, rows, and pages of lists.
//! - `users`, `accounts`, `markets`, `orders`, `positions`, `trades`, `answers`: each thing's rows,
//!   by columns that `schema` names.
//! - `outbox`: what happened, for those who follow it.
//! - `due`, `audit`: work that time makes due, and the invariants that SQL can check.
//! - `migrations`: the schema's steps, embedded.
//! - `error`: what SQLite's errors mean to the ports.

mod accounts;
mod answers;
mod api_keys;
mod audit;
mod audit_log;
mod cancel_switches;
mod checkpoints;
mod connection;
mod due;
mod error;
mod flushes;
mod jobs;
mod lists;
mod mail_tokens;
mod markets;
mod migrations;
mod order_groups;
mod orders;
mod outbox;
mod positions;
mod queries;
mod readers;
mod schema;
mod scores;
mod sessions;
mod sql;
mod statistics;
mod store;
mod timelines;
mod trades;
mod unit;
mod users;
mod webhooks;
mod write;
mod writer;

pub use migrations::MIGRATIONS;
pub use store::{SqliteOptions, SqliteStore};
pub use unit::SqliteUnitOfWork;
