//! What PostgreSQL's errors mean to the ports.

use bellwether_domain::ports::{StoreError, Unique};
use diesel::result::{DatabaseErrorKind, Error};
use thiserror::Error as ThisError;

/// The port's error for a statement that failed before the commit.
pub(crate) fn store_error(error: Error) -> StoreError {
    match &error {
        Error::DatabaseError(DatabaseErrorKind::UniqueViolation, information) => {
            let constraint = information.constraint_name().unwrap_or_default();
            broken_rule(constraint).map_or_else(|| StoreError::Corrupt(error.to_string()), StoreError::Duplicate)
        }
        Error::DatabaseError(DatabaseErrorKind::SerializationFailure, _) => StoreError::Conflict(error.into()),
        Error::DatabaseError(
            DatabaseErrorKind::ForeignKeyViolation
            | DatabaseErrorKind::NotNullViolation
            | DatabaseErrorKind::CheckViolation,
            _,
        ) => StoreError::Corrupt(error.to_string()),
        Error::DatabaseError(DatabaseErrorKind::Unknown, information) => by_message(information.message(), &error),
        Error::DeserializationError(_) | Error::SerializationError(_) | Error::QueryBuilderError(_) => {
            StoreError::Corrupt(error.to_string())
        }
        _ => StoreError::Unavailable(error.into()),
    }
}

/// Diesel passes on the server's message and not its code; the messages are those of an English
/// server, which every connection asks for.
fn by_message(message: &str, error: &Error) -> StoreError {
    const CONFLICTS: [&str; 3] =
        ["deadlock detected", "could not serialize access", "canceling statement due to lock timeout"];
    const REFUSED: [&str; 6] =
        ["violates", "append-only", "out of range", "invalid input syntax", "does not exist", "syntax error"];
    if CONFLICTS.iter().any(|text| message.contains(text)) {
        return StoreError::Conflict(message.to_owned().into());
    }
    if REFUSED.iter().any(|text| message.contains(text)) {
        return StoreError::Corrupt(error.to_string());
    }
    StoreError::Unavailable(message.to_owned().into())
}

/// Which rule the constraint of that name keeps.
fn broken_rule(constraint: &str) -> Option<Unique> {
    Some(match constraint {
        "users_email_key_key" => Unique::Email,
        "markets_slug_key" => Unique::Slug,
        "orders_by_client_order_id" => Unique::ClientOrderId,
        "answers_pkey" => Unique::IdempotencyKey,
        // An account's id follows from its owner's, so both rules are broken together.
        "users_pkey"
        | "accounts_pkey"
        | "accounts_owner_kind_owner_id_key"
        | "transfers_pkey"
        | "markets_pkey"
        | "orders_pkey"
        | "sessions_pkey"
        | "refresh_tokens_pkey"
        | "mail_tokens_pkey"
        | "jobs_pkey"
        | "webhooks_pkey"
        | "webhook_deliveries_pkey"
        | "webhook_deliveries_once"
        | "api_keys_pkey"
        | "api_keys_hash_key"
        | "audit_log_id_key"
        | "trades_pkey" => Unique::Id,
        _ => return None,
    })
}

/// An error of the store's own, as the source of an [`Unavailable`](StoreError::Unavailable).
#[derive(Debug, ThisError)]
pub(crate) enum Trouble {
    /// The server did not answer in time.
    #[error("PostgreSQL did not answer within {0} ms")]
    TimedOut(u128),
    /// Every connection was in use for too long, or none could be made.
    #[error("no connection to PostgreSQL could be had: {cause}")]
    NoConnection {
        /// Why, with all causes.
        cause: String,
        /// Whether one may be had a moment later.
        may_pass: bool,
    },
    /// A unit of work went on after one of its calls failed or was abandoned half way.
    #[error("a call of this unit of work failed or was abandoned; it can only be rolled back")]
    UnitSpoilt,
    /// The server is not set up as it must be.
    #[error("{0}")]
    Unfit(String),
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        Self::Unavailable(Box::new(trouble))
    }
}
