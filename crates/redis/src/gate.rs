//! Whether it is worth asking Redis.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// So many failures in a row close it.
const PATIENCE: u32 = 3;
/// While it is closed, one is let through this often to see.
const RETRY: Duration = Duration::from_millis(250);
/// Errors that do not close it are told this often at most.
const TELLING: Duration = Duration::from_secs(10);

/// Closes when Redis does not answer, so that not everybody waits for it in vain.
#[derive(Debug)]
pub(crate) struct Gate(Mutex<State>);

#[derive(Debug)]
struct State {
    failures: u32,
    closed_since: Option<Instant>,
    next_try: Instant,
    next_telling: Instant,
}

impl Gate {
    pub(crate) fn new(now: Instant) -> Self {
        Self(Mutex::new(State { failures: 0, closed_since: None, next_try: now, next_telling: now }))
    }

    /// Whether to ask.
    pub(crate) fn lets_through(&self, now: Instant) -> bool {
        let mut state = self.state();
        if state.closed_since.is_none() {
            return true;
        }
        let is_try = now >= state.next_try;
        if is_try {
            state.next_try = now + RETRY;
        }
        is_try
    }

    /// Whether Redis answered of late.
    pub(crate) fn is_open(&self) -> bool {
        self.state().closed_since.is_none()
    }

    /// Redis answered.
    pub(crate) fn answered(&self, now: Instant) {
        let mut state = self.state();
        state.failures = 0;
        if let Some(since) = state.closed_since.take() {
            tracing::info!(seconds = (now - since).as_secs_f64(), "Redis answers again");
        }
    }

    /// Redis did not answer.
    pub(crate) fn failed(&self, why: &str, now: Instant) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= PATIENCE && state.closed_since.is_none() {
            state.closed_since = Some(now);
            state.next_try = now + RETRY;
            tracing::warn!(error = why, "Redis does not answer: doing without it until it does");
        }
    }

    /// Redis answered, but with an error.
    pub(crate) fn refused(&self, why: &str, now: Instant) {
        self.state().failures = 0;
        self.complain(why, "Redis refuses a command", now);
    }

    /// Puts something into the log, at most so often.
    pub(crate) fn complain(&self, why: &str, what: &str, now: Instant) {
        let mut state = self.state();
        if now >= state.next_telling {
            state.next_telling = now + TELLING;
            tracing::warn!(error = why, "{what}; the like is not told again for ten seconds");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closes_after_some_failures_in_a_row_and_lets_one_through_now_and_then() {
        let mut now = Instant::now();
        let gate = Gate::new(now);
        for _ in 0..5 {
            gate.failed("timeout", now);
            gate.failed("timeout", now);
            assert!(gate.lets_through(now) && gate.is_open());
            gate.answered(now);
        }
        for _ in 0..3 {
            gate.failed("timeout", now);
        }
        for _ in 0..3 {
            assert!(!gate.lets_through(now) && !gate.is_open());
            now += RETRY;
            assert!(gate.lets_through(now));
            gate.failed("timeout", now);
        }
        gate.answered(now);
        assert!(gate.lets_through(now) && gate.is_open());
    }

    #[test]
    fn errors_leave_it_open() {
        let now = Instant::now();
        let gate = Gate::new(now);
        for _ in 0..100 {
            gate.refused("OOM", now);
        }
        assert!(gate.lets_through(now) && gate.is_open());
    }
}
