//! Query strings: percent-decoded strictly, no name twice, and read by the same [`Fields`] as
//! bodies, so an unknown parameter is named and every fault is listed.

use std::collections::BTreeMap;

use crate::faults::{Detail, Fault};
use crate::fields::{Fields, Place, read};
use crate::json::Json;

/// Reads a query string.
pub(crate) fn read_query<T>(query: &str, reader: impl FnOnce(&Fields<'_>) -> Option<T>) -> Result<T, Fault> {
    read(&Json::Object(parameters(query)?), Place::Query, reader)
}

fn parameters(query: &str) -> Result<BTreeMap<String, Json>, Fault> {
    let mut parameters = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name)?, decode(value)?);
        if parameters.contains_key(&name) {
            let detail = Detail::of(name, "duplicate", "stands twice in the query string");
            return Err(Fault::unknown("BAD_REQUEST", vec![detail]));
        }
        parameters.insert(name, Json::Text(value));
    }
    Ok(parameters)
}

/// Decodes `%41` and `+`; what is left must be UTF-8.
fn decode(text: &str) -> Result<String, Fault> {
    let malformed = || Fault::malformed("BAD_REQUEST", "the query string is not percent-encoded UTF-8");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = rest.next().and_then(hex_digit).ok_or_else(malformed)?;
                let low = rest.next().and_then(hex_digit).ok_or_else(malformed)?;
                high << 4 | low
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| malformed())
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use actix_web::http::StatusCode;

    use super::*;

    fn read_two(query: &str) -> Result<(Option<String>, Option<i64>), Fault> {
        read_query(query, |fields| {
            let name = fields.optional("name", |n| n.string().map(str::to_owned));
            let depth = fields.optional("depth", |n| n.whole(1, 9));
            Some((name?, depth?))
        })
    }

    #[test]
    fn decodes_names_and_values() {
        assert_eq!(read_two("name=a%20b+c%C3%A9&depth=3").unwrap(), (Some("a b cé".to_owned()), Some(3)));
        assert_eq!(read_two("").unwrap(), (None, None));
        assert_eq!(read_two("&name&").unwrap(), (Some(String::new()), None));
    }

    #[test]
    fn names_every_unknown_parameter() {
        let fault = read_two("colour=red&depth=0&size=1").unwrap_err();
        assert_eq!((fault.status(), fault.code()), (StatusCode::BAD_REQUEST, "UNKNOWN_PARAMETER"));
        let names: Vec<_> = fault.details().iter().filter_map(|d| d.field.as_deref()).collect();
        assert_eq!(names, ["colour", "size"]);
    }

    #[test]
    fn refuses_malformed_and_repeated_parameters() {
        for bad in ["name=%", "name=%4", "name=%zz", "name=%ff", "depth=1&depth=1", "%64epth=1&depth=1"] {
            assert_eq!(read_two(bad).unwrap_err().status(), StatusCode::BAD_REQUEST, "{bad}");
        }
        assert_eq!(read_two("depth=10").unwrap_err().status(), StatusCode::UNPROCESSABLE_ENTITY);
    }
}
