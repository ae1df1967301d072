//! Limits on how often something may be done within a time.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

/// How often something may be done: at most `limit` times within any `window`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The most uses; zero allows none.
    pub limit: u32,
    /// Within how long; above zero, and heeded to the microsecond.
    pub window: SignedDuration,
}

impl Quota {
    /// At most `limit` times within `window`.
    #[must_use]
    pub const fn new(limit: u32, window: SignedDuration) -> Self {
        Self { limit, window }
    }
}

/// Whose uses are counted together: a hash, so that what is counted is not kept in clear. All uses of
/// one key must be of one quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LimitKey([u8; 32]);

impl LimitKey {
    /// The key of a subject under a policy; the same subject under another is another key.
    #[must_use]
    pub fn of(policy: &str, subject: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(policy.as_bytes());
        // A byte that no text in UTF-8 has.
        hash.update([0xff]);
        hash.update(subject);
        Self(hash.finalize().into())
    }

    /// The hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// How a key stands under its quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether the use was allowed, and so counted; or, where nothing was to be counted, whether one would be.
    pub is_allowed: bool,
    /// How many more uses are allowed at this moment.
    pub remaining: u32,
    /// How long until the oldest counted use leaves the window, and one more is allowed; zero where none is counted.
    pub frees_in: SignedDuration,
}

/// Counts uses in a window that slides: of any stretch of time as long as the window, it never allows
/// more uses than the limit. A use that was refused is not counted.
///
/// - A check and its count are one step: of many takers at once no more are let through than the limit has.
/// - Limits up to 64 are exact to the microsecond. With higher ones a use may be counted for up to a
///   64th of the window too long, never too short.
/// - Memory is bounded, however many keys there are. Where there is no room for all, those are
///   forgotten first that are furthest from their limit, and those at their limit last.
/// - `now` may step back. Then nothing is forgotten, and nothing is counted for longer than a window.
/// - It has no way to fail: one that shares its counts through a store, and cannot reach it, counts
///   by itself, and lets nobody through that it would have to refuse.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait RateLimiter: Send + Sync {
    /// Counts a use at `now` if it is allowed.
    async fn take(&self, key: LimitKey, quota: Quota, now: Timestamp) -> Standing;
    /// How the key stands at `now`, without counting.
    async fn look(&self, key: LimitKey, quota: Quota, now: Timestamp) -> Standing;
    /// Takes a use that was counted at `taken_at` back, as if it had not been. Nothing happens where none
    /// of that time is counted any more; so it may stay where the clock stepped back meanwhile.
    async fn give_back(&self, key: LimitKey, quota: Quota, taken_at: Timestamp);
    /// Forgets all uses of a key.
    async fn forget(&self, key: LimitKey);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_of_a_policy_and_a_subject() {
        let key = LimitKey::of("login", b"ann@example.org");
        assert_eq!(key, LimitKey::of("login", b"ann@example.org"));
        for other in [LimitKey::of("logi", b"nann@example.org"), LimitKey::of("reset", b"ann@example.org")] {
            assert_ne!(key, other);
        }
    }
}
