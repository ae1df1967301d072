//! Work that is put aside in the unit of work that causes it, and done soon after by whichever server
//! comes to it: at least once.
//!
//! A job *waits* until it is due, *runs* while somebody holds its lease, and is *dead* when it has
//! failed too often. One that is done is gone, and its payload with it.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::ids::JobId;

/// How often a job is tried before it is dead.
pub const MOST_ATTEMPTS: u32 = 20;
/// The longest pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(2);
/// The longest pause of all.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(30);
/// The most characters that are kept of an error.
const LONGEST_ERROR: usize = 500;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobKind {
    /// To compose a mail and send it.
    Mail,
}

impl JobKind {
    /// All kinds.
    pub const ALL: [Self; 1] = [Self::Mail];

    /// The kind as it stands in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mail => "mail",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == name)
    }
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobState {
    /// To be done when it is due.
    Waiting,
    /// Somebody does it, until its lease ends: then others may.
    Running,
    /// It failed too often. Kept for a while, for people to see.
    Dead,
}

impl JobState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Running, Self::Dead];

    /// The state as it stands in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Dead => "dead",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == name)
    }
}

/// A job. Its `Debug` does not show the payload, which may be private.
#[derive(Clone, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What is to be done.
    pub kind: JobKind,
    /// With what: JSON, whose form is a matter of the kind.
    pub payload: String,
    /// How far it is.
    pub state: JobState,
    /// When it is due; while it runs, when its lease ends; of a dead one, when it died.
    pub run_at: Timestamp,
    /// How often it was begun.
    pub attempts: u32,
    /// Why it failed last.
    pub last_error: Option<String>,
    /// When it was put aside.
    pub created_at: Timestamp,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("state", &self.state)
            .field("run_at", &self.run_at)
            .field("attempts", &self.attempts)
            .field("last_error", &self.last_error)
            .finish_non_exhaustive()
    }
}

impl Job {
    /// A job that is due at once.
    #[must_use]
    pub const fn new(id: JobId, kind: JobKind, payload: String, now: Timestamp) -> Self {
        let (state, attempts, last_error) = (JobState::Waiting, 0, None);
        Self { id, kind, payload, state, run_at: now, attempts, last_error, created_at: now }
    }

    /// By what the one who does it now is known.
    #[must_use]
    pub const fn claim(&self) -> Claim {
        Claim { job: self.id, attempt: self.attempts }
    }

    /// What becomes of it after it failed: when to try again, or that it is dead where it was tried too
    /// often. The pause is between half and all of what it can be at most, by a random byte.
    #[must_use]
    pub fn after_failure(&self, now: Timestamp, random: u8) -> Outcome {
        if self.attempts >= MOST_ATTEMPTS {
            return Outcome::Dead;
        }
        let doublings = self.attempts.saturating_sub(1).min(30);
        let most = FIRST_PAUSE.saturating_mul(1_i32 << doublings).min(LONGEST_PAUSE);
        let pause = most / 2 + (most / 512).saturating_mul(i32::from(random));
        now.checked_add(pause).map_or(Outcome::Dead, Outcome::Again)
    }
}

/// A turn at a job. One whose lease has run out and who was followed by another has no say any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The job.
    pub job: JobId,
    /// The how-manieth time it is done.
    pub attempt: u32,
}

/// What becomes of a job that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is tried again at that moment.
    Again(Timestamp),
    /// It is not tried again.
    Dead,
}

/// An error as it is kept with a job: one line, not too long.
#[must_use]
pub fn kept_error(error: &str) -> String {
    error.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_ERROR).collect()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn pause_after(attempts: u32, random: u8) -> Option<i64> {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let job = Job { attempts, ..Job::new(JobId(Uuid::nil()), JobKind::Mail, String::new(), now) };
        match job.after_failure(now, random) {
            Outcome::Again(at) => i64::try_from(at.duration_since(now).as_millis()).ok(),
            Outcome::Dead => None,
        }
    }

    /// Threat 47.
    #[test]
    fn pauses_double_up_to_half_an_hour_are_jittered_and_end() {
        assert_eq!((pause_after(1, 0), pause_after(2, 0), pause_after(5, 0)), (Some(1000), Some(2000), Some(16_000)));
        assert_eq!(pause_after(15, 0), Some(900_000));
        for attempts in 1..MOST_ATTEMPTS {
            let (least, most) = (pause_after(attempts, 0).unwrap(), pause_after(attempts, 255).unwrap());
            assert!(least < most && most < 2 * least && most <= 1_800_000, "{attempts}: {least} to {most}");
        }
        assert_eq!(pause_after(MOST_ATTEMPTS, 0), None);
    }

    /// Threats 23 and 71.
    #[test]
    fn neither_debug_nor_an_error_says_what_it_should_not() {
        let job = Job::new(JobId(Uuid::nil()), JobKind::Mail, "CANARY".to_owned(), Timestamp::UNIX_EPOCH);
        assert!(!format!("{job:?}").contains("CANARY"));
        assert_eq!(kept_error("one\r\ntwo\0"), "one  two ");
        assert_eq!(kept_error(&"é".repeat(600)).chars().count(), 500);
    }
}
