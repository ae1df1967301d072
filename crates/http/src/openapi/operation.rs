//! What is said of one route.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::fields::{Fields, sketch};
use crate::idempotency::Need;
use crate::paging::{Sorted, Wanted};
use crate::wire::view::View;

/// What an answer carries.
#[derive(Debug)]
pub(super) enum Content {
    /// Nothing.
    Nothing,
    /// Data in the envelope.
    Data(Schema),
    /// The same, a page of a list.
    Page(Schema),
    /// What is of that type, without an envelope.
    Plain(&'static str, Schema),
}

/// What a route takes and answers.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) summary: &'static str,
    /// What else there is to know.
    pub(super) about: Option<&'static str>,
    /// The schema of an object that has the parameters.
    pub(super) query: Option<Value>,
    /// The body's schema, and whether it must be there.
    pub(super) body: Option<(Value, bool)>,
    pub(super) key: Option<Need>,
    /// Whether it says after which event to go on by a header too.
    pub(super) is_resumed: bool,
    /// Whether there is another version that says more.
    pub(super) is_deprecated: bool,
    /// Whether the query string may name what there is not, which is answered 404.
    pub(super) is_naming: bool,
    /// Whether the answer has a tag.
    pub(super) is_tagged: bool,
    /// Whether the answer says where something is.
    pub(super) is_located: bool,
    pub(super) status: u16,
    pub(super) content: Content,
}

impl Operation {
    /// Without anything to take, answered 204.
    pub(super) fn new(summary: &'static str) -> Self {
        Self {
            summary,
            about: None,
            query: None,
            body: None,
            key: None,
            is_resumed: false,
            is_deprecated: false,
            is_naming: false,
            is_tagged: false,
            is_located: false,
            status: 204,
            content: Content::Nothing,
        }
    }

    /// Is explained so.
    pub(super) fn about(self, about: &'static str) -> Self {
        Self { about: Some(about), ..self }
    }

    /// Takes what the reader reads out of the query string.
    pub(super) fn query<T>(self, reader: impl FnOnce(&Fields<'_>) -> Option<T>) -> Self {
        Self { query: Some(sketch(reader)), ..self }
    }

    /// What its query string names must be there.
    pub(super) fn naming(self) -> Self {
        Self { is_naming: true, ..self }
    }

    /// Goes on after an event that is named in `Last-Event-ID`.
    pub(super) fn resumed(self) -> Self {
        Self { is_resumed: true, ..self }
    }

    /// Is answered with the headers that name its successor.
    pub(super) fn deprecated(self) -> Self {
        Self { is_deprecated: true, ..self }
    }

    /// Takes the parameters of a list, and what the reader reads besides.
    pub(super) fn paged<K: Sorted, T>(self, reader: impl FnOnce(&Fields<'_>) -> Option<T>) -> Self {
        self.query(|fields| {
            let _ = Wanted::<K>::read(fields);
            reader(fields)
        })
    }

    /// Takes the names of the fields that are wanted.
    pub(super) fn viewed(self, known: &[&str], includes: &[&str]) -> Self {
        self.query(|fields| View::read(fields, known, includes))
    }

    /// Takes the body that the reader reads.
    pub(super) fn body<T>(self, reader: impl FnOnce(&Fields<'_>) -> Option<T>) -> Self {
        Self { body: Some((sketch(reader), true)), ..self }
    }

    /// The same where the body may be left out.
    pub(super) fn body_or_nothing<T>(self, reader: impl FnOnce(&Fields<'_>) -> Option<T>) -> Self {
        Self { body: Some((sketch(reader), false)), ..self }
    }

    /// Takes an idempotency key.
    pub(super) fn keyed(self, need: Need) -> Self {
        Self { key: Some(need), ..self }
    }

    /// Is answered with a tag.
    pub(super) fn tagged(self) -> Self {
        Self { is_tagged: true, ..self }
    }

    /// Is answered 200 with data.
    pub(super) fn ok<T: JsonSchema>(self, schemas: &mut SchemaGenerator) -> Self {
        Self { status: 200, content: Content::Data(schemas.subschema_for::<T>()), ..self }
    }

    /// Is answered 200 with a page of a list.
    pub(super) fn page<T: JsonSchema>(self, schemas: &mut SchemaGenerator) -> Self {
        Self { status: 200, content: Content::Page(schemas.subschema_for::<Vec<T>>()), ..self }
    }

    /// Is answered 201 with what was made.
    pub(super) fn created<T: JsonSchema>(self, schemas: &mut SchemaGenerator) -> Self {
        Self { status: 201, is_located: true, ..self.ok::<T>(schemas) }
    }

    /// Is answered 202: it is done later.
    pub(super) fn accepted<T: JsonSchema>(self, schemas: &mut SchemaGenerator) -> Self {
        Self { status: 202, ..self.ok::<T>(schemas) }
    }

    /// Its data are a page of a list.
    pub(super) fn into_page(self) -> Self {
        let content = match self.content {
            Content::Data(schema) => Content::Page(schema),
            other => other,
        };
        Self { content, ..self }
    }

    /// Has no place of its own.
    pub(super) fn unlocated(self) -> Self {
        Self { is_located: false, ..self }
    }

    /// Says where something is.
    pub(super) fn located(self) -> Self {
        Self { is_located: true, ..self }
    }

    /// Is answered with what is no JSON of ours.
    pub(super) fn plain(self, status: u16, kind: &'static str, schema: Schema) -> Self {
        Self { status, content: Content::Plain(kind, schema), ..self }
    }

    /// Is answered with text of that type.
    pub(super) fn text(self, kind: &'static str) -> Self {
        self.plain(200, kind, json_schema!({ "type": "string" }))
    }

    /// The parameters of the query string.
    pub(super) fn parameters(&self) -> Vec<Value> {
        let Some(query) = &self.query else { return Vec::new() };
        let properties = query.get("properties").and_then(Value::as_object);
        let is_required = |name: &str| {
            let required = query.get("required").and_then(Value::as_array);
            required.is_some_and(|names| names.iter().any(|one| one == name))
        };
        let parameter = |(name, schema): (&String, &Value)| {
            let mut schema = schema.clone();
            // In a query string everything is text.
            if schema.get("type").is_some_and(|kind| *kind == json!(["integer", "string"])) {
                schema["type"] = json!("integer");
            }
            json!({ "name": name, "in": "query", "required": is_required(name), "schema": schema })
        };
        properties.into_iter().flatten().map(parameter).collect()
    }
}
