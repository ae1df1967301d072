//! Who follows what, and the queue of each.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use bellwether_domain::event::{Event, Recorded};
use bellwether_domain::ids::{ApiKeyId, MarketId, SessionId, UserId};
use tokio::sync::{SetOnce, mpsc};

use super::message::{BookChecksum, Message};
use super::{End, Follower, Topics};

/// So many messages may wait for one who follows; whoever has more is too slow.
const QUEUE: usize = 512;

/// One who follows.
struct Subscriber {
    follower: Follower,
    topics: Topics,
    queue: mpsc::Sender<Arc<Message>>,
    end: Arc<SetOnce<End>>,
}

/// The receiving end of a queue.
pub(super) struct Queue {
    pub(super) messages: mpsc::Receiver<Arc<Message>>,
    /// Why it has ended.
    pub(super) end: Arc<SetOnce<End>>,
}

/// All who follow, and by what.
#[derive(Default)]
pub(super) struct Subscribers {
    last: u64,
    all: HashMap<u64, Subscriber>,
    of_market: HashMap<MarketId, BTreeSet<u64>>,
    of_markets: BTreeSet<u64>,
    of_user: HashMap<UserId, BTreeSet<u64>>,
    of_session: HashMap<SessionId, BTreeSet<u64>>,
    of_key: HashMap<ApiKeyId, BTreeSet<u64>>,
}

impl Subscribers {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Adds one; its number and its queue.
    pub(super) fn add(&mut self, follower: Follower, topics: Topics) -> (u64, Queue) {
        self.last = self.last.wrapping_add(1);
        let number = self.last;
        let (queue, messages) = mpsc::channel(QUEUE);
        let end = Arc::new(SetOnce::new());
        self.index(number, &topics);
        if let Some(session) = follower.session {
            self.of_session.entry(session).or_default().insert(number);
        }
        if let Some(key) = follower.key {
            self.of_key.entry(key).or_default().insert(number);
        }
        self.all.insert(number, Subscriber { follower, topics, queue, end: Arc::clone(&end) });
        (number, Queue { messages, end })
    }

    fn index(&mut self, number: u64, topics: &Topics) {
        for market in &topics.markets {
            self.of_market.entry(*market).or_default().insert(number);
        }
        if topics.all_markets {
            self.of_markets.insert(number);
        }
        if let Some(user) = topics.user {
            self.of_user.entry(user).or_default().insert(number);
        }
    }

    /// Has one follow these besides.
    pub(super) fn widen(&mut self, number: u64, more: &Topics) {
        let Some(one) = self.all.get_mut(&number) else { return };
        one.topics.markets.extend(&more.markets);
        one.topics.all_markets |= more.all_markets;
        one.topics.user = one.topics.user.or(more.user);
        self.index(number, more);
    }

    /// Has one follow these no longer. The markets that nobody follows any more.
    pub(super) fn narrow(&mut self, number: u64, less: &Topics) -> Vec<MarketId> {
        let Some(one) = self.all.get_mut(&number) else { return Vec::new() };
        one.topics.markets.retain(|market| !less.markets.contains(market));
        one.topics.all_markets &= !less.all_markets;
        if less.all_markets {
            self.of_markets.remove(&number);
        }
        if let Some(user) = one.topics.user.take_if(|_| less.user.is_some()) {
            take(&mut self.of_user, Some(user), number);
        }
        less.markets.iter().copied().filter(|market| take(&mut self.of_market, Some(*market), number)).collect()
    }

    /// Takes one out, who is told why when its queue is empty. The markets that nobody follows any more.
    pub(super) fn remove(&mut self, number: u64, why: End) -> Vec<MarketId> {
        let Some(gone) = self.all.remove(&number) else { return Vec::new() };
        // Whoever came first has said why.
        let _ = gone.end.set(why);
        self.of_markets.remove(&number);
        take(&mut self.of_user, gone.topics.user, number);
        take(&mut self.of_session, gone.follower.session, number);
        take(&mut self.of_key, gone.follower.key, number);
        let left = gone.topics.markets.into_iter().filter(|market| take(&mut self.of_market, Some(*market), number));
        left.collect()
    }

    /// Everybody, for instance to be taken out.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.all.keys().copied().collect()
    }

    /// Sends to one. Whether it had room.
    pub(super) fn send(&self, number: u64, message: Arc<Message>) -> bool {
        self.all.get(&number).is_none_or(|one| one.queue.try_send(message).is_ok())
    }

    /// Sends an event to all who may see it and want to; those who had no room for it.
    pub(super) fn publish(&self, recorded: &Recorded, checksums: &[BookChecksum]) -> Vec<u64> {
        let mut slow = Vec::new();
        let mut served: BTreeSet<u64> = BTreeSet::new();
        if is_told_to_its_own(&recorded.event) {
            for user in recorded.event.users().into_iter().flatten() {
                let Some(numbers) = self.of_user.get(&user) else { continue };
                let message = Message::own(recorded, user);
                for number in numbers {
                    served.insert(*number);
                    if !self.send(*number, Arc::clone(&message)) {
                        slow.push(*number);
                    }
                }
            }
        }
        if recorded.event.is_public() {
            let of_market = recorded.event.market().and_then(|market| self.of_market.get(&market));
            let of_markets = Some(&self.of_markets).filter(|_| is_of_markets(&recorded.event));
            let mut message = None;
            let numbers: BTreeSet<u64> = of_market.into_iter().chain(of_markets).flatten().copied().collect();
            for number in numbers.difference(&served) {
                let message = message.get_or_insert_with(|| Message::public(recorded, checksums));
                if !self.send(*number, Arc::clone(message)) {
                    slow.push(*number);
                }
            }
        }
        slow
    }

    /// Those whose right to follow an event ends.
    pub(super) fn ended_by(&self, event: &Event) -> Vec<u64> {
        let numbers = match event {
            Event::SessionEnded(data) => self.of_session.get(&data.session_id),
            Event::KeyRevoked(data) => self.of_key.get(&data.key_id),
            _ => None,
        };
        numbers.into_iter().flatten().copied().collect()
    }

    /// All who follow, and by what right.
    pub(super) fn followers(&self) -> Vec<(u64, Follower)> {
        self.all.iter().map(|(number, one)| (*number, one.follower)).collect()
    }
}

/// Takes a number out of an index; whether nobody is left there.
fn take<K: Eq + Hash>(index: &mut HashMap<K, BTreeSet<u64>>, key: Option<K>, number: u64) -> bool {
    let Some(key) = key else { return false };
    let Some(numbers) = index.get_mut(&key) else { return false };
    numbers.remove(&number);
    let is_left = numbers.is_empty();
    if is_left {
        index.remove(&key);
    }
    is_left
}

/// The message of an event for one who follows these topics, if it is for it.
pub(super) fn message_for(topics: &Topics, recorded: &Recorded) -> Option<Arc<Message>> {
    let event = &recorded.event;
    let own = topics.user.filter(|user| is_told_to_its_own(event) && event.users().contains(&Some(*user)));
    if let Some(user) = own {
        return Some(Message::own(recorded, user));
    }
    let is_followed = event.market().is_some_and(|market| topics.markets.contains(&market))
        || (topics.all_markets && is_of_markets(event));
    (event.is_public() && is_followed).then(|| Message::public(recorded, &[]))
}

/// What is told of a market to who follows all of them.
const fn is_of_markets(event: &Event) -> bool {
    !matches!(event, Event::TradeExecuted(_) | Event::BookChanged(_)) && event.is_public()
}

/// What the user is told whom it concerns. Ends of sessions end streams instead.
const fn is_told_to_its_own(event: &Event) -> bool {
    !matches!(event, Event::SessionEnded(_) | Event::KeyRevoked(_))
}
