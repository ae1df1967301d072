//! One connection to Redis, or one to each node of a cluster.

use std::time::Duration;

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{ClientLike as _, EventInterface as _};
use fred::types::config::{Options, Server};
use fred::types::{ConnectHandle, Value};
use futures_util::future::try_join_all;
use tokio::sync::broadcast::{self, error::TryRecvError};

use crate::options::RedisOptions;

/// Reconnects by itself where it is closed or refused. Where it just falls silent, its owner has to find out and
/// to replace it. It ends when it is dropped.
pub(crate) struct Connection {
    client: Client,
    task: ConnectHandle,
    errors: broadcast::Receiver<(Error, Option<Server>)>,
}

impl Connection {
    /// What a connection is made of: a client that does nothing yet. It holds so many messages for each listener,
    /// and gives each command so much time.
    pub(crate) fn client(options: &RedisOptions, messages: usize, timeout: Duration) -> Client {
        Client::new(
            options.server(),
            Some(RedisOptions::performance(messages, timeout)),
            Some(RedisOptions::connection()),
            Some(RedisOptions::reconnecting()),
        )
    }

    /// Begins to connect.
    pub(crate) fn begin(client: Client) -> Self {
        let errors = client.error_rx();
        Self { task: client.connect(), client, errors }
    }

    /// Whether it has stopped to try, after an error that it takes for final.
    pub(crate) fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// What kept it from connecting of late, if that is not known yet.
    pub(crate) fn last_error(&mut self) -> Option<Error> {
        let mut last = None;
        loop {
            match self.errors.try_recv() {
                Ok((error, _)) => last = Some(error),
                // Older ones have been forgotten.
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return last,
            }
        }
    }

    pub(crate) fn get(&self) -> Client {
        self.client.clone()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Whether every server that a client is connected to answers within that time.
pub(crate) async fn is_alive(client: &Client, limit: Duration) -> bool {
    let nodes: Vec<_> = match client.is_clustered() {
        true => client.active_connections().into_iter().map(Some).collect(),
        false => vec![None],
    };
    let pings = nodes.into_iter().map(|cluster_node| async move {
        let options = Options { timeout: Some(limit), cluster_node, ..Options::default() };
        client.with_options(&options).ping::<Value>(None).await?;
        Ok::<_, Error>(())
    });
    try_join_all(pings).await.is_ok()
}
