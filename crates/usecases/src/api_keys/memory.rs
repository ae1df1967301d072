//! What this process remembers of API keys: which are good, and when they were used.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bellwether_domain::api_key::Scopes;
use bellwether_domain::ids::{ApiKeyId, UserId};
use bellwether_domain::ports::{EventBus, KeyOfUser, Queries, StoreError};
use bellwether_domain::user::{Role, UserStatus};
use jiff::{SignedDuration, Timestamp};

use crate::ends::{Ended, Teller};
use crate::remembered::{MAX_AGE, Remembered};

/// How often at most the last use of one key is written.
const WRITE_INTERVAL: SignedDuration = SignedDuration::from_mins(1);
/// Uses of so many keys are remembered until they are written; those of more are not.
const MOST_USES: usize = 100_000;

/// A key that was not revoked, whose user may act, and the owner of a bot too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LiveKey {
    pub(crate) id: ApiKeyId,
    pub(crate) user: UserId,
    /// Whose the user is, where that is a bot.
    pub(crate) owner: Option<UserId>,
    pub(crate) role: Role,
    pub(crate) scopes: Scopes,
    pub(crate) is_limited: bool,
    pub(crate) expires_at: Option<Timestamp>,
}

impl LiveKey {
    fn of(found: KeyOfUser) -> Option<Self> {
        let KeyOfUser { key, role, status, owner } = found;
        let (owner, owner_status) = owner.unzip();
        let may_act = [Some(status), owner_status].into_iter().flatten().all(|status| status == UserStatus::Active);
        let is_good = key.revoked_at.is_none() && may_act;
        let is_limited = !key.limits.is_empty();
        is_good.then_some(Self {
            id: key.id,
            user: key.user,
            owner,
            role,
            scopes: key.scopes,
            is_limited,
            expires_at: key.expires_at,
        })
    }
}

/// So many keys are remembered as good.
const MOST_GOOD: u64 = 100_000;
/// For so long after they were last looked up.
const GOOD_KEPT: Duration = Duration::from_secs(3600);

/// When a key was used, and when that was last written.
#[derive(Debug, Clone, Copy)]
struct Use {
    at: Timestamp,
    written_at: Option<Timestamp>,
    is_written: bool,
}

/// The memory of API keys, by their hashes. Clones are the same memory.
#[derive(Clone)]
pub struct KeyMemory {
    keys: Remembered<[u8; 32], LiveKey>,
    /// Which were good when they were last looked up.
    good: moka::sync::Cache<[u8; 32], ()>,
    uses: Arc<Mutex<HashMap<ApiKeyId, Use>>>,
    teller: Option<Teller>,
}

impl std::fmt::Debug for KeyMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyMemory(..)")
    }
}

impl Default for KeyMemory {
    fn default() -> Self {
        Self::with_max_age(MAX_AGE)
    }
}

impl KeyMemory {
    /// A memory whose knowledge may be so old.
    #[must_use]
    pub fn with_max_age(max_age: Duration) -> Self {
        let good = moka::sync::Cache::builder().max_capacity(MOST_GOOD).time_to_live(GOOD_KEPT).build();
        Self { keys: Remembered::with_max_age(max_age), good, uses: Arc::default(), teller: None }
    }

    /// The same, and other processes are told of revocations by this bus.
    #[must_use]
    pub fn telling(self, bus: Arc<dyn EventBus>) -> Self {
        Self { teller: Some(Teller(bus)), ..self }
    }

    /// What is remembered of a key; none where the store must be asked.
    pub(crate) async fn recall(&self, hash: [u8; 32]) -> Option<Option<LiveKey>> {
        self.keys.recall(hash).await
    }

    /// The key, if it is good. However many ask at the same time, the store is asked once.
    pub(crate) async fn get(&self, queries: &dyn Queries, hash: [u8; 32]) -> Result<Option<LiveKey>, StoreError> {
        let found = self.keys.get(hash, async { Ok(queries.api_key(hash).await?.and_then(LiveKey::of)) }).await?;
        match found {
            Some(_) => self.good.insert(hash, ()),
            None => self.good.invalidate(&hash),
        }
        Ok(found)
    }

    /// Whether a key was good when it was last looked up, within the hour: so nobody has just made it up.
    pub(crate) fn was_good(&self, hash: &[u8; 32]) -> bool {
        self.good.contains_key(hash)
    }

    /// Notes that a key was revoked: from now on it is good for nothing here, and other processes are told.
    pub(crate) async fn end(&self, hash: [u8; 32]) {
        self.end_here(hash).await;
        if let Some(teller) = &self.teller {
            teller.tell(&Ended::Key(hash)).await;
        }
    }

    /// The same where another process told it.
    pub(crate) async fn end_here(&self, hash: [u8; 32]) {
        self.keys.end(&[hash]).await;
    }

    /// Asks the store anew for every key.
    pub(crate) fn forget_all(&self) {
        self.keys.forget_all();
    }

    /// Notes that a key was used.
    pub(crate) fn note_use(&self, key: ApiKeyId, at: Timestamp) {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        let is_room = uses.len() < MOST_USES;
        match uses.get_mut(&key) {
            Some(known) => *known = Use { at, is_written: false, ..*known },
            None if is_room => {
                uses.insert(key, Use { at, written_at: None, is_written: false });
            }
            None => {}
        }
    }

    /// The uses that shall be written now, by that clock. They count as written.
    pub(crate) fn take_uses(&self, clock: impl FnOnce() -> Timestamp) -> Vec<(ApiKeyId, Timestamp)> {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        if uses.is_empty() {
            return Vec::new();
        }
        let now = clock();
        let is_due = |u: &Use| u.written_at.is_none_or(|at| now.duration_since(at).abs() >= WRITE_INTERVAL);
        uses.retain(|_, known| !(known.is_written && is_due(known)));
        let mut taken = Vec::new();
        for (key, known) in uses.iter_mut().filter(|(_, known)| !known.is_written && is_due(known)) {
            taken.push((*key, known.at));
            *known = Use { written_at: Some(now), is_written: true, ..*known };
        }
        taken.sort_unstable();
        taken
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_use_is_written_at_once_and_then_once_a_minute() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (memory, key) = (KeyMemory::default(), ApiKeyId(Uuid::from_u128(1)));
        assert_eq!(memory.take_uses(|| at(0)), []);
        for second in 0..100 {
            memory.note_use(key, at(second));
            let expected = if second % 60 == 0 { vec![(key, at(second))] } else { vec![] };
            assert_eq!(memory.take_uses(|| at(second)), expected, "at {second}");
        }
        assert_eq!(memory.take_uses(|| at(120)), [(key, at(99))]);
        assert_eq!(memory.take_uses(|| at(500)), []);
        assert!(memory.uses.lock().unwrap().is_empty(), "what is not used is forgotten");
    }
}
