//! The event bus: publish and subscribe, sharded on a cluster.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bellwether_domain::ports::{BusUnreachable, EventBus, Received, Subscription, Topic};
use bytes::Bytes;
use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{ClientLike as _, EventInterface as _, PubsubInterface as _};
use fred::types::{Message, Value};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, OptionFuture};
use tokio::sync::broadcast::{self, error::RecvError, error::TryRecvError};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::connection::{Connection, is_alive};
use crate::link::RedisLink;
use crate::options::RedisOptions;

/// How many messages wait for a subscriber.
const BUFFER: usize = 1024;
/// How many wait to be handed to subscribers.
const INCOMING: usize = 8192;
/// How often the connection is looked after.
const HEARTBEAT: Duration = Duration::from_millis(250);
/// Subscribing to everything, and a sign of life, may take so many times as long as a command.
const SLOWNESS: u32 = 10;
/// A connection that is silent for so long is given up.
const SILENCE: Duration = Duration::from_secs(2);

/// Hands messages to all processes. Commands go by a [`RedisLink`], and what comes in by a connection of its own.
pub struct RedisBus {
    link: Arc<RedisLink>,
    orders: mpsc::UnboundedSender<Order>,
    is_up: watch::Receiver<bool>,
    switchboard: JoinHandle<()>,
}

impl RedisBus {
    /// Begins to connect, and does not wait for it. Within a Tokio runtime, on which the connection then lives.
    #[must_use]
    pub fn open(link: Arc<RedisLink>) -> Self {
        let options = link.options();
        let (orders, taken) = mpsc::unbounded_channel();
        let (is_up, watched) = watch::channel(false);
        let (wire, connection, ears) = connect(options);
        let switchboard = Switchboard {
            wire,
            connection,
            ears,
            options: options.clone(),
            silent_since: None,
            channels: HashMap::new(),
            is_up,
            trial: None,
            is_outdated: false,
        };
        Self { link, orders, is_up: watched, switchboard: tokio::spawn(switchboard.run(taken)) }
    }

    /// Waits until messages arrive, so long at most; whether they do.
    pub async fn wait_until_connected(&self, limit: Duration) -> bool {
        let mut is_up = self.is_up.clone();
        matches!(timeout(limit, is_up.wait_for(|is_up| *is_up)).await, Ok(Ok(_)))
    }

    fn channel(&self, topic: &Topic) -> String {
        format!("{}:e:{topic}", self.link.options().prefix)
    }
}

#[async_trait]
impl EventBus for RedisBus {
    async fn publish(&self, topic: &Topic, message: Bytes) -> Result<(), BusUnreachable> {
        let (channel, is_sharded) = (self.channel(topic), self.link.options().is_cluster());
        let heard: Option<Value> = self
            .link
            .call(|client| async move {
                match is_sharded {
                    true => client.spublish(channel, message).await,
                    false => client.publish(channel, message).await,
                }
            })
            .await;
        heard.map(drop).ok_or(BusUnreachable)
    }

    async fn subscribe(&self, topic: &Topic) -> Box<dyn Subscription> {
        let channel = self.channel(topic);
        let (reply, joined) = oneshot::channel();
        drop(self.orders.send(Order::Join(channel.clone(), reply)));
        let joined = joined.await.ok();
        let is_up = joined.as_ref().is_none_or(|joined| joined.is_up);
        Box::new(Listener {
            orders: self.orders.clone(),
            channel,
            is_interrupted: !is_up,
            receiver: joined.map(|joined| joined.receiver),
        })
    }
}

impl fmt::Debug for RedisBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBus")
            .field("link", &self.link)
            .field("is_up", &*self.is_up.borrow())
            .finish_non_exhaustive()
    }
}

impl Drop for RedisBus {
    fn drop(&mut self) {
        self.switchboard.abort();
    }
}

/// A subscriber; when the last of a topic goes, the topic goes.
struct Listener {
    orders: mpsc::UnboundedSender<Order>,
    channel: String,
    /// That is the first thing to tell.
    is_interrupted: bool,
    /// There until it is dropped, or the bus was.
    receiver: Option<broadcast::Receiver<Received>>,
}

#[async_trait]
impl Subscription for Listener {
    async fn next(&mut self) -> Option<Received> {
        if std::mem::take(&mut self.is_interrupted) {
            return Some(Received::Interrupted);
        }
        match self.receiver.as_mut()?.recv().await {
            Ok(received) => Some(received),
            Err(RecvError::Lagged(count)) => Some(Received::Lagged(count)),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.receiver = None;
        drop(self.orders.send(Order::Leave(std::mem::take(&mut self.channel))));
    }
}

/// What subscribers ask for.
enum Order {
    Join(String, oneshot::Sender<Joined>),
    /// Somebody has left.
    Leave(String),
}

/// A new subscriber's end.
struct Joined {
    receiver: broadcast::Receiver<Received>,
    is_up: bool,
}

/// What is heard of the connection.
struct Ears {
    messages: broadcast::Receiver<Message>,
    connected: broadcast::Receiver<fred::types::config::Server>,
    changed: broadcast::Receiver<Vec<fred::types::ClusterStateChange>>,
    failed: broadcast::Receiver<(Error, Option<fred::types::config::Server>)>,
}

impl Ears {
    fn of(client: &Client) -> Self {
        Self {
            messages: client.message_rx(),
            connected: client.reconnect_rx(),
            changed: client.cluster_change_rx(),
            failed: client.error_rx(),
        }
    }

    /// Drops the news of what led to the connection as it is now. Messages are kept.
    fn forget_the_past(&mut self) {
        fn drain<T: Clone>(news: &mut broadcast::Receiver<T>) {
            while !matches!(news.try_recv(), Err(TryRecvError::Empty | TryRecvError::Closed)) {}
        }
        drain(&mut self.connected);
        drain(&mut self.changed);
        drain(&mut self.failed);
    }
}

/// The connection, as it is asked.
#[derive(Clone)]
struct Wire {
    client: Client,
    is_sharded: bool,
}

/// Begins to connect. It is listened to before there is anything to hear.
fn connect(options: &RedisOptions) -> (Wire, Connection, Ears) {
    let client = Connection::client(options, INCOMING, SLOWNESS * options.timeout);
    let ears = Ears::of(&client);
    (Wire { client: client.clone(), is_sharded: options.is_cluster() }, Connection::begin(client), ears)
}

/// What has been tried, and how it went.
enum Done {
    /// To subscribe to everything.
    Resumed(Result<(), Error>),
    /// To get a sign of life.
    Alive(bool),
}

/// The task between the connection and the subscribers. Joining and leaving are done one after the other, so
/// that they cannot overtake each other. What may take long goes on beside them.
struct Switchboard {
    wire: Wire,
    /// The wire's own, which ends when it is dropped.
    connection: Connection,
    ears: Ears,
    options: RedisOptions,
    /// Since when it has not answered, though it is not closed.
    silent_since: Option<Instant>,
    channels: HashMap<String, broadcast::Sender<Received>>,
    is_up: watch::Sender<bool>,
    /// What is being tried.
    trial: Option<BoxFuture<'static, Done>>,
    /// Whether somebody joined who is not in it.
    is_outdated: bool,
}

impl Switchboard {
    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = self.ears.messages.recv() => match message {
                    Ok(message) => self.hand_on(message).await,
                    // Nobody knows of which topics.
                    Err(RecvError::Lagged(_)) => self.start_anew(),
                    Err(RecvError::Closed) => return,
                },
                order = orders.recv() => match order {
                    Some(Order::Join(channel, reply)) => self.join(channel, reply).await,
                    Some(Order::Leave(channel)) => self.leave(channel).await,
                    None => return,
                },
                // New connections know nothing of what was subscribed to by the old ones.
                _ = self.ears.connected.recv() => self.start_anew(),
                // Topics may be at home on another node now.
                _ = self.ears.changed.recv(), if self.wire.is_sharded => self.start_anew(),
                _ = self.ears.failed.recv() => self.interrupt(),
                Some(done) = OptionFuture::from(self.trial.as_mut()) => self.conclude(done),
                _ = heartbeat.tick(), if self.trial.is_none() => match self.is_beyond_repair() {
                    true => self.replace_connection(),
                    false => self.look_after(),
                },
            }
        }
    }

    fn is_up(&self) -> bool {
        *self.is_up.borrow()
    }

    async fn hand_on(&mut self, message: Message) {
        let Some(sender) = self.channels.get(&*message.channel) else {
            // Somebody left while it was being subscribed to.
            return self.wire.leave(message.channel.to_string()).await;
        };
        match message.value.convert::<Bytes>() {
            // That nobody listens any more is no error.
            Ok(bytes) => drop(sender.send(Received::Message(bytes))),
            Err(error) => tracing::warn!(%error, channel = %message.channel, "a message makes no sense"),
        }
    }

    async fn join(&mut self, channel: String, reply: oneshot::Sender<Joined>) {
        let receiver = match self.channels.get(&channel) {
            Some(sender) => sender.subscribe(),
            None => {
                let (sender, receiver) = broadcast::channel(BUFFER);
                self.channels.insert(channel.clone(), sender);
                self.is_outdated = true;
                if self.is_up() {
                    let asked = timeout(self.options.timeout, self.wire.ask_for(vec![channel])).await;
                    if !matches!(asked, Ok(Ok(()))) {
                        self.interrupt();
                    }
                }
                receiver
            }
        };
        drop(reply.send(Joined { receiver, is_up: self.is_up() }));
    }

    async fn leave(&mut self, channel: String) {
        if self.channels.get(&channel).is_some_and(|sender| sender.receiver_count() == 0) {
            self.channels.remove(&channel);
            self.wire.leave(channel).await;
        }
    }

    /// Looks whether all is well, or tries to make it so.
    fn look_after(&mut self) {
        if self.is_up() {
            let (client, limit) = (self.wire.client.clone(), SLOWNESS * self.options.timeout);
            self.trial = Some(async move { Done::Alive(is_alive(&client, limit).await) }.boxed());
        } else {
            self.resume();
        }
    }

    fn conclude(&mut self, done: Done) {
        self.trial = None;
        match done {
            Done::Alive(true) => {}
            Done::Alive(false) => {
                self.silent_since.get_or_insert_with(Instant::now);
                self.interrupt();
            }
            Done::Resumed(Err(error)) => {
                self.silent_since.get_or_insert_with(Instant::now);
                tracing::debug!(%error, "cannot subscribe");
            }
            Done::Resumed(Ok(())) if self.is_outdated => self.resume(),
            Done::Resumed(Ok(())) => {
                self.silent_since = None;
                self.is_up.send_replace(true);
                self.tell(&Received::Resumed);
                tracing::info!(topics = self.channels.len(), "the connection for events is there");
            }
        }
    }

    /// Tells everybody that messages may be missing from now on.
    fn interrupt(&mut self) {
        self.trial = None;
        if self.is_up.send_replace(false) {
            tracing::warn!("the connection for events is interrupted");
            self.tell(&Received::Interrupted);
        }
    }

    /// Begins to subscribe to everything again, after which everybody is told.
    fn resume(&mut self) {
        if self.wire.client.is_connected() {
            self.ears.forget_the_past();
            self.is_outdated = false;
            let (wire, channels) = (self.wire.clone(), self.channels.keys().cloned().collect());
            self.trial = Some(async move { Done::Resumed(wire.ask_for(channels).await) }.boxed());
        }
    }

    fn is_beyond_repair(&self) -> bool {
        let is_silent = self.silent_since.is_some_and(|since| since.elapsed() >= SILENCE);
        (is_silent && self.wire.client.is_connected()) || self.connection.has_ended()
    }

    /// One that nobody closed is not made anew otherwise.
    fn replace_connection(&mut self) {
        self.interrupt();
        (self.wire, self.connection, self.ears) = connect(&self.options);
        self.silent_since = None;
    }

    fn start_anew(&mut self) {
        self.interrupt();
        self.resume();
    }

    fn tell(&self, what: &Received) {
        for sender in self.channels.values() {
            drop(sender.send(what.clone()));
        }
    }
}

impl Wire {
    /// Subscribes, and comes back when Redis has done it.
    async fn ask_for(&self, channels: Vec<String>) -> Result<(), Error> {
        if self.is_sharded {
            for channel in channels {
                self.client.ssubscribe(channel).await?;
            }
            return Ok(());
        }
        if !channels.is_empty() {
            self.client.subscribe(channels).await?;
        }
        // The client does not wait for the answer to a subscription. What comes after it on the same connection
        // is answered after it.
        self.client.ping::<Value>(None).await.map(drop)
    }

    /// Unsubscribes. Where that fails the connection is lost, and the subscription with it.
    async fn leave(&self, channel: String) {
        let left = match self.is_sharded {
            true => self.client.sunsubscribe(channel).await,
            false => self.client.unsubscribe(channel).await,
        };
        if let Err(error) = left {
            tracing::debug!(%error, "cannot unsubscribe");
        }
    }
}
