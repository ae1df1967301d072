//! Messages between the parts of the server, and between servers, for whoever listens at the moment.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

/// What messages are about; subscribers choose by it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

impl Topic {
    /// The topic of this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a subscriber gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A message.
    Message(Bytes),
    /// So many messages came while its buffer was full, and are lost.
    Lagged(u64),
    /// From here on messages may be missing: the connection is lost, or not there yet.
    Interrupted,
    /// From here on they arrive again. What was published since the interruption may be lost.
    Resumed,
}

/// The message could not be handed on, or it is not known whether it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the event bus cannot be reached: the message may be lost")]
pub struct BusUnreachable;

/// Hands messages to everybody who is subscribed at that moment, in this process and in others.
///
/// - At most once: nothing is kept for who is not there, and nothing is sent twice.
/// - One publisher's messages on a topic arrive in order.
/// - Buffers are bounded. A subscriber who does not keep up loses the oldest messages and is told how many;
///   nobody waits for him.
/// - An [interruption](Received::Interrupted) is told within a few seconds, and repaired without his doing.
///
/// So it tells *that* something has changed; what it is now, is read from the store.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait EventBus: Send + Sync {
    /// Hands a message on. Nobody's listening is no error.
    ///
    /// # Errors
    /// [`BusUnreachable`] if other processes may not get it.
    async fn publish(&self, topic: &Topic, message: Bytes) -> Result<(), BusUnreachable>;

    /// Subscribes. Messages that are published after this has returned are received; unless the bus cannot be
    /// reached, and then the first thing received is [`Received::Interrupted`]. Dropping it ends it.
    async fn subscribe(&self, topic: &Topic) -> Box<dyn Subscription>;
}

/// One subscriber's end of a topic.
#[cfg_attr(feature = "test-support", mockall::automock)]
#[async_trait]
pub trait Subscription: Send {
    /// The next thing there is; `None` when the bus has been shut down. Dropping the future loses nothing.
    async fn next(&mut self) -> Option<Received>;
}
