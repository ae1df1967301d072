//! The event bus: a channel for each topic that somebody listens to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bellwether_domain::ports::{BusUnreachable, EventBus, Received, Subscription, Topic};
use bytes::Bytes;
use tokio::sync::broadcast::{Receiver, Sender, error::RecvError};

/// How many messages wait for a subscriber.
const BUFFER: usize = 1024;

type Topics = Mutex<HashMap<Topic, Sender<Bytes>>>;

/// Hands messages on within this process.
#[derive(Debug, Default)]
pub struct LocalBus {
    topics: Arc<Topics>,
}

impl LocalBus {
    /// Without subscribers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many topics somebody listens to.
    #[must_use]
    pub fn topics(&self) -> usize {
        lock(&self.topics).len()
    }
}

#[async_trait]
impl EventBus for LocalBus {
    async fn publish(&self, topic: &Topic, message: Bytes) -> Result<(), BusUnreachable> {
        if let Some(sender) = lock(&self.topics).get(topic) {
            // That nobody listens is no error.
            drop(sender.send(message));
        }
        Ok(())
    }

    async fn subscribe(&self, topic: &Topic) -> Box<dyn Subscription> {
        let receiver = lock(&self.topics).entry(topic.clone()).or_insert_with(|| Sender::new(BUFFER)).subscribe();
        Box::new(Listener { topics: Arc::clone(&self.topics), topic: topic.clone(), receiver: Some(receiver) })
    }
}

/// A subscriber; when the last of a topic goes, the topic goes.
struct Listener {
    topics: Arc<Topics>,
    topic: Topic,
    /// There until it is dropped.
    receiver: Option<Receiver<Bytes>>,
}

#[async_trait]
impl Subscription for Listener {
    async fn next(&mut self) -> Option<Received> {
        match self.receiver.as_mut()?.recv().await {
            Ok(message) => Some(Received::Message(message)),
            Err(RecvError::Lagged(count)) => Some(Received::Lagged(count)),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut topics = lock(&self.topics);
        self.receiver = None;
        if topics.get(&self.topic).is_some_and(|sender| sender.receiver_count() == 0) {
            topics.remove(&self.topic);
        }
    }
}

/// Nothing that panics is done under the lock.
fn lock(topics: &Topics) -> MutexGuard<'_, HashMap<Topic, Sender<Bytes>>> {
    topics.lock().unwrap_or_else(PoisonError::into_inner)
}
