//! JSON Schemas of events (draft 2020-12), derived from the types that are sent. New fields may come
//! without a new version, so the schemas do not forbid what they do not name.

use std::collections::BTreeSet;

use bellwether_domain::event::{Event, Kind};
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform as _};
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::view::TradeView;
use crate::{live, webhooks};

/// The draft of all schemas.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// By which way events come; each has its own form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As `GET /events` has them: whole.
    Events,
    /// As live streams tell them, with what else these tell.
    Stream,
    /// As webhooks are told.
    Webhooks,
}

impl Form {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Events, Self::Stream, Self::Webhooks];

    /// Its name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Stream => "stream",
            Self::Webhooks => "webhooks",
        }
    }

    /// What it has beside the kinds of events.
    const fn more(self) -> &'static [Kind] {
        match self {
            Self::Events => &[],
            Self::Stream => live::NOTICES,
            Self::Webhooks => &[TEST],
        }
    }

    fn kinds(self) -> impl Iterator<Item = &'static Kind> {
        Event::CATALOGUE.iter().chain(self.more())
    }
}

/// What `POST /webhooks/{id}/test` sends.
const TEST: Kind = Kind {
    name: webhooks::TEST,
    version: 1,
    about: "Somebody asked for a message to see whether it arrives.",
    data: |_| {
        schemars::json_schema!({
            "type": "object",
            "properties": { "webhookId": { "type": "string", "format": "uuid" } },
            "required": ["webhookId"],
        })
    },
};

/// The names of all kinds that come by that way.
#[must_use]
pub fn kinds(form: Form) -> Vec<&'static str> {
    form.kinds().map(|kind| kind.name).collect()
}

/// The schema of a kind in that form; none where there is no such kind.
#[must_use]
pub fn of_kind(name: &str, form: Form) -> Option<Value> {
    let kind = form.kinds().find(|kind| kind.name == name)?;
    let mut generator = generator();
    let mut schema = message(kind, form, &mut generator);
    if let Some(fields) = schema.as_object_mut() {
        fields.insert("$schema".to_owned(), json!(DIALECT));
        fields.insert("$defs".to_owned(), definitions(generator));
    }
    Some(left_out_not_null(schema))
}

/// One schema of all kinds in that form: a message is one of them, told apart by its `type`.
#[must_use]
pub fn of_all(form: Form) -> Value {
    let mut generator = generator();
    let all: Map<String, Value> =
        form.kinds().map(|kind| (kind.name.to_owned(), message(kind, form, &mut generator))).collect();
    let one_of: Vec<Value> = all.keys().map(|name| json!({ "$ref": format!("#/$defs/{name}") })).collect();
    let mut definitions = definitions(generator);
    if let Some(definitions) = definitions.as_object_mut() {
        definitions.extend(all);
    }
    left_out_not_null(json!({ "$schema": DIALECT, "title": "Event", "oneOf": one_of, "$defs": definitions }))
}

/// The same where what need not be there is never null: what is not there is left out, which a schema that is
/// derived from an `Option` does not know.
#[must_use]
pub fn left_out_not_null(mut schema: Value) -> Value {
    if let Ok(schema) = <&mut Schema>::try_from(&mut schema) {
        RecursiveTransform(forbid_null).transform(schema);
    }
    schema
}

fn forbid_null(schema: &mut Schema) {
    let required: BTreeSet<String> = match schema.get("required").and_then(Value::as_array) {
        Some(names) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        None => BTreeSet::new(),
    };
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (_, property) in properties.into_iter().flatten().filter(|(name, _)| !required.contains(*name)) {
        let Some(property) = property.as_object_mut() else { continue };
        if let Some(Value::Array(types)) = property.get_mut("type") {
            types.retain(|one| one != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                property.insert("type".to_owned(), only);
            }
        }
        if let Some(Value::Array(choices)) = property.get_mut("anyOf") {
            choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
            if let [Value::Object(only)] = choices.as_slice() {
                let only = only.clone();
                property.remove("anyOf");
                property.extend(only);
            }
        }
    }
}

fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12().for_serialize().into_generator()
}

/// What was referred to.
fn definitions(mut generator: SchemaGenerator) -> Value {
    Value::Object(generator.take_definitions(true))
}

/// A whole message: its data, and what is around them.
fn message(kind: &Kind, form: Form, generator: &mut SchemaGenerator) -> Value {
    let data = data(kind, form, generator).to_value();
    let (name, version) = (json!({ "const": kind.name }), json!({ "const": kind.version }));
    let time = json!({ "type": "string", "format": "date-time", "description": "When it happened" });
    let place = "Its place among all events: its id";
    let (properties, required) = if form == Form::Webhooks {
        let sequence = json!({ "type": "string", "pattern": "^[0-9]+$", "description": place });
        let told = json!({ "type": name, "timestamp": time, "sequence": sequence, "version": version, "data": data });
        let test = json!({ "type": name, "timestamp": time, "data": data });
        let told = if kind.name == TEST.name { test } else { told };
        let required: Vec<String> = told.as_object().into_iter().flat_map(|fields| fields.keys().cloned()).collect();
        (told, required)
    } else {
        let sequence = json!({ "type": "integer", "format": "int64", "description": place });
        let id = live::is_answer(kind.name).then(|| json!({ "description": "That of what is answered" }));
        let mut told = json!({ "sequence": sequence, "type": name, "version": version, "at": time, "data": data });
        if let (Some(id), Some(told)) = (id, told.as_object_mut()) {
            told.insert("id".to_owned(), id);
        }
        let has_place = |field: &&str| *field != "sequence" || !live::is_without_place(kind.name);
        let fields = ["sequence", "type", "version", "at", "data"];
        (told, fields.iter().filter(|field| has_place(field)).map(|field| (*field).to_owned()).collect())
    };
    json!({
        "title": kind.name,
        "description": kind.about.trim(),
        "type": "object",
        "properties": properties,
        "required": required,
    })
}

fn data(kind: &Kind, form: Form, generator: &mut SchemaGenerator) -> Schema {
    // Who was whose counterparty is not for everybody.
    if form != Form::Events && kind.name == "trade.executed" {
        return generator.subschema_for::<TradeView<'_>>();
    }
    let own = if form == Form::Stream { live::own_form(kind.name, generator) } else { None };
    own.unwrap_or_else(|| (kind.data)(generator))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn required(schema: &Value) -> Vec<&str> {
        schema["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect()
    }

    #[test]
    fn there_is_a_schema_of_each_kind_in_each_form() {
        for form in Form::ALL {
            assert!(Event::KINDS.iter().all(|kind| of_kind(kind, form).is_some()));
            let all = of_all(form);
            for kind in kinds(form) {
                assert_eq!(all["$defs"][kind]["properties"]["type"]["const"], json!(kind));
                assert!(!all["$defs"][kind]["description"].as_str().unwrap().is_empty());
            }
        }
        assert!(of_kind("market.exploded", Form::Events).is_none());
        assert!(of_kind("hello", Form::Events).is_none() && of_kind("hello", Form::Stream).is_some());
    }

    #[test]
    fn what_may_be_left_out_is_not_required_and_never_null() {
        let schema = of_kind("market.opened", Form::Events).unwrap();
        let data = &schema["$defs"]["MarketData"];
        assert!(required(data).contains(&"marketId") && !required(data).contains(&"category"));
        assert_eq!(data["properties"]["category"]["type"], json!("string"), "{data}");
    }

    #[test]
    fn webhooks_and_streams_tell_of_ones_own_part_in_a_trade_alone() {
        let whole = of_kind("trade.executed", Form::Events).unwrap();
        assert!(required(&whole["$defs"]["TradeData"]).contains(&"takerId"));
        for form in [Form::Webhooks, Form::Stream] {
            let sent = of_kind("trade.executed", form).unwrap();
            let data = &sent["$defs"]["TradeView"];
            assert!(data["properties"].get("takerId").is_none() && data["properties"].get("orderId").is_some());
            assert!(!required(data).contains(&"orderId") && !required(data).contains(&"role"), "{data}");
            assert!(required(data).contains(&"price"));
        }
    }

    #[test]
    fn live_streams_have_their_own_form_of_trades_and_books() {
        let all = of_all(Form::Stream).to_string();
        assert!(!all.contains("takerOrderId") && all.contains("checksums"));
    }
}
