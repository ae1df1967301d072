//! The one shape of every answer: `success`, then `data` or `error`, then `meta`; or, for errors
//! and on request, an RFC 9457 problem.

use actix_web::body::BoxBody;
use actix_web::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, LINK, LOCATION,
    TryIntoHeaderValue as _,
};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, Responder};
use bellwether_domain::ports::KeptAnswer;
use bellwether_usecases::Rendered;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::etag::Etag;
use crate::faults::{Detail, Fault};
use crate::paging::Pagination;

/// Bodies that are shorter are not worth compressing, in bytes.
const WORTH_COMPRESSING: usize = 1024;

/// What every answer says about its request. Put into the request's extensions on its way in.
#[derive(Debug, Clone)]
pub(crate) struct Stamp {
    pub(crate) request_id: String,
    pub(crate) received_at: Timestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    request_id: &'a str,
    timestamp: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pagination: Option<&'a Pagination>,
}

impl Stamp {
    const fn meta<'a>(&'a self, pagination: Option<&'a Pagination>) -> Meta<'a> {
        Meta { request_id: self.request_id.as_str(), timestamp: self.received_at, pagination }
    }
}

/// How long an answer may be kept by whoever passes it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caching {
    /// Not at all: it is somebody's own.
    NoStore,
    /// As long as it is checked by its tag before each use.
    Revalidate,
}

/// A successful answer.
#[derive(Debug)]
pub(crate) struct Reply {
    status: StatusCode,
    data: Option<String>,
    pagination: Option<Pagination>,
    location: Option<String>,
    etag: Option<Etag>,
    caching: Caching,
    is_replay: bool,
    successor: Option<String>,
    is_bare: bool,
}

/// Since when answers of version 1 that version 2 has in another shape are deprecated (RFC 9745): the start
/// of 2026-11-21.
const DEPRECATED_SINCE: &str = "@1795219200";
/// Until when they are given at least (RFC 8594).
const GIVEN_UNTIL: &str = "Sun, 21 Nov 2027 00:00:00 GMT";

impl Reply {
    fn new(status: StatusCode, data: Option<String>) -> Self {
        Self {
            status,
            data,
            pagination: None,
            location: None,
            etag: None,
            caching: Caching::NoStore,
            is_replay: false,
            successor: None,
            is_bare: false,
        }
    }

    /// 200 with data.
    pub(crate) fn ok(data: &impl Serialize) -> Result<Self, Fault> {
        serde_json::to_string(data).map(Self::json).map_err(Fault::internal)
    }

    /// 200 with data that is JSON already.
    pub(crate) fn json(data: String) -> Self {
        Self::new(StatusCode::OK, Some(data))
    }

    /// 201 with data that has no place of its own.
    pub(crate) fn created(data: &impl Serialize) -> Result<Self, Fault> {
        Ok(Self { status: StatusCode::CREATED, ..Self::ok(data)? })
    }

    /// 202 with data: what was asked for is done later.
    pub(crate) fn accepted(data: &impl Serialize) -> Result<Self, Fault> {
        Ok(Self { status: StatusCode::ACCEPTED, ..Self::ok(data)? })
    }

    /// 204.
    pub(crate) fn no_content() -> Self {
        Self::new(StatusCode::NO_CONTENT, None)
    }

    /// An answer that was written down to be kept.
    pub(crate) fn rendered(answer: Rendered) -> Result<Self, Fault> {
        let status = StatusCode::from_u16(answer.status).map_err(Fault::internal)?;
        Ok(Self { location: answer.location, ..Self::new(status, Some(answer.body)) })
    }

    /// An answer that was given before.
    pub(crate) fn replayed(kept: KeptAnswer) -> Result<Self, Fault> {
        let KeptAnswer { status, location, body, .. } = kept;
        Ok(Self { is_replay: true, ..Self::rendered(Rendered { status, location, body })? })
    }

    /// With the page that the data are.
    pub(crate) fn paged(self, pagination: Pagination) -> Self {
        Self { pagination: Some(pagination), ..self }
    }

    /// With the address of what it is about.
    pub(crate) fn located(self, location: String) -> Self {
        Self { location: Some(location), ..self }
    }

    /// With the tag of its data at a version; 0 for what has none.
    pub(crate) fn tagged(self, version: i64) -> Self {
        Self { etag: self.data.as_deref().map(|data| Etag::of(version, data)), ..self }
    }

    /// With a tag of its data that is known.
    pub(crate) fn with_tag(self, tag: Etag) -> Self {
        Self { etag: Some(tag), ..self }
    }

    /// The same for everybody, so caches may keep it if they ask each time.
    pub(crate) fn public(self) -> Self {
        Self { caching: Caching::Revalidate, ..self }
    }

    /// For who asks alone: on its way nobody may keep it.
    pub(crate) fn private(self) -> Self {
        Self { caching: Caching::NoStore, ..self }
    }

    /// Without the envelope: what it is, a standard says.
    pub(crate) fn bare(self) -> Self {
        Self { is_bare: true, ..self }
    }

    /// In a shape that is deprecated; there is another at that path.
    pub(crate) fn superseded_by(self, path: String) -> Self {
        Self { successor: Some(path), ..self }
    }

    /// What a type takes of its data.
    pub(crate) fn read_data<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        serde_json::from_str(self.data.as_deref().unwrap_or_default()).map_err(Fault::internal)
    }

    /// The tag as the client sent it, where the client has this very answer already.
    fn known_tag(&self, request: &HttpRequest) -> Option<String> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let sent = request.headers().get(IF_NONE_MATCH).filter(|_| is_read)?.to_str().ok()?;
        self.etag.as_ref()?.find_in(sent)
    }
}

impl Responder for Reply {
    type Body = BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        let known_tag = self.known_tag(request);
        let status = if known_tag.is_some() { StatusCode::NOT_MODIFIED } else { self.status };
        let mut response = HttpResponse::build(status);
        response.insert_header((
            CACHE_CONTROL,
            match self.caching {
                Caching::NoStore => "no-store",
                Caching::Revalidate => "no-cache",
            },
        ));
        if let Some(location) = self.location {
            response.insert_header((LOCATION, location));
        }
        if let Some(tag) = known_tag.or_else(|| self.etag.as_ref().map(Etag::header)) {
            response.insert_header((ETAG, tag));
        }
        if let Some(path) = self.successor {
            response.insert_header(("Deprecation", DEPRECATED_SINCE));
            response.insert_header(("Sunset", GIVEN_UNTIL));
            response.insert_header((LINK, format!("<{path}>; rel=\"successor-version\"")));
        }
        if self.is_replay {
            response.insert_header(("Idempotency-Replayed", "true"));
        }
        let Some(data) = self.data.filter(|_| status != StatusCode::NOT_MODIFIED) else {
            return response.insert_header((CONTENT_ENCODING, "identity")).finish();
        };
        let body = match request.extensions().get::<Stamp>() {
            Some(_) if self.is_bare => Some(Ok(data)),
            Some(stamp) => Some(success(&data, stamp, self.pagination.as_ref())),
            None => None,
        };
        match body {
            Some(Ok(body)) => {
                if body.len() < WORTH_COMPRESSING {
                    // Keeps the compressing middleware away; `middleware` takes it off again.
                    response.insert_header((CONTENT_ENCODING, "identity"));
                }
                response.insert_header((CONTENT_TYPE, "application/json")).body(body)
            }
            Some(Err(error)) => HttpResponse::from_error(Fault::internal(error)),
            None => HttpResponse::from_error(Fault::internal("the request was not stamped")),
        }
    }
}

fn success(data: &str, stamp: &Stamp, pagination: Option<&Pagination>) -> serde_json::Result<String> {
    let meta = serde_json::to_string(&stamp.meta(pagination))?;
    Ok(format!(r#"{{"success":true,"data":{data},"meta":{meta}}}"#))
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: &'a str,
    message: &'a str,
    details: &'a [Detail],
}

#[derive(Serialize)]
struct Failure<'a> {
    success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    error: ErrorBody<'a>,
    meta: Meta<'a>,
}

/// An RFC 9457 problem.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    details: &'a [Detail],
    request_id: &'a str,
    timestamp: Timestamp,
}

/// The body of an error, and its content type: a problem where the client asked for one.
pub(crate) fn failure(fault: &Fault, stamp: &Stamp, asked: &HeaderMap) -> (String, HeaderValue) {
    let (body, kind) = if wants_problem(asked) {
        let problem = Problem {
            kind: "about:blank",
            title: fault.status().canonical_reason().unwrap_or("Error"),
            status: fault.status().as_u16(),
            detail: fault.message(),
            code: fault.code(),
            details: fault.details(),
            request_id: &stamp.request_id,
            timestamp: stamp.received_at,
        };
        (serde_json::to_string(&problem), "application/problem+json")
    } else {
        let data = fault.data().and_then(|data| serde_json::from_str(data).ok());
        let error = ErrorBody { code: fault.code(), message: fault.message(), details: fault.details() };
        (serde_json::to_string(&Failure { success: false, data, error, meta: stamp.meta(None) }), "application/json")
    };
    (body.unwrap_or_default(), HeaderValue::from_static(kind))
}

/// The error object by itself, for the items of a batch.
pub(crate) fn error_object(fault: &Fault) -> serde_json::Value {
    serde_json::json!({ "code": fault.code(), "message": fault.message(), "details": fault.details() })
}

fn wants_problem(asked: &HeaderMap) -> bool {
    asked.get_all(ACCEPT).filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_problem = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/problem+json"));
        is_problem && !parts.any(|part| part.strip_prefix("q=").and_then(|q| q.parse().ok()) == Some(0.0_f32))
    })
}

/// A header's value; none where it cannot be one.
pub(crate) fn header_value(text: &str) -> Option<HeaderValue> {
    text.try_into_value().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(value).unwrap());
        wants_problem(&headers)
    }

    #[test]
    fn answers_with_a_problem_only_where_one_is_asked_for() {
        assert!(accepts("application/problem+json"));
        assert!(accepts("application/json, application/problem+json;q=0.5"));
        for other in ["application/json", "*/*", "application/problem+json;q=0", "text/application/problem+json", ""] {
            assert!(!accepts(other), "{other}");
        }
    }
}
