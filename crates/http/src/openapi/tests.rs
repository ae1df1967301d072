//! What the document says of routes, without a server.

use super::*;

fn statuses<'a>(document: &'a Value, method: &str, path: &str) -> Vec<&'a str> {
    let operation = &document["paths"][path][method];
    let responses = operation["responses"].as_object().unwrap_or_else(|| panic!("no {method} {path}"));
    responses.keys().map(String::as_str).collect()
}

#[test]
fn every_list_takes_what_asks_for_a_page() {
    let (document, mut lists) = (openapi(), 0);
    for route in ROUTES.iter().filter(|route| route.method == "GET") {
        let operation = &document["paths"][route.path]["get"];
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        if schema["properties"]["meta"]["$ref"] != json!("#/components/schemas/MetaOfPage") {
            continue;
        }
        lists += 1;
        let parameters = operation["parameters"].as_array().unwrap();
        for name in ["limit", "page", "offset", "cursor"] {
            assert!(parameters.iter().any(|parameter| parameter["name"] == name), "{} lacks {name}", route.path);
        }
    }
    assert!(lists > 10, "only {lists}");
}

#[test]
fn what_a_route_may_be_refused_with_is_said() {
    let document = openapi();
    for (method, path, may_be) in [
        ("put", "/api/v1/users/{id}/role", &["412", "428"][..]),
        ("put", "/api/v1/users/{id}/status", &["412", "428"]),
        ("post", "/api/v1/webhooks/{id}/secret/rotate", &["409", "412"]),
        ("get", "/api/v1/api-keys", &["404"]),
        ("get", "/api/v1/stream", &["404"]),
        ("get", "/api/v1/ws", &["404"]),
        ("patch", "/api/v1/orders/{id}", &["412"]),
        ("post", "/api/v1/markets/{id}/close", &["412", "413", "415", "422"]),
        ("delete", "/api/v1/orders/{id}", &["413", "415", "422"]),
        ("delete", "/api/v1/orders", &["413", "415", "422"]),
    ] {
        let found = statuses(&document, method, path);
        assert!(may_be.iter().all(|status| found.contains(status)), "{method} {path}: {found:?}");
    }
    let without_body = statuses(&document, "get", "/api/v1/orders");
    assert!(!without_body.contains(&"415") && without_body.contains(&"422"), "{without_body:?}");
}

#[test]
fn what_nobody_would_expect_is_explained() {
    let document = openapi();
    let about = |method: &str, path: &str| document["paths"][path][method]["description"].to_string();
    assert!(about("post", "/api/v1/api-keys").contains("Idempotency-Key"));
    assert!(about("delete", "/api/v1/users/{id}").contains("stays there"));
    assert!(about("get", "/api/v1/trades").contains("orderId"));
    assert!(about("post", "/api/v1/webhooks/{id}/secret/rotate").contains("If-Match"));
}

#[test]
fn who_has_a_refresh_token_need_not_be_signed_in_to_sign_out() {
    let document = openapi();
    let security = |path: &str| document["paths"][path]["post"]["security"].clone();
    assert_eq!(security("/api/v1/auth/logout"), json!([{}, { "accessToken": [] }]));
    assert_eq!(security("/api/v1/auth/logout-all"), json!([{ "accessToken": [] }]));
    assert_eq!(security("/api/v1/orders"), json!([{ "accessToken": [] }, { "apiKey": ["trade"] }]));
    assert_eq!(security("/api/v1/auth/login"), json!([]));
}

#[test]
fn streams_go_on_after_the_event_that_a_header_names() {
    let document = openapi();
    assert_eq!(document["components"]["parameters"]["LastEventId"]["name"], "Last-Event-ID");
    for path in ["/api/v1/stream", "/api/v1/ws"] {
        let parameters = document["paths"][path]["get"]["parameters"].as_array().unwrap();
        assert!(parameters.contains(&reference("parameters", "LastEventId")), "{path}: {parameters:?}");
    }
}

#[test]
fn what_says_that_it_has_a_successor_is_deprecated_and_nothing_else_is() {
    let document = openapi();
    let is_deprecated =
        |route: &&Route| document["paths"][route.path][route.method.to_lowercase()]["deprecated"] == true;
    let deprecated: Vec<_> = ROUTES.iter().filter(is_deprecated).map(|route| (route.method, route.path)).collect();
    assert_eq!(deprecated, [("GET", "/api/v1/users/{id}")]);
    assert!(document["paths"]["/api/v1/users/{id}"]["get"]["responses"]["200"]["headers"]["Sunset"].is_object());
}

/// Who has a key opens streams with it.
#[test]
fn tickets_are_for_sessions_alone() {
    let document = openapi();
    assert_eq!(document["paths"]["/api/v1/stream/tickets"]["post"]["security"], json!([{ "accessToken": [] }]));
}
