//! Waiting for what another process is loading.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bellwether_domain::ports::CacheKey;
use tokio::sync::watch;

/// Who asks again and again for a key, on behalf of all in this process who wait for it.
#[derive(Debug, Default)]
pub(crate) struct Polls(Mutex<HashMap<CacheKey, watch::Receiver<()>>>);

/// Whose turn it is.
pub(crate) enum Turn<'a> {
    /// The caller's: he is to ask, until he drops this.
    Mine(Poll<'a>),
    /// Somebody else's, until this ends.
    Another(watch::Receiver<()>),
}

impl Polls {
    /// Joins those who wait.
    pub(crate) fn join(&self, key: &CacheKey) -> Turn<'_> {
        let mut polls = self.polls();
        if let Some(other) = polls.get(key) {
            return Turn::Another(other.clone());
        }
        let (ended, receiver) = watch::channel(());
        polls.insert(key.clone(), receiver);
        Turn::Mine(Poll { polls: self, key: key.clone(), _ended: ended })
    }

    fn polls(&self) -> MutexGuard<'_, HashMap<CacheKey, watch::Receiver<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The turn to ask; dropping it wakes all who wait.
pub(crate) struct Poll<'a> {
    polls: &'a Polls,
    key: CacheKey,
    _ended: watch::Sender<()>,
}

impl Drop for Poll<'_> {
    fn drop(&mut self) {
        self.polls.polls().remove(&self.key);
    }
}
