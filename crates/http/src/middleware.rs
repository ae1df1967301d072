//! What happens around every request: it is stamped, admitted and traced, and its answer gets the
//! envelope, the headers and one line in the log.

use std::time::Instant;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::http::{ConnectionType, Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpResponse, web};
use tracing::{Instrument as _, Span};

use crate::app::App;
use crate::call::AskedBy;
use crate::envelope::{Stamp, failure, header_value};
use crate::etag::encoded_tag;
use crate::faults::Fault;
use crate::limits::{Client, Counted};
use crate::routes::Matched;
use crate::{cors, trace};

const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

/// The outermost middleware.
pub(crate) async fn around(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(app) = request.app_data::<web::Data<App>>().cloned() else {
        return Ok(request.into_response(HttpResponse::InternalServerError().finish()).map_into_boxed_body());
    };
    let begun = Instant::now();
    let request_id = trace::request_id(request.headers(), &*app.ctx().ids);
    let stamp = Stamp { request_id, received_at: app.ctx().clock.now() };
    request.extensions_mut().insert(stamp.clone());
    let span = span_of(&request, &stamp);
    let origin = cors::allowed_origin(request.headers(), &app.options().allowed_origins);
    let admitted = app.admit();
    let client = Client::of(&request, &app);
    request.extensions_mut().insert(client);
    let mut counted = None;
    let response = if origin.is_some() && cors::is_preflight(request.method(), request.headers()) {
        let mut answer = HttpResponse::NoContent().finish();
        cors::allow_preflight(answer.headers_mut());
        request.into_response(answer)
    } else if let Some(fault) = refusal(&request, &app, admitted.is_some()) {
        request.error_response(fault)
    } else if !is_probe(&request)
        && let Some(fault) = counted.insert(Counted::of(&request, &app, client, stamp.received_at).await).fault()
    {
        request.error_response(fault)
    } else {
        next.call(request).instrument(span.clone()).await?.map_into_boxed_body()
    };
    drop(admitted);
    let mut response = span.in_scope(|| enclose(response, &stamp));
    finish_headers(response.headers_mut(), &stamp);
    if let Some(counted) = counted {
        counted.write(response.headers_mut());
    }
    if let Some(origin) = origin {
        cors::allow(origin, response.headers_mut());
    }
    log(&response, &app, &stamp, begun);
    Ok(response)
}

/// Why a request is not even routed.
fn refusal(request: &ServiceRequest, app: &App, is_admitted: bool) -> Option<Fault> {
    if !METHODS.contains(request.method()) {
        let fault = Fault::of_status(StatusCode::METHOD_NOT_ALLOWED).closing();
        return Some(fault.with_header(ALLOW, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    }
    if app.options().answers_probes_alone && !is_probe(request) {
        return Some(Fault::of_status(StatusCode::NOT_FOUND));
    }
    (!is_admitted && !is_probe(request))
        .then(|| Fault::unavailable("OVERLOADED", "too many requests are being worked on; try again in a moment"))
}

/// Whether the process lives must be known above all when it has too much to do.
fn is_probe(request: &ServiceRequest) -> bool {
    matches!(request.path(), "/livez" | "/readyz" | "/health" | "/api/v1/health")
}

/// What every line says that is logged while the request is worked on.
fn span_of(request: &ServiceRequest, stamp: &Stamp) -> Span {
    let context = trace::trace_context(request.headers());
    tracing::info_span!(
        "request",
        request_id = stamp.request_id,
        trace_id = context.as_ref().map(|c| c.trace_id.as_str()),
        parent_id = context.as_ref().map(|c| c.parent_id.as_str()),
    )
}

/// Writes the body of an error, whoever made it.
fn enclose(response: ServiceResponse<BoxBody>, stamp: &Stamp) -> ServiceResponse<BoxBody> {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let made_up;
    let fault = match response.response().error().and_then(|error| error.as_error::<Fault>()) {
        Some(fault) => fault,
        None => {
            made_up = Fault::of_status(status);
            &made_up
        }
    };
    if fault.status().is_server_error() {
        tracing::error!(code = fault.code(), cause = fault.cause(), "a request failed");
    }
    let (body, kind) = failure(fault, stamp, response.request().headers());
    let (status, headers, closes) = (fault.status(), fault.headers().to_vec(), fault.closes());
    response.map_body(|head, _| {
        head.status = status;
        for stale in [CONTENT_ENCODING, CONTENT_LENGTH, ETAG] {
            head.headers.remove(stale);
        }
        head.headers.insert(CONTENT_TYPE, kind);
        for (name, value) in headers {
            if let Some(value) = header_value(&value) {
                head.headers.insert(name, value);
            }
        }
        if closes {
            head.set_connection_type(ConnectionType::Close);
        }
        BoxBody::new(body)
    })
}

/// The headers of every answer.
fn finish_headers(headers: &mut HeaderMap, stamp: &Stamp) {
    if let Some(id) = header_value(&stamp.request_id) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    match headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok()) {
        None => {}
        // Only there to keep short answers from being compressed.
        Some("identity") => {
            headers.remove(CONTENT_ENCODING);
        }
        Some(encoding) => {
            let tag = headers
                .get(ETAG)
                .and_then(|tag| encoded_tag(tag.to_str().ok()?, encoding))
                .and_then(|tag| header_value(&tag));
            if let Some(tag) = tag {
                headers.insert(ETAG, tag);
            }
        }
    }
}

/// Tells of an answer where requests are counted, and in the log. Says everything itself, outside of the request's span:
/// the formatter would read what the span says anew.
fn log(response: &ServiceResponse<BoxBody>, app: &App, stamp: &Stamp, begun: Instant) {
    let request = response.request();
    let extensions = request.extensions();
    let route = extensions.get::<Matched>().map_or("", |matched| matched.0.path);
    let user_id = extensions.get::<AskedBy>().map(|asked| tracing::field::display(asked.0));
    let (method, status, took) = (request.method().as_str(), response.status().as_u16(), begun.elapsed());
    if let Some(meter) = app.request_meter() {
        meter.answered(method, route, status, took);
    }
    let latency_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    tracing::info!(request_id = stamp.request_id, method, route, status, latency_us, user_id, "answered");
}
