//! Who is told how much is done and how long it takes.

use std::time::Duration;

use crate::job::JobKind;

/// What came of a job's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEnd {
    /// It is done.
    Done,
    /// It has more to do later.
    Postponed,
    /// It failed, and is tried again.
    Failed,
    /// It was given up.
    Dead,
}

impl JobEnd {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Done, Self::Postponed, Self::Failed, Self::Dead];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Postponed => "postponed",
            Self::Failed => "failed",
            Self::Dead => "dead",
        }
    }
}

/// What came of a call to a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallEnd {
    /// The receiver took the message.
    Taken,
    /// It answered that it did not.
    Refused,
    /// It could not be reached, or did not answer in time.
    Failed,
    /// Its address may not be called.
    Forbidden,
    /// It was not called, since its host could not be reached lately.
    LeftAlone,
}

impl CallEnd {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Taken, Self::Refused, Self::Failed, Self::Forbidden, Self::LeftAlone];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Forbidden => "forbidden",
            Self::LeftAlone => "left_alone",
        }
    }
}

/// What is executed in groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupOf {
    /// Orders.
    Orders,
    /// Payments between users.
    Payments,
}

impl GroupOf {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Orders, Self::Payments];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Payments => "payments",
        }
    }
}

/// Is told what goes on, for those who watch over the service. Each call takes some nanoseconds, and nothing
/// depends on what becomes of it. Who wants to know nothing implements nothing.
pub trait Meter: Send + Sync {
    /// A group of so many commands was executed, from its first question to its answers.
    fn group(&self, _of: GroupOf, _commands: usize, _took: Duration) {}
    /// A unit of work was committed, or could not be; to the disk and to the end of what was cached.
    fn committed(&self, _took: Duration) {}
    /// A job had its turn.
    fn job(&self, _kind: JobKind, _end: JobEnd) {}
    /// A webhook was called, for the first time with this message or again.
    fn webhook(&self, _end: CallEnd, _is_again: bool, _took: Duration) {}
    /// An answer that is remembered was looked for.
    fn remembered(&self, _is_hit: bool) {}
}

/// Wants to know nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unmetered;

impl Meter for Unmetered {}
