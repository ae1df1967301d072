//! Cursors: where a walk through a list goes on. To clients they are opaque; they are sealed
//! together with the list, its order and its filters, so none can be made up or used elsewhere.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bellwether_domain::ports::{Sealer, SortValue};
use serde_json::Value;
use uuid::Uuid;

use crate::faults::{Detail, Fault};

/// The length of a seal in bytes.
const SEAL: usize = 32;
/// No cursor of ours is longer.
const LONGEST: usize = 4096;

/// The row that a walk has come to: its sort values and its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) values: Vec<SortValue>,
    pub(crate) id: Uuid,
}

impl Cursor {
    /// The cursor as clients see it, for the list that `binding` describes.
    pub(crate) fn seal(&self, binding: &str, sealer: &dyn Sealer) -> String {
        let mut bytes = self.payload().into_bytes();
        let seal = sealer.seal(&message(binding, &bytes));
        bytes.extend_from_slice(&seal);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a cursor that was sealed for the same list, order and filters.
    pub(crate) fn open(text: &str, binding: &str, sealer: &dyn Sealer) -> Result<Self, Fault> {
        Self::try_open(text, binding, sealer).ok_or_else(|| {
            let message = "is not a cursor of this list with this order and these filters; begin again without it";
            Fault::unknown("BAD_CURSOR", vec![Detail::of("cursor", "invalid", message)])
        })
    }

    fn try_open(text: &str, binding: &str, sealer: &dyn Sealer) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(Some(text).filter(|t| t.len() <= LONGEST)?).ok()?;
        let (payload, seal) = bytes.split_at_checked(bytes.len().checked_sub(SEAL)?)?;
        if !sealer.is_sealed(&message(binding, payload), seal) {
            return None;
        }
        Self::from_payload(payload)
    }

    fn payload(&self) -> String {
        let values = self.values.iter().map(|value| match value {
            SortValue::Int(number) => Value::from(*number),
            SortValue::Text(text) => Value::from(text.as_str()),
        });
        Value::Array(values.chain([Value::from(self.id.to_string())]).collect()).to_string()
    }

    fn from_payload(payload: &[u8]) -> Option<Self> {
        let mut items: Vec<Value> = serde_json::from_slice(payload).ok()?;
        let id = Uuid::try_parse(items.pop()?.as_str()?).ok()?;
        let value = |item: &Value| match item {
            Value::String(text) => Some(SortValue::Text(text.clone())),
            Value::Number(number) => number.as_i64().map(SortValue::Int),
            _ => None,
        };
        Some(Self { values: items.iter().map(value).collect::<Option<_>>()?, id })
    }
}

/// What is sealed: the length keeps binding and payload apart.
fn message(binding: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("cursor\n{}\n{binding}\n", binding.len());
    [head.as_bytes(), payload].concat()
}

#[cfg(test)]
pub(crate) mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    /// A sealer with a key that is no secret.
    pub(crate) struct TestSealer;

    impl Sealer for TestSealer {
        fn seal(&self, message: &[u8]) -> [u8; 32] {
            Sha256::new().chain_update(b"key").chain_update(message).finalize().into()
        }

        fn is_sealed(&self, message: &[u8], code: &[u8]) -> bool {
            self.seal(message) == code
        }
    }

    fn sample() -> Cursor {
        let values = vec![SortValue::Int(i64::MIN), SortValue::Text("é\"".to_owned())];
        Cursor { values, id: Uuid::from_u128(0x0193_a5e0_0000_7000_8000_0000_0000_0001) }
    }

    #[test]
    fn comes_back_as_it_was_given() {
        let text = sample().seal("markets", &TestSealer);
        assert_eq!(Cursor::open(&text, "markets", &TestSealer).unwrap(), sample());
    }

    /// Threat 22.
    #[test]
    fn refuses_tampered_and_foreign_cursors() {
        let text = sample().seal("markets", &TestSealer);
        assert!(Cursor::open(&text, "orders", &TestSealer).is_err());
        for index in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            let tampered = String::from_utf8(bytes).unwrap();
            if tampered != text {
                assert!(Cursor::open(&tampered, "markets", &TestSealer).is_err(), "byte {index}");
            }
        }
        for bad in ["", "AAAA", "***", &"A".repeat(5000), &text[1..], &format!("{text}A")] {
            let fault = Cursor::open(bad, "markets", &TestSealer).unwrap_err();
            assert_eq!((fault.status().as_u16(), fault.code()), (400, "BAD_CURSOR"));
        }
    }
}
