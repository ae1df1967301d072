//! Answers that are remembered for a while, so that the store need not be asked.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

/// What is cached; each kind keeps its entries apart from the others', and for a time of its own.
///
/// Nothing that decides a write is here, and never will be: balances, a user's own orders. Sessions and API keys, with
/// the role of their users, are remembered by each process for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CacheKind {
    /// A market, by id.
    Market,
    /// The first page of a list of markets, by its filter and order.
    MarketList,
    /// A book, by market and outcome.
    Book,
    /// The newest candles, by market, outcome, interval and number.
    Candles,
    /// A leaderboard, by its filter.
    Leaderboard,
    /// What everybody may see of a user, by id.
    User,
}

impl CacheKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Market, Self::MarketList, Self::Book, Self::Candles, Self::Leaderboard, Self::User];

    /// Its name, as keys and metrics have it; without a colon.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Market => "market",
            Self::MarketList => "market_list",
            Self::Book => "book",
            Self::Candles => "candles",
            Self::Leaderboard => "leaderboard",
            Self::User => "user",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// How long an entry is kept at most. An invalidation ends it sooner; this bounds what becomes of one
    /// that was lost.
    #[must_use]
    pub const fn ttl(self) -> Duration {
        Duration::from_secs(match self {
            Self::Market => 60,
            Self::Leaderboard => 30,
            Self::Book => 10,
            // Not every trade ends lists and candles, and beside a server on SQLite the command line changes users.
            Self::MarketList | Self::Candles | Self::User => 1,
        })
    }

    /// How long it is remembered that there is nothing. Short, since anybody can ask for what is not.
    #[must_use]
    pub const fn absent_ttl(self) -> Duration {
        let (ttl, longest) = (self.ttl(), Duration::from_secs(5));
        if ttl.as_millis() < longest.as_millis() { ttl } else { longest }
    }

    /// How long before an entry expires one of its readers loads it anew, while the others still get
    /// the old one; zero for what is cheap to load.
    #[must_use]
    pub const fn refresh_ahead(self) -> Duration {
        Duration::from_millis(match self {
            Self::Leaderboard => 5000,
            Self::MarketList | Self::Candles => 400,
            Self::Market | Self::Book | Self::User => 0,
        })
    }
}

/// What an entry is found by: a kind, and a text that is its own among those of the kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey {
    kind: CacheKind,
    id: Arc<str>,
}

impl CacheKey {
    /// Of a kind and an id.
    #[must_use]
    pub fn new(kind: CacheKind, id: &(impl fmt::Display + ?Sized)) -> Self {
        Self { kind, id: id.to_string().into() }
    }

    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> CacheKind {
        self.kind
    }

    /// Which of its kind.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.name(), self.id)
    }
}

/// What was found in the store and is remembered: an answer, or that there is none.
pub type Cached = Option<Bytes>;

/// The right to put one entry; see [`Cache`].
#[derive(Debug, PartialEq, Eq)]
pub struct Lease {
    key: CacheKey,
    token: u128,
    behind: Option<Box<Lease>>,
}

impl Lease {
    /// Of a key; for caches, which choose a token that no other lease of the key has had.
    #[must_use]
    pub const fn new(key: CacheKey, token: u128) -> Self {
        Self { key, token, behind: None }
    }

    /// The same, and with it the lease that a second cache gave, which stands behind this one.
    #[must_use]
    pub fn before(self, behind: Option<Self>) -> Self {
        Self { behind: behind.map(Box::new), ..self }
    }

    /// Takes the lease of the cache behind, if there is one.
    #[must_use]
    pub fn take_behind(&mut self) -> Option<Self> {
        self.behind.take().map(|lease| *lease)
    }

    /// What may be put.
    #[must_use]
    pub const fn key(&self) -> &CacheKey {
        &self.key
    }

    /// By which the cache knows it again.
    #[must_use]
    pub const fn token(&self) -> u128 {
        self.token
    }
}

/// What a cache answers.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It remembers this. With a lease it will expire soon, and the caller is the one to load it anew.
    Hit(Cached, Option<Lease>),
    /// It remembers nothing: the store has to be asked. With a lease the answer is to be put.
    Miss(Option<Lease>),
}

/// An invalidation could not be carried out, or it is not known whether it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cache cannot be reached: the invalidation has to be repeated")]
pub struct CacheUnreachable;

/// Remembers what was read from the store. It holds copies only, so it may forget at any time.
///
/// **Leases.** Only who was given a lease can put an entry, and only while the lease stands:
/// - [`get`](Self::get) gives one to the first who misses a key, before he reads the store.
/// - While it stands, others who miss the key wait for the entry, though not for long; then they read the
///   store themselves and put nothing. So one load serves all who ask.
/// - An invalidation ends the leases of its keys. Whoever read before a write was committed therefore
///   cannot put his old value after the write's invalidation: his lease was given before it, and is void.
/// - A lease ends when it is used or released, and by itself after some seconds, so that who
///   died with one is soon replaced. A `put` with a lease that has ended does nothing.
///
/// Leases rather than versions, because nothing is asked of the values: a page of a list has no version.
/// And because every accident is on the safe side: where the cache has forgotten a lease, nothing is put;
/// a tombstone with a version would have to outlast the slowest reader.
///
/// **Times.** An entry lives for the time it was put with, or up to a tenth less: entries that were put
/// at the same moment should not all be missed at the same moment. Within
/// [`CacheKind::refresh_ahead`] of its end one reader at a time gets a lease together with the hit. A cache may
/// have a longest life: then an entry ends so long after its *lease was given* at the latest, and so what it
/// shows was in the store that long ago at most, even where no invalidation is ever heard.
///
/// **Failures.** A cache that is down, slow or full, or whose contents make no sense, is one that
/// remembers nothing: `get` misses without a lease, `put` does nothing. Only an invalidation tells, since it
/// has to be repeated until it has been carried out.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait Cache: Send + Sync {
    /// What is remembered of a key. Waits a little where somebody else is loading it.
    async fn get(&self, key: &CacheKey) -> Lookup;

    /// Remembers what the store answered after the lease was given. Ends the lease.
    async fn put(&self, lease: Lease, value: Cached, ttl: Duration);

    /// Ends a lease that will not be used.
    async fn release(&self, lease: Lease);

    /// Forgets these keys and ends their leases. Each key by itself is done at once; when this returns, all are.
    ///
    /// # Errors
    /// [`CacheUnreachable`] if that may not have happened. What was written stays written: no request may
    /// fail for it, but the invalidation has to be repeated.
    async fn invalidate(&self, keys: &[CacheKey]) -> Result<(), CacheUnreachable>;
}

/// What the cache remembers of a key, or else what `load` answers. `load` is not begun unless it is needed;
/// it must read the store afresh, and answer `None` where there is nothing.
///
/// # Errors
/// Those of `load`, unless the cache still had the answer.
pub async fn get_or_load<E>(
    cache: &dyn Cache,
    key: &CacheKey,
    load: impl Future<Output = Result<Cached, E>>,
) -> Result<Cached, E> {
    let found = cache.get(key).await;
    load_after(cache, key, found, load).await
}

/// The second half of [`get_or_load`], for who has looked already.
///
/// # Errors
/// Those of `load`, unless the cache still had the answer.
pub async fn load_after<E>(
    cache: &dyn Cache,
    key: &CacheKey,
    found: Lookup,
    load: impl Future<Output = Result<Cached, E>>,
) -> Result<Cached, E> {
    let (known, lease) = match found {
        Lookup::Hit(value, None) => return Ok(value),
        Lookup::Hit(value, Some(lease)) => (Some(value), Some(lease)),
        Lookup::Miss(lease) => (None, lease),
    };
    match (load.await, lease) {
        (Ok(value), Some(lease)) => {
            let kind = key.kind();
            let ttl = if value.is_some() { kind.ttl() } else { kind.absent_ttl() };
            cache.put(lease, value.clone(), ttl).await;
            Ok(value)
        }
        (Ok(value), None) => Ok(value),
        (Err(error), lease) => {
            if let Some(lease) = lease {
                cache.release(lease).await;
            }
            known.ok_or(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_keys_are_written_alike() {
        let names: BTreeSet<_> = CacheKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), CacheKind::ALL.len());
        assert!(names.iter().all(|name| !name.contains(':')));
        assert!(CacheKind::ALL.iter().all(|kind| CacheKind::named(kind.name()) == Some(*kind)));
        assert_eq!(CacheKind::named("markets"), None);
        let key = CacheKey::new(CacheKind::Book, "a:b");
        assert_eq!((key.to_string().as_str(), key.id(), key.kind()), ("book:a:b", "a:b", CacheKind::Book));
    }

    #[test]
    fn an_entry_lives_longer_than_it_is_refreshed_before_its_end() {
        for kind in CacheKind::ALL {
            // A tenth of the life may be taken off.
            assert!(kind.refresh_ahead() * 2 < kind.ttl(), "{}", kind.name());
            assert!(kind.absent_ttl() <= kind.ttl(), "{}", kind.name());
        }
    }
}
