//! What happened, for administrators and those who follow from outside.

use actix_web::http::StatusCode;
use bellwether_usecases::event_schemas::{self, Form};
use bellwether_usecases::events;
use serde::Serialize;

use crate::call::Call;
use crate::envelope::Reply;
use crate::faults::{Detail, Fault};
use crate::fields::Fields;

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

/// `GET /events/schemas`.
pub(crate) async fn schemas(call: Call) -> Result<Reply, Fault> {
    let form = call.query(form)?;
    Ok(Reply::ok(&event_schemas::of_all(form))?.tagged(0).public())
}

/// `GET /events/schemas/{type}`.
pub(crate) async fn schema(call: Call) -> Result<Reply, Fault> {
    let form = call.query(form)?;
    match event_schemas::of_kind(call.parameter("type").unwrap_or_default(), form) {
        Some(schema) => Ok(Reply::ok(&schema)?.tagged(0).public()),
        None => {
            let message = format!("must be one of {}", event_schemas::kinds(form).join(", "));
            let fault =
                Fault::new(StatusCode::NOT_FOUND, "SCHEMA_NOT_FOUND", "nothing of this type is told in this form");
            Err(fault.with_details(vec![Detail::of("type", "unknown", message)]))
        }
    }
}

fn form(query: &Fields<'_>) -> Option<Form> {
    query.or("form", Form::Events, |n| n.one_of(&Form::ALL, Form::as_str))
}
