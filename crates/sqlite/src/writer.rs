//! The one connection that writes, on a thread of its own.
//!
//! Jobs come through a channel and run one after the other. Whoever has the permit has the
//! transaction; the permit is given back by a job, after the transaction has ended, so that the
//! next holder never finds it open.
//!
//! # When a write fails
//!
//! - Disk full ([`Fault::Full`]): SQLite says so while it writes, before it syncs, so the
//!   transaction is certainly not committed. It is rolled back and, where that succeeds, writing
//!   may go on once there is room.
//! - An I/O error, a damaged file, any doubtful end of a commit: the writer is poisoned. It
//!   refuses every further transaction until the store is opened anew, since after a failed sync
//!   (see [`flushes`](crate::flushes)) nobody knows what is on the disk, and trying again may seem to
//!   succeed where it did not.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bellwether_domain::ports::{Decided, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::checkpoints::{self, Log};
use crate::connection::Connection;
use crate::error::{Fault, Trouble, fault, store_error};
use crate::flushes::Flushes;
use crate::sql::Sql;

type Job = Box<dyn FnOnce(&mut Writer) + Send>;

/// Why the store refuses to write, once it does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Poison(Arc<OnceLock<String>>);

impl Poison {
    /// Refuses once the store does not write any more.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.0.get().map_or(Ok(()), |why| Err(Trouble::Poisoned(why.clone()).into()))
    }

    /// Stops all writing from now on.
    pub(crate) fn set(&self, why: String) {
        tracing::error!(%why, "the store stops writing");
        // Whatever came first is what counts.
        let _ = self.0.set(why);
    }
}

/// The writing connection, on its thread.
pub(crate) struct Writer {
    connection: Connection,
    poison: Poison,
    log: Arc<Log>,
    flushes: Flushes,
    /// How many rows the connection had changed when it was last asked.
    changes: i64,
}

impl Writer {
    /// Begins a transaction that may write.
    pub(crate) fn begin(&mut self) -> Result<(), StoreError> {
        self.poison.check()?;
        self.connection.try_run(Sql::new("BEGIN IMMEDIATE")).map(drop).map_err(|error| match fault(&error) {
            Fault::Busy => Trouble::LockedOutside(error.into()).into(),
            Fault::Damaged => {
                self.poison.set(error.to_string());
                Trouble::Poisoned(error.to_string()).into()
            }
            _ => store_error(error),
        })
    }

    /// Runs a part of a transaction.
    fn work<R>(&mut self, job: impl FnOnce(&mut Connection) -> Result<R, StoreError>) -> Result<R, StoreError> {
        self.poison.check()?;
        let result = job(&mut self.connection);
        if let Some(damage) = self.connection.damage() {
            self.poison.set(damage.to_owned());
        }
        result
    }

    /// Commits: what was changed is in the log, and others see it. It is durable once the log is on the disk. An error other
    /// than `OutcomeUnknown` means that nothing was done.
    fn commit(&mut self) -> Result<(), StoreError> {
        if let Err(refusal) = self.poison.check() {
            self.rollback();
            return Err(refusal);
        }
        let Err(error) = self.write_commit() else { return Ok(()) };
        let undone = self.rollback();
        match fault(&error) {
            Fault::Busy | Fault::Full if undone => Err(store_error(error)),
            _ => {
                self.poison.set(format!("a commit failed: {error}"));
                Err(StoreError::OutcomeUnknown(error.into()))
            }
        }
    }

    /// A transaction that changed nothing has nothing to bring to the disk.
    fn write_commit(&mut self) -> Result<(), diesel::result::Error> {
        let has_changed = self.has_changed();
        let mut commit = || self.connection.try_run(Sql::new("COMMIT")).map(drop);
        if has_changed { self.flushes.write(commit) } else { commit() }
    }

    /// Whether rows were changed since this was last asked. Where that cannot be known, they were.
    fn has_changed(&mut self) -> bool {
        let Ok(changes) = self.connection.changes() else { return true };
        std::mem::replace(&mut self.changes, changes) != changes
    }

    /// Between two transactions, after one was committed.
    fn tidy(&mut self) {
        if self.log.committed()
            && self.poison.check().is_ok()
            && let Err(error) = checkpoints::copy(&mut self.connection)
        {
            tracing::warn!(%error, "the log could not be copied into the file");
        }
    }

    /// Undoes everything since the transaction began. Whether none is open now.
    pub(crate) fn rollback(&mut self) -> bool {
        match self.connection.try_run(Sql::new("ROLLBACK")) {
            Ok(_) => true,
            // SQLite has rolled back by itself, as it does after some errors, or nothing was begun.
            Err(error) if error.to_string().contains("no transaction is active") => true,
            Err(error) => {
                self.poison.set(format!("a rollback failed: {error}"));
                false
            }
        }
    }
}

/// Sends jobs to the writer's thread.
#[derive(Clone)]
pub(crate) struct WriterHandle {
    jobs: Sender<Job>,
    permits: Arc<Semaphore>,
    poison: Poison,
    flushes: Flushes,
    timeout: Duration,
}

impl WriterHandle {
    /// Starts the thread. It ends, and closes the connection, when nobody can send it jobs any more.
    pub(crate) fn start(
        connection: Connection,
        path: &Path,
        timeout: Duration,
        log: Arc<Log>,
    ) -> Result<Self, StoreError> {
        let (jobs, incoming) = channel();
        let poison = Poison::default();
        let flushes = Flushes::start(path, poison.clone())?;
        let writer = Writer { connection, poison: poison.clone(), log, flushes: flushes.clone(), changes: 0 };
        std::thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || serve(writer, &incoming))
            .map_err(|e| StoreError::Unavailable(e.into()))?;
        Ok(Self { jobs, permits: Arc::new(Semaphore::new(1)), poison, flushes, timeout })
    }

    /// Why the store refuses to write, if it does.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        self.poison.check()
    }

    /// What stops all writing.
    pub(crate) fn poison(&self) -> Poison {
        self.poison.clone()
    }

    /// Waits until all that could be read before is on the disk.
    pub(crate) async fn flushed(&self) -> Result<(), StoreError> {
        self.flushes.flushed().await
    }

    /// Waits for its turn, in the order of asking. The transaction begins with the first thing that
    /// is done in it: until then nothing can have changed, since nobody else has the turn.
    pub(crate) async fn begin(&self) -> Result<Transaction, StoreError> {
        let mut transaction = self.claim().await?;
        transaction.must_begin = true;
        Ok(transaction)
    }

    /// Waits for its turn to use the connection, without a transaction.
    pub(crate) async fn claim(&self) -> Result<Transaction, StoreError> {
        self.check()?;
        let turn = tokio::time::timeout(self.timeout, Arc::clone(&self.permits).acquire_owned()).await;
        let permit = turn
            .map_err(|_| Trouble::TimedOut("turn to write", self.timeout.as_millis()))?
            .map_err(|_| Trouble::Stopped("writer"))?;
        Ok(Transaction { jobs: self.jobs.clone(), permit: Some(permit), must_begin: false })
    }
}

fn serve(mut writer: Writer, incoming: &Receiver<Job>) {
    while let Ok(job) = incoming.recv() {
        job(&mut writer);
    }
}

/// The right to use the writer. Dropped, it sends the rollback off and blocks nobody: jobs run in
/// order, so a call that was abandoned has ended by then, and the permit is given back after it.
pub(crate) struct Transaction {
    jobs: Sender<Job>,
    permit: Option<OwnedSemaphorePermit>,
    /// Nothing was done yet, so it has not begun.
    must_begin: bool,
}

impl Transaction {
    /// Runs a part of the transaction on the writer's thread.
    pub(crate) async fn run<R: Send + 'static>(
        &mut self,
        job: impl FnOnce(&mut Connection) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let must_begin = self.must_begin;
        let done = self.send(move |writer| {
            if must_begin {
                writer.begin()?;
            }
            writer.work(job)
        });
        let result = done.await?;
        // Only now: after a failure nobody may go on outside of a transaction.
        self.must_begin = false;
        Ok(result)
    }

    /// Counts what was committed by other means than [`commit`](Self::commit) among what is to be brought to the disk.
    pub(crate) async fn committed(&mut self) -> Result<(), StoreError> {
        let counted = self.send(|writer| if writer.has_changed() { writer.flushes.write(|| Ok(())) } else { Ok(()) });
        counted.await
    }

    async fn send<R: Send + 'static>(
        &mut self,
        job: impl FnOnce(&mut Writer) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |writer| {
            // The caller may have gone; then its rollback follows.
            let _ = answer.send(job(writer));
        });
        self.jobs.send(job).map_err(|_| Trouble::Stopped("writer"))?;
        answered.await.map_err(|_| Trouble::Stopped("writer"))?
    }

    /// Commits, calls `decided` when that is in the log, and gives the permit back; answers when it is on the disk. Runs to
    /// its end even if nobody waits for it.
    pub(crate) async fn commit(mut self, decided: Decided) -> Result<(), StoreError> {
        if self.must_begin {
            self.permit = None;
            decided();
            return Ok(());
        }
        let (answer, answered) = oneshot::channel();
        let permit = self.permit.take();
        let job: Job = Box::new(move |writer| {
            if let Err(error) = writer.commit() {
                let _ = answer.send(Err(error));
                return;
            }
            decided();
            writer.flushes.tell_when_flushed(move |result| {
                let unknown = |why| StoreError::OutcomeUnknown(Box::new(Trouble::Poisoned(why)));
                let _ = answer.send(result.map_err(unknown));
            });
            writer.tidy();
            drop(permit);
        });
        self.jobs.send(job).map_err(|_| Trouble::Stopped("writer"))?;
        answered.await.map_err(|_| StoreError::OutcomeUnknown(Box::new(Trouble::Stopped("writer"))))?
    }

    /// Rolls back, gives the permit back, and waits for it.
    pub(crate) async fn rollback(mut self) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        let permit = self.permit.take();
        let job: Job = Box::new(move |writer| {
            writer.rollback();
            drop(permit);
            let _ = answer.send(());
        });
        self.jobs.send(job).map_err(|_| Trouble::Stopped("writer"))?;
        answered.await.map_err(|_| Trouble::Stopped("writer").into())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            let job: Job = Box::new(move |writer| {
                writer.rollback();
                drop(permit);
            });
            // Where the thread has ended, its connection is closed and the transaction with it.
            let _ = self.jobs.send(job);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::connection::Purpose;

    fn open(folder: &tempfile::TempDir, text: &'static str) -> anyhow::Result<WriterHandle> {
        let path = folder.path().join("test.db");
        let mut connection =
            Connection::open(&path, Purpose::Write, Duration::from_secs(1), &Arc::new(AtomicU64::new(0)))?;
        connection.batch("CREATE TABLE things (data BLOB) STRICT")?;
        connection.batch(text)?;
        Ok(WriterHandle::start(connection, &path, Duration::from_secs(20), Arc::default())?)
    }

    async fn insert(transaction: &mut Transaction, bytes: i64) -> Result<(), StoreError> {
        let sql = Sql::new("INSERT INTO things SELECT zeroblob(?)").bind(bytes);
        transaction.run(move |connection| connection.run(sql).map(drop)).await
    }

    async fn things(writer: &WriterHandle) -> anyhow::Result<u64> {
        let mut transaction = writer.begin().await?;
        let count = transaction.run(|connection| connection.one(Sql::new("SELECT count(*) FROM things"))).await?;
        Ok(count.map(|mut row| row.count()).transpose()?.unwrap_or(0))
    }

    /// Threat 65. SQLite refuses the page that would be one too many as it refuses one that the disk has no room for.
    #[tokio::test]
    async fn a_full_disk_undoes_the_unit_and_writing_goes_on_where_there_is_room() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let writer = open(&folder, "PRAGMA max_page_count = 16")?;
        let mut transaction = writer.begin().await?;
        insert(&mut transaction, 10).await?;
        let full = insert(&mut transaction, 1_000_000).await;
        assert!(matches!(full, Err(StoreError::Unavailable(_))), "{full:?}");
        drop(transaction);
        assert_eq!(things(&writer).await?, 0);
        let mut transaction = writer.begin().await?;
        insert(&mut transaction, 10).await?;
        transaction.commit(Box::new(|| {})).await?;
        assert_eq!(things(&writer).await?, 1);
        writer.check()?;
        Ok(())
    }

    /// A commit that fails for another reason than a full disk may or may not be on the disk.
    #[tokio::test]
    async fn a_commit_that_fails_is_unknown_and_stops_all_writing() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        // A reference that is checked at the commit stands in for a disk that fails there.
        let writer = open(
            &folder,
            "CREATE TABLE links (to_thing INTEGER REFERENCES targets (id) DEFERRABLE INITIALLY DEFERRED)",
        )?;
        let mut transaction = writer.begin().await?;
        let made = "CREATE TABLE targets (id INTEGER PRIMARY KEY); INSERT INTO links VALUES (1)";
        transaction.run(move |connection| connection.batch(made)).await?;
        let unknown = transaction.commit(Box::new(|| {})).await;
        assert!(matches!(unknown, Err(StoreError::OutcomeUnknown(_))), "{unknown:?}");
        assert!(matches!(writer.begin().await.map(drop), Err(StoreError::Unavailable(_))));
        assert!(writer.check().is_err());
        Ok(())
    }
}
