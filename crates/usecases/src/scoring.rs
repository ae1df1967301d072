//! Counting what users did in markets that have paid, by a job, a bounded number of rows at a time.
//!
//! Which markets are left is read from rows that were written when they had paid, so none can be lost. Each step is
//! a unit of work that locks its market, adds to what is kept and notes how far it came: so it may be
//! interrupted anywhere, and done by two at once.

use async_trait::async_trait;
use bellwether_domain::ids::{JobId, MarketId};
use bellwether_domain::job::{Job, JobKind};
use bellwether_domain::market::Market;
use bellwether_domain::money::Overflow;
use bellwether_domain::ports::{Changes, StoreError, UnitOfWork};
use bellwether_domain::score::{self, Counting, PaidPosition};
use jiff::Timestamp;

use crate::atomically::{Script, Step, atomically};
use crate::jobs::{Failure, Handler, Verdict};
use crate::{Context, Error};

/// How many trades, and how many positions, one unit of work counts.
const BATCH: u32 = 1000;
/// How many units of work a job does before it lets others have their turn.
const STEPS: usize = 200;
/// How many markets are looked up at a time.
const MARKETS: u32 = 100;

/// The job that counts, to be put aside with what leaves something to be counted.
pub(crate) fn job(ctx: &Context, now: Timestamp) -> Job {
    let id = JobId(ctx.ids.fresh().next_uuid());
    let unique_key = Some(JobKind::Statistics.as_str().to_owned());
    Job { unique_key, ..Job::new(id, JobKind::Statistics, String::new(), now) }
}

/// Counts markets that have paid.
#[derive(Debug, Clone, Copy)]
pub struct Scoring;

#[async_trait]
impl Handler for Scoring {
    fn kind(&self) -> JobKind {
        JobKind::Statistics
    }

    async fn run(&self, ctx: &Context, _: &Job) -> Result<Verdict, Failure> {
        match count_some(ctx, STEPS).await? {
            Counted::All(markets) => Ok(Verdict::Done(Some(format!("{markets} markets were counted")))),
            Counted::Some => Ok(Verdict::Later(ctx.clock.now())),
        }
    }
}

/// What some steps came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Nothing is left; so many markets were done.
    All(usize),
    /// There is more.
    Some,
}

/// Counts markets that have paid everybody, at most so many units of work. A market that cannot be counted does not
/// keep the others waiting: the first error is returned at the end.
pub async fn count_some(ctx: &Context, steps: usize) -> Result<Counted, Error> {
    let (mut after, mut left, mut markets, mut failure) = (None, steps, 0, None);
    loop {
        let waiting = ctx.queries.markets_to_count(after, MARKETS).await?;
        let Some(last) = waiting.last() else { break };
        after = Some(*last);
        for market in waiting {
            loop {
                if left == 0 {
                    return failure.map_or(Ok(Counted::Some), Err);
                }
                left -= 1;
                match atomically(ctx, CountStep { market }).await {
                    Ok(true) => {
                        markets += 1;
                        break;
                    }
                    Ok(false) => {}
                    Err(error) => {
                        tracing::error!(%market, %error, "a market that has paid cannot be counted; the others are");
                        failure.get_or_insert(error);
                        break;
                    }
                }
            }
        }
    }
    failure.map_or(Ok(Counted::All(markets)), Err)
}

/// One batch of trades of a market, or of its positions, or the last of both. Whether nothing is left to count.
struct CountStep {
    market: MarketId,
}

#[async_trait]
impl Script for CountStep {
    type Output = bool;

    async fn run(&mut self, _: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<bool>, Error> {
        let market = unit.markets().lock(&[self.market]).await?.into_iter().next();
        let counting = unit.scores().counting(self.market).await?;
        let Some(mut counting) = counting.filter(|counting| !counting.is_done) else { return Ok(Step::Discard(true)) };
        let Some(market) = market else {
            // It is gone, and with it whatever there was to count: else it would be looked for again by every job.
            counting.is_done = true;
            unit.write(&Changes { countings: vec![counting], ..Changes::default() }).await?;
            return Ok(Step::Commit(true));
        };
        if !count_trades(unit, &market, &mut counting).await? {
            return Ok(Step::Commit(false));
        }
        let positions = unit.scores().positions_after(market.id, counting.users_through, BATCH).await?;
        let scores = positions.iter().map(PaidPosition::score).collect::<Result<Vec<_>, _>>().map_err(too_much)?;
        counting.is_done = is_short(positions.len());
        counting.users_through = positions.last().map_or(counting.users_through, |position| position.user);
        let counted_positions = positions.iter().map(|position| (market.id, position.user)).collect();
        unit.write(&Changes { countings: vec![counting], scores, counted_positions, ..Changes::default() }).await?;
        Ok(Step::Commit(counting.is_done))
    }
}

/// Counts a batch of trades, if any are left; whether none are after it.
async fn count_trades(unit: &mut dyn UnitOfWork, market: &Market, counting: &mut Counting) -> Result<bool, Error> {
    let trades = unit.scores().trades_after(market.id, counting.last_trade, BATCH).await?;
    let Some(last) = trades.last() else { return Ok(true) };
    counting.last_trade = Some((last.created_at, last.id));
    let market_scores = score::of_trades(market, &trades).map_err(too_much)?;
    unit.write(&Changes { countings: vec![*counting], market_scores, ..Changes::default() }).await?;
    Ok(is_short(trades.len()))
}

fn is_short(rows: usize) -> bool {
    u32::try_from(rows).is_ok_and(|rows| rows < BATCH)
}

fn too_much(overflow: Overflow) -> StoreError {
    StoreError::Corrupt(format!("what a user did in a market cannot be counted: {overflow}"))
}
