//! The limiter: windows by key, in shards, so that requests of different keys seldom wait for each other.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bellwether_domain::ports::{LimitKey, Quota, RateLimiter, Standing};
use indexmap::IndexMap;
use jiff::Timestamp;

use crate::window::Window;

/// The most shards; fewer where there would be only few keys in each.
const MOST_SHARDS: usize = 64;
/// No shard need be smaller.
const KEYS_IN_SHARD: usize = 1024;
/// How many old keys each new one looks at, to forget those that are over.
const SWEPT: usize = 2;
/// Among how many the least weighty is sought when there is no room.
const SAMPLED: usize = 16;

/// Counts in this process alone.
///
/// It holds a fixed number of keys. When there is no room for one more, it forgets one of the shard that
/// weighs least: of a sample, the one that has used the smallest part of its limit. Who floods it
/// with fresh keys replaces his own, since each of them has been used once. A key that is at its limit
/// is forgotten only when every key in its shard is at its own, and then the one that would be
/// free again first: to get there, one has to spend the limits of all of them.
#[derive(Debug)]
pub struct LocalLimiter {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
}

impl LocalLimiter {
    /// Remembers about that many keys at most, and one at least.
    #[must_use]
    pub fn new(most_keys: usize) -> Self {
        let count = (most_keys / KEYS_IN_SHARD).clamp(1, MOST_SHARDS);
        let most = most_keys.div_ceil(count).max(1);
        let shards = (0..count).map(|_| Mutex::new(Shard { windows: IndexMap::default(), most, hand: 0 })).collect();
        Self { shards, hasher: RandomState::new() }
    }

    /// How many keys are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).windows.len()).sum()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[expect(clippy::indexing_slicing, reason = "the index is a remainder by the length, which is never zero")]
    fn shard(&self, key: &LimitKey) -> MutexGuard<'_, Shard> {
        // The hash is seeded: nobody can choose keys that meet in one shard.
        let place = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or(0) % self.shards.len();
        lock(&self.shards[place])
    }
}

#[async_trait]
impl RateLimiter for LocalLimiter {
    async fn take(&self, key: LimitKey, quota: Quota, now: Timestamp) -> Standing {
        let now = now.as_microsecond();
        self.shard(&key).window(key, quota, now).take(now)
    }

    async fn look(&self, key: LimitKey, quota: Quota, now: Timestamp) -> Standing {
        let now = now.as_microsecond();
        match self.shard(&key).windows.get_mut(&key) {
            Some(window) => window.look(now),
            None => Window::new(quota).look(now),
        }
    }

    async fn give_back(&self, key: LimitKey, _: Quota, taken_at: Timestamp) {
        if let Some(window) = self.shard(&key).windows.get_mut(&key) {
            window.give_back(taken_at.as_microsecond());
        }
    }

    async fn forget(&self, key: LimitKey) {
        self.shard(&key).windows.swap_remove(&key);
    }
}

/// What a panic left behind is counts that may be one off.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Some of the keys.
#[derive(Debug)]
struct Shard {
    windows: IndexMap<LimitKey, Window, RandomState>,
    most: usize,
    /// The place that is looked at next for what can be forgotten.
    hand: usize,
}

impl Shard {
    /// The window of a key; a new one where there is none.
    fn window(&mut self, key: LimitKey, quota: Quota, now: i64) -> &mut Window {
        if !self.windows.contains_key(&key) {
            self.sweep(now);
            while self.windows.len() >= self.most {
                self.evict(now);
            }
        }
        self.windows.entry(key).or_insert_with(|| Window::new(quota))
    }

    /// Forgets keys whose windows are over: more than come anew, so what nobody asks for goes in time.
    fn sweep(&mut self, now: i64) {
        for _ in 0..SWEPT {
            let Some((_, window)) = self.windows.get_index_mut(self.hand) else {
                self.hand = 0;
                continue;
            };
            if window.is_over(now) {
                self.windows.swap_remove_index(self.hand);
            } else {
                self.hand += 1;
            }
        }
    }

    /// Forgets the least weighty key of a sample, or of all where the whole sample is at its limits.
    fn evict(&mut self, now: i64) {
        let count = self.windows.len();
        let (start, sample) = (self.hand, SAMPLED.min(count));
        self.hand = (start + sample) % count.max(1);
        let found = self.least(start, sample, now).filter(|(_, is_full)| !is_full);
        let found = found.or_else(|| self.least(0, count, now));
        if let Some((place, _)) = found {
            self.windows.swap_remove_index(place);
        }
    }

    /// The least weighty of `count` windows from a place on, and whether it is at its limit.
    fn least(&mut self, start: usize, count: usize, now: i64) -> Option<(usize, bool)> {
        let length = self.windows.len();
        let mut least = None;
        for place in (start..start + count).map(|place| place % length.max(1)) {
            let Some((_, window)) = self.windows.get_index_mut(place) else { continue };
            let weight = window.weight(now);
            if least.is_none_or(|(other, _)| weight < other) {
                least = Some((weight, place));
            }
        }
        least.map(|(weight, place)| (place, weight.is_full()))
    }
}
