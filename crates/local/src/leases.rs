//! The leases that are out, of some of the keys.

use std::collections::HashMap;
use std::time::Duration;

use bellwether_domain::ports::CacheKey;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long a lease stands: longer than almost every load, and not much longer than one would wait for it.
pub(crate) const LIFE: Duration = Duration::from_secs(3);
/// Below so many nothing is swept.
const FEW: usize = 64;

/// One lease. When it goes, its sender goes, which wakes those who wait.
#[derive(Debug)]
struct Standing {
    token: u128,
    generation: u64,
    ends_at: Instant,
    ended: watch::Sender<()>,
}

/// Whether a lease could be had.
pub(crate) enum Asked {
    /// It is given, with this token.
    Given(u128),
    /// Somebody has one, and this ends with it, at that time at the latest.
    Taken(watch::Receiver<()>, Instant),
}

/// A lease that was used.
pub(crate) struct Ended {
    /// The generation that it was given in.
    pub(crate) generation: u64,
    /// How long ago it was given.
    pub(crate) age: Duration,
}

/// Leases by key.
#[derive(Debug)]
pub(crate) struct Leases {
    standing: HashMap<CacheKey, Standing>,
    last_token: u128,
    swept_at: usize,
}

impl Leases {
    pub(crate) fn new() -> Self {
        Self { standing: HashMap::new(), last_token: 0, swept_at: FEW }
    }

    /// Asks for a lease of a key, in the present generation of entries.
    pub(crate) fn ask(&mut self, key: &CacheKey, generation: u64) -> Asked {
        let now = Instant::now();
        if let Some(lease) = self.standing.get(key)
            && lease.ends_at > now
            && lease.generation == generation
        {
            return Asked::Taken(lease.ended.subscribe(), lease.ends_at);
        }
        self.sweep(now);
        self.last_token += 1;
        let token = self.last_token;
        let lease = Standing { token, generation, ends_at: now + LIFE, ended: watch::Sender::new(()) };
        self.standing.insert(key.clone(), lease);
        Asked::Given(token)
    }

    /// Counts a lease's age from now, if it still stands: nothing was read under it yet.
    pub(crate) fn renew(&mut self, key: &CacheKey, token: u128) {
        let now = Instant::now();
        let lease = self.standing.get_mut(key).filter(|lease| lease.token == token && lease.ends_at > now);
        if let Some(lease) = lease {
            lease.ends_at = now + LIFE;
        }
    }

    /// Ends a lease; what is to be known of it, if it still stood.
    pub(crate) fn end(&mut self, key: &CacheKey, token: u128) -> Option<Ended> {
        let lease = self.standing.get(key).filter(|lease| lease.token == token)?;
        let left = lease.ends_at.saturating_duration_since(Instant::now());
        let ended = Ended { generation: lease.generation, age: LIFE.saturating_sub(left) };
        self.standing.remove(key);
        (!left.is_zero()).then_some(ended)
    }

    /// Ends whatever lease of a key there is.
    pub(crate) fn void(&mut self, key: &CacheKey) {
        self.standing.remove(key);
    }

    /// Ends all.
    pub(crate) fn void_all(&mut self) {
        self.standing.clear();
    }

    /// Lets those go whose holders never came back, so seldom that it costs little for each lease.
    fn sweep(&mut self, now: Instant) {
        if self.standing.len() >= self.swept_at {
            self.standing.retain(|_, lease| lease.ends_at > now);
            self.swept_at = FEW.max(2 * self.standing.len());
        }
    }
}
