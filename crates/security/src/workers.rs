//! Threads for work that keeps a core busy, beside those that serve.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// A fixed number of threads and a queue of fixed length before them.
///
/// On Linux they give way to every thread that serves: a request that a core is needed for does
/// not wait until a hash is ready, and hashing takes what the rest leaves, at least a tenth of a core.
/// The threads end when this is dropped and the queue is empty.
#[derive(Debug)]
pub(crate) struct Workers(SyncSender<Job>);

/// Why work was not done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotDone {
    /// The queue is full.
    Busy,
    /// The work panicked.
    Failed,
}

impl Workers {
    /// Starts so many threads, before which so many jobs may wait.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub(crate) fn start(threads: usize, most_waiting: usize) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(most_waiting);
        let queue = Arc::new(Mutex::new(receiver));
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name("bellwether-hash".to_owned()).spawn(move || work(&queue))?;
        }
        Ok(Self(sender))
    }

    /// Does a piece of work on one of the threads. Work whose caller has gone before its turn came is
    /// not done.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, NotDone> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move || {
            if !answer.is_closed() {
                // Whoever has gone meanwhile needs no answer.
                let _ = answer.send(work());
            }
        });
        self.0.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => NotDone::Busy,
            TrySendError::Disconnected(_) => NotDone::Failed,
        })?;
        answered.await.map_err(|_| NotDone::Failed)
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    give_way();
    loop {
        // One thread waits for a job, the others for their turn to wait. Nothing panics while it is held.
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        // A job that panicked has dropped its answer, which its caller sees; the thread is still good.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

/// On Linux a priority is a thread's own; elsewhere it is the whole process's, which is to stay as it is.
#[cfg(target_os = "linux")]
fn give_way() {
    /// A tenth of the weight of a thread of normal priority.
    const NICENESS: i32 = 10;
    // Where it is not allowed, hashing is as urgent as the rest: slower answers and nothing worse.
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

#[cfg(not(target_os = "linux"))]
const fn give_way() {}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A piece of work that ends when it is told to, and says when it has begun.
    struct Held {
        begun: mpsc::Receiver<()>,
        end: mpsc::Sender<()>,
        done: tokio::task::JoinHandle<Result<(), NotDone>>,
    }

    fn hold(workers: &Arc<Workers>) -> Held {
        let ((begin, begun), (end, ended)) = (mpsc::channel(), mpsc::channel());
        let workers = Arc::clone(workers);
        let done = tokio::spawn(async move {
            workers
                .run(move || {
                    begin.send(()).unwrap();
                    ended.recv().unwrap();
                })
                .await
        });
        Held { begun, end, done }
    }

    /// Threat 61.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn more_than_the_queue_holds_is_turned_away() {
        let workers = Arc::new(Workers::start(1, 1).unwrap());
        let first = hold(&workers);
        first.begun.recv().unwrap();
        let mut second = hold(&workers);
        // Either this one finds the queue full, or it is in the queue itself and the second was turned away.
        let mut third = hold(&workers);
        let (turned_away, other) = tokio::select! {
            turned_away = &mut second.done => (turned_away, third),
            turned_away = &mut third.done => (turned_away, second),
        };
        assert_eq!(turned_away.unwrap(), Err(NotDone::Busy));
        for held in [first, other] {
            held.end.send(()).unwrap();
            assert_eq!(held.done.await.unwrap(), Ok(()));
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_nobody_waits_for_any_more_is_not_done() {
        let workers = Arc::new(Workers::start(1, 2).unwrap());
        let first = hold(&workers);
        first.begun.recv().unwrap();
        let mut gone = Box::pin(workers.run(|| panic!("nobody waits for this")));
        assert!(is_pending(&mut gone).await);
        drop(gone);
        first.end.send(()).unwrap();
        assert_eq!(first.done.await.unwrap(), Ok(()));
        assert_eq!(workers.run(|| 7).await, Ok(7));
    }

    async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
        })
        .await
    }

    #[tokio::test]
    async fn a_panic_fails_one_piece_of_work_and_not_the_next() {
        let workers = Workers::start(1, 1).unwrap();
        assert_eq!(workers.run(|| -> u8 { panic!("on purpose") }).await, Err(NotDone::Failed));
        assert_eq!(workers.run(|| 7).await, Ok(7));
    }
}
