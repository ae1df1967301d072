//! Entries of the audit log.

use bellwether_domain::audit_log::{Entry, Origin, Target};
use bellwether_domain::ids::{EventId, UserId};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::decimal::Shown;

/// An entry.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EntryWire<'a> {
    id: Shown<EventId>,
    number: i64,
    action: &'static str,
    actor: ActorWire,
    target: Option<TargetWire>,
    address: Option<&'a str>,
    agent: Option<&'a str>,
    request_id: Option<&'a str>,
    before: Option<Value>,
    after: Option<Value>,
    created_at: Timestamp,
    /// In hexadecimal.
    hash: String,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ActorWire {
    kind: &'static str,
    user_id: Option<Shown<UserId>>,
}

#[derive(Serialize, JsonSchema)]
struct TargetWire {
    kind: &'static str,
    id: Shown<Uuid>,
}

impl<'a> EntryWire<'a> {
    pub(crate) fn of(entry: &'a Entry) -> Self {
        let event = &entry.event;
        let Origin { device, request_id } = &event.origin;
        let target = |target: Target| TargetWire { kind: target.kind(), id: Shown(target.id()) };
        Self {
            id: Shown(event.id),
            number: entry.number,
            action: event.action.as_str(),
            actor: ActorWire { kind: event.actor.kind(), user_id: event.actor.user().map(Shown) },
            target: event.target.map(target),
            address: device.address.as_deref(),
            agent: device.agent.as_deref(),
            request_id: request_id.as_deref(),
            before: event.before.as_deref().map(json),
            after: event.after.as_deref().map(json),
            created_at: event.at,
            hash: entry.hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

/// What was written as JSON is JSON; should it be none, it is shown as it stands.
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}
