//! Order groups: several orders of one trader in one market that may together be filled only so far.
//!
//! A market's lock guards its groups. How much of a cap is left is part of what matching sees, so no fill goes beyond it;
//! when nothing is left, what else of the group is open is cancelled by the same command, and the group takes no further
//! orders until it is reset.

use jiff::{SignedDuration, Timestamp};

use crate::ids::{MarketId, OrderGroupId, UserId};
use crate::money::{Overflow, Shares};

/// The most groups that a user may have.
pub const MOST_GROUPS: usize = 100;
/// The shortest and the longest window, in seconds.
pub const WINDOWS_S: std::ops::RangeInclusive<i64> = 1..=86_400;
/// A window is remembered in so many parts: fills of one part leave the window together, with the last of them.
const PARTS: i32 = 30;

/// Fills of a group that are near to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecentFills {
    /// The first of them.
    pub first_at: Timestamp,
    /// The last of them.
    pub last_at: Timestamp,
    /// How many shares.
    pub quantity: Shares,
}

/// A group of orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderGroup {
    /// Its id.
    pub id: OrderGroupId,
    /// Whose it is.
    pub user: UserId,
    /// The market that all of its orders are in.
    pub market: MarketId,
    /// So many shares may be filled: until it is reset, or within any window.
    pub fill_cap: Shares,
    /// The length of the window in seconds; none where everything counts that was filled since the last reset.
    pub window_s: Option<i64>,
    /// How many shares were filled since the last reset.
    pub filled: Shares,
    /// What was filled within the window, the oldest first. Empty without a window.
    pub recent: Vec<RecentFills>,
    /// When its cap was reached: since then it takes no orders.
    pub full_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl OrderGroup {
    /// Whether its cap was reached.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.full_at.is_some()
    }

    /// How many shares may still be filled.
    #[must_use]
    pub fn left(&self, now: Timestamp) -> Shares {
        if self.is_full() {
            return Shares::ZERO;
        }
        let counted = match self.window_s {
            None => self.filled.count(),
            Some(_) => {
                let inside = self.recent.iter().filter(|fills| self.is_inside(fills, now));
                inside.fold(0_i64, |sum, fills| sum.saturating_add(fills.quantity.count()))
            }
        };
        Shares::new(self.fill_cap.count().saturating_sub(counted).max(0))
    }

    fn is_inside(&self, fills: &RecentFills, now: Timestamp) -> bool {
        let window = SignedDuration::from_secs(self.window_s.unwrap_or(i64::MAX));
        now.duration_since(fills.last_at) < window
    }

    /// Counts a fill; it becomes full where that is all that was left. An error where it is more than was left.
    pub fn fill(&mut self, quantity: Shares, now: Timestamp) -> Result<(), Overflow> {
        if quantity > self.left(now) {
            return Err(Overflow);
        }
        self.filled = self.filled.plus(quantity)?;
        self.updated_at = now;
        if let Some(window_s) = self.window_s {
            let part = SignedDuration::from_secs(window_s) / PARTS;
            let mut recent = std::mem::take(&mut self.recent);
            recent.retain(|fills| self.is_inside(fills, now));
            match recent.last_mut() {
                Some(last) if now.duration_since(last.first_at) < part => {
                    last.quantity = last.quantity.plus(quantity)?;
                    last.last_at = last.last_at.max(now);
                }
                _ => recent.push(RecentFills { first_at: now, last_at: now, quantity }),
            }
            self.recent = recent;
        }
        if !self.left(now).is_positive() {
            self.full_at = Some(now);
        }
        Ok(())
    }

    /// Begins to count anew: all of its cap is left.
    pub fn reset(&mut self, now: Timestamp) {
        (self.filled, self.full_at, self.updated_at) = (Shares::ZERO, None, now);
        self.recent.clear();
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn at(millisecond: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + millisecond).unwrap()
    }

    fn group(cap: i64, window_s: Option<i64>) -> OrderGroup {
        OrderGroup {
            id: OrderGroupId(Uuid::from_u128(1)),
            user: UserId(Uuid::from_u128(2)),
            market: MarketId(Uuid::from_u128(3)),
            fill_cap: Shares::new(cap),
            window_s,
            filled: Shares::ZERO,
            recent: Vec::new(),
            full_at: None,
            created_at: at(0),
            updated_at: at(0),
        }
    }

    #[test]
    fn a_group_without_a_window_is_full_at_its_cap_until_it_is_reset() {
        let mut group = group(10, None);
        group.fill(Shares::new(4), at(0)).unwrap();
        assert_eq!(group.left(at(1_000_000)), Shares::new(6));
        assert!(group.clone().fill(Shares::new(7), at(1)).is_err(), "more than was left");
        group.fill(Shares::new(6), at(5)).unwrap();
        assert_eq!((group.is_full(), group.full_at, group.left(at(9))), (true, Some(at(5)), Shares::ZERO));
        group.reset(at(10));
        assert_eq!((group.left(at(10)), group.filled, group.full_at), (Shares::new(10), Shares::ZERO, None));
    }

    #[test]
    fn what_leaves_the_window_may_be_filled_again_and_what_reached_the_cap_stays_full() {
        let mut group = group(10, Some(30));
        group.fill(Shares::new(4), at(0)).unwrap();
        group.fill(Shares::new(3), at(20_000)).unwrap();
        assert_eq!(group.left(at(29_999)), Shares::new(3));
        assert_eq!(group.left(at(30_000)), Shares::new(7));
        group.fill(Shares::new(7), at(31_000)).unwrap();
        assert!(group.is_full() && group.left(at(1_000_000)) == Shares::ZERO);
        assert_eq!(group.filled, Shares::new(14));
    }

    /// However fills come, no window has more than the cap, and what is remembered stays small.
    #[test]
    fn no_window_has_more_than_the_cap_and_little_is_remembered() {
        let mut group = group(100, Some(3));
        let mut fills = Vec::new();
        for step in 0..2_000_i64 {
            let now = at(step * 17);
            let quantity = group.left(now).min(Shares::new(1 + step * 7 % 3));
            if quantity.is_positive() && group.left(now) != quantity {
                group.fill(quantity, now).unwrap();
                fills.push((step * 17, quantity.count()));
            }
            assert!(group.recent.len() <= 32, "{} parts", group.recent.len());
        }
        for (end, _) in &fills {
            let inside = fills.iter().filter(|(at, _)| *at <= *end && *at > *end - 3_000);
            assert!(inside.map(|(_, quantity)| quantity).sum::<i64>() <= 100);
        }
        assert!(fills.len() > 100);
    }
}
