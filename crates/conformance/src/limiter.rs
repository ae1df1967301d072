//! One test suite for rate limiters: what [`RateLimiter`] promises, every implementation is held to.
//!
//! Say how one is made, and [`limiter_conformance!`](crate::limiter_conformance) makes one test of
//! each promise. One that holds few keys, a thousand say, is tested hardest.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use anyhow::ensure;
use async_trait::async_trait;
use bellwether_domain::ports::{LimitKey, Quota, RateLimiter, Standing};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Barrier;

/// Makes the limiters that the suite runs against.
#[async_trait]
pub trait LimiterHarness: Send + Sync + 'static {
    /// A limiter that has counted nothing. [`Skip`](crate::Skip) as the error declines.
    async fn fresh(&self) -> anyhow::Result<LimiterSubject>;
}

/// The limiter that a case tests.
pub struct LimiterSubject {
    /// The limiter.
    pub limiter: Arc<dyn RateLimiter>,
    /// What must live until the case has ended.
    pub guard: Box<dyn Any + Send>,
}

impl fmt::Debug for LimiterSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimiterSubject").finish_non_exhaustive()
    }
}

/// Runs one case: what each test that [`limiter_conformance!`](crate::limiter_conformance) makes calls.
#[doc(hidden)]
pub fn run<H, C, F>(harness: H, case: C) -> anyhow::Result<()>
where
    H: LimiterHarness,
    C: FnOnce(Arc<dyn RateLimiter>) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    crate::run_within_limits(harness.fresh(), |subject| {
        let (outcome, guard) = (case(subject.limiter), subject.guard);
        async move {
            let outcome = outcome.await;
            drop(guard);
            outcome
        }
    })
}

/// Makes one `#[test]` for each case of the suite. Takes an expression that makes the
/// [`LimiterHarness`]. Call it inside a module of its own.
#[macro_export]
macro_rules! limiter_conformance {
    ($harness:expr $(,)?) => {
        $crate::limiter_conformance! { @ $harness,
            the_limit_is_allowed_and_no_more,
            a_use_leaves_exactly_a_window_after_it_came,
            what_is_refused_is_not_counted,
            looking_counts_nothing,
            what_is_given_back_was_never_used,
            what_is_forgotten_was_never_used,
            keys_are_counted_apart,
            many_at_once_get_the_limit_and_no_more,
            a_clock_that_steps_back_frees_nothing_and_holds_nothing_for_longer_than_a_window,
            a_high_limit_is_never_exceeded_in_any_window,
            a_key_at_its_limit_is_remembered_over_many_others,
        }
    };
    (@ $harness:expr, $($case:ident,)+) => {
        $(#[test]
        fn $case() -> $crate::anyhow::Result<()> {
            $crate::limiter::run($harness, $crate::limiter::$case)
        })+
    };
}

type Limiter = Arc<dyn RateLimiter>;

const SECOND: i64 = 1_000_000;
/// Three a minute.
const THREE: Quota = Quota::new(3, SignedDuration::from_secs(60));

/// So many microseconds after a moment of our time.
fn at(micros: i64) -> anyhow::Result<Timestamp> {
    Ok(Timestamp::from_microsecond(1_800_000_000 * SECOND + micros)?)
}

fn key(name: &str) -> LimitKey {
    LimitKey::of("conformance", name.as_bytes())
}

const fn allowed(remaining: u32, frees_in_s: i64) -> Standing {
    Standing { is_allowed: true, remaining, frees_in: SignedDuration::from_secs(frees_in_s) }
}

const fn refused(frees_in_s: i64) -> Standing {
    Standing { is_allowed: false, remaining: 0, frees_in: SignedDuration::from_secs(frees_in_s) }
}

async fn take_three(limiter: &Limiter, key: LimitKey, at: Timestamp) {
    for _ in 0..3 {
        limiter.take(key, THREE, at).await;
    }
}

/// The standing tells what is left, and when there is more.
pub async fn the_limit_is_allowed_and_no_more(limiter: Limiter) -> anyhow::Result<()> {
    let expected =
        [(0, allowed(2, 60)), (10, allowed(1, 50)), (20, allowed(0, 40)), (20, refused(40)), (59, refused(1))];
    for (second, expected) in expected {
        let standing = limiter.take(key("ann"), THREE, at(second * SECOND)?).await;
        ensure!(standing == expected, "at {second} s: {standing:?}, not {expected:?}");
    }
    Ok(())
}

/// Not all at once, and not a microsecond before.
pub async fn a_use_leaves_exactly_a_window_after_it_came(limiter: Limiter) -> anyhow::Result<()> {
    for micros in [0, 1, 30 * SECOND] {
        limiter.take(key("ann"), THREE, at(micros)?).await;
    }
    for (micros, is_allowed) in [
        (60 * SECOND - 1, false),
        (60 * SECOND, true),
        (60 * SECOND, false),
        (60 * SECOND + 1, true),
        (60 * SECOND + 2, false),
        (90 * SECOND - 1, false),
        (90 * SECOND, true),
        (120 * SECOND - 1, false),
        (120 * SECOND, true),
    ] {
        let standing = limiter.take(key("ann"), THREE, at(micros)?).await;
        ensure!(standing.is_allowed == is_allowed, "after {micros} µs: {standing:?}");
    }
    Ok(())
}

/// Who keeps asking waits no longer.
pub async fn what_is_refused_is_not_counted(limiter: Limiter) -> anyhow::Result<()> {
    take_three(&limiter, key("ann"), at(0)?).await;
    for second in 1..60 {
        ensure!(!limiter.take(key("ann"), THREE, at(second * SECOND)?).await.is_allowed);
    }
    let standing = limiter.take(key("ann"), THREE, at(60 * SECOND)?).await;
    ensure!(standing == allowed(2, 60), "{standing:?}");
    Ok(())
}

/// However often, of a key that is known or not.
pub async fn looking_counts_nothing(limiter: Limiter) -> anyhow::Result<()> {
    for _ in 0..9 {
        let standing = limiter.look(key("ann"), THREE, at(0)?).await;
        ensure!(standing == allowed(3, 0), "{standing:?}");
    }
    take_three(&limiter, key("ann"), at(0)?).await;
    for (second, expected) in [(1, refused(59)), (60, allowed(3, 0))] {
        let standing = limiter.look(key("ann"), THREE, at(second * SECOND)?).await;
        ensure!(standing == expected, "{standing:?}");
    }
    Ok(())
}

/// Once for each use, and never more than was used.
pub async fn what_is_given_back_was_never_used(limiter: Limiter) -> anyhow::Result<()> {
    for second in 0..3 {
        limiter.take(key("ann"), THREE, at(second * SECOND)?).await;
    }
    limiter.give_back(key("ann"), THREE, at(SECOND)?).await;
    let standing = limiter.take(key("ann"), THREE, at(3 * SECOND)?).await;
    ensure!(standing == allowed(0, 57), "the others stay: {standing:?}");
    limiter.give_back(key("ann"), THREE, at(0)?).await;
    let standing = limiter.look(key("ann"), THREE, at(3 * SECOND)?).await;
    ensure!(standing == allowed(1, 59), "the next one leaves two seconds later: {standing:?}");

    let later = at(100 * SECOND)?;
    limiter.give_back(key("ann"), THREE, at(2 * SECOND)?).await;
    limiter.give_back(key("ann"), THREE, at(2 * SECOND)?).await;
    limiter.give_back(key("nobody"), THREE, at(0)?).await;
    for name in ["ann", "nobody"] {
        for expected in [allowed(2, 60), allowed(1, 60), allowed(0, 60), refused(60)] {
            let standing = limiter.take(key(name), THREE, later).await;
            ensure!(standing == expected, "{name}: {standing:?}, not {expected:?}");
        }
    }
    Ok(())
}

/// And a key that is not known can be forgotten too.
pub async fn what_is_forgotten_was_never_used(limiter: Limiter) -> anyhow::Result<()> {
    take_three(&limiter, key("ann"), at(0)?).await;
    take_three(&limiter, key("bob"), at(0)?).await;
    limiter.forget(key("ann")).await;
    limiter.forget(key("nobody")).await;
    ensure!(limiter.take(key("ann"), THREE, at(0)?).await == allowed(2, 60));
    ensure!(!limiter.take(key("bob"), THREE, at(0)?).await.is_allowed);
    Ok(())
}

/// Each has a limit of its own, of one quota or of several.
pub async fn keys_are_counted_apart(limiter: Limiter) -> anyhow::Result<()> {
    take_three(&limiter, key("ann"), at(0)?).await;
    ensure!(limiter.take(key("bob"), THREE, at(0)?).await == allowed(2, 60));
    let ten = Quota::new(10, SignedDuration::from_secs(1));
    ensure!(limiter.take(LimitKey::of("other", b"ann"), ten, at(0)?).await == allowed(9, 1));
    ensure!(limiter.look(key("ann"), THREE, at(0)?).await == refused(60));
    Ok(())
}

/// Checking and counting are one step. Threat 55.
pub async fn many_at_once_get_the_limit_and_no_more(limiter: Limiter) -> anyhow::Result<()> {
    const TASKS: usize = 32;
    let quota = Quota::new(100, SignedDuration::from_secs(60));
    let (barrier, now) = (Arc::new(Barrier::new(TASKS)), at(0)?);
    let tasks = (0..TASKS).map(|_| {
        let (limiter, barrier) = (Arc::clone(&limiter), Arc::clone(&barrier));
        tokio::spawn(async move {
            barrier.wait().await;
            let mut allowed = 0;
            for _ in 0..20 {
                allowed += u32::from(limiter.take(key("ann"), quota, now).await.is_allowed);
            }
            allowed
        })
    });
    let mut allowed = 0;
    for task in tasks.collect::<Vec<_>>() {
        allowed += task.await?;
    }
    ensure!(allowed == 100, "{allowed} were allowed");
    Ok(())
}

/// An hour back, for instance, when somebody corrects it.
pub async fn a_clock_that_steps_back_frees_nothing_and_holds_nothing_for_longer_than_a_window(
    limiter: Limiter,
) -> anyhow::Result<()> {
    let back = -3600 * SECOND;
    take_three(&limiter, key("ann"), at(0)?).await;
    for (micros, is_allowed) in [(back, false), (back + 60 * SECOND - 1, false), (back + 60 * SECOND, true)] {
        let standing = limiter.look(key("ann"), THREE, at(micros)?).await;
        ensure!(standing.is_allowed == is_allowed, "after {micros} µs: {standing:?}");
    }
    Ok(())
}

/// Whatever the rhythm; and a use stays for a window and at most a 64th of it.
pub async fn a_high_limit_is_never_exceeded_in_any_window(limiter: Limiter) -> anyhow::Result<()> {
    const WINDOW: i64 = 60 * SECOND;
    let quota = Quota::new(300, SignedDuration::from_secs(60));
    let (mut now, mut seed, mut taken) = (0, 1_u64, Vec::new());
    for _ in 0..20_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Mostly in bursts, sometimes with a pause of up to half a minute.
        now += if seed >> 54 == 0 { i64::try_from(seed >> 32)? % (WINDOW / 2) } else { i64::try_from(seed >> 48)? };
        let is_allowed = limiter.take(key("ann"), quota, at(now)?).await.is_allowed;
        let within = |length| taken.iter().rev().take_while(|at| **at > now - length).count();
        if is_allowed {
            ensure!(within(WINDOW) < 300, "the {}th use within a window, at {now} µs", within(WINDOW) + 1);
            taken.push(now);
        } else {
            ensure!(within(WINDOW + WINDOW / 64) >= 300, "refused for no reason at {now} µs");
        }
    }
    ensure!((300..20_000).contains(&taken.len()), "{} were taken", taken.len());
    Ok(())
}

/// Threat 57: who floods it with other keys gets nothing for it.
pub async fn a_key_at_its_limit_is_remembered_over_many_others(limiter: Limiter) -> anyhow::Result<()> {
    take_three(&limiter, key("ann"), at(0)?).await;
    limiter.take(key("bob"), THREE, at(0)?).await;
    limiter.take(key("bob"), THREE, at(0)?).await;
    for other in 0..20_000_i64 {
        limiter.take(key(&other.to_string()), THREE, at(other)?).await;
    }
    ensure!(!limiter.look(key("ann"), THREE, at(SECOND)?).await.is_allowed, "one at its limit was forgotten");
    let near = limiter.look(key("bob"), THREE, at(SECOND)?).await.remaining;
    ensure!(near == 1, "one near its limit was forgotten, and has {near} left");
    Ok(())
}
