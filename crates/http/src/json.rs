//! A JSON document as a tree that keeps what the sender wrote: numbers as their text (but for how an
//! exponent is written), never a float. Stricter than the standard asks: no key twice in one object, and a bounded depth.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};

/// How many objects and lists may stand in each other.
pub(crate) const MAX_DEPTH: usize = 32;

/// The key under which `serde_json`, with `arbitrary_precision`, hands over any other number's text. A
/// sender who writes this key gets a number of that text, which is then read as strictly as any.
const NUMBER: &str = "$serde_json::private::Number";

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    /// The number's text, as it was written.
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// What sort of value it is, for messages.
    pub(crate) const fn sort(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

/// Reads a document; an error says what is wrong and where, for the sender.
pub(crate) fn parse(bytes: &[u8]) -> Result<Json, String> {
    let text =
        std::str::from_utf8(bytes).map_err(|e| format!("the body is not UTF-8: byte {} is wrong", e.valid_up_to()))?;
    let mut document = serde_json::Deserializer::from_str(text);
    let tree = AtDepth(0).deserialize(&mut document).and_then(|tree| document.end().map(|()| tree));
    tree.map_err(|error| {
        let what = if error.is_eof() { "the body ends too early" } else { "the body is not valid JSON" };
        format!("{what}: {error}")
    })
}

/// Reads a value that stands within so many others.
#[derive(Clone, Copy)]
struct AtDepth(usize);

impl AtDepth {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.0 >= MAX_DEPTH {
            return Err(E::custom(format_args!("nested more than {MAX_DEPTH} deep")));
        }
        Ok(Self(self.0 + 1))
    }
}

impl<'de> DeserializeSeed<'de> for AtDepth {
    type Value = Json;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AtDepth {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    // Integers of up to 64 bits come as such, and their text is the only one that JSON allows them.
    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let within = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(within)? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut object = BTreeMap::new();
        while let Some(key) = entries.next_key::<String>()? {
            if key == NUMBER && object.is_empty() {
                return entries.next_value().map(Json::Number);
            }
            let value = entries.next_value_seed(self.deeper()?)?;
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("the key {key:?} stands twice")));
            }
            object.insert(key, value);
        }
        if object.is_empty() {
            self.deeper::<A::Error>()?;
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Json {
        Json::Number(text.to_owned())
    }

    #[test]
    fn keeps_the_text_of_numbers() {
        let texts = [
            "0",
            "-0",
            "-7",
            "1.10",
            "1e+400",
            "0.1234567890123456789",
            "18446744073709551616",
            "-9223372036854775809",
        ];
        for text in texts {
            assert_eq!(parse(text.as_bytes()), Ok(number(text)));
        }
    }

    #[test]
    fn reads_every_sort_of_value() {
        let tree = parse(br#" {"a":[null,true,"x\n\u00e9",{}],"b":{"c":1}} "#).unwrap();
        let Json::Object(object) = tree else { panic!("an object") };
        let list = vec![Json::Null, Json::Bool(true), Json::Text("x\né".into()), Json::Object(BTreeMap::new())];
        assert_eq!(object["a"], Json::List(list));
        assert_eq!(object["b"], Json::Object(BTreeMap::from([("c".into(), number("1"))])));
    }

    /// Threat 19.
    #[test]
    fn says_where_a_malformed_document_is_wrong() {
        let table: [(&[u8], &str); 9] = [
            (b"{\"a\":1,\"a\":2}", "\"a\" stands twice"),
            (b"{\"x\":{\"a\":1,\"a\":2}}", "line 1 column"),
            (b"{\"a\":", "ends too early"),
            (b"", "ends too early"),
            (b"{\"a\":1} x", "line 1 column 9"),
            (b"{'a':1}", "line 1 column 2"),
            (b"\"\xff\"", "byte 1"),
            (b"[1,]", "not valid JSON"),
            (b"NaN", "not valid JSON"),
        ];
        for (document, expected) in table {
            let message = parse(document).unwrap_err();
            assert!(message.contains(expected), "{message} lacks {expected}");
        }
    }

    /// Threat 19.
    #[test]
    fn refuses_what_is_nested_too_deeply() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        for depth in [MAX_DEPTH + 1, 127, 10_000] {
            assert!(parse(nested(depth).as_bytes()).unwrap_err().contains("32 deep"));
        }
        let objects = format!("{}{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
        assert!(parse(objects.as_bytes()).unwrap_err().contains("32 deep"));
        assert!(parse(format!("{}{{}}{}", "[".repeat(32), "]".repeat(32)).as_bytes()).is_err());
    }

    #[test]
    fn takes_a_forged_number_for_a_number_of_that_text() {
        let forged = format!(r#"{{"{NUMBER}":"x"}}"#);
        assert_eq!(parse(forged.as_bytes()), Ok(number("x")));
        assert!(parse(format!(r#"{{"{NUMBER}":"1","b":2}}"#).as_bytes()).is_err());
    }
}
