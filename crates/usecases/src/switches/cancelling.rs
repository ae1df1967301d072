//! Cancelling what somebody placed who was not heard of in time.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bellwether_domain::cancel_switch::Sender;
use bellwether_domain::ids::{ApiKeyId, MarketId, OrderId, UserId};
use bellwether_domain::job::{Job, JobKind};
use bellwether_domain::order::{EndReason, Order, OrderStatus};
use bellwether_domain::ports::{Direction, OrderFilter, OrderSort, PageRequest, SortValue, Start, UnitOfWork};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::atomically::{Script, Step, atomically};
use crate::jobs::{Failure, Handler, Verdict};
use crate::settling::end_orders;
use crate::{Context, Error};

/// So many orders are looked at together.
const AT_ONCE: u32 = 100;

/// What a job is put aside with.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    user: UserId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<ApiKeyId>,
    /// When the switch fired. What was placed later stays.
    fired_at: Timestamp,
}

/// What the job is put aside with that cancels what a sender has placed until then.
pub(super) fn payload(sender: Sender, fired_at: Timestamp) -> Result<String, Error> {
    let payload = Payload { user: sender.user, key: sender.key, fired_at };
    serde_json::to_string(&payload).map_err(|_| Error::Payload)
}

/// Cancels all open orders of a sender that were placed until its switch fired: at once what can be seen, and later what was
/// being written meanwhile.
#[derive(Debug, Clone, Copy)]
pub struct Cancelling;

#[async_trait]
impl Handler for Cancelling {
    fn kind(&self) -> JobKind {
        JobKind::CancelOrders
    }

    async fn run(&self, ctx: &Context, job: &Job) -> Result<Verdict, Failure> {
        let unreadable = |_| Failure::ForGood("what was put aside cannot be read".to_owned());
        let Payload { user, key, fired_at } = serde_json::from_str(&job.payload).map_err(unreadable)?;
        // An order has its time before its unit of work has locked all it needs, has written and is committed; until then
        // nobody sees it.
        let second_look = fired_at.checked_add(ctx.policy.longest_unit).unwrap_or(fired_at);
        // What is seen was there by now, so a look that begins in time is the last one.
        let is_last = ctx.clock.now() >= second_look;
        let cancelled = cancel_all(ctx, Sender { user, key }, fired_at).await?;
        if !is_last {
            return Ok(Verdict::Later(second_look));
        }
        Ok(Verdict::Done(Some(format!("{cancelled} orders were cancelled"))))
    }
}

/// Page by page, the oldest first; what has ended meanwhile is left alone.
async fn cancel_all(ctx: &Context, sender: Sender, fired_at: Timestamp) -> Result<usize, Error> {
    let filter = OrderFilter { user: Some(sender.user), status: Some(OrderStatus::Open), ..OrderFilter::default() };
    let sort = vec![(OrderSort::CreatedAt, Direction::Ascending)];
    let (mut start, mut cancelled) = (Start::First, 0_usize);
    loop {
        let page = ctx.queries.orders(&filter, &PageRequest { sort: sort.clone(), start, limit: AT_ONCE }).await?;
        let mut of_markets: BTreeMap<MarketId, Vec<OrderId>> = BTreeMap::new();
        for order in page.items.iter().filter(|order| is_meant(order, sender, fired_at)) {
            of_markets.entry(order.market).or_default().push(order.id);
        }
        for (market, orders) in of_markets {
            cancelled = cancelled.saturating_add(atomically(ctx, Cancel { market, orders, sender, fired_at }).await?);
        }
        match page.items.last() {
            Some(last) if page.has_more && last.created_at <= fired_at => {
                start = Start::After(vec![SortValue::Int(last.created_at.as_microsecond())], last.id.0);
            }
            _ => return Ok(cancelled),
        }
    }
}

fn is_meant(order: &Order, sender: Sender, fired_at: Timestamp) -> bool {
    order.is_open() && sender.has_placed(order) && order.created_at <= fired_at
}

/// Cancels some orders of one market. How many were still open.
struct Cancel {
    market: MarketId,
    orders: Vec<OrderId>,
    sender: Sender,
    fired_at: Timestamp,
}

#[async_trait]
impl Script for Cancel {
    type Output = usize;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<usize>, Error> {
        let markets = unit.markets().lock(&[self.market]).await?;
        // They may have been filled or cancelled until their market was locked.
        let mut orders = unit.orders().load(&self.orders).await?;
        orders.retain(|order| is_meant(order, self.sender, self.fired_at));
        let count = orders.len();
        if count == 0 {
            return Ok(Step::Discard(0));
        }
        let now = ctx.clock.now();
        let changes = end_orders(unit, markets, orders, OrderStatus::Cancelled, EndReason::Disconnected, now).await?;
        unit.write(&changes).await?;
        Ok(Step::Commit(count))
    }
}
