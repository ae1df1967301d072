//! Decimals on the wire: strings or JSON numbers, always by their exact text and never through a
//! float; and how they are written.

use std::borrow::Cow;
use std::fmt::Display;

use bellwether_domain::money::{Credits, DecimalError, FeeRate, Price, parse_decimal};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};

use crate::json::Json;

/// Why a value is not the decimal that is asked for: a code and a sentence without its subject.
pub(crate) type Complaint = (&'static str, String);

/// An amount of money in credits, at most three decimals, above zero.
pub(crate) fn amount(json: &Json) -> Result<Credits, Complaint> {
    let amount = decimal(json, 3).map(Credits::from_mills)?;
    if amount.is_positive() { Ok(amount) } else { Err(("range", "must be above zero".to_owned())) }
}

/// A price: 0.001 to 0.999.
pub(crate) fn price(json: &Json) -> Result<Price, Complaint> {
    Price::from_mills(decimal(json, 3)?).ok_or(("range", "must be from 0.001 to 0.999".to_owned()))
}

/// A fee rate: 0 to 0.1, at most four decimals.
pub(crate) fn rate(json: &Json) -> Result<FeeRate, Complaint> {
    FeeRate::from_bps(decimal(json, 4)?).ok_or(("range", "must be from 0 to 0.1000".to_owned()))
}

/// A part of one in mills: 0 to 1, at most three decimals.
pub(crate) fn part(json: &Json) -> Result<u16, Complaint> {
    let mills = u16::try_from(decimal(json, 3)?).ok().filter(|m| *m <= 1000);
    mills.ok_or(("range", "must be from 0 to 1".to_owned()))
}

/// A whole number within a range.
pub(crate) fn whole(json: &Json, least: i64, most: i64) -> Result<i64, Complaint> {
    let number = decimal(json, 0)?;
    if (least..=most).contains(&number) {
        Ok(number)
    } else {
        Err(("range", format!("must be from {least} to {most}")))
    }
}

/// Units of `10^-decimals`.
fn decimal(json: &Json, decimals: u32) -> Result<i64, Complaint> {
    let text = match json {
        Json::Text(text) | Json::Number(text) => text,
        other => {
            let wanted = if decimals == 0 { "a whole number" } else { "a decimal string or a number" };
            return Err(("type", format!("must be {wanted}, not {}", other.sort())));
        }
    };
    let value = parse_decimal(text, decimals).map_err(|error| complaint(error, decimals, json))?;
    if value == 0 && text.starts_with('-') {
        return Err(("malformed", "must not be a negative zero".to_owned()));
    }
    Ok(value)
}

fn complaint(error: DecimalError, decimals: u32, json: &Json) -> Complaint {
    match error {
        DecimalError::TooManyDecimals { allowed: 0 } => ("decimals", "must be a whole number".to_owned()),
        DecimalError::TooManyDecimals { allowed } => ("decimals", format!("must have at most {allowed} decimals")),
        DecimalError::OutOfRange => ("range", "is too large".to_owned()),
        DecimalError::Malformed => ("malformed", form(decimals, json).to_owned()),
    }
}

/// What is asked for in place of what cannot be read as a number of so many decimals. What JSON takes for a number all
/// the same has an exponent.
const fn form(decimals: u32, json: &Json) -> &'static str {
    match (decimals, json) {
        (0, Json::Number(_)) => "must be a plain whole number, without an exponent",
        (0, _) => "must be a whole number such as 12",
        (_, Json::Number(_)) => "must be a plain decimal number, without an exponent",
        (_, _) => "must be a decimal number such as \"12.345\"",
    }
}

/// Serialises as the text that it displays: decimals and ids.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown<T>(pub(crate) T);

impl<T: Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// As it is by itself.
impl<T: JsonSchema> JsonSchema for Shown<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A number of mills from 0 to 1000 as a decimal.
pub(crate) fn mills(mills: u16) -> Shown<Credits> {
    Shown(Credits::from_mills(i64::from(mills)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(t: &str) -> Json {
        Json::Text(t.to_owned())
    }

    fn number(t: &str) -> Json {
        Json::Number(t.to_owned())
    }

    #[test]
    fn reads_strings_and_numbers_by_their_exact_text() {
        for json in [text("12.345"), number("12.345"), text("12.3450"), number("12.34500")] {
            assert_eq!(amount(&json), Ok(Credits::from_mills(12_345)));
        }
        assert_eq!(amount(&number("7")), Ok(Credits::from_mills(7_000)));
        assert_eq!(amount(&text("9223372036854775.807")), Ok(Credits::MAX));
        assert_eq!(price(&number("0.623")).unwrap().mills(), 623);
        assert_eq!(rate(&text("0.0125")).unwrap().bps(), 125);
        assert_eq!(part(&text("1")), Ok(1000));
        assert_eq!(whole(&number("3"), 1, 5), Ok(3));
    }

    /// Threat 20.
    #[test]
    fn refuses_what_is_no_amount() {
        let hostile = [
            "1e400",
            "1e3",
            "-0",
            "-0.000",
            "NaN",
            "Infinity",
            "-Infinity",
            "0x10",
            "1,5",
            "1_000",
            " 1",
            "1 ",
            "+1",
            "",
            ".5",
            "5.",
            "١٢",
            "１２",
            "1.2.3",
            "--1",
            "9223372036854775808",
            "99999999999999999999999999999999999999999",
            "-5",
            "0",
        ];
        for sample in hostile {
            assert!(amount(&text(sample)).is_err(), "{sample} as a string");
            assert!(amount(&number(sample)).is_err(), "{sample} as a number");
        }
        for json in [Json::Null, Json::Bool(true), Json::List(vec![]), Json::Object(Default::default())] {
            assert_eq!(amount(&json).unwrap_err().0, "type");
        }
    }

    /// Threat 20.
    #[test]
    fn says_how_many_decimals_are_allowed() {
        assert_eq!(amount(&text("1.2345")), Err(("decimals", "must have at most 3 decimals".to_owned())));
        assert_eq!(rate(&number("0.00001")), Err(("decimals", "must have at most 4 decimals".to_owned())));
        assert_eq!(whole(&number("1.5"), 1, 9), Err(("decimals", "must be a whole number".to_owned())));
    }

    #[test]
    fn asks_for_a_whole_number_where_no_other_is_taken() {
        let message = |json: Json| whole(&json, 1, 9).unwrap_err().1;
        for sample in ["", "abc", "1e1", "1."] {
            assert_eq!(message(text(sample)), "must be a whole number such as 12", "{sample}");
        }
        assert_eq!(message(number("1e+1")), "must be a plain whole number, without an exponent");
        assert_eq!(message(Json::Bool(true)), "must be a whole number, not a boolean");
        assert_eq!(amount(&text("abc")).unwrap_err().1, "must be a decimal number such as \"12.345\"");
        assert_eq!(amount(&number("1e+1")).unwrap_err().1, "must be a plain decimal number, without an exponent");
        assert_eq!(amount(&Json::Null).unwrap_err().1, "must be a decimal string or a number, not null");
    }

    #[test]
    fn bounds_each_sort_of_number() {
        for sample in ["0", "1", "0.9995", "-0.5", "2"] {
            assert!(price(&text(sample)).is_err(), "{sample}");
        }
        assert!(rate(&text("0.1001")).is_err());
        assert!(part(&text("1.001")).is_err());
        assert!(whole(&number("0"), 1, 5).is_err());
    }
}
