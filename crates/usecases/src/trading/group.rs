//! A group of requests in one unit of work.

use async_trait::async_trait;
use bellwether_domain::exchange::{Limits, Moment, State, Stop};
use bellwether_domain::ids::{ApiKeyId, FreshIds, MarketId, UserId};
use bellwether_domain::ports::{AnswerKey, Decided, GroupOf, KeptAnswer, StoreError, UnitOfWork};
use bellwether_domain::refusal::Refusal;

use super::load::{self, Begun, Depths, First};
use super::{Command, Outcome, Placed, Request};
use crate::atomically::{Script, Step, atomically_telling};
use crate::groups::Grouped;
use crate::turns::Turn;
use crate::{Answered, Context, Error};

/// What each request of a group came to.
pub(super) type Answers = Vec<Result<Answered<Vec<Outcome>>, Error>>;

/// The script of a group.
pub(super) struct Group {
    requests: Vec<Request>,
    depths: Depths,
    turn: Turn,
}

impl Group {
    fn of(requests: Vec<Request>, turn: Turn) -> Self {
        Self { requests, depths: Depths::default(), turn }
    }

    /// The keys that came with the requests.
    fn keys(&self) -> Vec<AnswerKey> {
        self.requests.iter().filter_map(|r| r.keyed.as_ref()).map(|k| k.key.clone()).collect()
    }

    /// The kept answers to requests that were carried out before, in the order of the requests.
    fn replays(&self, kept: &[KeptAnswer]) -> Vec<Option<Result<KeptAnswer, Error>>> {
        let replay = |request: &Request| request.keyed.as_ref().and_then(|keyed| keyed.replay(kept).transpose());
        self.requests.iter().map(replay).collect()
    }
}

#[async_trait]
impl Script for Group {
    type Output = Answers;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Answers>, Error> {
        self.turn.give_up();
        let all: Vec<&Command> = self.requests.iter().flat_map(|request| &request.commands).collect();
        let First { answers: kept, active, markets, named } = load::first(unit, &all, self.keys()).await?;
        let replays = self.replays(&kept);
        let commands: Vec<&Command> = self
            .requests
            .iter()
            .zip(&replays)
            .filter(|(_, replay)| replay.is_none())
            .flat_map(|(request, _)| &request.commands)
            .collect();
        let keys = self.requests.iter().filter_map(|request| request.key).collect();
        let moment = moment(ctx);
        let begun = Begun { markets, named, depths: &self.depths, keys, turn: Some(&self.turn) };
        let mut state = load::rest(unit, &commands, begun, moment.now).await?;
        let mut ids = ctx.ids.fresh();

        let mut answers = Vec::with_capacity(self.requests.len());
        let mut kept = Vec::new();
        for (request, replay) in self.requests.iter().zip(replays) {
            if let Some(replay) = replay {
                answers.push(replay.map(Answered::Replayed));
                continue;
            }
            let mut outcomes = Vec::with_capacity(request.commands.len());
            for command in &request.commands {
                if !active.contains(&load::user_of(command)) {
                    outcomes.push(Err(Refusal::UserInactive));
                    continue;
                }
                let moment = match within_key(&state, command, request.key, moment) {
                    Ok(moment) => moment,
                    Err(refusal) => {
                        outcomes.push(Err(refusal));
                        continue;
                    }
                };
                match execute(&mut state, command, &mut ids, moment) {
                    Ok(placed) => outcomes.push(Ok(placed)),
                    Err(Stop::Refused(refusal)) => outcomes.push(Err(refusal)),
                    Err(Stop::NeedsDepth { market, book, side }) => {
                        self.depths.deepen(market, book, side);
                        return Ok(Step::Again);
                    }
                    Err(stop @ Stop::NotLoaded(_)) => return Err(StoreError::Corrupt(stop.to_string()).into()),
                }
            }
            if let Some(keyed) = request.keyed.as_ref().filter(|_| outcomes.iter().any(Result::is_ok)) {
                kept.push(keyed.keep(&outcomes, moment.now));
            }
            answers.push(Ok(Answered::Fresh(outcomes)));
        }
        let mut changes = state.into_changes();
        if changes.markets.is_empty() {
            // A refusal, too, rests on what others did, which has to be on the disk before anybody is told.
            return Ok(Step::Commit(answers));
        }
        changes.answers = kept;
        unit.write(&changes).await?;
        Ok(Step::Commit(answers))
    }
}

#[async_trait]
impl Grouped for Request {
    const OF: GroupOf = GroupOf::Orders;
    type Answer = Answered<Vec<Outcome>>;

    fn person(&self) -> UserId {
        self.person
    }

    fn size(&self) -> usize {
        self.commands.len()
    }

    /// Of orders that are named by their ids alone the market is not known yet; who sends them has had
    /// the answer that told the id, so whatever they depend on has been executed.
    fn markets(&self) -> Vec<MarketId> {
        self.commands.iter().filter_map(load::market_of).collect()
    }

    async fn execute(ctx: &Context, group: Vec<Self>, turn: Turn, decided: Decided) -> Result<Answers, Error> {
        atomically_telling(ctx, Group::of(group, turn), decided).await
    }
}

/// Executes one command.
fn execute(state: &mut State, command: &Command, ids: &mut FreshIds, moment: Moment) -> Result<Placed, Stop> {
    let executed = match command {
        Command::Place(place) => state.place(place, ids, moment),
        Command::Amend(amend) => state.amend(amend, ids, moment),
        Command::Cancel { order, user } => state.cancel(*order, *user, moment.now),
    };
    executed.map(Placed::from)
}

/// The moment with the limits of the API key that sent the command. Refused where the key is not for it.
fn within_key(state: &State, command: &Command, key: Option<ApiKeyId>, mut moment: Moment) -> Result<Moment, Refusal> {
    let Some(key) = key else { return Ok(moment) };
    let usage = state.key(key).ok_or(Refusal::KeyInactive)?;
    usage.check(market_of(state, command), moment.now)?;
    moment.limits.key = usage.key.limits.counts().then_some(key);
    Ok(moment)
}

/// The market of a command; none where its order is not there, or another's, which is refused in the same words.
fn market_of(state: &State, command: &Command) -> Option<MarketId> {
    let of = |order, user| state.order(order).filter(|order| order.user == user).map(|order| order.market);
    match command {
        Command::Place(place) => Some(place.market),
        Command::Amend(amend) => of(amend.order, amend.user),
        Command::Cancel { order, user } => of(*order, *user),
    }
}

/// Now, with the house's limits.
pub(crate) fn moment(ctx: &Context) -> Moment {
    let limits = Limits { max_open_orders: ctx.policy.max_open_orders, max_fills: ctx.policy.max_fills, key: None };
    Moment { now: ctx.clock.now(), limits }
}
