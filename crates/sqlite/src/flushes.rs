//! Bringing the write-ahead log to the disk, beside the writer.
//!
//! A commit that waits for the disk keeps the next transaction waiting with it. So a commit only writes to the log, and
//! gives its turn up; a thread syncs the log, and whoever committed is told when that is done. Of the commits that come
//! while it syncs, the next sync takes all.
//!
//! # Why nothing is lost that was acknowledged
//!
//! The writer's connection runs with `synchronous = NORMAL`. In WAL mode that differs from `FULL` in one thing: a commit does
//! not sync the log (<https://www.sqlite.org/pragma.html#pragma_synchronous>). That one sync is made here, after the commit
//! and before its answer. The log's name is brought to the disk as well, once: SQLite would do that with its first sync.
//!
//! What others see of a commit may be a moment ahead of the disk. So nobody is told of anything that rests on what could
//! still be lost: a unit that wrote nothing waits for what it may have read, and so do those who follow the outbox.
//!
//! After a sync that failed there is never another, since it may seem to succeed where the first did not: the store stops
//! writing.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use bellwether_domain::ports::StoreError;
use tokio::sync::oneshot;

use crate::error::Trouble;
use crate::writer::Poison;

/// Told whether everything is on the disk, or why nobody knows.
type Told = Box<dyn FnOnce(Result<(), String>) + Send>;

/// What was committed and what is on the disk, and the way to the thread that syncs.
#[derive(Clone)]
pub(crate) struct Flushes {
    state: Arc<State>,
    waiting: Sender<Waiting>,
}

/// Commits have numbers. Each of these is the number of the last.
#[derive(Debug, Default)]
struct State {
    /// That others may see, now or in a moment.
    begun: AtomicU64,
    /// That is in the log, or failed.
    written: AtomicU64,
    /// That is on the disk.
    flushed: AtomicU64,
}

struct Waiting {
    until: u64,
    told: Told,
}

impl Flushes {
    /// Starts the thread, which syncs the log of the database at `path`. It ends when nobody can ask for a sync any more.
    pub(crate) fn start(path: &Path, poison: Poison) -> Result<Self, StoreError> {
        // SQLite follows links, and puts the log beside the file that they lead to.
        let mut name = path.canonicalize().map_err(|e| StoreError::Unavailable(e.into()))?.into_os_string();
        name.push("-wal");
        let mut log = Log { path: PathBuf::from(name), file: None };
        Self::with(poison, move || log.sync())
    }

    fn with(poison: Poison, sync: impl FnMut() -> io::Result<()> + Send + 'static) -> Result<Self, StoreError> {
        let (waiting, incoming) = channel();
        let state = Arc::new(State::default());
        let of_thread = Arc::clone(&state);
        std::thread::Builder::new()
            .name("sqlite-flush".to_owned())
            .spawn(move || run(&of_thread, sync, &poison, &incoming))
            .map_err(|e| StoreError::Unavailable(e.into()))?;
        Ok(Self { state, waiting })
    }

    /// Writes a commit to the log. For the writer's thread alone: commits have numbers in the order in which they come.
    pub(crate) fn write<E>(&self, commit: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        // Before others can see it, so that whoever sees it waits for it.
        let number = self.state.begun.fetch_add(1, Ordering::SeqCst).saturating_add(1);
        let result = commit();
        self.state.written.store(number, Ordering::SeqCst);
        if result.is_err() {
            // Nobody asks for a sync of this one; somebody may wait for it all the same.
            self.tell_when_flushed(|_| ());
        }
        result
    }

    /// Has `told` know when all that was committed before is on the disk.
    pub(crate) fn tell_when_flushed(&self, told: impl FnOnce(Result<(), String>) + Send + 'static) {
        let until = self.state.begun.load(Ordering::SeqCst);
        if self.state.flushed.load(Ordering::SeqCst) >= until {
            return told(Ok(()));
        }
        if let Err(unsent) = self.waiting.send(Waiting { until, told: Box::new(told) }) {
            (unsent.0.told)(Err("the thread that syncs the log has ended".to_owned()));
        }
    }

    /// Waits until all that could be read before is on the disk.
    pub(crate) async fn flushed(&self) -> Result<(), StoreError> {
        let (told, answer) = oneshot::channel();
        // Whoever asked may have gone.
        self.tell_when_flushed(move |result| drop(told.send(result)));
        let result = answer.await.map_err(|_| Trouble::Stopped("log"))?;
        Ok(result.map_err(Trouble::Poisoned)?)
    }
}

/// The file of the log, opened when it is first synced: SQLite makes it with the first commit, and keeps it while a
/// connection is open.
struct Log {
    path: PathBuf,
    file: Option<File>,
}

impl Log {
    fn sync(&mut self) -> io::Result<()> {
        if let Some(file) = &self.file {
            return file.sync_data();
        }
        let file = File::open(&self.path)?;
        file.sync_data()?;
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        self.file = Some(file);
        Ok(())
    }
}

fn run(state: &State, mut sync: impl FnMut() -> io::Result<()>, poison: &Poison, incoming: &Receiver<Waiting>) {
    let mut waiting = Vec::new();
    let mut failed: Option<String> = None;
    while let Ok(first) = incoming.recv() {
        waiting.push(first);
        waiting.extend(incoming.try_iter());
        let written = state.written.load(Ordering::SeqCst);
        if failed.is_none() && written > state.flushed.load(Ordering::SeqCst) {
            match sync() {
                Ok(()) => state.flushed.store(written, Ordering::SeqCst),
                Err(error) => {
                    let why = format!("the log could not be brought to the disk: {error}");
                    poison.set(why.clone());
                    failed = Some(why);
                }
            }
        }
        let flushed = state.flushed.load(Ordering::SeqCst);
        // Who waits for a commit that is being written is looked at again when that one asks.
        for who in waiting.extract_if(.., |who| who.until <= flushed || failed.is_some()) {
            let result = if who.until <= flushed { Ok(()) } else { Err(failed.clone().unwrap_or_default()) };
            (who.told)(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::SyncSender;

    use futures_util::FutureExt as _;

    use super::*;

    /// The disk: it tells of each sync that begins, and ends it as it is told.
    type Disk = (Receiver<()>, SyncSender<io::Result<()>>);

    fn held(poison: &Poison) -> anyhow::Result<(Flushes, Disk)> {
        let ((begun, was_begun), (end, ended)) = (channel(), std::sync::mpsc::sync_channel(8));
        let sync = move || {
            begun.send(()).map_err(io::Error::other)?;
            ended.recv().map_err(io::Error::other)?
        };
        Ok((Flushes::with(poison.clone(), sync)?, (was_begun, end)))
    }

    fn commit(flushes: &Flushes) -> oneshot::Receiver<Result<(), String>> {
        let (told, answer) = oneshot::channel();
        let written: Result<(), ()> = flushes.write(|| Ok(()));
        assert_eq!(written, Ok(()));
        flushes.tell_when_flushed(move |result| drop(told.send(result)));
        answer
    }

    #[tokio::test]
    async fn a_commit_is_told_after_a_sync_that_began_after_it() -> anyhow::Result<()> {
        let (flushes, (begun, end)) = held(&Poison::default())?;
        let mut first = commit(&flushes);
        begun.recv()?;
        // These two came too late for the sync that runs.
        let (second, third) = (commit(&flushes), commit(&flushes));
        assert!(first.try_recv().is_err(), "it was told before it was on the disk");
        end.send(Ok(()))?;
        assert_eq!(first.await?, Ok(()));
        begun.recv()?;
        end.send(Ok(()))?;
        assert_eq!((second.await?, third.await?), (Ok(()), Ok(())));
        flushes.flushed().now_or_never().expect("there is nothing to wait for")?;
        assert!(begun.try_recv().is_err(), "a sync for nothing");
        Ok(())
    }

    /// Though the commit failed, and so nobody asks for a sync of it.
    #[tokio::test]
    async fn who_may_have_seen_a_commit_waits_for_it() -> anyhow::Result<()> {
        let (flushes, (begun, end)) = held(&Poison::default())?;
        let mut reader = None;
        let failed = flushes.write(|| {
            let seen = flushes.clone();
            let mut waits = Box::pin(async move { seen.flushed().await });
            assert!(waits.as_mut().now_or_never().is_none(), "it did not wait");
            reader = Some(waits);
            Err("the disk is full")
        });
        assert_eq!(failed, Err("the disk is full"));
        begun.recv()?;
        end.send(Ok(()))?;
        Ok(reader.expect("somebody reads").await?)
    }

    #[tokio::test]
    async fn after_a_sync_that_failed_there_is_no_other() -> anyhow::Result<()> {
        let poison = Poison::default();
        let (flushes, (begun, end)) = held(&poison)?;
        let before = commit(&flushes);
        begun.recv()?;
        end.send(Ok(()))?;
        assert_eq!(before.await?, Ok(()));
        let lost = commit(&flushes);
        begun.recv()?;
        let later = commit(&flushes);
        end.send(Err(io::Error::other("the disk is on fire")))?;
        for answer in [lost, later] {
            assert!(answer.await?.is_err_and(|why| why.contains("on fire")));
        }
        assert!(matches!(flushes.flushed().await, Err(StoreError::Unavailable(_))));
        assert!(poison.check().is_err());
        assert!(begun.try_recv().is_err(), "a second sync");
        Ok(())
    }
}
