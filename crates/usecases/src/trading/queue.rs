//! Group commit: requests that wait at the same time share one unit of work, and so one commit.
//!
//! Whoever finds nobody at work takes everything that waits, its own request among it, executes it
//! as one group and answers each. The next group forms meanwhile. An idle server adds no delay: a
//! request that comes alone is a group of one. Requests are executed in the order in which they came.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bellwether_domain::ports::StoreError;
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::group::Group;
use super::{Outcome, Request};
use crate::atomically::atomically;
use crate::{Answered, Context, Error};

/// How many commands one group executes. More do not make a commit much cheaper for each.
const MOST_COMMANDS: usize = 64;
/// How many requests may wait before more are turned away.
const MOST_WAITING: usize = 1024;

/// What a request came to.
type Answer = Result<Answered<Vec<Outcome>>, Error>;

/// The requests that wait.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<VecDeque<Waiting>>,
    /// Held by whoever executes a group.
    turn: tokio::sync::Mutex<()>,
}

struct Waiting {
    request: Request,
    answer: oneshot::Sender<Answer>,
}

impl Queue {
    /// Executes a request together with those that wait at the same time.
    pub(super) async fn submit(&self, ctx: &Context, request: Request) -> Answer {
        let mut answer = self.enter(request)?;
        loop {
            let turn = tokio::select! {
                biased;
                answer = &mut answer => return answer.unwrap_or_else(|_| Err(abandoned())),
                turn = self.turn.lock() => turn,
            };
            // The group before may have had this request in it.
            match answer.try_recv() {
                Ok(answer) => return answer,
                Err(TryRecvError::Closed) => return Err(abandoned()),
                Err(TryRecvError::Empty) => {}
            }
            execute(ctx, self.next_group()).await;
            drop(turn);
        }
    }

    fn enter(&self, request: Request) -> Result<oneshot::Receiver<Answer>, Error> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MOST_WAITING {
            return Err(StoreError::Unavailable("too many orders are waiting".into()).into());
        }
        waiting.push_back(Waiting { request, answer: sender });
        Ok(receiver)
    }

    /// Those who wait longest, up to the limit of a group; at least one.
    fn next_group(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut group, mut commands) = (Vec::new(), 0_usize);
        while let Some(next) = waiting.front() {
            commands = commands.saturating_add(next.request.commands.len());
            if commands > MOST_COMMANDS && !group.is_empty() {
                break;
            }
            group.extend(waiting.pop_front());
        }
        group
    }
}

/// Executes a group and answers each request of it.
async fn execute(ctx: &Context, group: Vec<Waiting>) {
    let requests: Vec<Request> = group.iter().map(|w| w.request.clone()).collect();
    match atomically(ctx, Group::of(requests)).await {
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
async fn answer_failed(ctx: &Context, group: Vec<Waiting>, error: Error) {
    let group = match <[Waiting; 1]>::try_from(group) {
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

async fn alone(ctx: &Context, request: Request) -> Answer {
    let answers = atomically(ctx, Group::of(vec![request])).await?;
    answers.into_iter().next().unwrap_or_else(|| Err(abandoned()))
}

impl Waiting {
    /// Whoever asked may have gone away; the request was executed all the same.
    fn answer(self, answer: Answer) {
        drop(self.answer.send(answer));
    }
}

/// Whoever executed the group ended without an answer: whether it was committed is not known.
fn abandoned() -> Error {
    StoreError::OutcomeUnknown("the group of this request ended without an answer".into()).into()
}
