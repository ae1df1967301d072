//! Reading a request's body: its type, its size, its time, its JSON.

use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

use crate::faults::Fault;
use crate::json::{self, Json};

/// A body as it came and as a tree.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) raw: Bytes,
    pub(crate) json: Json,
}

impl Body {
    /// Reads a JSON body; an empty one counts as `{}` where none is needed.
    pub(crate) fn of(raw: Bytes, headers: &HeaderMap, may_be_empty: bool) -> Result<Self, Fault> {
        if raw.is_empty() && may_be_empty {
            return Ok(Self { raw, json: Json::Object(std::collections::BTreeMap::new()) });
        }
        check_type(headers)?;
        let json = json::parse(&raw).map_err(|message| Fault::malformed("MALFORMED_JSON", message))?;
        Ok(Self { raw, json })
    }
}

/// 415 where the body is not JSON, or is compressed.
fn check_type(headers: &HeaderMap) -> Result<(), Fault> {
    let unsupported = |message: &str| Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", message);
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default().to_ascii_lowercase());
    if text(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        let fault = unsupported("the body must not be compressed");
        return Err(fault.with_header(ACCEPT_ENCODING, "identity"));
    }
    let given = text(CONTENT_TYPE).unwrap_or_default();
    let mut parts = given.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default();
    let is_json = kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"));
    let is_utf8 = parts
        .filter_map(|part| part.strip_prefix("charset="))
        .all(|charset| matches!(charset.trim_matches('"'), "utf-8" | "utf8"));
    if is_json && is_utf8 { Ok(()) } else { Err(unsupported("the body must be application/json, in UTF-8")) }
}

/// Reads a whole body within a size in bytes and a time. Faults of either close the connection,
/// since what is left of the body would have to be read.
pub(crate) async fn read_all(
    mut payload: Payload,
    headers: &HeaderMap,
    most: usize,
    within: Duration,
) -> Result<Bytes, Fault> {
    let too_large = || {
        let message = format!("the body is larger than {most} bytes");
        Fault::new(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", message).closing()
    };
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok()).unwrap_or(0);
    if declared > u64::try_from(most).unwrap_or(u64::MAX) {
        return Err(too_large());
    }
    let read = async {
        let mut body = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(payload_fault)?;
            if body.len().saturating_add(chunk.len()) > most {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    };
    match tokio::time::timeout(within, read).await {
        Ok(body) => body,
        Err(_) => Err(Fault::of_status(StatusCode::REQUEST_TIMEOUT).closing()),
    }
}

fn payload_fault(error: PayloadError) -> Fault {
    let status = match error {
        PayloadError::Overflow => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    };
    Fault::new(status, Fault::of_status(status).code(), "the body did not arrive whole").closing().caused_by(error)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn status_of(content_type: &str, encoding: &str) -> u16 {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
        headers.insert(CONTENT_ENCODING, HeaderValue::from_str(encoding).unwrap());
        Body::of(Bytes::from_static(b"{}"), &headers, false).map_or_else(|fault| fault.status().as_u16(), |_| 200)
    }

    /// Threats 18 and 19.
    #[test]
    fn takes_uncompressed_json_alone() {
        for good in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/merge-patch+json",
            "application/json;charset=\"utf-8\"",
        ] {
            assert_eq!(status_of(good, "identity"), 200, "{good}");
        }
        for bad in [
            "text/plain",
            "",
            "application/x-www-form-urlencoded",
            "text/json",
            "application/json; charset=utf-16",
            "application/jsonx",
        ] {
            assert_eq!(status_of(bad, "identity"), 415, "{bad}");
        }
        assert_eq!(status_of("application/json", "gzip"), 415);
    }

    #[test]
    fn takes_an_empty_body_only_where_none_is_needed() {
        assert!(Body::of(Bytes::new(), &HeaderMap::new(), true).is_ok());
        assert_eq!(Body::of(Bytes::new(), &HeaderMap::new(), false).unwrap_err().status(), 415);
    }
}
