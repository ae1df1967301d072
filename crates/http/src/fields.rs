//! Reading named values, from a body or a query string, such that every fault is found at once and
//! each is named by its path.
//!
//! A reader takes what it needs from [`Fields`] into `Option`s, `None` standing for a value that
//! could not be read and whose fault is noted already; only at its end it asks for all of them:
//!
//! ```ignore
//! read(&body, Place::Body, |fields| {
//!     let to = fields.required("toUserId", |n| n.id().map(UserId));
//!     let amount = fields.required("amount", Node::amount);
//!     Some(Pay { to: to?, amount: amount? })
//! })
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bellwether_domain::money::{Credits, FeeRate, Price, Shares};
use bellwether_domain::text::{Lines, clean};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::decimal::{self, Complaint};
use crate::faults::{Detail, Fault};
use crate::json::Json;

/// The most faults that one answer lists.
const MOST_FAULTS: usize = 100;
/// Times are kept from 1970 to the last second that a [`Timestamp`] can have, which is 26 hours before the end of 9999,
/// so that it can be written with any offset. Every store and client can hold them.
const TIMES: std::ops::RangeInclusive<i64> = 0..=253_402_207_200;

/// Where the values stand; it decides how an unknown name is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Body,
    Query,
}

/// The faults found so far.
#[derive(Debug, Default)]
struct Collector {
    /// Names nobody knows, and combinations that mean nothing: 400.
    unknown: Vec<Detail>,
    /// Values that are not accepted: 422.
    invalid: Vec<Detail>,
}

/// Reads an object. An unknown name is answered before any value that is not accepted.
pub(crate) fn read<T>(json: &Json, place: Place, reader: impl FnOnce(&Fields<'_>) -> Option<T>) -> Result<T, Fault> {
    let faults = RefCell::new(Collector::default());
    let value = Node { json, path: String::new(), faults: &faults, sketch: None }.object(reader);
    let Collector { mut unknown, mut invalid } = faults.into_inner();
    unknown.truncate(MOST_FAULTS);
    invalid.truncate(MOST_FAULTS);
    match (value, unknown.is_empty(), invalid.is_empty()) {
        (_, false, _) => {
            Err(Fault::unknown(if place == Place::Body { "UNKNOWN_FIELD" } else { "UNKNOWN_PARAMETER" }, unknown))
        }
        (_, true, false) => Err(Fault::invalid(invalid)),
        (Some(value), true, true) => Ok(value),
        (None, true, true) => Err(Fault::internal("a reader gave up without saying why")),
    }
}

/// What a reader would take, as a JSON Schema of an object. It is made by the reader itself, which is shown
/// nothing and asked what it asks for: so it must ask for everything before it gives up.
pub(crate) fn sketch<T>(reader: impl FnOnce(&Fields<'_>) -> Option<T>) -> Value {
    let (faults, schema) = (RefCell::default(), Sketch::default());
    let node = Node { json: &Json::Null, path: String::new(), faults: &faults, sketch: Some(Rc::clone(&schema)) };
    let _ = node.object(reader);
    Value::Object(schema.take())
}

/// A JSON Schema that comes to be.
type Sketch = Rc<RefCell<Map<String, Value>>>;

/// The members of an object, each taken by name. What is never taken is unknown.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    members: &'a BTreeMap<String, Json>,
    path: &'a str,
    faults: &'a RefCell<Collector>,
    taken: RefCell<Vec<&'static str>>,
    sketch: Option<Sketch>,
}

/// A member that may be absent, and may be `null` where that means something: removal.
enum Member<'a> {
    Absent,
    Null,
    Given(Node<'a>),
    /// Nothing is read, but it is written down what would be.
    Asked(Node<'a>),
}

/// Whether a member must be there, or may be `null` to say something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Required,
    Optional,
    Nullable,
}

impl<'a> Fields<'a> {
    /// A member that must be there.
    pub(crate) fn required<T>(&self, name: &'static str, read: impl FnOnce(&Node<'a>) -> Option<T>) -> Option<T> {
        match self.member(name) {
            Member::Given(node) => read(&node),
            Member::Asked(node) => self.sketched(name, node, Presence::Required, read),
            Member::Absent | Member::Null => self.fail(name, "required", "is required"),
        }
    }

    /// A member that may be left out or `null`: then `Some(None)`.
    pub(crate) fn optional<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&Node<'a>) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.member(name) {
            Member::Given(node) => read(&node).map(Some),
            Member::Asked(node) => self.sketched(name, node, Presence::Optional, read).map(Some),
            Member::Absent | Member::Null => Some(None),
        }
    }

    /// A member that stands for `default` where it is left out or `null`.
    pub(crate) fn or<T>(&self, name: &'static str, default: T, read: impl FnOnce(&Node<'a>) -> Option<T>) -> Option<T> {
        self.optional(name, read).map(|value| value.unwrap_or(default))
    }

    /// A member that may be left out, then `Some(None)`, but not removed.
    pub(crate) fn kept<T>(&self, name: &'static str, read: impl FnOnce(&Node<'a>) -> Option<T>) -> Option<Option<T>> {
        match self.member(name) {
            Member::Given(node) => read(&node).map(Some),
            Member::Asked(node) => self.sketched(name, node, Presence::Optional, read).map(Some),
            Member::Null => self.fail(name, "required", "cannot be removed"),
            Member::Absent => Some(None),
        }
    }

    /// A member that may be left out, then `Some(None)`, and is `empty` where it is removed.
    pub(crate) fn removable<T>(
        &self,
        name: &'static str,
        empty: T,
        read: impl FnOnce(&Node<'a>) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.member(name) {
            Member::Given(node) => read(&node).map(Some),
            Member::Asked(node) => self.sketched(name, node, Presence::Nullable, read).map(Some),
            Member::Null => Some(Some(empty)),
            Member::Absent => Some(None),
        }
    }

    /// A member in all its three states.
    fn member(&self, name: &'static str) -> Member<'a> {
        self.taken.borrow_mut().push(name);
        let node = |json, sketch| Node { json, path: self.path_of(name), faults: self.faults, sketch };
        if self.sketch.is_some() {
            return Member::Asked(node(&Json::Null, Some(Sketch::default())));
        }
        match self.members.get(name) {
            None => Member::Absent,
            Some(Json::Null) => Member::Null,
            Some(json) => Member::Given(node(json, None)),
        }
    }

    /// Writes down what a member is.
    fn sketched<T>(
        &self,
        name: &'static str,
        node: Node<'a>,
        presence: Presence,
        read: impl FnOnce(&Node<'a>) -> Option<T>,
    ) -> Option<T> {
        let value = read(&node);
        let mut schema = Value::Object(node.sketch.map(|sketch| sketch.take()).unwrap_or_default());
        if presence == Presence::Nullable {
            schema = json!({ "anyOf": [schema, { "type": "null" }] });
        }
        let mut object = self.sketch.as_ref()?.borrow_mut();
        if let Some(properties) = object.entry("properties").or_insert_with(|| json!({})).as_object_mut() {
            properties.insert(name.to_owned(), schema);
        }
        if presence == Presence::Required
            && let Some(required) = object.entry("required").or_insert_with(|| json!([])).as_array_mut()
        {
            required.push(Value::from(name));
        }
        value
    }

    /// Notes a fault of a member.
    pub(crate) fn fail<T>(&self, name: &str, code: &'static str, message: impl Into<String>) -> Option<T> {
        self.faults.borrow_mut().invalid.push(Detail::of(self.path_of(name), code, message));
        None
    }

    /// Notes a member that means nothing here: 400.
    pub(crate) fn reject<T>(&self, name: &str, code: &'static str, message: impl Into<String>) -> Option<T> {
        self.faults.borrow_mut().unknown.push(Detail::of(self.path_of(name), code, message));
        None
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn note_unknown(&self) {
        let taken = self.taken.borrow();
        for name in self.members.keys().filter(|name| !taken.contains(&name.as_str())) {
            self.reject::<()>(name, "unknown", "is not known here");
        }
    }
}

/// A value and its path.
#[derive(Debug, Clone)]
pub(crate) struct Node<'a> {
    json: &'a Json,
    path: String,
    faults: &'a RefCell<Collector>,
    sketch: Option<Sketch>,
}

impl<'a> Node<'a> {
    /// Whether nothing is to be read; then it is written down that this would be.
    fn is_asked(&self, schema: impl FnOnce() -> Value) -> bool {
        let Some(sketch) = &self.sketch else { return false };
        if let Value::Object(schema) = schema() {
            // What was said before is more than what it is made of.
            let mut sketch = sketch.borrow_mut();
            for (key, value) in schema {
                sketch.entry(key).or_insert(value);
            }
        }
        true
    }

    /// Notes a fault of this value.
    pub(crate) fn fail<T>(&self, code: &'static str, message: impl Into<String>) -> Option<T> {
        let path = if self.path.is_empty() { "body" } else { &self.path };
        self.faults.borrow_mut().invalid.push(Detail::of(path, code, message));
        None
    }

    /// Notes that this value names something that there is not: 400.
    pub(crate) fn reject<T>(&self, code: &'static str, message: impl Into<String>) -> Option<T> {
        self.faults.borrow_mut().unknown.push(Detail::of(self.path.as_str(), code, message));
        None
    }

    fn take<T>(&self, result: Result<T, Complaint>) -> Option<T> {
        result.map_or_else(|(code, message)| self.fail(code, message), Some)
    }

    fn wrong_sort<T>(&self, wanted: &str) -> Option<T> {
        self.fail("type", format!("must be {wanted}, not {}", self.json.sort()))
    }

    /// Its members, read by `reader`; those that it leaves are unknown.
    pub(crate) fn object<T>(&self, reader: impl FnOnce(&Fields<'_>) -> Option<T>) -> Option<T> {
        let nothing = BTreeMap::new();
        let members = match self.json {
            Json::Object(members) => members,
            _ if self.is_asked(|| json!({ "type": "object", "additionalProperties": false })) => &nothing,
            _ => return self.wrong_sort("an object"),
        };
        let (taken, sketch) = (RefCell::default(), self.sketch.clone());
        let fields = Fields { members, path: &self.path, faults: self.faults, taken, sketch };
        let value = reader(&fields);
        fields.note_unknown();
        value
    }

    /// Its members whatever their names: for maps.
    pub(crate) fn entries(&self) -> Option<Vec<(&'a str, Node<'a>)>> {
        if self.is_asked(|| json!({ "type": "object" })) {
            return None;
        }
        let Json::Object(members) = self.json else { return self.wrong_sort("an object") };
        let node = |(name, json): (&'a String, &'a Json)| {
            (name.as_str(), Node { json, path: format!("{}.{name}", self.path), faults: self.faults, sketch: None })
        };
        Some(members.iter().map(node).collect())
    }

    /// Its items, each read by `reader`; so many at least and at most.
    pub(crate) fn list<T>(&self, least: usize, most: usize, reader: impl Fn(&Node<'a>) -> Option<T>) -> Option<Vec<T>> {
        if let Some(sketch) = &self.sketch {
            let item = Node { sketch: Some(Sketch::default()), ..self.clone() };
            let _ = reader(&item);
            let items = item.sketch.map(|sketch| sketch.take()).unwrap_or_default();
            sketch.borrow_mut().extend([
                ("type".to_owned(), json!("array")),
                ("items".to_owned(), Value::Object(items)),
                ("minItems".to_owned(), json!(least)),
                ("maxItems".to_owned(), json!(most)),
            ]);
            return None;
        }
        let Json::List(items) = self.json else { return self.wrong_sort("a list") };
        if !(least..=most).contains(&items.len()) {
            return self.fail("length", format!("must have {least} to {most} items"));
        }
        let node =
            |(index, json)| Node { json, path: format!("{}[{index}]", self.path), faults: self.faults, sketch: None };
        // Every item is read before any is missed, so that all faults are found.
        let read: Vec<Option<T>> = items.iter().enumerate().map(node).map(|item| reader(&item)).collect();
        read.into_iter().collect()
    }

    /// Whether it is a list.
    pub(crate) fn is_list(&self) -> bool {
        // Who asks takes something else as well.
        !self.is_asked(|| json!({ "type": ["array", "object"] })) && matches!(self.json, Json::List(_))
    }

    /// A string, as it is.
    pub(crate) fn string(&self) -> Option<&'a str> {
        match self.json {
            Json::Text(text) => Some(text),
            _ if self.is_asked(|| json!({ "type": "string" })) => None,
            _ => self.wrong_sort("a string"),
        }
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self) -> Option<bool> {
        match self.json {
            Json::Bool(value) => Some(*value),
            _ if self.is_asked(|| json!({ "type": "boolean" })) => None,
            _ => self.wrong_sort("true or false"),
        }
    }

    /// A string that `parse` accepts.
    pub(crate) fn parsed<T, E: std::fmt::Display>(&self, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        parse(self.string()?).map_or_else(|e| self.fail("invalid", e.to_string()), Some)
    }

    /// A text of so many characters, cleaned.
    pub(crate) fn text(&self, lines: Lines, least: usize, most: usize) -> Option<String> {
        if self.is_asked(|| json!({ "type": "string", "minLength": least, "maxLength": most })) {
            return None;
        }
        self.parsed(|text| clean(text, lines, least, most))
    }

    /// One of the names in `all`.
    pub(crate) fn one_of<T: Copy>(&self, all: &[T], name_of: impl Fn(T) -> &'static str) -> Option<T> {
        if self.is_asked(|| json!({ "type": "string", "enum": all.iter().map(|v| name_of(*v)).collect::<Vec<_>>() })) {
            return None;
        }
        let given = self.string()?;
        all.iter().copied().find(|v| name_of(*v) == given).or_else(|| {
            let names: Vec<&str> = all.iter().map(|v| name_of(*v)).collect();
            self.fail("unknown_value", format!("must be one of {}", names.join(", ")))
        })
    }

    /// A UUID in its usual form.
    pub(crate) fn id(&self) -> Option<Uuid> {
        if self.is_asked(|| json!({ "type": "string", "format": "uuid" })) {
            return None;
        }
        self.parsed(|text| parse_id(text).ok_or("must be an id of the form 0193a5e0-0000-7000-8000-000000000000"))
    }

    /// A moment as RFC 3339 writes it, cut to microseconds.
    pub(crate) fn time(&self) -> Option<Timestamp> {
        const FORM: &str =
            "must be a time such as 2030-01-31T12:00:00Z, from 1970-01-01T00:00:00Z to 9999-12-30T22:00:00Z";
        if self.is_asked(|| json!({ "type": "string", "format": "date-time" })) {
            return None;
        }
        self.parsed(|text| {
            let is_plain = text.len() <= 40 && text.is_ascii() && !text.contains('[');
            let time = text.parse::<Timestamp>().ok().filter(|t| is_plain && TIMES.contains(&t.as_second()));
            time.and_then(|t| Timestamp::from_microsecond(t.as_microsecond()).ok()).ok_or(FORM)
        })
    }

    /// Money above zero.
    pub(crate) fn amount(&self) -> Option<Credits> {
        if self.is_asked(|| decimal_schema("Credits above zero, at most three decimals")) {
            return None;
        }
        self.take(decimal::amount(self.json))
    }

    /// A price.
    pub(crate) fn price(&self) -> Option<Price> {
        if self.is_asked(|| decimal_schema("0.001 to 0.999, at most three decimals")) {
            return None;
        }
        self.take(decimal::price(self.json))
    }

    /// A number of shares in one order.
    pub(crate) fn shares(&self) -> Option<Shares> {
        self.whole(1, Shares::MAX_ORDER.count()).map(Shares::new)
    }

    /// A fee rate.
    pub(crate) fn rate(&self) -> Option<FeeRate> {
        if self.is_asked(|| decimal_schema("0 to 0.1, at most four decimals")) {
            return None;
        }
        self.take(decimal::rate(self.json))
    }

    /// A part of one, in mills.
    pub(crate) fn part(&self) -> Option<u16> {
        if self.is_asked(|| decimal_schema("0 to 1, at most three decimals")) {
            return None;
        }
        self.take(decimal::part(self.json))
    }

    /// A whole number.
    pub(crate) fn whole(&self, least: i64, most: i64) -> Option<i64> {
        if self.is_asked(|| json!({ "type": ["integer", "string"], "minimum": least, "maximum": most })) {
            return None;
        }
        self.take(decimal::whole(self.json, least, most))
    }

    /// The same, where it is said what to do about a number beyond the range.
    pub(crate) fn whole_or(&self, least: i64, most: i64, beyond: &str) -> Option<i64> {
        if self.is_asked(|| json!({ "description": format!("Up to {most}; {beyond}") })) {
            return self.whole(least, most);
        }
        self.take(decimal::whole(self.json, least, most).map_err(|(code, message)| match code {
            "range" => (code, format!("{message}; {beyond}")),
            _ => (code, message),
        }))
    }
}

/// A decimal, which may be text or a number.
fn decimal_schema(about: &str) -> Value {
    json!({ "type": ["string", "number"], "pattern": "^-?[0-9]+([.][0-9]+)?$", "description": about })
}

/// A UUID in its hyphenated form alone, which is the one that is answered.
pub(crate) fn parse_id(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|_| text.len() == 36)
}

#[cfg(test)]
mod tests {
    use actix_web::http::StatusCode;

    use super::*;
    use crate::json::parse;

    fn fields_of(fault: &Fault) -> Vec<&str> {
        fault.details().iter().filter_map(|d| d.field.as_deref()).collect()
    }

    fn read_sample(body: &str) -> Result<(Credits, Option<Vec<String>>), Fault> {
        read(&parse(body.as_bytes()).unwrap(), Place::Body, |fields| {
            let amount = fields.required("amount", Node::amount);
            let tags = fields.optional("tags", |n| n.list(0, 3, |item| item.text(Lines::One, 1, 5)));
            let inner = fields.optional("inner", |n| n.object(|f| f.required("at", Node::time)));
            inner?;
            Some((amount?, tags?))
        })
    }

    #[test]
    fn a_reader_tells_what_it_takes() {
        let schema = sketch(|fields| {
            let amount = fields.required("amount", Node::amount);
            let tags = fields.optional("tags", |n| n.list(0, 3, |item| item.text(Lines::One, 1, 5)));
            let inner = fields.removable("inner", None, |n| n.object(|f| f.required("at", Node::time)).map(Some));
            let parts = fields.optional("parts", |n| if n.is_list() { None } else { n.entries().map(drop) });
            tags?;
            inner?;
            parts?;
            amount
        });
        let text = json!({ "type": "string", "minLength": 1, "maxLength": 5 });
        let inner = json!({
            "type": "object", "additionalProperties": false, "required": ["at"],
            "properties": { "at": { "type": "string", "format": "date-time" } },
        });
        assert_eq!(schema["required"], json!(["amount"]));
        assert_eq!(schema["properties"]["amount"]["type"], json!(["string", "number"]));
        assert_eq!(
            schema["properties"]["tags"],
            json!({ "type": "array", "items": text, "minItems": 0, "maxItems": 3 })
        );
        assert_eq!(schema["properties"]["inner"]["anyOf"][0], inner);
        assert_eq!(schema["properties"]["parts"]["type"], json!(["array", "object"]));
        assert_eq!(schema["additionalProperties"], json!(false));
    }

    #[test]
    fn reads_what_is_right() {
        let (amount, tags) =
            read_sample(r#"{"amount":"1.5","tags":["a"],"inner":{"at":"2030-01-01T00:00:00Z"}}"#).unwrap();
        assert_eq!((amount.mills(), tags), (1500, Some(vec!["a".to_owned()])));
        assert_eq!(read_sample(r#"{"amount":2,"tags":null}"#).unwrap().1, None);
    }

    #[test]
    fn lists_every_fault_at_once_by_its_path() {
        let fault = read_sample(r#"{"tags":["a",1,"toolong"],"inner":{"at":"yesterday"}}"#).unwrap_err();
        assert_eq!(fault.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(fields_of(&fault), ["amount", "tags[1]", "tags[2]", "inner.at"]);
    }

    /// Threat 15.
    #[test]
    fn names_all_unknown_fields_before_any_other_fault() {
        let fault = read_sample(r#"{"role":"admin","balance":1,"inner":{"at":7,"x":1}}"#).unwrap_err();
        assert_eq!((fault.status(), fault.code()), (StatusCode::BAD_REQUEST, "UNKNOWN_FIELD"));
        assert_eq!(fields_of(&fault), ["inner.x", "balance", "role"]);
    }

    #[test]
    fn refuses_a_body_that_is_no_object() {
        for body in ["[]", "1", "null", "\"x\""] {
            let fault = read_sample(body).unwrap_err();
            assert_eq!((fault.status(), fields_of(&fault)), (StatusCode::UNPROCESSABLE_ENTITY, vec!["body"]));
        }
    }

    #[test]
    fn takes_times_of_rfc_3339_alone_and_cuts_them_to_microseconds() {
        let read_time = |text: &str| {
            let tree = Json::Object(BTreeMap::from([("at".to_owned(), Json::Text(text.to_owned()))]));
            read(&tree, Place::Body, |f| f.required("at", Node::time)).map(|t| t.to_string())
        };
        assert_eq!(read_time("2030-01-01T01:00:00.1234567+01:00").unwrap(), "2030-01-01T00:00:00.123456Z");
        for bad in [
            "2030-01-01",
            "2030-01-01T00:00:00",
            "2030-01-01T00:00:00+00:00[UTC]",
            "-000001-01-01T00:00:00Z",
            "now",
            "",
        ] {
            assert!(read_time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn takes_every_time_from_the_first_to_the_last_that_is_named() {
        let read_time = |text: &str| {
            let tree = Json::Object(BTreeMap::from([("at".to_owned(), Json::Text(text.to_owned()))]));
            read(&tree, Place::Body, |f| f.required("at", Node::time)).map(|t| t.to_string())
        };
        assert_eq!(*TIMES.end(), Timestamp::MAX.as_second());
        let written = |second: i64| Timestamp::from_second(second).unwrap().to_string();
        let (first, last) = (written(*TIMES.start()), written(*TIMES.end()));
        for time in [&first, &last] {
            assert_eq!(&read_time(time).unwrap(), time);
        }
        for bad in ["1969-12-31T23:59:59Z", "9999-12-30T22:00:01Z", "9999-12-31T23:59:59Z"] {
            let message = read_time(bad).unwrap_err().details()[0].message.clone();
            assert!(message.contains(&first) && message.contains(&last), "{bad}: {message}");
        }
    }

    #[test]
    fn takes_ids_in_their_hyphenated_form_alone() {
        assert!(parse_id("0193a5e0-0000-7000-8000-000000000000").is_some());
        for bad in ["0193a5e0000070008000000000000000", "{0193a5e0-0000-7000-8000-000000000000}", "x", ""] {
            assert!(parse_id(bad).is_none(), "{bad}");
        }
    }
}
