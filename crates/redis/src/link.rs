//! The connections to Redis that carry commands.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bellwether_domain::ports::Auxiliary;
use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike as _, LuaInterface as _};
use fred::types::scripts::Script;
use fred::types::{FromValue, Key, Value};
use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::connection::{Connection, is_alive};
use crate::gate::Gate;
use crate::options::RedisOptions;

/// How often connections are looked after.
const LOOKING: Duration = Duration::from_millis(500);
/// One that is silent for so long is given up.
const SILENCE: Duration = Duration::from_secs(2);

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// Nothing was asked, since there would be no answer.
    Unasked,
    /// Redis answered with an error, or would have had another node asked: nothing was done.
    Refused,
    /// Nothing was heard in time: it may have been done nevertheless, or be done yet.
    Unheard,
}

/// Connections to one Redis server or cluster, which are made and kept by themselves.
pub struct RedisLink {
    shared: Arc<Shared>,
    keeper: JoinHandle<()>,
}

struct Shared {
    options: RedisOptions,
    connections: Vec<Mutex<Connection>>,
    turn: AtomicUsize,
    gate: Gate,
}

impl RedisLink {
    /// Begins to connect, and does not wait for it. Within a Tokio runtime, on which the connections then live.
    #[must_use]
    pub fn open(options: RedisOptions) -> Arc<Self> {
        let connections = (0..options.connections.get()).map(|_| Mutex::new(connect(&options))).collect();
        let (turn, gate) = (AtomicUsize::new(0), Gate::new(Instant::now()));
        let shared = Arc::new(Shared { options, connections, turn, gate });
        Arc::new(Self { keeper: tokio::spawn(Arc::clone(&shared).keep()), shared })
    }

    /// Waits until all connections are made, so long at most; whether they are.
    pub async fn wait_until_connected(&self, limit: Duration) -> bool {
        let connecting = async {
            while !self.shared.connections.iter().all(|connection| usable(connection).is_some()) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(limit, connecting).await.is_ok()
    }

    pub(crate) fn options(&self) -> &RedisOptions {
        &self.shared.options
    }

    /// Asks one thing. `None` where there is no answer within the time allowed, at once where there would be none;
    /// it may have been done nevertheless.
    pub(crate) async fn call<T, F>(&self, command: impl FnOnce(Client) -> F) -> Option<T>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.try_call(command).await.ok()
    }

    async fn try_call<T, F>(&self, command: impl FnOnce(Client) -> F) -> Result<T, Unanswered>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let Shared { options, gate, .. } = &*self.shared;
        if !gate.lets_through(Instant::now()) {
            return Err(Unanswered::Unasked);
        }
        let Some(client) = self.shared.connected() else {
            gate.failed("not connected", Instant::now());
            return Err(Unanswered::Unasked);
        };
        match timeout(options.timeout, command(client)).await {
            Ok(Ok(answer)) => {
                gate.answered(Instant::now());
                Ok(answer)
            }
            Ok(Err(error)) if is_silence(&error) => {
                gate.failed(error.details(), Instant::now());
                Err(if *error.kind() == ErrorKind::Routing { Unanswered::Refused } else { Unanswered::Unheard })
            }
            Ok(Err(error)) => {
                gate.refused(error.details(), Instant::now());
                Err(Unanswered::Refused)
            }
            Err(_) => {
                gate.failed("timeout", Instant::now());
                Err(Unanswered::Unheard)
            }
        }
    }

    /// Runs a script, in one round trip unless the server does not know it yet.
    pub(crate) async fn run<T: FromValue>(&self, script: &Script, keys: Vec<Key>, args: Vec<Value>) -> Option<T> {
        self.try_run(script, keys, args).await.ok()
    }

    /// The same, and why there is no answer.
    pub(crate) async fn try_run<T: FromValue>(
        &self,
        script: &Script,
        keys: Vec<Key>,
        args: Vec<Value>,
    ) -> Result<T, Unanswered> {
        self.try_call(|client| async move {
            match client.evalsha(script.sha1().clone(), keys.clone(), args.clone()).await {
                Err(error) if error.details().starts_with("NOSCRIPT") => {
                    let text = script.lua().cloned().unwrap_or_default();
                    client.eval(text, keys, args).await
                }
                answer => answer,
            }
        })
        .await
    }
}

impl Shared {
    /// The next one in turn that is connected.
    fn connected(&self) -> Option<Client> {
        let count = self.connections.len();
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % count.max(1);
        self.connections.iter().cycle().skip(first).take(count).find_map(usable)
    }

    /// Replaces connections that have fallen silent, for ever: one that nobody closed is not made anew otherwise.
    async fn keep(self: Arc<Self>) {
        let mut looking = interval(LOOKING);
        looking.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looking.tick().await;
            join_all(self.connections.iter().map(|connection| self.look_after(connection))).await;
        }
    }

    async fn look_after(&self, connection: &Mutex<Connection>) {
        let (client, has_ended, error) = {
            let mut connection = lock(connection);
            (connection.get(), connection.has_ended(), connection.last_error())
        };
        if let Some(error) = error {
            self.gate.complain(error.details(), "the connection to Redis fails", Instant::now());
        }
        // Where it is not connected, it connects by itself.
        let is_silent = client.is_connected() && !is_alive(&client, SILENCE).await && client.is_connected();
        if is_silent || has_ended {
            tracing::info!(is_silent, has_ended, "replacing a connection to Redis");
            *lock(connection) = connect(&self.options);
        }
    }
}

/// A client that is connected. One that has ended goes on to say so, and what it is given waits in vain.
fn usable(connection: &Mutex<Connection>) -> Option<Client> {
    let connection = lock(connection);
    Some(connection.get()).filter(|client| client.is_connected() && !connection.has_ended())
}

fn connect(options: &RedisOptions) -> Connection {
    Connection::begin(Connection::client(options, 1, options.timeout))
}

/// Nothing that panics is done under the lock.
fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether an error means that Redis could not be asked, rather than that it did not like the question.
fn is_silence(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::IO
        | ErrorKind::Timeout
        | ErrorKind::Canceled
        | ErrorKind::Backpressure
        | ErrorKind::Routing
        | ErrorKind::Auth
        | ErrorKind::Config
        | ErrorKind::Cluster => true,
        ErrorKind::Unknown => {
            // What the client itself says has no code in capitals.
            !error.details().split(' ').next().is_some_and(|code| code.chars().all(|c| c.is_ascii_uppercase()))
                || ["LOADING", "CLUSTERDOWN", "MASTERDOWN"].iter().any(|code| error.details().starts_with(code))
        }
        _ => false,
    }
}

#[async_trait]
impl Auxiliary for RedisLink {
    async fn is_up(&self) -> bool {
        self.call(|client| async move { client.ping::<Value>(None).await }).await.is_some()
            && self.shared.gate.is_open()
    }
}

impl Drop for RedisLink {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl fmt::Debug for RedisLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The options have a password in them.
        f.debug_struct("RedisLink").field("gate", &self.shared.gate).finish_non_exhaustive()
    }
}
