//! What happened, for administrators and those who follow from outside.

use bellwether_usecases::events;
use serde::Serialize;

use crate::call::Call;
use crate::envelope::Reply;
use crate::faults::Fault;

const LIMIT: i64 = 100;
const MOST: i64 = 1000;

/// Events, and how to go on.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageWire<'a> {
    events: &'a [bellwether_domain::event::Recorded],
    /// What to give as `after` next.
    last: i64,
    has_more: bool,
}

/// `GET /events`.
pub(crate) async fn list(call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let (after, limit) = call.query(|query| {
        let after = query.or("after", 0, |n| n.whole(0, i64::MAX));
        let limit = query.or("limit", LIMIT, |n| n.whole(1, MOST));
        Some((after?, limit?))
    })?;
    let (ctx, limit) = (call.ctx(), usize::try_from(limit).map_err(Fault::internal)?);
    let page = call.app().run(async move { events::list(&ctx, caller, after, limit).await }).await?;
    let last = page.events.last().map_or(after, |recorded| recorded.sequence);
    Reply::ok(&PageWire { events: &page.events, last, has_more: page.has_more })
}
