//! Work that is put aside in the unit of work that causes it, and done soon after by whichever server
//! comes to it: at least once.
//!
//! A job *waits* until it is due, *runs* while somebody holds its lease, and is *dead* when it has
//! failed too often. One that is done is gone, and its payload with it, unless it is kept for people to
//! see what came of it.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::ids::JobId;

/// For how long a job is somebody's to do without a further word: so soon after a server has died
/// others do its jobs.
pub const LEASE: SignedDuration = SignedDuration::from_secs(10);
/// How long jobs that have ended are kept for people to see.
pub const ENDED_KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);
/// The most characters that are kept of an error, and of what came of a job.
const LONGEST_ERROR: usize = 500;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JobKind {
    /// To compose a mail and send it.
    Mail,
    /// To send a webhook what it is to be told.
    Webhook,
    /// To cancel the orders of somebody who was not heard of in time.
    CancelOrders,
    /// To count what users did in markets that have paid.
    Statistics,
    /// To check every invariant.
    Audit,
    /// To forget what was kept for long enough.
    CleanUp,
    /// Nothing: it shows that jobs are done, and how quickly.
    Probe,
}

/// How jobs of a kind are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// The most that one server does at a time.
    pub at_once: usize,
    /// With less room than this none are taken, so that many are with one statement where they take their room for a
    /// moment only.
    pub least_room: usize,
    /// How often one may fail in a row, the last time included.
    pub most_failures: u32,
    /// The longest pause after the first failure; it doubles with each further one.
    pub first_pause: SignedDuration,
    /// The longest pause of all.
    pub longest_pause: SignedDuration,
}

impl JobKind {
    /// All kinds.
    pub const ALL: [Self; 7] =
        [Self::Mail, Self::Webhook, Self::CancelOrders, Self::Statistics, Self::Audit, Self::CleanUp, Self::Probe];

    /// The kind as it stands in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mail => "mail",
            Self::Webhook => "webhook",
            Self::CancelOrders => "cancel_orders",
            Self::Statistics => "statistics",
            Self::Audit => "audit",
            Self::CleanUp => "clean_up",
            Self::Probe => "probe",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == name)
    }

    /// How its jobs are done.
    #[must_use]
    pub const fn manner(self) -> Manner {
        let (first_pause, longest_pause) = match self {
            // Whoever is not there cannot do it by hand.
            Self::CancelOrders => (SignedDuration::from_millis(500), SignedDuration::from_secs(30)),
            _ => (SignedDuration::from_secs(2), SignedDuration::from_mins(30)),
        };
        let (at_once, most_failures): (usize, u32) = match self {
            Self::Mail => (4, 20),
            Self::Webhook => (32, 20),
            Self::CancelOrders => (8, 1000),
            Self::Statistics => (1, 20),
            Self::Audit => (1, 3),
            Self::CleanUp => (1, 5),
            Self::Probe => (512, 5),
        };
        let least_room = match self {
            // These may wait for others' machines: a few slow ones would keep all others waiting.
            Self::Mail | Self::Webhook => 1,
            _ => at_once.div_ceil(2),
        };
        Manner { at_once, least_room, most_failures, first_pause, longest_pause }
    }
}

/// Which of the jobs of a kind that are due come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// Before all others.
    High,
    /// As most are.
    Normal,
    /// When there is nothing else to do.
    Low,
}

impl Priority {
    /// All priorities.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// As people see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// As it stands in the database: the lowest number comes first.
    #[must_use]
    pub const fn rank(self) -> u32 {
        match self {
            Self::High => 0,
            Self::Normal => 1,
            Self::Low => 2,
        }
    }

    /// The priority of that rank.
    #[must_use]
    pub fn from_rank(rank: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|p| i64::from(p.rank()) == rank)
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
    /// It is done, and kept for a while for people to see.
    Done,
}

impl JobState {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Running, Self::Dead, Self::Done];

    /// The state as it stands in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Dead => "dead",
            Self::Done => "done",
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
    /// Which of those that are due come first.
    pub priority: Priority,
    /// Of the jobs of a kind that are not done one has it: what is put aside under the key of another
    /// joins that one, see [`Changes::new_jobs`](crate::ports::Changes::new_jobs).
    pub unique_key: Option<String>,
    /// How far it is.
    pub state: JobState,
    /// When it is due; while it runs, when its lease ends; of one that has ended, when it did.
    pub run_at: Timestamp,
    /// How often it was begun. It only grows, and tells apart who did it when.
    pub attempts: u32,
    /// How often it failed in a row, a lease that ran out among it.
    pub failures: u32,
    /// Why it failed last.
    pub last_error: Option<String>,
    /// Whether it is kept for a while when it is done.
    pub is_kept: bool,
    /// What came of it, where it is done and kept.
    pub result: Option<String>,
    /// When it was put aside.
    pub created_at: Timestamp,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("priority", &self.priority)
            .field("state", &self.state)
            .field("run_at", &self.run_at)
            .field("attempts", &self.attempts)
            .field("failures", &self.failures)
            .field("last_error", &self.last_error)
            .finish_non_exhaustive()
    }
}

impl Job {
    /// A job that is due at once, and of which nothing is kept.
    #[must_use]
    pub const fn new(id: JobId, kind: JobKind, payload: String, now: Timestamp) -> Self {
        Self {
            id,
            kind,
            payload,
            priority: Priority::Normal,
            unique_key: None,
            state: JobState::Waiting,
            run_at: now,
            attempts: 0,
            failures: 0,
            last_error: None,
            is_kept: false,
            result: None,
            created_at: now,
        }
    }

    /// By what the one who does it now is known.
    #[must_use]
    pub const fn claim(&self) -> Claim {
        Claim { job: self.id, attempt: self.attempts }
    }

    /// Whether it has failed so often that it is not begun once more. It comes to this where servers die of it.
    #[must_use]
    pub const fn is_hopeless(&self) -> bool {
        self.failures >= self.kind.manner().most_failures
    }

    /// What becomes of it after it failed once more: when to try again, or that it is dead where it failed
    /// too often. The pause is anything up to what it can be at most, by a random byte, so that what failed
    /// together is not tried again together.
    #[must_use]
    pub fn after_failure(&self, now: Timestamp, random: u8) -> Outcome {
        let manner = self.kind.manner();
        if self.failures.saturating_add(1) >= manner.most_failures {
            return Outcome::Dead;
        }
        let pause = jittered_pause(manner.first_pause, manner.longest_pause, self.failures, random);
        now.checked_add(pause).map_or(Outcome::Dead, Outcome::Again)
    }
}

/// Up to `first`, doubled for each failure before, and up to `longest`: full jitter, by a random byte.
#[must_use]
pub fn jittered_pause(first: SignedDuration, longest: SignedDuration, failures: u32, random: u8) -> SignedDuration {
    let most = first.saturating_mul(1_i32 << failures.min(30)).min(longest);
    (most / 256).saturating_mul(i32::from(random) + 1)
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

/// How the jobs of a kind stand. Counted up to [`Depth::MOST`] each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// The kind.
    pub kind: JobKind,
    /// How many wait and are due.
    pub due: u64,
    /// How many have failed too often.
    pub dead: u64,
}

impl Depth {
    /// What is more is not counted.
    pub const MOST: u64 = 10_000;
}

/// Which moments a schedule names. All in UTC, which knows no hour that comes twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rhythm {
    /// At every whole multiple of this time, which is a second or more, since 1970.
    Every(SignedDuration),
    /// Once a day, so long after midnight.
    DailyAt(SignedDuration),
}

/// A slot further ahead than this was written by a clock that was wrong.
const NOT_BELIEVED: SignedDuration = SignedDuration::from_hours(25);

impl Rhythm {
    /// The last moment it names that is not after `now`.
    #[must_use]
    pub fn slot(self, now: Timestamp) -> Timestamp {
        let (period, offset) = match self {
            Self::Every(period) => (period.as_secs().max(1), 0),
            Self::DailyAt(time) => (86_400, time.as_secs().rem_euclid(86_400)),
        };
        let seconds = now.as_second();
        let slot = seconds.saturating_sub(seconds.saturating_sub(offset).rem_euclid(period));
        Timestamp::from_second(slot).unwrap_or(now)
    }

    /// From when on a slot that was written down is not believed: a clock was wrong then, by a day.
    #[must_use]
    pub fn not_believed_from(now: Timestamp) -> Timestamp {
        now.checked_add(NOT_BELIEVED).unwrap_or(Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn pause_after(failures: u32, random: u8) -> Option<i64> {
        let job = Job { failures, ..Job::new(JobId(Uuid::nil()), JobKind::Mail, String::new(), now()) };
        match job.after_failure(now(), random) {
            Outcome::Again(at) => i64::try_from(at.duration_since(now()).as_millis()).ok(),
            Outcome::Dead => None,
        }
    }

    /// Threat 47.
    #[test]
    fn pauses_double_up_to_half_an_hour_are_fully_jittered_and_end() {
        assert_eq!(
            (pause_after(0, 255), pause_after(1, 255), pause_after(4, 255)),
            (Some(2000), Some(4000), Some(32_000))
        );
        assert_eq!(pause_after(15, 255), Some(1_800_000));
        let most = JobKind::Mail.manner().most_failures;
        for failures in 0..most - 1 {
            let (least, mean) = (pause_after(failures, 0).unwrap(), pause_after(failures, 127).unwrap());
            let longest = pause_after(failures, 255).unwrap();
            assert!(
                0 < least && least * 200 < longest && mean * 2 == longest,
                "{failures}: {least}, {mean}, {longest}"
            );
        }
        assert_eq!(pause_after(most - 1, 0), None);
        let hopeless = Job { failures: most, ..Job::new(JobId(Uuid::nil()), JobKind::Mail, String::new(), now()) };
        assert!(hopeless.is_hopeless());
    }

    /// Threats 23 and 71.
    #[test]
    fn neither_debug_nor_an_error_says_what_it_should_not() {
        let job = Job::new(JobId(Uuid::nil()), JobKind::Mail, "CANARY".to_owned(), Timestamp::UNIX_EPOCH);
        assert!(!format!("{job:?}").contains("CANARY"));
        assert_eq!(kept_error("one\r\ntwo\0"), "one  two ");
        assert_eq!(kept_error(&"é".repeat(600)).chars().count(), 500);
    }

    #[test]
    fn names_and_ranks_are_read_as_they_are_written() {
        assert!(JobKind::ALL.into_iter().all(|kind| JobKind::from_name(kind.as_str()) == Some(kind)));
        assert!(JobState::ALL.into_iter().all(|state| JobState::from_name(state.as_str()) == Some(state)));
        assert!(Priority::ALL.into_iter().all(|p| Priority::from_rank(i64::from(p.rank())) == Some(p)));
        assert_eq!(Priority::from_rank(3), None);
    }

    /// Threat 49.
    #[test]
    fn a_schedule_names_each_moment_once_whatever_the_clock_does_meanwhile() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let nightly = Rhythm::DailyAt(SignedDuration::from_hours(3));
        assert_eq!(nightly.slot(at("2026-03-29T02:59:59.9Z")), at("2026-03-28T03:00:00Z"));
        assert_eq!(nightly.slot(at("2026-03-29T03:00:00Z")), at("2026-03-29T03:00:00Z"));
        assert_eq!(nightly.slot(at("2026-03-30T02:59:59Z")), at("2026-03-29T03:00:00Z"));
        let often = Rhythm::Every(SignedDuration::from_mins(10));
        assert_eq!(often.slot(at("2026-03-29T03:19:59Z")), at("2026-03-29T03:10:00Z"));
        assert_eq!(often.slot(at("1969-12-31T23:59:59Z")), at("1969-12-31T23:50:00Z"));
        assert!(Rhythm::not_believed_from(now()) > now() + SignedDuration::from_hours(24));
    }
}
