//! What happened, for administrators and those who follow from outside.

use actix_web::http::StatusCode;
use bellwether_usecases::event_schemas::{self, Form};
use bellwether_usecases::events;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;

use crate::call::Call;
use crate::envelope::Reply;
use crate::faults::{Detail, Fault};
use crate::fields::Fields;

const LIMIT: i64 = 100;
const MOST: i64 = 1000;

/// Events, and how to go on.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PageWire<'a> {
    #[schemars(schema_with = "events_of_a_page")]
    events: &'a [bellwether_domain::event::Recorded],
    /// What to give as `after` next.
    last: i64,
    has_more: bool,
}

/// What each kind is stands in the document by itself.
fn events_of_a_page(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": { "$ref": "#/components/schemas/Event" } })
}

/// Reads after which event, and how many.
pub(crate) fn asked(query: &Fields<'_>) -> Option<(i64, i64)> {
    let after = query.or("after", 0, |n| n.whole(0, i64::MAX));
    let limit = query.or("limit", LIMIT, |n| n.whole(1, MOST));
    Some((after?, limit?))
}

/// `GET /events`.
pub(crate) async fn list(call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let (after, limit) = call.query(asked)?;
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

/// Reads in which form.
pub(crate) fn form(query: &Fields<'_>) -> Option<Form> {
    query.or("form", Form::Events, |n| n.one_of(&Form::ALL, Form::as_str))
}
