//! Live streams: what happens, told to those who follow, as it happens.
//!
//! One task follows the outbox while anybody follows it, and hands each event to those whom it is for: a
//! message is made once, and put into the bounded queue of each. Whoever does not keep up is dropped and told so.
//! Who comes back says what it has had last, and is given what came after: from what this process has just
//! told, or from the outbox itself; then it is put among those who follow, at exactly that place. So nobody
//! misses an event, nor gets one twice. Where the outbox no longer has what is asked for, a `gap` says so.

mod books;
mod message;
mod schemas;
mod stream;
mod subscribers;
mod tickets;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bellwether_domain::event::{Event, EventBatch, Recorded};
use bellwether_domain::ids::{ApiKeyId, MarketId, SessionId, UserId};
use bellwether_domain::market::books_of;
use bellwether_domain::ports::{Span, StoreError};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::user::UserStatus;
use jiff::Timestamp;
use tokio::sync::{Semaphore, SemaphorePermit};

pub use message::{BookChecksum, Message};
pub(crate) use schemas::{NOTICES, is_answer, is_without_place, own_form};
pub use stream::{Checked, Stream};
pub use tickets::{Ticket, issue_ticket, redeem_ticket};

use crate::events::read;
use crate::limits::AddressBlock;
use crate::{Context, Error};
use books::{Book, Books, Wanted};
use message::{Gap, Nothing};
use stream::Missed;
use subscribers::{Queue, Subscribers, message_for};

/// How many batches are read at a time.
const READ_AT_ONCE: u32 = 100;
/// So many of the last events are at hand for those who come back.
const RECENT: usize = 8192;
/// Whoever has missed more messages than this is told of a gap.
const MOST_MISSED: usize = 20_000;
/// And whoever has missed more bytes of them.
const MOST_MISSED_BYTES: usize = 4 << 20;
/// So many bytes of messages that were missed are at hand at once, for all streams; who comes then is told of a gap.
const MOST_AT_HAND: usize = 64 << 20;
/// Whoever comes back after more batches than this is told of a gap, however few messages were for him: all of them
/// would have to be read.
const MOST_BEHIND: i64 = 20_000;
/// So many markets' books are read at a time, and the outbox for so many of those who come back.
const AT_A_TIME: usize = 2;
/// So many markets may be followed by one.
pub const MOST_MARKETS: usize = 100;
/// So many levels a side at most has a book: one for each price.
const WHOLE: u32 = 999;
/// How often it is looked for sessions and API keys that are good no longer.
const SWEEP: Duration = Duration::from_secs(30);
/// The pause after events were told.
const BREATH: Duration = Duration::from_millis(5);
/// The longest pause of a client that waits until this server is as far.
const LONGEST_BREATH: Duration = Duration::from_millis(250);
/// The pause after the outbox could not be read.
const PAUSE: Duration = Duration::from_millis(500);
/// So long a client waits until this server is as far as the one that it comes from.
const CATCH_UP: Duration = Duration::from_secs(5);

/// What somebody wants to follow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topics {
    /// All that happens in these markets.
    pub markets: BTreeSet<MarketId>,
    /// What becomes of any market.
    pub all_markets: bool,
    /// What concerns that user.
    pub user: Option<UserId>,
}

/// By what right somebody follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Follower {
    /// Who, if it is known.
    pub user: Option<UserId>,
    /// In which session.
    pub session: Option<SessionId>,
    /// By which API key.
    pub key: Option<ApiKeyId>,
    /// The hash of that key, by which it is looked up.
    pub key_hash: Option<[u8; 32]>,
    /// From where, as it is counted.
    pub from: Option<AddressBlock>,
}

/// Why a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client does not take what it is sent.
    Slow,
    /// The session is over, the key was revoked or has expired, or the user may no longer act.
    SessionEnded,
    /// The server stops.
    Stopping,
    /// The client has gone.
    Gone,
}

impl End {
    /// Its name in the last message.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::SessionEnded => "session_ended",
            Self::Stopping => "stopping",
            Self::Gone => "gone",
        }
    }
}

/// How many streams there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// Of one user.
    pub per_user: usize,
    /// From one address, of those who are not signed in.
    pub per_address: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self { per_user: 20, per_address: 50 }
    }
}

/// Everybody who follows. Clones are the same.
#[derive(Clone)]
pub struct Live {
    /// Each stream has it.
    ctx: Arc<Context>,
    state: Arc<Mutex<State>>,
    starting: Arc<tokio::sync::Mutex<()>>,
    /// Of those that read books, and of those that read what somebody has missed: others too have to be answered.
    turns: Arc<Turns>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Live(..)")
    }
}

struct Turns {
    books: Semaphore,
    missed: Semaphore,
}

/// Whose streams are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Counted {
    User(UserId),
    Address(Option<AddressBlock>),
}

#[derive(Default)]
struct State {
    is_running: bool,
    is_stopped: bool,
    /// Everything up to this batch was told.
    position: i64,
    /// The last events that were told: all of those after the sequence `forgotten`.
    recent: VecDeque<Recorded>,
    forgotten: i64,
    subscribers: Subscribers,
    books: Books,
    counts: HashMap<Counted, usize>,
    /// How many bytes streams have missed and not yet taken.
    missed_bytes: usize,
    /// How many were dropped since they did not take what they were sent.
    slow: u64,
}

/// How many follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// How many streams there are.
    pub streams: usize,
    /// How many were ended since their clients did not take what they were sent.
    pub slow: u64,
}

/// How somebody begins.
enum Begun {
    /// With everything after this, which it has missed: in these messages there is what came up to the sequence `looked_at`.
    After { asked: i64, looked_at: i64, messages: Vec<Arc<Message>> },
    /// With what comes from now on, since what it asks for is not there.
    Gap { asked: i64 },
    /// With what comes from now on.
    Now,
}

impl Live {
    /// On these ports.
    #[must_use]
    pub fn new(ctx: Context) -> Self {
        let turns = Arc::new(Turns { books: Semaphore::new(AT_A_TIME), missed: Semaphore::new(AT_A_TIME) });
        Self { ctx: Arc::new(ctx), state: Arc::default(), starting: Arc::default(), turns }
    }

    /// How many follow at the moment.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let state = self.lock();
        Figures { streams: state.counts.values().sum(), slow: state.slow }
    }

    /// Follows these topics, after the event of that sequence or from now on. The first message says
    /// where the stream begins, unless it goes on where it was. Refused: topics that are not there, too many streams.
    pub async fn follow(&self, follower: Follower, topics: Topics, resume: Option<i64>) -> Result<Stream, Error> {
        let counted = follower.user.map_or(Counted::Address(follower.from), Counted::User);
        self.lock().enter(counted, self.ctx.policy.streams)?;
        match self.begin(follower, topics, resume, counted).await {
            Ok(stream) => Ok(stream),
            Err(error) => {
                self.lock().leave(counted);
                Err(error)
            }
        }
    }

    async fn begin(
        &self,
        follower: Follower,
        topics: Topics,
        resume: Option<i64>,
        counted: Counted,
    ) -> Result<Stream, Error> {
        let Checked { topics, outcomes } = self.check(topics).await?;
        let (mut waited, mut pause) = (Duration::ZERO, BREATH);
        let (number, queue, missed) = loop {
            self.start().await?;
            let begun = match resume {
                Some(asked) => self.missed(&topics, asked).await?,
                None => Begun::Now,
            };
            // It may have come to rest meanwhile, or forgotten what was just looked for; or another server, from which
            // the client comes, was quicker.
            if let Some(added) = self.add(follower, &topics, begun) {
                break added;
            }
            if waited > CATCH_UP {
                let why = "this server does not know yet that nothing comes before what another has told";
                return Err(StoreError::Unavailable(why.into()).into());
            }
            tokio::time::sleep(pause).await;
            waited += pause;
            pause = (pause * 2).min(LONGEST_BREATH);
        };
        let Queue { messages, end } = queue;
        for (market, outcomes) in outcomes {
            self.give_books(number, market, outcomes);
        }
        Ok(Stream { live: self.clone(), number, counted, topics, missed, messages, end, is_holding: false })
    }

    /// Puts somebody among those who follow, at the place up to which it has everything.
    fn add(&self, follower: Follower, topics: &Topics, begun: Begun) -> Option<(u64, Queue, Missed)> {
        let now = self.ctx.clock.now();
        let mut state = self.lock();
        if !state.is_running {
            return None;
        }
        let told = state.told();
        let only = |message| Missed { messages: VecDeque::from([message]), bytes: 0 };
        let gap = |asked| only(Message::standing("gap", told, now, Gap { asked, reload: what_to_reload(topics) }));
        let missed = match begun {
            Begun::Now => only(Message::standing("hello", told, now, Nothing {})),
            Begun::Gap { asked } => gap(asked),
            Begun::After { asked, looked_at, messages } => {
                if asked > told {
                    return None;
                }
                let messages = state.missed_after(topics, looked_at, messages)?;
                let bytes = bytes_of(&messages);
                if state.missed_bytes.saturating_add(bytes) > MOST_AT_HAND {
                    gap(asked)
                } else {
                    Missed { messages: messages.into(), bytes }
                }
            }
        };
        state.missed_bytes = state.missed_bytes.saturating_add(missed.bytes);
        let (number, queue) = state.subscribers.add(follower, topics.clone());
        Some((number, queue, missed))
    }

    /// What has happened after an event, up to what this process has at hand. The first message says that
    /// the stream goes on there; the last has the sequence up to which this goes.
    async fn missed(&self, topics: &Topics, asked: i64) -> Result<Begun, Error> {
        let span = self.ctx.outbox.span().await?.unwrap_or(Span { oldest: 1, newest: 0 });
        let had = EventBatch::position_of(asked);
        let is_behind = span.newest.saturating_sub(had) > MOST_BEHIND;
        if asked < 0 || is_behind || had < span.oldest.saturating_sub(1) || !self.is_there(had, span).await? {
            return Ok(Begun::Gap { asked });
        }
        let now = self.ctx.clock.now();
        let mut messages = vec![Message::standing("resumed", asked, now, Nothing {})];
        let mut position = had.saturating_sub(1);
        // Messages are only for some events; where those end that were looked at is told apart.
        let (mut last_seen, mut looked_at, mut bytes) = (asked, asked, 0_usize);
        let _turn = if self.has_at_hand(position) { None } else { Some(self.turn().await?) };
        while !self.has_at_hand(position) {
            let batches = self.ctx.outbox.after(position, READ_AT_ONCE).await?;
            let Some(last) = batches.last() else { break };
            position = last.position;
            looked_at = EventBatch::last_sequence_of(position);
            for batch in &batches {
                for recorded in read(batch)?.iter().filter(|recorded| recorded.sequence > asked) {
                    let message = message_for(topics, recorded);
                    bytes = bytes.saturating_add(message.as_ref().map_or(0, |message| message.json.len()));
                    messages.extend(message);
                    last_seen = recorded.sequence;
                }
                if messages.len() > MOST_MISSED || bytes > MOST_MISSED_BYTES {
                    return Ok(Begun::Gap { asked });
                }
            }
        }
        if messages.last().and_then(|message| message.sequence) != Some(last_seen) {
            messages.push(Message::standing("resumed", last_seen, now, Nothing {}));
        }
        Ok(Begun::After { asked, looked_at, messages })
    }

    /// Whether everything after that batch is among the last events.
    fn has_at_hand(&self, position: i64) -> bool {
        self.lock().has_all_after(EventBatch::last_sequence_of(position))
    }

    /// Waits until the outbox may be read for one who comes back: not for long, then it is asked to come later.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        let turn = tokio::time::timeout(CATCH_UP, self.turns.missed.acquire()).await;
        let turn = turn.map_err(|_| StoreError::Unavailable("too many come back at once".into()))?;
        turn.map_err(|closed| StoreError::Unavailable(closed.into()))
    }

    /// Whether what somebody says it has had was ever told. Another server may have told what this one would not give yet,
    /// since it does not know that nothing comes before it.
    async fn is_there(&self, position: i64, span: Span) -> Result<bool, Error> {
        if position <= span.newest {
            return Ok(true);
        }
        let found = self.ctx.outbox.after(position.saturating_sub(1), 1).await?;
        Ok(found.first().is_some_and(|batch| batch.position == position))
    }

    /// Gives one who follows a market its books, or has them read where nobody followed it.
    fn give_books(&self, number: u64, market: MarketId, outcomes: usize) {
        let now = self.ctx.clock.now();
        let mut state = self.lock();
        match state.books.want(market, number, now) {
            Wanted::Wait => {}
            Wanted::Here(snapshot) => state.send(number, snapshot),
            Wanted::Load(load) => drop(tokio::spawn(self.clone().load_books(load, market, outcomes))),
        }
    }

    /// Reads a market's books for all who wait for them, in the load of that number, as long as it is wanted.
    async fn load_books(self, load: u64, market: MarketId, outcomes: usize) {
        let books = loop {
            {
                // It is never closed.
                let Ok(_turn) = self.turns.books.acquire().await else { return };
                if !self.lock().books.is_loading(market, load) {
                    return;
                }
                match self.read_books(market, outcomes).await {
                    Ok(books) => break books,
                    Err(error) => tracing::warn!(%error, %market, "a book cannot be read; it is tried again"),
                }
            }
            tokio::time::sleep(PAUSE).await;
        };
        let now = self.ctx.clock.now();
        let mut state = self.lock();
        if let Some((snapshot, waiting)) = state.books.loaded(market, load, books, now) {
            waiting.into_iter().for_each(|number| state.send(number, Arc::clone(&snapshot)));
        }
    }

    async fn read_books(&self, market: MarketId, outcomes: usize) -> Result<BTreeMap<u8, Book>, StoreError> {
        let mut books = BTreeMap::new();
        for outcome in books_of(outcomes) {
            let (levels, sequence) = self.ctx.queries.book(market, outcome, WHOLE).await?;
            books.insert(outcome.number(), Book::of(&levels, sequence));
        }
        Ok(books)
    }

    /// Ends all streams, and begins none any more.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.is_stopped = true;
        for number in state.subscribers.numbers() {
            state.drop_subscriber(number, End::Stopping);
        }
    }

    /// How many streams there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().subscribers.numbers().len()
    }

    /// Sees to it that the outbox is followed.
    async fn start(&self) -> Result<(), Error> {
        let _one = self.starting.lock().await;
        let (is_running, is_stopped) = {
            let state = self.lock();
            (state.is_running, state.is_stopped)
        };
        if is_stopped {
            return Err(StoreError::Unavailable("the server is stopping".into()).into());
        }
        if is_running {
            return Ok(());
        }
        let newest = self.ctx.outbox.span().await?.map(|span| span.newest);
        let mut state = self.lock();
        (state.is_running, state.position) = (true, newest.unwrap_or_default());
        state.forgotten = newest.map_or(0, EventBatch::last_sequence_of);
        state.recent.clear();
        state.books.clear();
        tokio::spawn(self.clone().run());
        Ok(())
    }

    /// Follows the outbox until nobody follows this.
    async fn run(self) {
        let mut ear = self.ctx.event_bell.listen();
        let mut swept = tokio::time::Instant::now();
        // Nobody is there when it begins; whoever it was begun for may take a moment.
        let mut was_idle = false;
        loop {
            let position = self.lock().position;
            match self.ctx.outbox.after(position, READ_AT_ONCE).await {
                Ok(batches) if batches.is_empty() => {
                    let is_idle = self.lock().subscribers.is_empty();
                    if is_idle && was_idle && self.lock().rest() {
                        return;
                    }
                    was_idle = is_idle;
                    ear.heard().await;
                }
                Ok(batches) => {
                    for batch in &batches {
                        self.tell(batch);
                    }
                    // Under load, some commits at a time: a read costs the database as much as a few orders.
                    tokio::time::sleep(BREATH).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "live streams cannot be told what happens; it is tried again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
            if swept.elapsed() >= SWEEP {
                swept = tokio::time::Instant::now();
                tokio::spawn(self.clone().sweep());
            }
        }
    }

    fn tell(&self, batch: &EventBatch) {
        let events = match read(batch) {
            Ok(events) => events,
            Err(error) => {
                // Another version of the server may have written it. Who follows can see that it missed something.
                tracing::error!(%error, "events cannot be read, and are told to nobody");
                Vec::new()
            }
        };
        let mut state = self.lock();
        for recorded in events {
            state.tell(recorded);
        }
        state.position = batch.position;
    }

    /// Ends the streams of sessions and API keys that are good no longer and of which no event has told: they have expired,
    /// the owner of their bot may no longer act, or they ended before their stream was among those that hear of it.
    async fn sweep(self) {
        let followers = self.lock().subscribers.followers();
        for (number, follower) in followers {
            if self.is_over(follower).await {
                self.lock().drop_subscriber(number, End::SessionEnded);
            }
        }
    }

    /// Whether the right is gone by which somebody follows. Where that cannot be found out now, the next sweep does.
    async fn is_over(&self, follower: Follower) -> bool {
        let ctx = &*self.ctx;
        let until = if let Some(session) = follower.session {
            let found = ctx.session_memory.get(&*ctx.queries, session).await;
            found.map(|found| found.map(|live| live.expires_at))
        } else if let Some(hash) = follower.key_hash {
            let found = ctx.key_memory.get(&*ctx.queries, hash).await;
            found.map(|found| found.map(|live| live.expires_at.unwrap_or(Timestamp::MAX)))
        } else {
            return false;
        };
        let now = ctx.clock.now();
        until.is_ok_and(|until| until.is_none_or(|at| at <= now))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Everything up to that sequence was told.
    fn told(&self) -> i64 {
        EventBatch::last_sequence_of(self.position)
    }

    /// Whether all that was told after that sequence is at hand.
    const fn has_all_after(&self, sequence: i64) -> bool {
        self.forgotten <= sequence
    }

    /// These messages of what one who follows these topics has missed up to the sequence `looked_at`, and those of what was told
    /// after it. None where some of that was forgotten meanwhile.
    fn missed_after(
        &self,
        topics: &Topics,
        looked_at: i64,
        mut messages: Vec<Arc<Message>>,
    ) -> Option<Vec<Arc<Message>>> {
        if !self.has_all_after(looked_at) {
            return None;
        }
        let told = self.told();
        // What the outbox has and was not told yet comes with what is told.
        messages.retain(|message| message.sequence.is_none_or(|sequence| sequence <= told));
        let after = self.recent.iter().filter(|recorded| recorded.sequence > looked_at);
        messages.extend(after.filter_map(|recorded| message_for(topics, recorded)));
        Some(messages)
    }

    /// Ends the following of the outbox, unless somebody has come.
    fn rest(&mut self) -> bool {
        self.is_running = !self.subscribers.is_empty();
        !self.is_running
    }

    /// Hands an event to those whom it is for.
    fn tell(&mut self, recorded: Recorded) {
        let checksums = match &recorded.event {
            Event::BookChanged(change) => self.books.hear(change),
            _ => Vec::new(),
        };
        let slow = self.subscribers.publish(&recorded, &checksums);
        slow.into_iter().for_each(|number| self.drop_subscriber(number, End::Slow));
        let mut over = self.subscribers.ended_by(&recorded.event);
        if let Event::UserUpdated(user) = &recorded.event
            && user.status != UserStatus::Active
        {
            let of_user = |(number, follower): (u64, Follower)| (follower.user == Some(user.user_id)).then_some(number);
            over.extend(self.subscribers.followers().into_iter().filter_map(of_user));
        }
        over.into_iter().for_each(|number| self.drop_subscriber(number, End::SessionEnded));
        self.recent.push_back(recorded);
        if self.recent.len() > RECENT
            && let Some(forgotten) = self.recent.pop_front()
        {
            self.forgotten = forgotten.sequence;
        }
    }

    fn send(&mut self, number: u64, message: Arc<Message>) {
        if !self.subscribers.send(number, message) {
            self.drop_subscriber(number, End::Slow);
        }
    }

    fn drop_subscriber(&mut self, number: u64, why: End) {
        self.slow = self.slow.saturating_add(u64::from(why == End::Slow));
        for market in self.subscribers.remove(number, why) {
            self.books.forget(market);
        }
    }

    fn narrow(&mut self, number: u64, less: &Topics) {
        for market in &less.markets {
            self.books.no_longer_wanted(*market, number);
        }
        for market in self.subscribers.narrow(number, less) {
            self.books.forget(market);
        }
    }

    /// So many bytes of what was missed are at hand no longer.
    fn taken(&mut self, bytes: usize) {
        self.missed_bytes = self.missed_bytes.saturating_sub(bytes);
    }

    fn enter(&mut self, counted: Counted, limits: StreamLimits) -> Result<(), Refusal> {
        let limit = match counted {
            Counted::User(_) => limits.per_user,
            Counted::Address(_) => limits.per_address,
        };
        let count = self.counts.entry(counted).or_default();
        if *count >= limit {
            return Err(Refusal::TooManyStreams { limit });
        }
        *count += 1;
        Ok(())
    }

    fn leave(&mut self, counted: Counted) {
        if let Some(count) = self.counts.get_mut(&counted) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counts.remove(&counted);
            }
        }
    }
}

fn bytes_of(messages: &[Arc<Message>]) -> usize {
    messages.iter().map(|message| message.json.len()).sum()
}

/// What shows how things stand of what is followed.
fn what_to_reload(topics: &Topics) -> Vec<String> {
    let mut paths: Vec<String> = topics.markets.iter().map(|market| format!("/api/v1/markets/{market}")).collect();
    if topics.all_markets {
        paths.push("/api/v1/markets".to_owned());
    }
    if let Some(user) = topics.user {
        paths.extend(["/api/v1/orders?status=open", "/api/v1/positions", "/api/v1/trades"].map(str::to_owned));
        paths.push(format!("/api/v1/accounts/{user}"));
    }
    paths
}

#[cfg(test)]
mod tests {
    use bellwether_domain::event::{BalanceData, EVENTS_PER_BATCH};
    use bellwether_domain::money::Credits;
    use uuid::Uuid;

    use super::*;

    const USER: UserId = UserId(Uuid::nil());

    fn me() -> Topics {
        Topics { user: Some(USER), ..Topics::default() }
    }

    fn told(state: &mut State, sequence: i64) {
        let (balance, held, available) = (Credits::ZERO, Credits::ZERO, Credits::ZERO);
        let event = Event::BalanceChanged(Box::new(BalanceData { user_id: USER, balance, held, available }));
        state.tell(Recorded { sequence, at: Timestamp::UNIX_EPOCH, event });
        state.position = EventBatch::position_of(sequence);
    }

    /// What was at hand when it was looked for may be forgotten when the stream is put among the others.
    #[test]
    fn who_has_had_a_part_of_a_batch_misses_nothing_of_the_rest_that_is_forgotten_meanwhile() {
        let mut state = State::default();
        let (first, count) = (EVENTS_PER_BATCH, i64::try_from(RECENT).unwrap());
        (first..first + count).for_each(|sequence| told(&mut state, sequence));
        let after = |state: &State| state.missed_after(&me(), first, Vec::new()).map(|messages| messages.len());
        assert_eq!(after(&state), Some(RECENT - 1));
        told(&mut state, first + count);
        assert_eq!(after(&state), Some(RECENT), "it has had what was forgotten");
        told(&mut state, first + count + 1);
        assert_eq!(after(&state), None, "of the same batch it has not had all that was forgotten");
    }

    #[test]
    fn who_has_missed_something_is_told_all_that_shows_how_its_own_things_stand() {
        let mine = what_to_reload(&me());
        let lists = ["/api/v1/orders?status=open", "/api/v1/positions", "/api/v1/trades"];
        assert!(lists.iter().all(|path| mine.iter().any(|one| one == path)), "{mine:?}");
        assert_eq!(mine.last(), Some(&format!("/api/v1/accounts/{USER}")));
    }
}
