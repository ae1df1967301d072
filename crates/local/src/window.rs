//! The uses of one key that its window still holds.

use std::collections::VecDeque;

use bellwether_domain::ports::{Quota, Standing};
use jiff::SignedDuration;

/// The most moments that are told apart within one window.
const MOST_MOMENTS: u32 = 64;

/// Uses of one moment.
#[derive(Debug)]
struct Moment {
    /// In microseconds; not before any of the uses.
    at: i64,
    uses: u32,
}

/// The uses of one key, the oldest first. Times are in microseconds.
#[derive(Debug)]
pub(crate) struct Window {
    moments: VecDeque<Moment>,
    used: u32,
    limit: u32,
    length: i64,
}

/// How much would be lost if a window were forgotten; the least goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    /// There is room: the part of the limit that is used, then the newest use.
    Open { used: u64, newest: i64 },
    /// There is none, until then.
    Full { until: i64 },
}

impl Weight {
    /// Whether no more uses are allowed.
    pub(crate) const fn is_full(self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

impl Window {
    /// Of a quota, without uses.
    pub(crate) fn new(quota: Quota) -> Self {
        let length = i64::try_from(quota.window.as_micros()).unwrap_or(i64::MAX);
        Self { moments: VecDeque::new(), used: 0, limit: quota.limit, length }
    }

    /// Counts a use if it is allowed.
    pub(crate) fn take(&mut self, now: i64) -> Standing {
        self.slide(now);
        let is_allowed = self.used < self.limit;
        if is_allowed {
            self.add(self.moment_of(now), 1);
        }
        Standing { is_allowed, ..self.standing(now) }
    }

    /// Whether a use would be allowed.
    pub(crate) fn look(&mut self, now: i64) -> Standing {
        self.slide(now);
        self.standing(now)
    }

    /// Uncounts a use of that time, if it is still counted.
    pub(crate) fn give_back(&mut self, taken_at: i64) {
        let at = self.moment_of(taken_at);
        let Some(found) = self.moments.iter_mut().rev().find(|moment| moment.at == at) else { return };
        found.uses -= 1;
        self.used -= 1;
        self.moments.retain(|moment| moment.uses > 0);
    }

    /// Whether it counts nothing at that time.
    pub(crate) fn is_over(&mut self, now: i64) -> bool {
        self.slide(now);
        self.used == 0
    }

    /// How much would be lost without it.
    pub(crate) fn weight(&mut self, now: i64) -> Weight {
        self.slide(now);
        if self.used >= self.limit {
            return Weight::Full { until: self.frees_at().unwrap_or(i64::MIN) };
        }
        let used = (u64::from(self.used) << 32) / u64::from(self.limit.max(1));
        Weight::Open { used, newest: self.moments.back().map_or(i64::MIN, |moment| moment.at) }
    }

    fn standing(&self, now: i64) -> Standing {
        let remaining = self.limit.saturating_sub(self.used);
        let frees_in = self.frees_at().map_or(0, |at| at.saturating_sub(now));
        Standing { is_allowed: remaining > 0, remaining, frees_in: SignedDuration::from_micros(frees_in) }
    }

    /// When the oldest use leaves.
    fn frees_at(&self) -> Option<i64> {
        self.moments.front().map(|oldest| oldest.at.saturating_add(self.length))
    }

    /// The moment that a use counts as: not before it, and few enough of them in a window.
    fn moment_of(&self, time: i64) -> i64 {
        if self.limit <= MOST_MOMENTS {
            return time;
        }
        let grain = (self.length / i64::from(MOST_MOMENTS)).max(1);
        time.saturating_add(grain - 1).div_euclid(grain).saturating_mul(grain)
    }

    /// Lets go what has left the window.
    fn slide(&mut self, now: i64) {
        self.step_back(now);
        while self.frees_at().is_some_and(|at| at <= now)
            && let Some(oldest) = self.moments.pop_front()
        {
            self.used -= oldest.uses;
        }
    }

    /// Where the clock stepped back, uses that lie ahead count as of now.
    fn step_back(&mut self, now: i64) {
        let (latest, mut ahead) = (self.moment_of(now), 0);
        while let Some(moment) = self.moments.pop_back_if(|moment| moment.at > latest) {
            ahead += moment.uses;
        }
        if ahead > 0 {
            self.used -= ahead;
            self.add(latest, ahead);
        }
    }

    fn add(&mut self, at: i64, uses: u32) {
        self.used += uses;
        match self.moments.back_mut() {
            Some(newest) if newest.at >= at => newest.uses += uses,
            _ => self.moments.push_back(Moment { at, uses }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Threat 57.
    #[test]
    fn the_moments_of_a_window_are_bounded_however_high_the_limit() {
        let mut window = Window::new(Quota::new(1_000_000, SignedDuration::from_secs(60)));
        for step in 0..200_000 {
            window.take(step * 1_000);
        }
        assert!(window.moments.len() <= 66, "{}", window.moments.len());
        assert!((60_000..=61_000).contains(&window.used), "{}", window.used);
    }

    #[test]
    fn what_is_at_its_limit_weighs_more_than_what_is_not_and_then_what_stays_so_for_longer() {
        let of = |limit, uses: &[i64]| {
            let mut window = Window::new(Quota::new(limit, SignedDuration::from_secs(60)));
            for at in uses {
                window.take(*at);
            }
            window.weight(10)
        };
        let rising = [of(9, &[]), of(9, &[1]), of(9, &[2]), of(9, &[1, 2]), of(3, &[1, 1]), of(1, &[1]), of(1, &[2])];
        assert!(rising.is_sorted() && rising.windows(2).all(|pair| pair[0] != pair[1]), "{rising:?}");
    }
}
