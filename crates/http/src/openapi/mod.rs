//! The OpenAPI 3.1 document: made from the table of routes, and for each of them from the readers and types that its
//! handler uses itself. So it cannot name what there is not, and what it says of a body is what is read.

#![expect(
    clippy::indexing_slicing,
    reason = "a member of a JSON object is put there by assigning it; all these are objects"
)]

mod operation;
mod operations;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use actix_web::http::Method;
use bellwether_domain::api_key::Scope;
use bellwether_domain::permissions::Permission;
use bellwether_usecases::event_schemas::{self, Form};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::call::Call;
use crate::envelope::Reply;
use crate::faults::Fault;
use crate::idempotency::Need;
use crate::paging::Pagination;
use crate::routes::{Access, IfMatch, ROUTES, Route};
use operation::{Content, Operation};

const COMPONENTS: &str = "#/components/schemas/";

/// Errors that any request may be answered with.
const ALWAYS: [(&str, &str); 4] =
    [("400", "Malformed"), ("429", "TooMany"), ("500", "Internal"), ("503", "Unavailable")];

/// The document, as JSON.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| openapi().to_string());

/// `GET /api/openapi.json`. Its form is the standard's, so it has no envelope.
pub(crate) async fn show(call: Call) -> Result<Reply, Fault> {
    call.no_query()?;
    Ok(Reply::json(DOCUMENT.clone()).tagged(0).public().bare())
}

/// The OpenAPI document of this version.
#[must_use]
pub fn openapi() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut schemas = settings.with(|s| s.definitions_path = "/components/schemas".into()).into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({ "parameters": path_parameters(route.path) }));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.method.to_lowercase(), operation(route, &mut schemas));
        }
    }
    let pagination = schemas.subschema_for::<Pagination>();
    let mut components = schemas.take_definitions(true);
    components.extend(of_envelope(&pagination.to_value()));
    for form in Form::ALL {
        components.extend(of_events(form));
    }
    let components = Value::Object(components);
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Bellwether",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "A prediction market: markets, orders, payments, and what follows from them",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "paths": paths,
        "webhooks": webhooks(),
        "components": {
            "schemas": components,
            "responses": responses(),
            "headers": headers(),
            "parameters": parameters(),
            "securitySchemes": {
                "accessToken": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "From POST /auth/login" },
                "apiKey": { "type": "http", "scheme": "bearer", "description": "From POST /api-keys; named with the scope that it needs" },
            },
        },
    });
    plainly_named(document)
}

/// What stands in braces.
fn path_parameters(path: &str) -> Vec<Value> {
    let names = path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    names
        .map(|name| {
            let about = match (name, path.split('/').nth(3)) {
                ("id", Some("markets")) => "The market's id or slug",
                ("id", Some("users" | "accounts")) => "The id, or me",
                ("type", _) => "The kind of event",
                _ => "The id",
            };
            json!({ "name": name, "in": "path", "required": true, "description": about, "schema": { "type": "string" } })
        })
        .collect()
}

fn operation(route: &Route, schemas: &mut SchemaGenerator) -> Value {
    let described = operations::of(route.method, route.path, schemas);
    let is_described = described.is_some();
    let described = described.unwrap_or_else(|| Operation::new("").ok::<Value>(schemas));
    let mut operation = json!({
        "operationId": name(route),
        "tags": [tag(route.path)],
        "parameters": parameters_of(route, &described),
        "responses": responses_of(route, &described),
        "security": security(route.access),
    });
    if is_described {
        operation["summary"] = json!(described.summary);
    }
    if let Some(about) = described.about {
        operation["description"] = json!(about);
    }
    if described.is_deprecated {
        operation["deprecated"] = json!(true);
    }
    if let Some((schema, is_required)) = &described.body {
        operation["requestBody"] =
            json!({ "required": is_required, "content": { "application/json": { "schema": schema } } });
    }
    operation
}

/// Such as `postMarketsIdClose`.
fn name(route: &Route) -> String {
    let path = route.path.strip_prefix("/api/v1").or(route.path.strip_prefix("/api")).unwrap_or(route.path);
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let capitalised = words.map(|word| {
        let (first, rest) = word.split_at(1);
        format!("{}{rest}", first.to_uppercase())
    });
    let version = if route.path.starts_with("/api/v1/") { "V1" } else { "" };
    // `/health` stands at two places.
    let suffix = if path == "/health" { version } else { "" };
    format!("{}{}{suffix}", route.method.to_lowercase(), capitalised.collect::<String>())
}

fn tag(path: &str) -> &str {
    let family =
        path.strip_prefix("/api/v1/").or(path.strip_prefix("/api/v2/")).and_then(|rest| rest.split('/').next());
    family.filter(|family| *family != "health").unwrap_or("service")
}

fn security(access: Access) -> Value {
    match access {
        Access::Public => json!([]),
        Access::Needs(permission) => Value::Array(bearers(permission).collect()),
        Access::NeedsSession(_) => json!([{ "accessToken": [] }]),
        // What asks for nothing may be chosen as well.
        Access::NeedsOrToken(permission) => Value::Array([json!({})].into_iter().chain(bearers(permission)).collect()),
    }
}

/// What can be borne by whoever may do that.
fn bearers(permission: Permission) -> impl Iterator<Item = Value> {
    let of_key = permission.row().scope.map(|scope| json!({ "apiKey": [Scope::as_str(scope)] }));
    [json!({ "accessToken": [] })].into_iter().chain(of_key)
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

fn parameters_of(route: &Route, operation: &Operation) -> Vec<Value> {
    let mut all = operation.parameters();
    match operation.key {
        Some(Need::Required) => all.push(reference("parameters", "IdempotencyKeyRequired")),
        Some(Need::Optional) => all.push(reference("parameters", "IdempotencyKey")),
        None => {}
    }
    match route.if_match {
        IfMatch::Required => all.push(reference("parameters", "IfMatchRequired")),
        IfMatch::Optional => all.push(reference("parameters", "IfMatch")),
        IfMatch::Untaken => {}
    }
    if operation.is_resumed {
        all.push(reference("parameters", "LastEventId"));
    }
    if operation.is_tagged && route.method == Method::GET.as_str() {
        all.push(reference("parameters", "IfNoneMatch"));
    }
    all
}

fn responses_of(route: &Route, operation: &Operation) -> Value {
    let mut headers = json!({ "X-Request-Id": reference("headers", "XRequestId") });
    if !is_probe(route.path) {
        headers["RateLimit"] = reference("headers", "RateLimit");
        headers["RateLimit-Policy"] = reference("headers", "RateLimitPolicy");
    }
    if operation.is_tagged {
        headers["ETag"] = reference("headers", "ETag");
    }
    if operation.is_deprecated {
        headers["Deprecation"] = reference("headers", "Deprecation");
        headers["Sunset"] = reference("headers", "Sunset");
        headers["Link"] = reference("headers", "Link");
    }
    if operation.is_located {
        headers["Location"] = reference("headers", "Location");
    }
    if operation.key.is_some() {
        headers["Idempotency-Replayed"] = reference("headers", "IdempotencyReplayed");
    }
    let mut answer = json!({ "description": description(operation.status), "headers": headers });
    match &operation.content {
        Content::Nothing => {}
        Content::Data(schema) => answer["content"] = enveloped(schema.as_value(), "Meta"),
        Content::Page(schema) => answer["content"] = enveloped(schema.as_value(), "MetaOfPage"),
        Content::Plain(kind, schema) => answer["content"] = json!({ (*kind): { "schema": schema } }),
    }
    let mut all = Map::from_iter([(operation.status.to_string(), answer)]);
    let mut error = |status: &str, name: &str| all.insert(status.to_owned(), reference("responses", name));
    ALWAYS.iter().for_each(|(status, name)| drop(error(status, name)));
    let may_be_signed_in = ["/auth/", "/stream", "/ws"].iter().any(|part| route.path.contains(part));
    if route.access != Access::Public || may_be_signed_in {
        error("401", "Unauthenticated");
        error("403", "Forbidden");
    }
    if route.path.contains('{') || operation.body.is_some() || operation.is_naming {
        error("404", "NotFound");
    }
    // A body is read where none is needed, too.
    let reads_body = route.method != Method::GET.as_str();
    if reads_body || operation.query.is_some() {
        error("422", "Invalid");
    }
    if reads_body {
        error("409", "Conflict");
        error("412", "Stale");
        error("413", "TooLarge");
        error("415", "WrongType");
    }
    if route.if_match == IfMatch::Required {
        error("428", "VersionNeeded");
    }
    if operation.is_tagged && route.method == Method::GET.as_str() {
        all.insert("304".to_owned(), json!({ "description": "It is as the client has it" }));
    }
    Value::Object(all)
}

fn is_probe(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz" | "/health" | "/api/v1/health")
}

const fn description(status: u16) -> &'static str {
    match status {
        101 => "The connection is a WebSocket from here on",
        201 => "Made",
        202 => "It is done later",
        204 => "Done",
        _ => "As asked for",
    }
}

fn enveloped(data: &Value, meta: &str) -> Value {
    let schema = json!({
        "type": "object",
        "properties": { "success": { "const": true }, "data": data, "meta": { "$ref": format!("{COMPONENTS}{meta}") } },
        "required": ["success", "data", "meta"],
    });
    json!({ "application/json": { "schema": schema } })
}

/// What is around data and errors.
fn of_envelope(pagination: &Value) -> Map<String, Value> {
    let meta = |more: Option<&Value>| {
        let mut meta = json!({
            "type": "object",
            "properties": {
                "requestId": { "type": "string" },
                "timestamp": { "type": "string", "format": "date-time", "description": "When the request came" },
            },
            "required": ["requestId", "timestamp"],
        });
        if let Some(pagination) = more {
            meta["properties"]["pagination"] = pagination.clone();
        }
        meta
    };
    let detail = json!({
        "type": "object",
        "description": "One fault: of which field, where it has one, and what a program may want to know besides",
        "properties": {
            "field": { "type": "string" }, "code": { "type": "string" }, "message": { "type": "string" },
        },
        "additionalProperties": true,
    });
    let error = json!({
        "type": "object",
        "properties": {
            "success": { "const": false },
            "data": { "description": "Of a service that is not well: how it is" },
            "error": {
                "type": "object",
                "properties": {
                    "code": { "type": "string", "pattern": "^[A-Z][A-Z0-9_]*$", "description": "What a program decides by" },
                    "message": { "type": "string", "description": "For people" },
                    "details": { "type": "array", "items": { "$ref": format!("{COMPONENTS}Detail") } },
                },
                "required": ["code", "message", "details"],
            },
            "meta": { "$ref": format!("{COMPONENTS}Meta") },
        },
        "required": ["success", "error", "meta"],
    });
    let problem = json!({
        "type": "object",
        "description": "The same as RFC 9457 has it, for who accepts application/problem+json",
        "properties": {
            "type": { "type": "string" }, "title": { "type": "string" }, "status": { "type": "integer" },
            "detail": { "type": "string" }, "code": { "type": "string" },
            "details": { "type": "array", "items": { "$ref": format!("{COMPONENTS}Detail") } },
            "requestId": { "type": "string" }, "timestamp": { "type": "string", "format": "date-time" },
        },
        "required": ["type", "title", "status", "detail", "code", "details", "requestId", "timestamp"],
    });
    let all = [
        ("Meta", meta(None)),
        ("MetaOfPage", meta(Some(pagination))),
        ("Detail", detail),
        ("Error", error),
        ("Problem", problem),
    ];
    all.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

fn responses() -> Value {
    let error = |about: &str, header: Option<(&str, &str)>| {
        let mut headers = json!({ "X-Request-Id": reference("headers", "XRequestId") });
        if let Some((name, component)) = header {
            headers[name] = reference("headers", component);
        }
        json!({
            "description": about,
            "headers": headers,
            "content": {
                "application/json": { "schema": { "$ref": format!("{COMPONENTS}Error") } },
                "application/problem+json": { "schema": { "$ref": format!("{COMPONENTS}Problem") } },
            },
        })
    };
    let wait = Some(("Retry-After", "RetryAfter"));
    json!({
        "Malformed": error("The request is malformed, or names what there is not", None),
        "Unauthenticated": error("Nobody is signed in", Some(("WWW-Authenticate", "WwwAuthenticate"))),
        "Forbidden": error("Whoever asks may not do this", None),
        "NotFound": error("There is no such thing, or it is another's", None),
        "Conflict": error("It cannot be done as things stand", None),
        "Stale": error("It has changed since, or If-Match names a version where none is taken", None),
        "TooLarge": error("The body is too large", None),
        "WrongType": error("The body must be JSON", None),
        "Invalid": error("Values are not accepted; each is named", None),
        "VersionNeeded": error("If-Match is needed", None),
        "TooMany": error("Too many requests", wait),
        "Internal": error("Something broke", None),
        "Unavailable": error("The service is too busy or not well", wait),
    })
}

fn headers() -> Value {
    let header = |about: &str, kind: &str| json!({ "description": about, "schema": { "type": kind } });
    json!({
        "XRequestId": header("The id of the request, as in the log", "string"),
        "RateLimit": header("What is left of the quota", "string"),
        "RateLimitPolicy": header("The quota", "string"),
        "RetryAfter": header("After how many seconds it may be tried again", "integer"),
        "WwwAuthenticate": header("How to sign in", "string"),
        "ETag": header("The tag of this version: for If-None-Match, and for If-Match where a route has it among its parameters; others refuse it", "string"),
        "Location": header("Where it is", "string"),
        "Deprecation": header("Since when another version is to be preferred (RFC 9745)", "string"),
        "Sunset": header("Until when this one is answered at least (RFC 8594)", "string"),
        "Link": header("Where the other version is, as successor-version", "string"),
        "IdempotencyReplayed": header("Set to true where this is the answer to an earlier request with this key", "string"),
    })
}

fn parameters() -> Value {
    let parameter = |name: &str, is_required: bool, about: &str| json!({ "name": name, "in": "header", "required": is_required, "description": about, "schema": { "type": "string" } });
    let version = "The tag of the version that is to be changed, or *";
    let key = "A fresh random value for each new request, the same one to repeat it safely";
    json!({
        "IdempotencyKey": parameter("Idempotency-Key", false, key),
        "IdempotencyKeyRequired": parameter("Idempotency-Key", true, key),
        "IfMatch": parameter("If-Match", false, version),
        "IfMatchRequired": parameter("If-Match", true, version),
        "LastEventId": parameter("Last-Event-ID", false, "The id of the last event that came, to go on after it; counts more than resumeFrom"),
        "IfNoneMatch": parameter("If-None-Match", false, "The tag of the version that is known"),
    })
}

/// What webhooks are sent.
fn webhooks() -> Map<String, Value> {
    let kinds = event_schemas::kinds(Form::Webhooks).into_iter();
    let receiver = |kind: &str| {
        let schema = json!({ "$ref": format!("{COMPONENTS}{}", name_of(Form::Webhooks, kind)) });
        json!({
            "post": {
                "operationId": format!("webhook.{kind}"),
                "tags": ["webhooks"],
                "requestBody": { "required": true, "content": { "application/json": { "schema": schema } } },
                "responses": { "2XX": { "description": "Taken" }, "410": { "description": "Nothing more is wanted" } },
            },
        })
    };
    kinds.map(|kind| (kind.to_owned(), receiver(kind))).collect()
}

/// The schemas of events in one form, with their places in this document.
fn of_events(form: Form) -> Map<String, Value> {
    let mut all = event_schemas::of_all(form);
    let mut definitions = all.as_object_mut().and_then(|all| all.remove("$defs")).unwrap_or_default();
    if let Some(fields) = all.as_object_mut() {
        fields.remove("$schema");
    }
    let kinds = event_schemas::kinds(form);
    let place = |name: &str| if kinds.contains(&name) { name_of(form, name) } else { name.to_owned() };
    each_reference(&mut all, &place);
    each_reference(&mut definitions, &place);
    let root = match form {
        Form::Events => "Event",
        Form::Stream => "StreamMessage",
        Form::Webhooks => "WebhookMessage",
    };
    let Value::Object(definitions) = definitions else { return Map::new() };
    let mut placed: Map<String, Value> = definitions.into_iter().map(|(name, schema)| (place(&name), schema)).collect();
    placed.insert(root.to_owned(), all);
    placed
}

fn name_of(form: Form, kind: &str) -> String {
    format!("{}.{kind}", form.as_str())
}

/// Replaces what each reference names.
fn each_reference(value: &mut Value, place: &impl Fn(&str) -> String) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                match field {
                    Value::String(target) if key == "$ref" => {
                        let name = target.strip_prefix("#/$defs/").or(target.strip_prefix(COMPONENTS));
                        if let Some(name) = name {
                            *target = format!("{COMPONENTS}{}", place(name));
                        }
                    }
                    other => each_reference(other, place),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each_reference(item, place)),
        _ => {}
    }
}

/// Types are called by what they are, not by where they stand in the code.
fn plainly_named(mut document: Value) -> Value {
    let plain = |name: &str| name.replace("Wire", "");
    each_reference(&mut document, &plain);
    if let Some(schemas) = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut) {
        *schemas = std::mem::take(schemas).into_iter().map(|(name, schema)| (plain(&name), schema)).collect();
    }
    document
}
