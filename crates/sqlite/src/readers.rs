//! The connections that read, beside the one that writes.

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bellwether_domain::ports::StoreError;
use tokio::sync::Semaphore;

use crate::connection::{Connection, Purpose};
use crate::error::Trouble;

/// A bounded number of read-only connections, opened when they are first needed. Each read runs
/// on tokio's threads for blocking work.
pub(crate) struct Readers {
    path: PathBuf,
    timeout: Duration,
    busy_timeout: Duration,
    counter: Arc<AtomicU64>,
    permits: Arc<Semaphore>,
    count: usize,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    /// At most `count` connections to the file; a read waits up to `timeout` for one.
    pub(crate) fn new(
        path: PathBuf,
        count: usize,
        timeout: Duration,
        busy_timeout: Duration,
        counter: Arc<AtomicU64>,
    ) -> Self {
        let count = count.max(1);
        let permits = Arc::new(Semaphore::new(count));
        Self { path, timeout, busy_timeout, counter, permits, count, idle: Arc::default() }
    }

    /// How many are in use, and how many there may be.
    pub(crate) fn figures(&self) -> (usize, usize) {
        (self.count.saturating_sub(self.permits.available_permits()), self.count)
    }

    /// Reads on one of the connections. A read whose caller has gone ends by itself and gives its connection back.
    pub(crate) async fn read<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let turn = tokio::time::timeout(self.timeout, Arc::clone(&self.permits).acquire_owned()).await;
        let permit = turn
            .map_err(|_| Trouble::TimedOut("connection to read", self.timeout.as_millis()))?
            .map_err(|_| Trouble::Stopped("readers"))?;
        let idle = Arc::clone(&self.idle);
        let (path, busy_timeout, counter) = (self.path.clone(), self.busy_timeout, Arc::clone(&self.counter));
        let done = tokio::task::spawn_blocking(move || {
            let found = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = match found {
                Some(connection) => connection,
                None => Connection::open(&path, Purpose::Read, busy_timeout, &counter)?,
            };
            let result = job(&mut connection);
            if connection.damage().is_none() {
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            }
            drop(permit);
            result
        });
        done.await.map_err(|e| StoreError::Unavailable(e.into()))?
    }
}
