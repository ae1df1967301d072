//! Copying the write-ahead log into the file, beside the writer.
//!
//! SQLite would do it in the commit that makes the log long, and that commit, and all behind it, would
//! wait for the copying and for the disk. Instead a thread copies what has been committed while the
//! writer goes on. It never gets to an end under load, and the log begins anew only when all of it has
//! been copied: so when the log is long, the writer copies the rest itself, which is what came in the
//! meantime, between two transactions.
//!
//! Nothing else is written while the writer does that, so it is to find little. A copy takes long beside a writer that is busy (200 ms,
//! on one machine), in which a third as much comes again. So the thread copies again and again until little came meanwhile,
//! and each time syncs the file, which SQLite does where it comes to the end of the log: in the writer, who would wait
//! for the disk to have all that was copied.
//!
//! What is acknowledged does not depend on any of this: it is in the log, and the log on the disk. Where that is not known
//! any more, since a sync failed, nothing is copied: what is read of the log may not be what was written then, and the file
//! with what the disk has of the log is what can be recovered.

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use bellwether_domain::ports::StoreError;

use crate::connection::{Connection, Purpose};
use crate::sql::Sql;
use crate::writer::Poison;

/// How long the log grows before it is copied. A page that is written often is copied once for all the times.
const EVERY: Duration = Duration::from_secs(1);
/// With so many pages of 4 KiB the log is to begin anew: nobody waits for what is copied before. Less than
/// [`MOST_KEPT`](crate::connection::MOST_KEPT), with room for what comes while it is copied.
const LONG: i64 = 30_000;
/// So many pages the writer copies in a few milliseconds.
const FEW: i64 = 1_000;
/// How often the thread copies to leave few. Each time leaves fewer, where the writer leaves it any time at all.
const MOST_COPIES: usize = 6;

/// What the writer and the thread tell each other.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// How many transactions were committed.
    commits: AtomicU64,
    /// The log is long and nearly copied.
    is_to_begin_anew: AtomicBool,
}

impl Log {
    /// A transaction was committed. Whether the writer is to copy the rest of the log before the next.
    pub(crate) fn committed(&self) -> bool {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.is_to_begin_anew.swap(false, Ordering::Relaxed)
    }
}

/// The thread; dropped, it ends.
pub(crate) struct Checkpoints {
    _stop: Sender<()>,
}

impl Checkpoints {
    /// Starts the thread, with a connection of its own.
    pub(crate) fn start(
        path: &Path,
        busy_timeout: Duration,
        log: Arc<Log>,
        poison: Poison,
    ) -> Result<Self, StoreError> {
        // Its statements are no part of what anybody asked for, so they are not counted with theirs.
        let connection = Connection::open(path, Purpose::Copy, busy_timeout, &Arc::new(AtomicU64::new(0)))?;
        let file = DataFile::open(path).map_err(|e| StoreError::Unavailable(e.into()))?;
        let (stop, stopped) = channel();
        std::thread::Builder::new()
            .name("sqlite-log".to_owned())
            .spawn(move || run(connection, &file, &log, &poison, &stopped))
            .map_err(|e| StoreError::Unavailable(e.into()))?;
        Ok(Self { _stop: stop })
    }
}

/// The file that the log is copied into, to be synced. It stays open for as long as the process lives: whoever closes a file
/// gives up all locks that the process has on it (POSIX), those of SQLite's connections too.
struct DataFile(ManuallyDrop<File>);

impl DataFile {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(ManuallyDrop::new(File::open(path)?)))
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

fn run(mut connection: Connection, file: &DataFile, log: &Log, poison: &Poison, stopped: &Receiver<()>) {
    let mut copied = 0;
    while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) && poison.check().is_ok() {
        let commits = log.commits.load(Ordering::Relaxed);
        if commits == copied {
            continue;
        }
        match copy_and_sync(&mut connection, file, poison) {
            Ok(pages) => {
                copied = commits;
                log.is_to_begin_anew.store(pages > LONG, Ordering::Relaxed);
            }
            Err(Failure::Sync(error)) => {
                return poison.set(format!("the file could not be brought to the disk: {error}"));
            }
            Err(Failure::Copy(error)) => {
                // A sync that is tried again may seem to succeed, and the log would be forgotten after that.
                if let Some(damage) = connection.damage() {
                    return poison.set(format!("the log could not be copied into the file: {damage}"));
                }
                // Nothing is lost: the log has everything, and it is tried again.
                tracing::warn!(%error, "the log could not be copied into the file");
            }
        }
    }
}

/// Why the log is not copied, or what was copied not on the disk.
enum Failure {
    Copy(StoreError),
    Sync(io::Error),
}

/// Copies, and where the log is to begin anew, until little is left for the writer. How many pages the log has.
fn copy_and_sync(connection: &mut Connection, file: &DataFile, poison: &Poison) -> Result<i64, Failure> {
    let mut last = copy(connection).map_err(Failure::Copy)?;
    if last.log <= LONG {
        return Ok(last.log);
    }
    for _ in 0..MOST_COPIES {
        file.sync().map_err(Failure::Sync)?;
        if poison.check().is_err() {
            break;
        }
        let before = std::mem::replace(&mut last, copy(connection).map_err(Failure::Copy)?);
        if last.copied.saturating_sub(before.copied) < FEW {
            break;
        }
    }
    Ok(last.log)
}

/// The log, and what was copied of it, both in pages from its beginning.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Pages {
    log: i64,
    copied: i64,
}

/// Copies as much of the log as can be without waiting for anybody.
pub(crate) fn copy(connection: &mut Connection) -> Result<Pages, StoreError> {
    let row = connection.one(Sql::new("PRAGMA wal_checkpoint(PASSIVE)"))?;
    let Some(mut row) = row else { return Ok(Pages::default()) };
    let _is_busy = row.int()?;
    Ok(Pages { log: row.int()?, copied: row.int()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &tempfile::TempDir, purpose: Purpose) -> anyhow::Result<Connection> {
        let path = folder.path().join("test.db");
        Ok(Connection::open(&path, purpose, Duration::from_secs(1), &Arc::new(AtomicU64::new(0)))?)
    }

    /// A reader that began earlier keeps the log from being copied to its end, as a writer that goes on does.
    #[test]
    fn the_log_begins_anew_once_all_of_it_is_copied() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let (mut writer, mut other) = (open(&folder, Purpose::Write)?, open(&folder, Purpose::Copy)?);
        writer.batch("CREATE TABLE things (data BLOB) STRICT; INSERT INTO things VALUES (zeroblob(1000000))")?;
        let mut reader = open(&folder, Purpose::Read)?;
        reader.batch("BEGIN; SELECT count(*) FROM things")?;
        let more = "INSERT INTO things VALUES (zeroblob(1000))";
        writer.batch(more)?;
        let long = copy(&mut other)?.log;
        writer.batch(more)?;
        assert!(
            long > 200 && copy(&mut writer)?.log > long,
            "the log of {long} pages began anew, with a page not copied"
        );
        reader.batch("COMMIT")?;
        copy(&mut writer)?;
        writer.batch(more)?;
        assert!(copy(&mut other)?.log < 20, "the log did not begin anew");
        Ok(())
    }

    /// It ends by itself, and the file stays as it was.
    #[test]
    fn nothing_is_copied_when_the_store_has_stopped_writing() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let (mut writer, other) = (open(&folder, Purpose::Write)?, open(&folder, Purpose::Copy)?);
        writer.batch("CREATE TABLE things (data BLOB) STRICT; INSERT INTO things VALUES (zeroblob(1000000))")?;
        let (log, poison, (_stop, stopped)) = (Log::default(), Poison::default(), channel());
        log.committed();
        poison.set("a sync failed, for the test".to_owned());
        run(other, &DataFile::open(&folder.path().join("test.db"))?, &log, &poison, &stopped);
        assert!(folder.path().join("test.db").metadata()?.len() < 100_000, "the log was copied");
        Ok(())
    }

    /// Closed, it would take the locks of SQLite's connections with it.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_file_stays_open() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().canonicalize()?.join("test.db");
        std::fs::write(&path, "")?;
        DataFile::open(&path).map(|_dropped| ())?;
        let open = std::fs::read_dir("/proc/self/fd")?.flatten().filter_map(|entry| entry.path().read_link().ok());
        assert_eq!(open.filter(|link| *link == path).count(), 1);
        Ok(())
    }

    #[test]
    fn the_writer_is_told_once() {
        let log = Log::default();
        assert!(!log.committed());
        log.is_to_begin_anew.store(true, Ordering::Relaxed);
        assert!(log.committed());
        assert!(!log.committed());
    }
}
