//! What a request is known by in logs: its id and, where a caller traces, the W3C trace context.

use actix_web::http::header::HeaderMap;
use bellwether_domain::ports::IdSource;

/// The request id: the client's where it is sane, else a fresh one.
pub(crate) fn request_id(headers: &HeaderMap, ids: &dyn IdSource) -> String {
    let given = headers.get("x-request-id").and_then(|value| value.to_str().ok());
    match given.filter(|id| is_sane(id)) {
        Some(id) => id.to_owned(),
        None => ids.fresh().next_uuid().to_string(),
    }
}

/// 1 to 128 characters that can break no log line, header or shell.
fn is_sane(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// A trace context: the trace and the span that called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TraceContext {
    pub(crate) trace_id: String,
    pub(crate) parent_id: String,
}

/// Reads `traceparent`: `00-<32 hex>-<16 hex>-<2 hex>`, later versions may say more. What is malformed is ignored.
pub(crate) fn trace_context(headers: &HeaderMap) -> Option<TraceContext> {
    let mut parts = headers.get("traceparent")?.to_str().ok()?.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |s: &str, len: usize| s.len() == len && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let is_zero = |s: &str| s.bytes().all(|b| b == b'0');
    let is_valid = is_hex(version, 2)
        && version != "ff"
        && (version != "00" || parts.next().is_none())
        && is_hex(trace, 32)
        && !is_zero(trace)
        && is_hex(parent, 16)
        && !is_zero(parent)
        && is_hex(flags, 2);
    is_valid.then(|| TraceContext { trace_id: trace.to_owned(), parent_id: parent.to_owned() })
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};
    use bellwether_domain::ids::FreshIds;
    use bellwether_domain::ports::MockIdSource;
    use uuid::Uuid;

    use super::*;

    fn headers(name: &'static str, value: &[u8]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        headers
    }

    fn id_for(value: &[u8]) -> String {
        let mut ids = MockIdSource::new();
        ids.expect_fresh().returning(|| FreshIds::starting_at(Uuid::nil()));
        request_id(&headers("x-request-id", value), &ids)
    }

    /// Threat 23.
    #[test]
    fn replaces_request_ids_that_could_break_a_log() {
        assert_eq!(id_for(b"abc-DEF_1.2"), "abc-DEF_1.2");
        let fresh = Uuid::nil().to_string();
        for bad in [&b"a b"[..], b"a\tb", b"\"", b"\xc3\xa9", b"", &[b'a'; 129], b"{}", b"a;b"] {
            assert_eq!(id_for(bad), fresh);
        }
    }

    #[test]
    fn reads_a_trace_context_and_ignores_malformed_ones() {
        let of = |value: &str| trace_context(&headers("traceparent", value.as_bytes()));
        let context = of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert_eq!(context.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.parent_id, "00f067aa0ba902b7");
        assert!(of("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more").is_some());
        for bad in [
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
