//! Calls to addresses that users chose.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use jiff::SignedDuration;
use thiserror::Error;

/// A `POST` of JSON. Its `Debug` shows where it goes and nothing else.
#[derive(Clone, PartialEq, Eq)]
pub struct OutgoingCall {
    /// Where it goes.
    pub url: String,
    /// Headers beside those that every call has: names in small letters.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: String,
}

impl fmt::Debug for OutgoingCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutgoingCall").field("url", &self.url).finish_non_exhaustive()
    }
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallAnswer {
    /// The status; one of a redirect too, which nobody follows.
    pub status: u16,
    /// How long it asks to be left alone.
    pub retry_after: Option<SignedDuration>,
    /// What the body begins with: at most [`CallAnswer::MOST_KEPT`] characters, none of which controls anything.
    pub body: String,
    /// How long it took.
    pub took: Duration,
}

impl CallAnswer {
    /// The most characters that are kept of a body.
    pub const MOST_KEPT: usize = 1024;
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CallError {
    /// The house does not call this address, whoever asks. In words for whoever chose it.
    #[error("{0}")]
    Forbidden(String),
    /// It cannot be reached, broke off, or took too long. In words for whoever chose it.
    #[error("{0}")]
    Failed(String),
    /// It could not be reached several times, and is left alone for a while.
    #[error("the host could not be reached several times and is left alone for {} s", .0.as_secs())]
    LeftAlone(SignedDuration),
}

/// Calls addresses that users chose: never one that is not for everybody, unless the house allows it.
///
/// A call takes a bounded time whatever its receiver does, follows no redirect, and reads a bounded part of the
/// answer. A host that cannot be reached is left alone for a while.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait Caller: Send + Sync {
    /// Whether an address may be called as things are: a URL of a host whose addresses are all allowed.
    async fn check(&self, url: &str) -> Result<(), CallError>;
    /// Calls. What [`check`](Self::check) would refuse is refused here too, whatever it said before.
    async fn post(&self, call: &OutgoingCall) -> Result<CallAnswer, CallError>;
    /// How many hosts are left alone at the moment, since they could not be reached.
    fn hosts_left_alone(&self) -> usize;
}
