//! What SQLite's errors mean to the ports.
//!
//! Diesel passes on SQLite's message and the kind of constraint, not the result code; the messages
//! are those of `sqlite3_errstr` and as stable as the codes themselves.

use bellwether_domain::ports::{Source, StoreError, Unique};
use diesel::result::{DatabaseErrorKind, Error};
use thiserror::Error as ThisError;

/// What went wrong, as far as the store must tell cases apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Another connection holds a lock.
    Busy,
    /// The disk is full. SQLite says so before anything could become durable.
    Full,
    /// The disk failed or the file is damaged: nothing that this connection says can be relied on.
    Damaged,
    /// The store cannot work at the moment.
    Unable,
    /// A rule of uniqueness.
    Unique,
    /// Another constraint, a missing table, a statement that is wrong.
    Refused,
}

/// Texts by which SQLite tells its result codes, as `sqlite3_errmsg` gives them.
const BY_MESSAGE: [(&str, Fault); 11] = [
    ("database is locked", Fault::Busy),
    ("database table is locked", Fault::Busy),
    ("database schema is locked", Fault::Busy),
    ("database or disk is full", Fault::Full),
    ("disk I/O error", Fault::Damaged),
    ("database disk image is malformed", Fault::Damaged),
    ("file is not a database", Fault::Damaged),
    ("unable to open database file", Fault::Unable),
    ("attempt to write a readonly database", Fault::Unable),
    ("out of memory", Fault::Unable),
    ("interrupted", Fault::Unable),
];

/// Tells which fault an error is.
pub(crate) fn fault(error: &Error) -> Fault {
    match error {
        Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => Fault::Unique,
        Error::DatabaseError(DatabaseErrorKind::Unknown, information) => {
            let message = information.message();
            let known = BY_MESSAGE.iter().find(|(text, _)| message.starts_with(text));
            known.map_or(Fault::Refused, |(_, fault)| *fault)
        }
        _ => Fault::Refused,
    }
}

/// The port's error for a statement that failed before the commit.
pub(crate) fn store_error(error: Error) -> StoreError {
    match fault(&error) {
        Fault::Busy => StoreError::Conflict(error.into()),
        Fault::Full | Fault::Unable => StoreError::Unavailable(error.into()),
        Fault::Damaged if error.to_string().starts_with("disk I/O error") => StoreError::Unavailable(error.into()),
        Fault::Damaged | Fault::Refused => StoreError::Corrupt(error.to_string()),
        Fault::Unique => broken_rule(&error),
    }
}

/// Which rule a message such as `UNIQUE constraint failed: orders.user_id, orders.client_order_id` names.
fn broken_rule(error: &Error) -> StoreError {
    const RULES: [(&str, Unique); 21] = [
        ("users.email_key", Unique::Email),
        ("markets.slug", Unique::Slug),
        ("orders.user_id, orders.client_order_id", Unique::ClientOrderId),
        ("answers.user_id, answers.route, answers.key", Unique::IdempotencyKey),
        ("users.id", Unique::Id),
        ("accounts.id", Unique::Id),
        // An account's id follows from its owner's, so both rules are broken together.
        ("accounts.owner_kind, accounts.owner_id", Unique::Id),
        ("transfers.id", Unique::Id),
        ("markets.id", Unique::Id),
        ("orders.id", Unique::Id),
        ("sessions.id", Unique::Id),
        ("refresh_tokens.hash", Unique::Id),
        ("mail_tokens.hash", Unique::Id),
        ("jobs.id", Unique::Id),
        ("webhooks.id", Unique::Id),
        ("webhook_deliveries.id", Unique::Id),
        ("webhook_deliveries.webhook_id, webhook_deliveries.sequence", Unique::Id),
        ("audit_log.id", Unique::Id),
        ("api_keys.id", Unique::Id),
        ("api_keys.hash", Unique::Id),
        ("trades.id", Unique::Id),
    ];
    let message = error.to_string();
    let columns = message.rsplit(": ").next().unwrap_or_default();
    let rule = RULES.iter().find(|(named, _)| *named == columns);
    rule.map_or_else(|| StoreError::Corrupt(message.clone()), |(_, rule)| StoreError::Duplicate(*rule))
}

/// An error of the store's own, as the source of an [`Unavailable`](StoreError::Unavailable).
#[derive(Debug, ThisError)]
pub(crate) enum Trouble {
    /// Every connection of the kind was in use for too long.
    #[error("no {0} was free within {1} ms; raise the number of connections or the time-out, or find what holds them")]
    TimedOut(&'static str, u128),
    /// The writer refuses since an error that leaves doubt about what is on the disk.
    #[error(
        "the store stopped writing after a failure ({0}); mend the disk, check the file with `bellwether audit`, and start again"
    )]
    Poisoned(String),
    /// The thread of the connection is gone.
    #[error("the thread of the {0} has ended; start again")]
    Stopped(&'static str),
    /// Another process holds the write lock.
    #[error("another process holds the database's write lock: {0}")]
    LockedOutside(Source),
    /// A connection or the file cannot be opened.
    #[error("cannot open the database {path}: {reason}")]
    Open {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// A unit of work went on after one of its calls failed or was abandoned half way.
    #[error("a call of this unit of work failed or was abandoned; it can only be rolled back")]
    UnitSpoilt,
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        Self::Unavailable(Box::new(trouble))
    }
}
