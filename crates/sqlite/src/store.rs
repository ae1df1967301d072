//! Opening the file, beginning units of work, and the options of both.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bellwether_domain::market_memory::{Lent, MarketMemory};
use bellwether_domain::ports::{Store, StoreError, UnitOfWork};

use crate::checkpoints::{Checkpoints, Log};
use crate::connection::{Connection, Purpose};
use crate::error::Trouble;
use crate::readers::Readers;
use crate::unit::SqliteUnitOfWork;
use crate::writer::WriterHandle;

/// How a store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqliteOptions {
    /// How long a unit of work waits for its turn before it is refused.
    pub begin_timeout: Duration,
    /// How long a read waits for a connection before it is refused.
    pub read_timeout: Duration,
    /// How long SQLite waits for a lock that another process holds.
    pub busy_timeout: Duration,
    /// How many connections read at the same time.
    pub readers: usize,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        let timeout = Duration::from_secs(5);
        Self { begin_timeout: timeout, read_timeout: timeout, busy_timeout: timeout, readers: 4 }
    }
}

/// Everything in one SQLite file: one connection writes, a few read beside it.
///
/// Only one process should have the file open for writing at a time; others wait for its lock.
pub struct SqliteStore {
    pub(crate) writer: WriterHandle,
    pub(crate) readers: Readers,
    counter: Arc<AtomicU64>,
    memory: Arc<MarketMemory>,
    _checkpoints: Checkpoints,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").field("statements", &self.statements()).finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the file, making it (readable by its owner alone) where there is none; its folder must
    /// exist. Does not migrate: see [`migrate_up`](Self::migrate_up).
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] where it cannot be opened; [`StoreError::Corrupt`] where it is no
    /// database or SQLite would not write durably.
    pub fn open(path: &Path, options: SqliteOptions) -> Result<Self, StoreError> {
        make_file(path)?;
        let counter = Arc::new(AtomicU64::new(0));
        let connection = Connection::open(path, Purpose::Write, options.busy_timeout, &counter)?;
        let log = Arc::new(Log::default());
        let writer = WriterHandle::start(connection, path, options.begin_timeout, Arc::clone(&log))?;
        let checkpoints = Checkpoints::start(path, options.busy_timeout, log, writer.poison())?;
        let readers = Readers::new(
            path.to_owned(),
            options.readers,
            options.read_timeout,
            options.busy_timeout,
            Arc::clone(&counter),
        );
        Ok(Self { writer, readers, counter, memory: Arc::default(), _checkpoints: checkpoints })
    }

    /// Does one thing in a transaction of its own.
    pub(crate) async fn write_alone<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let mut transaction = self.writer.begin().await?;
        let done = transaction.run(job).await?;
        transaction.commit(Box::new(|| {})).await?;
        Ok(done)
    }

    /// How many of the connections that read are in use, and how many there may be.
    #[must_use]
    pub fn connections(&self) -> (usize, usize) {
        self.readers.figures()
    }

    /// How many statements all connections have executed so far, those of transactions included.
    #[must_use]
    pub fn statements(&self) -> u64 {
        self.counter.load(Ordering::Relaxed)
    }
}

/// SQLite gives its write-ahead log and its index the permissions of the file, and where it runs as root its owner.
fn make_file(path: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let made = match options.clone().create_new(true).open(path) {
        Ok(file) => give_to_owner_of_folder(&file, path).inspect_err(|_| drop(fs::remove_file(path))),
        // Or it will be made where a link leads.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            options.create(true).truncate(false).open(path).map(drop)
        }
        Err(error) => Err(error),
    };
    made.map_err(|e| Trouble::Open { path: path.display().to_string(), reason: e.to_string() }.into())
}

/// What a command makes as root, a server that runs as the owner of the folder must be able to write.
#[cfg(unix)]
fn give_to_owner_of_folder(file: &File, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.metadata()?;
    if file.metadata()?.uid() != 0 || folder.uid() == 0 {
        return Ok(());
    }
    fchown(file, Some(folder.uid()), Some(folder.gid())).map_err(|error| {
        let owner = folder.uid();
        io::Error::new(
            error.kind(),
            format!("it could not be given to user {owner} ({error}); run this as user {owner}"),
        )
    })
}

/// Files have no such owners.
#[cfg(not(unix))]
fn give_to_owner_of_folder(_: &File, _: &Path) -> io::Result<()> {
    Ok(())
}

#[async_trait]
impl Store for SqliteStore {
    async fn begin(&self) -> Result<Box<dyn UnitOfWork>, StoreError> {
        Ok(Box::new(SqliteUnitOfWork::new(self.writer.begin().await?, Lent::of(&self.memory))))
    }
}
