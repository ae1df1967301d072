//! Cross-origin requests: closed, but for the origins that are configured.

use actix_web::http::Method;
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue,
    ORIGIN, VARY,
};

/// The origin of a request, if it is one of `allowed`.
pub(crate) fn allowed_origin(asked: &HeaderMap, allowed: &[String]) -> Option<HeaderValue> {
    let origin = asked.get(ORIGIN)?;
    allowed.iter().any(|a| a.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

/// Whether a browser asks what it may ask.
pub(crate) fn is_preflight(method: &Method, asked: &HeaderMap) -> bool {
    method == Method::OPTIONS && asked.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Lets pages of `origin` read the answer.
pub(crate) fn allow(origin: HeaderValue, answer: &mut HeaderMap) {
    answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    answer.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(
            "ETag, Location, Retry-After, X-Request-Id, Idempotency-Replayed, RateLimit, RateLimit-Policy, Deprecation, \
             Sunset, Link, WWW-Authenticate",
        ),
    );
    answer.append(VARY, HeaderValue::from_static("Origin"));
}

/// What pages of an allowed origin may send.
pub(crate) fn allow_preflight(answer: &mut HeaderMap) {
    answer.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE"));
    answer.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(
            "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, X-Request-Id, \
             traceparent",
        ),
    );
    answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It says whether a token has run out or was never good.
    #[test]
    fn a_page_may_read_why_it_is_not_signed_in() {
        let mut answer = HeaderMap::new();
        allow(HeaderValue::from_static("https://app.example.org"), &mut answer);
        let exposed = answer.get(ACCESS_CONTROL_EXPOSE_HEADERS).and_then(|names| names.to_str().ok()).unwrap();
        assert!(exposed.split(", ").any(|name| name == "WWW-Authenticate"), "{exposed}");
    }

    /// A client that follows by `fetch` has to send by itself what it has had last.
    #[test]
    fn a_page_may_go_on_with_a_stream() {
        let mut answer = HeaderMap::new();
        allow_preflight(&mut answer);
        let allowed = answer.get(ACCESS_CONTROL_ALLOW_HEADERS).and_then(|names| names.to_str().ok()).unwrap();
        assert!(allowed.split(", ").any(|name| name == "Last-Event-ID"), "{allowed}");
    }
}
