//! Attempts that count only by what comes of them.
//!
//! A place is taken before, and given back after: who guesses at many passwords at the same time gets
//! no more answers than one after the other. Where the last places are taken by attempts that are
//! still under way, the next one waits for what comes of them, so that people behind one address can
//! all sign in at the same moment. What is under way in other processes nobody tells: where they count together,
//! it is asked again a few times.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bellwether_domain::ports::{Clock, LimitKey, PasswordError, RateLimiter, Standing};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, Semaphore};
use tokio::time::sleep;

use super::{Exceeded, Rule, Subject};
use crate::Error;

/// How many attempts wait for others in this process; one more is told to come back.
const MOST_WAITING: usize = 64;
/// How long to wait each time before a place is asked for again that an attempt in another process may have.
const ASKING_MS: [u64; 4] = [100, 200, 300, 400];
/// An attempt takes no longer: a place that was taken before counts.
const LONGEST_ATTEMPT: SignedDuration = SignedDuration::from_secs(10);

/// The limiter, and what this process has under way. Clones are the same.
#[derive(Clone)]
pub struct Limiter {
    port: Arc<dyn RateLimiter>,
    /// Whether other processes count with it.
    is_shared: bool,
    under_way: Arc<UnderWay>,
}

/// How many attempts of each key are under way.
struct UnderWay {
    turn: tokio::sync::Mutex<()>,
    counts: Mutex<HashMap<LimitKey, u32>>,
    ended: Notify,
    waiting: Semaphore,
    /// Those who wait for attempts of other processes: apart, since they may wait in vain.
    asking: Semaphore,
}

/// What makes an attempt count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    /// That it failed.
    Failed,
    /// That it succeeded.
    Succeeded,
    /// That it was looked at, whatever came of it.
    Tried,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It succeeded.
    Succeeded,
    /// It failed as a wrong guess does.
    Failed,
    /// It told its maker nothing.
    Void,
    /// It was not looked at.
    Untried,
}

/// A rule that an attempt is held to, and for whom.
#[derive(Clone, Copy)]
pub(super) struct Claim {
    rule: Rule,
    key: LimitKey,
    counts: Counts,
}

impl Claim {
    pub(super) fn new(rule: Rule, subject: &Subject, counts: Counts) -> Self {
        Self { rule, key: rule.key(subject.as_bytes()), counts }
    }
}

impl Limiter {
    /// Over that port.
    #[must_use]
    pub fn new(port: Arc<dyn RateLimiter>) -> Self {
        let under_way = UnderWay {
            turn: tokio::sync::Mutex::default(),
            counts: Mutex::default(),
            ended: Notify::new(),
            waiting: Semaphore::new(MOST_WAITING),
            asking: Semaphore::new(MOST_WAITING),
        };
        Self { port, is_shared: false, under_way: Arc::new(under_way) }
    }

    /// The same over a port that other processes count with.
    #[must_use]
    pub fn shared(self) -> Self {
        Self { is_shared: true, ..self }
    }

    /// Counts one use by a subject, if the rule allows it.
    pub async fn count(&self, rule: Rule, subject: &[u8], now: Timestamp) -> Standing {
        self.port.take(rule.key(subject), rule.quota, now).await
    }

    /// How a subject stands under a rule, without counting.
    pub async fn look(&self, rule: Rule, subject: &[u8], now: Timestamp) -> Standing {
        self.port.look(rule.key(subject), rule.quota, now).await
    }

    /// Forgets what was counted for a subject.
    pub(super) async fn forget(&self, rule: Rule, subject: &Subject) {
        self.port.forget(rule.key(subject.as_bytes())).await;
    }

    /// Takes a place under each claim, or none. Refused with [`Error::Limited`] where one has none left;
    /// waits where attempts that are under way have taken the last ones; for about a second where they may be another
    /// process's.
    pub(super) async fn reserve(&self, clock: &dyn Clock, claims: &[Claim]) -> Result<Reserved, Error> {
        let mut pauses = ASKING_MS.into_iter();
        loop {
            let mut ended = pin!(self.under_way.ended.notified());
            // From here on no end is missed.
            ended.as_mut().enable();
            let (exceeded, is_for_now) = match self.try_reserve(clock.now(), claims).await {
                Ok(reserved) => return Ok(reserved),
                Err(refused) => refused,
            };
            if is_for_now {
                let _place = self.under_way.waiting.try_acquire().map_err(|_| PasswordError::Busy)?;
                ended.await;
                continue;
            }
            let pause = if self.may_be_for_now(&exceeded) { pauses.next() } else { None };
            let (Some(pause), Ok(_place)) = (pause, self.under_way.asking.try_acquire()) else {
                return Err(exceeded.into());
            };
            sleep(Duration::from_millis(pause)).await;
        }
    }

    /// Whether all places were taken so lately that another process's attempts may give some back. Who has used them
    /// up by guessing waits for that at most in the first seconds.
    fn may_be_for_now(&self, exceeded: &Exceeded) -> bool {
        let oldest = exceeded.rule.quota.window.saturating_sub(exceeded.standing.frees_in);
        self.is_shared && oldest <= LONGEST_ATTEMPT
    }

    /// The places; or the rule that has none, and whether attempts that are under way may give some back.
    async fn try_reserve(&self, at: Timestamp, claims: &[Claim]) -> Result<Reserved, (Exceeded, bool)> {
        // One at a time: whoever is refused a place knows by whom it was taken.
        let _turn = self.under_way.turn.lock().await;
        let busy = self.under_way.among(claims);
        for (place, claim) in claims.iter().enumerate() {
            let standing = self.port.take(claim.key, claim.rule.quota, at).await;
            if !standing.is_allowed {
                self.give_back(claims.iter().take(place), at).await;
                return Err((Exceeded { rule: claim.rule, standing }, busy.contains(&claim.key)));
            }
        }
        claims.iter().for_each(|claim| self.under_way.begin(claim.key));
        Ok(Reserved { limiter: self.clone(), at, claims: claims.to_vec() })
    }

    async fn give_back(&self, claims: impl Iterator<Item = &Claim>, at: Timestamp) {
        for claim in claims {
            self.port.give_back(claim.key, claim.rule.quota, at).await;
        }
    }
}

impl UnderWay {
    fn counts(&self) -> MutexGuard<'_, HashMap<LimitKey, u32>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys of those claims that attempts are under way of.
    fn among(&self, claims: &[Claim]) -> Vec<LimitKey> {
        let counts = self.counts();
        claims.iter().map(|claim| claim.key).filter(|key| counts.contains_key(key)).collect()
    }

    fn begin(&self, key: LimitKey) {
        *self.counts().entry(key).or_default() += 1;
    }

    fn end(&self, key: &LimitKey) {
        let mut counts = self.counts();
        if let Some(count) = counts.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(key);
            }
        }
    }
}

/// Places that were taken. Where it is dropped unsettled, the attempt counts.
pub(super) struct Reserved {
    limiter: Limiter,
    at: Timestamp,
    claims: Vec<Claim>,
}

impl Reserved {
    /// Keeps the places that count, and gives the others back.
    pub(super) async fn settle(self, outcome: Outcome) {
        let is_given_back = |claim: &&Claim| match outcome {
            Outcome::Succeeded => claim.counts == Counts::Failed,
            Outcome::Failed => claim.counts == Counts::Succeeded,
            Outcome::Void => claim.counts != Counts::Tried,
            Outcome::Untried => true,
        };
        self.limiter.give_back(self.claims.iter().filter(is_given_back), self.at).await;
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.claims.iter().for_each(|claim| self.limiter.under_way.end(&claim.key));
        self.limiter.under_way.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use bellwether_domain::ports::{MockClock, MockRateLimiter};

    use super::*;
    use crate::limits::Limits;

    /// Refuses so often, as another process's attempts that began so long ago hold all places, and then lets one in.
    /// How often it was asked is counted.
    fn taken(times: u32, ago: SignedDuration) -> (Limiter, Arc<AtomicU32>) {
        let (mut port, asked) = (MockRateLimiter::new(), Arc::new(AtomicU32::new(0)));
        let counter = Arc::clone(&asked);
        port.expect_take().returning(move |_, quota, _| {
            let is_allowed = counter.fetch_add(1, Ordering::SeqCst) >= times;
            Standing { is_allowed, remaining: 0, frees_in: quota.window - ago }
        });
        (Limiter::new(Arc::new(port)), asked)
    }

    async fn is_let_in(limiter: &Limiter) -> bool {
        let mut clock = MockClock::new();
        clock.expect_now().return_const(Timestamp::UNIX_EPOCH);
        let claim = Claim::new(Limits::default().login, &Subject::of(&[b"ann"]), Counts::Failed);
        match limiter.reserve(&clock, &[claim]).await {
            Ok(_) => true,
            Err(Error::Limited(_)) => false,
            Err(other) => unreachable!("{other}"),
        }
    }

    #[tokio::test]
    async fn places_that_another_processs_attempts_have_are_waited_for_a_little() {
        let (limiter, asked) = taken(2, SignedDuration::from_secs(1));
        assert!(is_let_in(&limiter.shared()).await);
        assert_eq!(asked.load(Ordering::SeqCst), 3);
        let (limiter, asked) = taken(u32::MAX, SignedDuration::from_secs(1));
        assert!(!is_let_in(&limiter.shared()).await);
        assert_eq!(asked.load(Ordering::SeqCst), 5);
    }

    #[tokio::test]
    async fn nobody_waits_for_places_that_no_attempt_can_give_back() {
        let (limiter, asked) = taken(1, SignedDuration::from_secs(60));
        assert!(!is_let_in(&limiter.shared()).await, "those who took them have failed");
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        let (limiter, asked) = taken(1, SignedDuration::from_secs(1));
        assert!(!is_let_in(&limiter).await, "there is no other process");
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}
