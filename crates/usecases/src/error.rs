//! Why a use case did not do what was asked.

use bellwether_domain::ledger::LedgerError;
use bellwether_domain::money::Overflow;
use bellwether_domain::ports::{NoRandomness, PasswordError, StoreError};
use bellwether_domain::refusal::Refusal;
use thiserror::Error;

use crate::limits::Exceeded;

/// Why a use case did not do what was asked.
#[derive(Debug, Error)]
pub enum Error {
    /// The rules say no: the caller can do something about it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The password cannot be hashed, or the hasher is busy.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// There are no random numbers.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// More often than is allowed.
    #[error(transparent)]
    Limited(#[from] Exceeded),
    /// A token could not be signed: a fault of the set-up.
    #[error("an access token could not be signed")]
    Signing,
    /// What is to be done later cannot be put aside: a fault of the set-up.
    #[error("a job could not be written down")]
    Payload,
}

impl From<LedgerError> for Error {
    fn from(error: LedgerError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<Overflow> for Error {
    fn from(error: Overflow) -> Self {
        Self::Refused(error.into())
    }
}
