//! Live clients: each follows its channels by server-sent events or a WebSocket, comes back whenever the stream
//! ends, with the sequence of the last message that it had, and notes all that it is told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rand::Rng as _;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::kill::api::{Api, User};
use crate::kill::books::Books;
use crate::kill::streams::{Events, Socket};

/// The pause before a client comes back.
const PAUSE: Duration = Duration::from_millis(20);
/// One message in so many makes a client leave, without being asked to.
const LEAVES: u32 = 150;

/// How a client follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Events,
    Socket,
}

/// What a client follows.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) manner: Manner,
    /// Markets by id.
    pub(super) markets: Vec<String>,
    pub(super) all_markets: bool,
    /// Who it is, and follows itself.
    pub(super) user: Option<User>,
    /// The sequence after which it begins; what comes from now on, if there is none.
    pub(super) after: Option<i64>,
}

impl Wish {
    /// What is asked for.
    fn path(&self) -> String {
        let mut channels: Vec<String> = self.markets.iter().map(|market| format!("market:{market}")).collect();
        channels.extend(self.all_markets.then(|| "markets".to_owned()));
        channels.extend(self.user.as_ref().map(|_| "me".to_owned()));
        let of = if self.manner == Manner::Events { "stream" } else { "ws" };
        format!("/api/v1/{of}?channels={}", channels.join(","))
    }

    /// For messages.
    pub(super) fn name(&self) -> String {
        let manner = if self.manner == Manner::Events { "server-sent events" } else { "WebSocket" };
        format!("{} by {manner}", self.path())
    }
}

/// What a client was told.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The sequence after which it was to be told everything.
    pub(super) from: Option<i64>,
    /// The events, in the order in which they came.
    pub(super) events: Vec<Value>,
    /// Everything up to there it has had.
    pub(super) last: Option<i64>,
    /// How often it came back.
    pub(super) resumed: u32,
    /// How often it was dropped because it was too slow.
    pub(super) slow: u32,
    /// The books that it keeps.
    pub(super) books: Books,
    pub(super) faults: Vec<String>,
}

/// A client. It ends when it is dropped.
pub(super) struct Follower {
    pub(super) wish: Wish,
    heard: Arc<Mutex<Heard>>,
    following: JoinHandle<()>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl Follower {
    /// Begins to follow, at a server that may come and go at its address.
    pub(super) fn start(address: &str, wish: Wish) -> anyhow::Result<Self> {
        let heard = Arc::new(Mutex::new(Heard { from: wish.after, last: wish.after, ..Heard::default() }));
        let client = Client { address: address.to_owned(), api: Api::new(address)?, heard: Arc::clone(&heard) };
        let following = tokio::spawn(client.run(wish.clone()));
        Ok(Self { wish, heard, following })
    }

    /// What it has been told so far.
    pub(super) fn heard(&self) -> MutexGuard<'_, Heard> {
        lock(&self.heard)
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Client {
    address: String,
    api: Api,
    heard: Arc<Mutex<Heard>>,
}

impl Client {
    async fn run(self, mut wish: Wish) {
        loop {
            // Most often the server has just been killed, or its database.
            let is_refused = self.follow(&wish).await.is_err_and(|error| format!("{error:#}").contains(" 401 "));
            if let (true, Some(user)) = (is_refused, wish.user.as_mut()) {
                // Its time is up; where that fails it is tried again.
                drop(self.api.renew(user).await);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Follows until the stream ends, or it leaves of itself.
    async fn follow(&self, wish: &Wish) -> anyhow::Result<()> {
        let last = lock(&self.heard).last;
        let (path, token) = (wish.path(), wish.user.as_ref().map(User::token));
        let mut stream = match wish.manner {
            Manner::Events => Stream::Events(Events::open(&self.address, &path, token, last).await?),
            Manner::Socket => Stream::Socket(Socket::open(&self.address, &path, token, last).await?),
        };
        let mut is_first = true;
        loop {
            let message = match &mut stream {
                Stream::Events(events) => events.next().await?,
                Stream::Socket(socket) => socket.next().await?,
            };
            {
                let mut heard = lock(&self.heard);
                if let Err(error) = heard.hear(&message, if is_first { Some(last) } else { None }) {
                    heard.faults.push(format!("{error:#}: {message}"));
                }
            }
            is_first = false;
            if rand::rng().random_ratio(1, LEAVES) {
                return Ok(());
            }
        }
    }
}

enum Stream {
    Events(Events),
    Socket(Socket),
}

impl Heard {
    /// Notes a message. With the first of a stream comes what was asked for: to go on after that, or nothing.
    fn hear(&mut self, message: &Value, asked: Option<Option<i64>>) -> anyhow::Result<()> {
        let kind = message.get("type").and_then(Value::as_str).context("a message without a type")?;
        let sequence = message.get("sequence").and_then(Value::as_i64);
        let is_as_asked = match asked {
            Some(Some(last)) => kind == "resumed" && sequence == Some(last),
            Some(None) => kind == "hello",
            None => !matches!(kind, "hello" | "gap"),
        };
        if matches!(kind, "hello" | "resumed" | "gap") {
            let sequence = sequence.context("it has no sequence")?;
            self.resumed += u32::from(matches!(asked, Some(Some(_))));
            self.from.get_or_insert(sequence);
            let went_back = self.last.is_some_and(|last| sequence < last);
            self.last = Some(sequence);
            anyhow::ensure!(!went_back, "the stream goes back");
        } else if let Some(sequence) = sequence {
            self.events.push(message.clone());
            let is_next = self.last.is_some_and(|last| sequence > last);
            self.last = Some(sequence);
            anyhow::ensure!(is_next, "an event that is not after the one before");
        } else if kind == "end" {
            self.slow += u32::from(message.get("reason").and_then(Value::as_str) == Some("slow"));
        }
        self.books.hear(message)?;
        // Nothing that is asked for is too old or too much in this test, so a gap is a loss.
        anyhow::ensure!(is_as_asked, "it is not what was to come there");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Heard;

    fn told(heard: &mut Heard, kind: &str, sequence: i64, asked: Option<Option<i64>>) -> bool {
        heard.hear(&json!({ "type": kind, "sequence": sequence }), asked).is_ok()
    }

    #[test]
    fn sees_what_comes_twice_or_where_something_is_missing() {
        let mut heard = Heard::default();
        assert!(told(&mut heard, "hello", 10, Some(None)));
        assert!(told(&mut heard, "trade.executed", 11, None));
        assert!(!told(&mut heard, "trade.executed", 11, None));
        assert!(told(&mut heard, "resumed", 11, Some(Some(11))));
        assert!(told(&mut heard, "resumed", 15, None));
        assert!(!told(&mut heard, "trade.executed", 14, None));
        assert!(!told(&mut heard, "gap", 20, Some(Some(14))));
        assert!(!told(&mut heard, "hello", 20, Some(Some(20))));
        assert_eq!((heard.from, heard.last, heard.events.len()), (Some(10), Some(20), 3));
    }
}
