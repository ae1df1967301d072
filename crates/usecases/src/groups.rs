//! Group commit: requests that wait at the same time share one unit of work, and so one commit.
//!
//! Whoever finds a turn free takes what waits, its own request among it, executes it as one group
//! and answers each. The next group forms meanwhile. An idle server adds no delay: a request that
//! comes alone is a group of one.
//!
//! Requests are taken in the order in which they came. Where several groups run at a time, a request
//! waits for those before it that touch the same markets, so that the order holds within a market.
//! What a stranger can make wait is bounded: in all, and for each user, so that none of them fills
//! the queue for everybody.

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bellwether_domain::ids::{MarketId, UserId};
use bellwether_domain::ports::{Decided, StoreError};

use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::sync::{Notify, Semaphore};

use crate::{Context, Error};

/// How many requests may wait before more are turned away.
const MOST_WAITING: usize = 1024;
/// How many requests of one user may wait.
const MOST_WAITING_OF_ONE: usize = 256;

/// A request that can be executed together with others of its kind.
#[async_trait]
pub(crate) trait Grouped: Clone + Send + Sync + 'static {
    /// What it comes to.
    type Answer: Send;
    /// Whose request it is.
    fn user(&self) -> UserId;
    /// How many commands it is made of.
    fn size(&self) -> usize;
    /// The markets in which the order of arrival must hold.
    fn markets(&self) -> Vec<MarketId>;
    /// Executes a group in one unit of work. One answer for each request, in their order; or an
    /// error, and then nothing was done for any of them. Calls `decided` when the next group need not
    /// wait for this one.
    async fn execute(
        ctx: &Context,
        group: Vec<Self>,
        decided: Decided,
    ) -> Result<Vec<Result<Self::Answer, Error>>, Error>;
}

/// The requests that wait, and the groups that run.
pub(crate) struct Groups<R: Grouped> {
    state: Mutex<State<R>>,
    /// One for each group that may run at a time.
    turns: Semaphore,
    /// Told whenever there may be something to take for whoever found nothing.
    changed: Notify,
}

struct State<R: Grouped> {
    waiting: VecDeque<Waiting<R>>,
    /// How many requests of each user wait.
    of_user: HashMap<UserId, usize>,
    /// The markets of the groups that run.
    busy: HashSet<MarketId>,
}

struct Waiting<R: Grouped> {
    request: R,
    answer: oneshot::Sender<Result<R::Answer, Error>>,
}

impl<R: Grouped> Groups<R> {
    /// Groups of which so many run at a time, at least one.
    pub(crate) fn new(at_once: usize) -> Self {
        let state = State { waiting: VecDeque::new(), of_user: HashMap::new(), busy: HashSet::new() };
        Self { state: Mutex::new(state), turns: Semaphore::new(at_once.max(1)), changed: Notify::new() }
    }

    /// Executes a request together with those that wait at the same time.
    pub(crate) async fn submit(&self, ctx: &Context, request: R) -> Result<R::Answer, Error> {
        let mut answer = self.enter(request)?;
        loop {
            let turn = tokio::select! {
                biased;
                answer = &mut answer => return answer.unwrap_or_else(|_| Err(abandoned())),
                turn = self.turns.acquire() => turn,
            };
            // The group before may have had this request in it.
            match answer.try_recv() {
                Ok(answer) => return answer,
                Err(TryRecvError::Closed) => return Err(abandoned()),
                Err(TryRecvError::Empty) => {}
            }
            // Where everything that waits is for markets of groups that run, the turn is kept, so that
            // not everybody looks in vain.
            loop {
                let mut changed = pin!(self.changed.notified());
                changed.as_mut().enable();
                if let Some(Group { requests, running }) = self.next_group(ctx.policy.group_limit) {
                    run(ctx, requests, (turn, running)).await;
                    break;
                }
                tokio::select! {
                    biased;
                    answer = &mut answer => return answer.unwrap_or_else(|_| Err(abandoned())),
                    () = changed => {}
                }
            }
        }
    }

    fn enter(&self, request: R) -> Result<oneshot::Receiver<Result<R::Answer, Error>>, Error> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        let of_user = state.of_user.get(&request.user()).copied().unwrap_or(0);
        if state.waiting.len() >= MOST_WAITING {
            return Err(StoreError::Unavailable("too many requests are waiting".into()).into());
        }
        if of_user >= MOST_WAITING_OF_ONE {
            return Err(StoreError::Unavailable("too many requests of one user are waiting".into()).into());
        }
        state.of_user.insert(request.user(), of_user.saturating_add(1));
        let may_run = !request.markets().iter().any(|market| state.busy.contains(market));
        state.waiting.push_back(Waiting { request, answer: sender });
        drop(state);
        if may_run {
            self.changed.notify_waiters();
        }
        Ok(receiver)
    }

    /// Those who wait longest and for no group that runs, up to so many commands.
    fn next_group(&self, limit: usize) -> Option<Group<'_, R>> {
        let mut state = self.lock();
        let (mut requests, mut markets, mut commands) = (Vec::new(), HashSet::new(), 0_usize);
        // Of the markets of requests that stay, no later request may be taken either.
        let mut blocked = state.busy.clone();
        let mut stay = VecDeque::with_capacity(state.waiting.len());
        while let Some(next) = state.waiting.pop_front() {
            let of_next = next.request.markets();
            let fits = requests.is_empty() || commands.saturating_add(next.request.size()) <= limit;
            if !fits || of_next.iter().any(|market| blocked.contains(market)) {
                blocked.extend(of_next);
                stay.push_back(next);
                if !fits {
                    break;
                }
                continue;
            }
            commands = commands.saturating_add(next.request.size());
            markets.extend(of_next);
            state.left(next.request.user());
            requests.push(next);
        }
        stay.append(&mut state.waiting);
        state.waiting = stay;
        if requests.is_empty() {
            return None;
        }
        state.busy.extend(markets.iter().copied());
        Some(Group { requests, running: Running { groups: self, markets } })
    }

    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Grouped> State<R> {
    /// One request of the user waits no more.
    fn left(&mut self, user: UserId) {
        if let Some(count) = self.of_user.get_mut(&user) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.of_user.remove(&user);
            }
        }
    }
}

/// A group, and the markets that are its own until it is decided.
struct Group<'g, R: Grouped> {
    requests: Vec<Waiting<R>>,
    running: Running<'g, R>,
}

struct Running<'g, R: Grouped> {
    groups: &'g Groups<R>,
    markets: HashSet<MarketId>,
}

impl<R: Grouped> Drop for Running<'_, R> {
    fn drop(&mut self) {
        let mut state = self.groups.lock();
        for market in &self.markets {
            state.busy.remove(market);
        }
        drop(state);
        self.groups.changed.notify_waiters();
    }
}

/// Executes a group and answers each request of it. What it `held` others from is given up when it is
/// decided: the next group runs while this one waits for the disk.
async fn run<R: Grouped, H: Send>(ctx: &Context, group: Vec<Waiting<R>>, held: H) {
    let (decided, told) = oneshot::channel();
    let give_up = async move {
        // Dropped unsent, it means that the group has ended.
        drop(told.await);
        drop(held);
    };
    let tell = move || {
        // Nobody listens any more: then there is nothing left to give up.
        let _ = decided.send(());
    };
    tokio::join!(execute(ctx, group, Box::new(tell)), give_up);
}

async fn execute<R: Grouped>(ctx: &Context, group: Vec<Waiting<R>>, decided: Decided) {
    let requests: Vec<R> = group.iter().map(|w| w.request.clone()).collect();
    match R::execute(ctx, requests, decided).await {
        Ok(answers) => {
            for (waiting, answer) in group.into_iter().zip(answers) {
                waiting.answer(answer);
            }
        }
        Err(error) => answer_failed(ctx, group, error).await,
    }
}

/// A group that failed as a whole. What one of its requests may be at fault for is executed again,
/// each request by itself; what concerns all is told to all.
async fn answer_failed<R: Grouped>(ctx: &Context, group: Vec<Waiting<R>>, error: Error) {
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
            _ => alone(ctx, waiting.request.clone()).await,
        };
        waiting.answer(answer);
    }
}

async fn alone<R: Grouped>(ctx: &Context, request: R) -> Result<R::Answer, Error> {
    let answers = R::execute(ctx, vec![request], Box::new(|| {})).await?;
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
