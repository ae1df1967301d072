//! Storage on PostgreSQL: [`PgStore`].
//!
//! One unit of work is one transaction on one connection of the pool. Batches are written with one
//! statement a table, whose rows are arrays (`UNNEST`), so that every statement has one text and is
//! prepared once a connection. A unit that is dropped, or a call that is abandoned half way, takes
//! its connection out of the pool: the server undoes the transaction as soon as the socket closes.

mod accounts;
mod answers;
mod api_keys;
mod audit;
mod audit_log;
mod cancel_switches;
mod connecting;
mod connection;
mod due;
mod error;
mod horizon;
mod jobs;
mod lists;
mod mail_tokens;
mod markets;
mod migrations;
mod notices;
mod order_groups;
mod orders;
mod outbox;
mod positions;
mod present;
mod queries;
mod reads;
mod replicas;
mod rows;
mod schema;
mod scores;
mod sessions;
mod sql;
mod statistics;
mod steps;
mod store;
mod trades;
mod unit;
mod users;
mod webhooks;
mod write;

pub use migrations::MIGRATIONS;
pub use notices::PgNotices;
pub use replicas::PgReplicas;
pub use store::{PLANS, PgOptions, PgStore};
pub use unit::PgUnitOfWork;
