//! Ctrl-C and its kin, remembered.
//!
//! A signal that arrives between two steps must still stop the task, and stop it through the
//! ordinary return path, so that servers and folders are removed. Hence one listener that keeps
//! the first signal, and an error type that carries it up to `main`.

use std::fmt;
use std::process::ExitCode;

use anyhow::Context as _;
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Tells whether, and by which signal, this process was asked to stop.
#[derive(Clone, Debug)]
pub(crate) struct Interrupts {
    first: watch::Receiver<Option<Signal>>,
}

impl Interrupts {
    /// Starts to listen for SIGINT, SIGTERM and SIGHUP; from now on none of them ends the process
    /// by itself.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let (sender, first) = watch::channel(None);
        let kinds = [
            (SignalKind::interrupt(), Signal::SIGINT),
            (SignalKind::terminate(), Signal::SIGTERM),
            (SignalKind::hangup(), Signal::SIGHUP),
        ];
        for (kind, name) in kinds {
            let mut stream = signal(kind).with_context(|| format!("cannot listen for {}", name.as_str()))?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    sender.send_if_modified(|first| first.is_none() && first.replace(name).is_none());
                }
            });
        }
        Ok(Self { first })
    }

    /// Waits for the first signal; returns at once if it came already.
    pub(crate) async fn received(&self) -> Interrupted {
        let mut first = self.first.clone();
        let received = first.wait_for(Option::is_some).await.ok().and_then(|s| *s);
        match received {
            Some(signal) => Interrupted { signal },
            // The listeners live as long as the runtime; without them no signal can come.
            None => std::future::pending().await,
        }
    }

    /// Fails when a signal has come.
    pub(crate) fn check(&self) -> Result<(), Interrupted> {
        match *self.first.borrow() {
            Some(signal) => Err(Interrupted { signal }),
            None => Ok(()),
        }
    }

    /// Runs `work` to its end or to the first signal; in that case `work` is dropped.
    pub(crate) async fn or<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        tokio::select! {
            biased;
            interrupted = self.received() => Err(interrupted.into()),
            result = work => result,
        }
    }
}

/// The task was stopped by a signal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interrupted {
    /// What was received.
    pub(crate) signal: Signal,
}

impl Interrupted {
    /// What a shell reports for a process that the signal ended.
    pub(crate) fn exit_code(self) -> ExitCode {
        ExitCode::from(match self.signal {
            Signal::SIGHUP => 129,
            Signal::SIGINT => 130,
            _ => 143,
        })
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "stopped by {}", self.signal.as_str())
    }
}

impl std::error::Error for Interrupted {}
