//! Where Redis is, and how long to wait for it.

use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use fred::types::RespVersion;
use fred::types::config::{
    Config, ConnectionConfig, PerformanceConfig, ReconnectPolicy, ServerConfig, TcpConfig, UnresponsiveConfig,
};

/// How long to wait for a connection, and for the questions that set it up.
const CONNECTING: Duration = Duration::from_secs(1);
/// A connection that owes an answer for so long is closed and made anew.
const UNRESPONSIVE: Duration = Duration::from_secs(2);
/// How many commands may wait to be sent.
const MOST_WAITING: usize = 100_000;
/// How many connections there are unless it is said.
const CONNECTIONS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);
/// How long to wait before connecting again: at first, and at most (ms).
const RECONNECT_MS: (u32, u32) = (20, 1000);

/// Where Redis is, and how it is used.
#[derive(Clone)]
pub struct RedisOptions {
    server: Config,
    /// What all keys and channels begin with, so that several can share a server.
    pub prefix: String,
    /// How long any caller waits at most.
    pub timeout: Duration,
    /// How many connections there are for commands, to each server.
    pub connections: NonZeroUsize,
}

/// The URL of Redis cannot be used. It is not shown, since there may be a password in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the URL of Redis is not valid: {0}. It should be like redis://USER:PASSWORD@HOST:PORT/DATABASE, or \
     redis-cluster://USER:PASSWORD@HOST:PORT?node=HOST:PORT, or several of the first kind with commas between them \
     for the nodes of a cluster"
)]
pub struct InvalidRedisUrl(String);

impl RedisOptions {
    /// Of a URL: `redis://` for one server, `redis-cluster://` for a cluster, of which one node is enough to find
    /// the others. Several `redis://` with commas between them are nodes of a cluster as well.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(url: &str) -> Result<Self, InvalidRedisUrl> {
        let mut servers = Vec::new();
        for url in url.split(',').map(str::trim) {
            servers.push(one(url)?);
        }
        let is_list = servers.len() > 1;
        let hosts: Vec<_> = servers.iter().flat_map(|server| server.server.hosts()).collect();
        let mut server = servers.into_iter().next().ok_or_else(|| InvalidRedisUrl("it is empty".to_owned()))?;
        if is_list {
            server.server =
                ServerConfig::new_clustered(hosts.into_iter().map(|it| (it.host.to_string(), it.port)).collect());
            server.database = None;
        }
        server.version = RespVersion::RESP3;
        // Where Redis is not there yet, it is awaited like one that has gone.
        server.fail_fast = false;
        Ok(Self {
            server,
            prefix: "bellwether".to_owned(),
            timeout: Duration::from_millis(50),
            connections: CONNECTIONS,
        })
    }

    /// Whether it is a cluster.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        self.server.server.is_clustered()
    }

    pub(crate) fn server(&self) -> Config {
        self.server.clone()
    }

    pub(crate) fn performance(buffered_messages: usize, timeout: Duration) -> PerformanceConfig {
        PerformanceConfig {
            // For those who wait; what they have given up is not sent either.
            default_command_timeout: timeout,
            broadcast_channel_capacity: buffered_messages,
            ..PerformanceConfig::default()
        }
    }

    pub(crate) fn connection() -> ConnectionConfig {
        ConnectionConfig {
            connection_timeout: CONNECTING,
            internal_command_timeout: CONNECTING,
            // Nothing is sent twice: who asked has long gone on, and a use that is given back must not be given back twice.
            // Where slots of a cluster move, who is told to ask another node does without.
            max_command_attempts: 1,
            max_command_buffer_len: MOST_WAITING,
            unresponsive: UnresponsiveConfig { max_timeout: Some(UNRESPONSIVE), interval: UNRESPONSIVE / 8 },
            tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
            ..ConnectionConfig::default()
        }
    }

    /// For ever.
    pub(crate) fn reconnecting() -> ReconnectPolicy {
        let (first, most) = RECONNECT_MS;
        ReconnectPolicy::new_exponential(0, first, most, 2)
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the server: there is a password in it.
        let Self { server: _, prefix, timeout, connections } = self;
        f.debug_struct("RedisOptions")
            .field("prefix", prefix)
            .field("timeout", timeout)
            .field("connections", connections)
            .finish_non_exhaustive()
    }
}

fn one(url: &str) -> Result<Config, InvalidRedisUrl> {
    let scheme = url.split("://").next().unwrap_or_default();
    if !["redis", "redis-cluster"].contains(&scheme) {
        return Err(InvalidRedisUrl("it begins with neither redis:// nor redis-cluster://".to_owned()));
    }
    Config::from_url(url).map_err(|error| InvalidRedisUrl(error.details().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(url: &str) -> Vec<String> {
        let options = RedisOptions::parse(url).expect(url);
        options.server.server.hosts().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn takes_a_server_a_cluster_and_a_list_of_nodes() {
        let one = RedisOptions::parse("redis://ann:secret@localhost/3").expect("a server");
        assert!(!format!("{one:?}").contains("secret"));
        assert!(!one.is_cluster());
        assert_eq!(one.server.database, Some(3));
        assert_eq!((one.server.username.as_deref(), one.server.password.as_deref()), (Some("ann"), Some("secret")));
        assert_eq!(hosts("redis://localhost"), ["localhost:6379"]);

        for nodes in ["redis://:x@a:1,redis://:x@b:2", "redis-cluster://:x@b:2?node=a:1"] {
            assert_eq!(hosts(nodes), ["a:1", "b:2"], "{nodes}");
            let options = RedisOptions::parse(nodes).expect(nodes);
            assert!(options.is_cluster());
            assert_eq!(options.server.password.as_deref(), Some("x"));
        }
    }

    #[test]
    fn refuses_what_it_cannot_use_without_showing_it() {
        for url in ["", "localhost:6379", "http://secret@a", "rediss://a", "redis://", "redis://a/x", "redis://a,,"] {
            let error = RedisOptions::parse(url).expect_err(url).to_string();
            assert!(error.contains("redis://USER:PASSWORD@HOST:PORT/DATABASE"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
