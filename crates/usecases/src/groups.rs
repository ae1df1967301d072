//! Group commit: requests that wait at the same time share one unit of work, and so one commit.
//!
//! Whoever comes while a group may run begins one; whoever comes later waits, and those who wait are the
//! next group. An idle server adds no delay: a request that comes alone is a group of one.
//!
//! Requests are taken in the order in which they came. Where several groups run at a time, a request
//! waits for those before it that touch the same markets, so that the order holds within a market.
//! What a stranger can make wait is bounded: in all, and for each person with all of its bots, so that none of
//! them fills the queue for everybody.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bellwether_domain::ids::{MarketId, UserId};
use bellwether_domain::ports::{Decided, GroupOf, StoreError};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::turns::{Turn, Turns};
use crate::{Context, Error};

/// How many requests may wait before more are turned away. Those of orders and of payments together are fewer than
/// a server works on at once, unless it is told otherwise: however many wait, others can read.
const MOST_WAITING: usize = 480;
/// How many commands of one person may wait, besides a request that waits alone: a batch counts for all that is in it.
const MOST_WAITING_OF_ONE: usize = 256;

/// A request that can be executed together with others of its kind.
#[async_trait]
pub(crate) trait Grouped: Clone + Send + Sync + 'static {
    /// What it is.
    const OF: GroupOf;
    /// What it comes to.
    type Answer: Send;
    /// For whom it waits: a bot's request for the bot's owner.
    fn person(&self) -> UserId;
    /// How many commands it is made of.
    fn size(&self) -> usize;
    /// The markets in which the order of arrival must hold.
    fn markets(&self) -> Vec<MarketId>;
    /// Executes a group in one unit of work. One answer for each request, in their order; or an
    /// error, and then nothing was done for any of them. Takes the turn before it locks accounts, and calls `decided`
    /// when the next group need not wait for this one, which gives the turn up too.
    async fn execute(
        ctx: &Context,
        group: Vec<Self>,
        turn: Turn,
        decided: Decided,
    ) -> Result<Vec<Result<Self::Answer, Error>>, Error>;
}

/// The requests that wait, and the groups that run.
pub(crate) struct Groups<R: Grouped> {
    state: Mutex<State<R>>,
    turns: Arc<Turns>,
    ctx: Context,
}

struct State<R: Grouped> {
    waiting: VecDeque<Waiting<R>>,
    /// How many commands of each person wait.
    of_person: HashMap<UserId, usize>,
    /// The markets of the groups that run.
    busy: HashSet<MarketId>,
    /// How many groups run.
    running: usize,
}

struct Waiting<R: Grouped> {
    request: R,
    answer: oneshot::Sender<Result<R::Answer, Error>>,
}

impl<R: Grouped> Groups<R> {
    /// Groups on these ports, as many at a time and as large as the policy says.
    pub(crate) fn new(ctx: Context) -> Arc<Self> {
        let state = State { waiting: VecDeque::new(), of_person: HashMap::new(), busy: HashSet::new(), running: 0 };
        Arc::new(Self { state: Mutex::new(state), turns: Arc::default(), ctx })
    }

    /// Executes a request together with those that wait at the same time. It is executed even if nobody
    /// waits for the answer any more.
    pub(crate) async fn submit(self: &Arc<Self>, request: R) -> Result<R::Answer, Error> {
        let answer = self.enter(request)?;
        self.begin_groups();
        answer.await.unwrap_or_else(|_| Err(abandoned()))
    }

    /// Begins as many groups as may run.
    fn begin_groups(self: &Arc<Self>) {
        // There is none where the process is ending; then nobody waits any more either.
        let Ok(runtime) = Handle::try_current() else { return };
        while let Some((requests, running)) = self.next_group() {
            let groups = Arc::clone(self);
            runtime.spawn(async move { run(&groups, requests, running).await });
        }
    }

    fn enter(&self, request: R) -> Result<oneshot::Receiver<Result<R::Answer, Error>>, Error> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        let person = request.person();
        let before = state.of_person.get(&person).copied();
        let after = before.unwrap_or(0).saturating_add(request.size());
        if state.waiting.len() >= MOST_WAITING {
            return Err(StoreError::Unavailable("too many requests are waiting".into()).into());
        }
        if before.is_some() && after > MOST_WAITING_OF_ONE {
            return Err(StoreError::Unavailable("too many commands of one person are waiting".into()).into());
        }
        state.of_person.insert(person, after);
        state.waiting.push_back(Waiting { request, answer: sender });
        Ok(receiver)
    }

    /// The next group, where another may run, and what it keeps others from.
    ///
    /// Beside one that runs another begins only when it is full: what a group costs beside its commands is shared by all of
    /// them, and those who wait a moment longer share it with more.
    fn next_group(self: &Arc<Self>) -> Option<(Vec<Waiting<R>>, Running<R>)> {
        let limit = self.ctx.policy.group_limit;
        let mut state = self.lock();
        let is_alone = state.running == 0;
        if state.running >= self.ctx.policy.groups_at_once.max(1) || !is_alone && state.commands_waiting() < limit {
            return None;
        }
        let Chosen { places, markets, is_full } = state.choose(limit);
        if places.is_empty() || !is_alone && !is_full {
            return None;
        }
        let requests = state.take(places);
        state.busy.extend(markets.iter().copied());
        state.running = state.running.saturating_add(1);
        Some((requests, Running { groups: Arc::clone(self), markets }))
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Requests that can be executed together.
struct Chosen {
    /// Their places among those who wait, in order.
    places: Vec<usize>,
    markets: HashSet<MarketId>,
    /// There is no room for the next one.
    is_full: bool,
}

impl<R: Grouped> State<R> {
    fn commands_waiting(&self) -> usize {
        self.waiting.iter().map(|waiting| waiting.request.size()).sum()
    }

    /// Those who wait longest and for no group that runs, up to so many commands.
    fn choose(&self, limit: usize) -> Chosen {
        let (mut chosen, mut commands) =
            (Chosen { places: Vec::new(), markets: HashSet::new(), is_full: false }, 0_usize);
        // Of the markets of requests that stay, no later request may be taken either.
        let mut blocked = self.busy.clone();
        for (place, waiting) in self.waiting.iter().enumerate() {
            let markets = waiting.request.markets();
            if markets.iter().any(|market| blocked.contains(market)) {
                blocked.extend(markets);
                continue;
            }
            let with_it = commands.saturating_add(waiting.request.size());
            if with_it > limit && !chosen.places.is_empty() {
                chosen.is_full = true;
                break;
            }
            commands = with_it;
            chosen.markets.extend(markets);
            chosen.places.push(place);
        }
        chosen.is_full |= commands >= limit;
        chosen
    }

    /// Those at these places wait no more.
    fn take(&mut self, places: Vec<usize>) -> Vec<Waiting<R>> {
        let mut places = places.into_iter().peekable();
        let (mut taken, mut stay) = (Vec::new(), VecDeque::with_capacity(self.waiting.len()));
        for (place, waiting) in std::mem::take(&mut self.waiting).into_iter().enumerate() {
            if places.next_if_eq(&place).is_some() {
                self.left(&waiting.request);
                taken.push(waiting);
            } else {
                stay.push_back(waiting);
            }
        }
        self.waiting = stay;
        taken
    }

    /// A request waits no more.
    fn left(&mut self, request: &R) {
        let person = request.person();
        if let Some(count) = self.of_person.get_mut(&person) {
            *count = count.saturating_sub(request.size());
            if *count == 0 {
                self.of_person.remove(&person);
            }
        }
    }
}

/// The place of a group that runs, and the markets that are its own, until it is decided.
struct Running<R: Grouped> {
    groups: Arc<Groups<R>>,
    markets: HashSet<MarketId>,
}

impl<R: Grouped> Drop for Running<R> {
    fn drop(&mut self) {
        let mut state = self.groups.lock();
        for market in &self.markets {
            state.busy.remove(market);
        }
        state.running = state.running.saturating_sub(1);
        drop(state);
        self.groups.begin_groups();
    }
}

/// Executes a group and answers each request of it. Its place is given up when it is decided: the next
/// group runs while this one waits for the disk. One that fails keeps it until it is answered, since its
/// requests may have to be executed again, before those that came later.
async fn run<R: Grouped>(groups: &Groups<R>, group: Vec<Waiting<R>>, running: Running<R>) {
    let (decided, mut told) = mpsc::channel(1);
    let answered = decided.clone();
    let give_up = async move {
        // Nothing comes where both senders were dropped: then the group has ended.
        let _: Option<()> = told.recv().await;
        drop(running);
    };
    let tell = move || {
        // Nobody listens any more: then there is nothing left to give up.
        let _ = decided.try_send(());
    };
    let answer = async move {
        execute(groups, group, tell).await;
        drop(answered);
    };
    tokio::join!(answer, give_up);
}

async fn execute<R: Grouped>(groups: &Groups<R>, group: Vec<Waiting<R>>, decided: impl FnOnce() + Send + 'static) {
    let Groups { turns, ctx, .. } = groups;
    let turn = turns.turn();
    let given_up = turn.clone();
    let decided = move || {
        given_up.give_up();
        decided();
    };
    let requests: Vec<R> = group.iter().map(|w| w.request.clone()).collect();
    let (begun, commands) = (Instant::now(), requests.iter().map(R::size).sum());
    match R::execute(ctx, requests, turn, Box::new(decided)).await {
        Ok(answers) => {
            for (waiting, answer) in group.into_iter().zip(answers) {
                waiting.answer(answer);
            }
        }
        Err(error) => answer_failed(groups, group, error).await,
    }
    ctx.meter.group(R::OF, commands, begun.elapsed());
}

/// A group that failed as a whole. What one of its requests may be at fault for is executed again,
/// each request by itself; what concerns all is told to all.
async fn answer_failed<R: Grouped>(groups: &Groups<R>, group: Vec<Waiting<R>>, error: Error) {
    let group = match <[Waiting<R>; 1]>::try_from(group) {
        Ok([only]) => return only.answer(Err(error)),
        Err(group) => group,
    };
    for waiting in group {
        let answer = match &error {
            Error::Store(StoreError::OutcomeUnknown(source)) => {
                Err(StoreError::OutcomeUnknown(source.to_string().into()).into())
            }
            Error::Store(StoreError::Unavailable(source)) => {
                Err(StoreError::Unavailable(source.to_string().into()).into())
            }
            _ => alone(groups, waiting.request.clone()).await,
        };
        waiting.answer(answer);
    }
}

async fn alone<R: Grouped>(groups: &Groups<R>, request: R) -> Result<R::Answer, Error> {
    let answers = R::execute(&groups.ctx, vec![request], groups.turns.turn(), Box::new(|| {})).await?;
    answers.into_iter().next().unwrap_or_else(|| Err(abandoned()))
}

impl<R: Grouped> Waiting<R> {
    /// Whoever asked may have gone away; the request was executed all the same.
    fn answer(self, answer: Result<R::Answer, Error>) {
        drop(self.answer.send(answer));
    }
}

/// Whoever executed the group ended without an answer: whether it was committed is not known.
fn abandoned() -> Error {
    StoreError::OutcomeUnknown("the group of this request ended without an answer".into()).into()
}
