//! JSON Schemas of what live streams tell otherwise than `GET /events` does.

use bellwether_domain::event::Kind;
use schemars::{Schema, SchemaGenerator};

use super::message::{Gap, LiveBook, Nothing, SNAPSHOT, Snapshot};
use super::stream::Followed;

/// What there is beside events.
pub(crate) const NOTICES: &[Kind] = &[
    Kind {
        name: "hello",
        version: 1,
        about: "The first message of a fresh stream: everything up to its sequence has happened already.",
        data: SchemaGenerator::subschema_for::<Nothing>,
    },
    Kind {
        name: "resumed",
        version: 1,
        about: "The first message of a stream that goes on; once more where it has caught up.",
        data: SchemaGenerator::subschema_for::<Nothing>,
    },
    Kind {
        name: "gap",
        version: 1,
        about: "The first message where what was asked for cannot be told: load anew what it names.",
        data: SchemaGenerator::subschema_for::<Gap>,
    },
    Kind {
        name: SNAPSHOT,
        version: 1,
        about: "All books of a market.",
        data: SchemaGenerator::subschema_for::<Snapshot>,
    },
    Kind {
        name: SUBSCRIBED,
        version: 1,
        about: "The answer to a client that wants to follow more.",
        data: SchemaGenerator::subschema_for::<Followed>,
    },
    Kind {
        name: UNSUBSCRIBED,
        version: 1,
        about: "The answer to a client that wants to follow less.",
        data: SchemaGenerator::subschema_for::<Followed>,
    },
];

/// The kinds of answers to what a client says.
pub(super) const SUBSCRIBED: &str = "subscribed";
pub(super) const UNSUBSCRIBED: &str = "unsubscribed";

/// Whether messages of that kind have no sequence.
pub(crate) fn is_without_place(kind: &str) -> bool {
    kind == SNAPSHOT
}

/// Whether messages of that kind have the id of what they answer.
pub(crate) fn is_answer(kind: &str) -> bool {
    [SUBSCRIBED, UNSUBSCRIBED].contains(&kind)
}

/// The schema of an event's data where streams tell it in a form of their own.
pub(crate) fn own_form(kind: &str, generator: &mut SchemaGenerator) -> Option<Schema> {
    (kind == "book.changed").then(|| generator.subschema_for::<LiveBook<'_>>())
}
