//! What one who follows gets, and how it comes to follow more, or less.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bellwether_domain::ids::MarketId;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{SetOnce, mpsc};

use super::schemas::{SUBSCRIBED, UNSUBSCRIBED};
use super::{Counted, End, Live, Message, Topics};
use crate::Error;
use crate::markets::all_of;
use crate::switches::Hold;

/// Topics that are there, with what is to be known of them to follow them.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    pub(super) topics: Topics,
    /// How many outcomes the markets have.
    pub(super) outcomes: BTreeMap<MarketId, usize>,
}

/// What a stream is given first.
#[derive(Default)]
pub(super) struct Missed {
    pub(super) messages: VecDeque<Arc<Message>>,
    /// How many bytes are counted as at hand, until all of it is taken: none for a greeting.
    pub(super) bytes: usize,
}

/// What one who follows gets.
pub struct Stream {
    pub(super) live: Live,
    pub(super) number: u64,
    pub(super) counted: Counted,
    pub(super) topics: Topics,
    pub(super) missed: Missed,
    pub(super) messages: mpsc::Receiver<Arc<Message>>,
    pub(super) end: Arc<SetOnce<End>>,
    /// Whether something stands for the one who follows while this is open.
    pub(super) is_holding: bool,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("number", &self.number).finish_non_exhaustive()
    }
}

/// What is followed from then on.
#[derive(Serialize, JsonSchema)]
pub(super) struct Followed {
    channels: Vec<String>,
}

impl Stream {
    /// Keeps a hold for as long as the stream is open, whatever it follows. When it has ended, the hold has too, whether or
    /// not its client still takes what it is sent.
    #[must_use]
    pub fn holding(mut self, hold: Hold) -> Self {
        self.is_holding = true;
        let end = Arc::clone(&self.end);
        tokio::spawn(async move {
            match end.wait().await {
                End::Stopping => hold.leave(),
                End::Slow | End::SessionEnded | End::Gone => drop(hold),
            }
        });
        self
    }

    /// Whether something is held for as long as it is open: then it is to be seen soon when its client has gone.
    #[must_use]
    pub const fn is_holding(&self) -> bool {
        self.is_holding
    }

    /// The next message, or why there is none any more. May be abandoned while it waits.
    pub async fn next(&mut self) -> Result<Arc<Message>, End> {
        if self.missed.bytes > 0
            && let Some(end) = self.end.get().copied()
        {
            // What it has not taken it asks for when it comes back.
            self.forget_missed();
            return Err(end);
        }
        if let Some(message) = self.missed.messages.pop_front() {
            if self.missed.messages.is_empty() {
                self.forget_missed();
            }
            return Ok(message);
        }
        self.messages.recv().await.ok_or_else(|| self.end.get().copied().unwrap_or(End::Gone))
    }

    fn forget_missed(&mut self) {
        let Missed { bytes, .. } = std::mem::take(&mut self.missed);
        if bytes > 0 {
            self.live.lock().taken(bytes);
        }
    }

    /// How many markets it would follow, with these besides.
    #[must_use]
    pub fn markets_with(&self, more: &Topics) -> usize {
        self.topics.markets.union(&more.markets).count()
    }

    /// What of these it does not follow already: nothing else need be looked for.
    #[must_use]
    pub fn new_of(&self, more: &Topics) -> Topics {
        Topics {
            markets: more.markets.difference(&self.topics.markets).copied().collect(),
            all_markets: more.all_markets && !self.topics.all_markets,
            user: more.user.filter(|_| self.topics.user.is_none()),
        }
    }

    /// Follows these besides. Among the messages there will be a `subscribed` with this `id`: of what is new, it
    /// gets all that has a higher sequence than that, and of each new market its books.
    pub fn subscribe(&mut self, more: Checked, id: Option<Value>) {
        let Checked { topics: more, outcomes } = more;
        let new = self.new_of(&more);
        self.topics.markets.extend(&new.markets);
        self.topics.all_markets |= new.all_markets;
        self.topics.user = self.topics.user.or(new.user);
        let now = self.live.ctx.clock.now();
        {
            let mut state = self.live.lock();
            state.subscribers.widen(self.number, &new);
            let sequence = state.told();
            state.send(self.number, Message::answer(SUBSCRIBED, sequence, now, id, self.followed()));
        }
        for (market, outcomes) in outcomes.into_iter().filter(|(market, _)| new.markets.contains(market)) {
            self.live.give_books(self.number, market, outcomes);
        }
    }

    /// Follows these no longer. What happened in them after the `unsubscribed` with this `id` it does not get.
    pub fn unsubscribe(&mut self, less: &Topics, id: Option<Value>) {
        let old = Topics {
            markets: less.markets.intersection(&self.topics.markets).copied().collect(),
            all_markets: less.all_markets,
            user: less.user,
        };
        self.topics.markets.retain(|market| !old.markets.contains(market));
        self.topics.all_markets &= !old.all_markets;
        self.topics.user = self.topics.user.filter(|_| old.user.is_none());
        let now = self.live.ctx.clock.now();
        let mut state = self.live.lock();
        state.narrow(self.number, &old);
        let sequence = state.told();
        state.send(self.number, Message::answer(UNSUBSCRIBED, sequence, now, id, self.followed()));
    }

    fn followed(&self) -> Followed {
        Followed { channels: self.topics.names() }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut state = self.live.lock();
        state.drop_subscriber(self.number, End::Gone);
        state.leave(self.counted);
        state.taken(self.missed.bytes);
    }
}

impl Live {
    /// Looks for topics. Refused where a market is not there.
    pub async fn check(&self, topics: Topics) -> Result<Checked, Error> {
        let ids: Vec<MarketId> = topics.markets.iter().copied().collect();
        let found = all_of(&self.ctx, &ids).await?;
        let outcomes = found.into_iter().map(|market| (market.id, market.outcomes.len())).collect();
        Ok(Checked { topics, outcomes })
    }
}

impl Topics {
    /// The names of the channels.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.markets.iter().map(|market| format!("market:{market}")).collect();
        names.extend(self.all_markets.then(|| "markets".to_owned()));
        names.extend(self.user.map(|_| "me".to_owned()));
        names
    }
}
