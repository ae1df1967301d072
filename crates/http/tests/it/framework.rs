//! What the framework would answer by itself, in the envelope; and what every answer bears.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix_web::http::Method;
use actix_web::test::TestRequest;
use bellwether_domain::user::{Role, UserStatus};

use crate::support::{Answer, FRESH, MARKET, Ports, TOKEN, get, post, send, session};

fn assert_enveloped(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{}", answer.body);
    assert_eq!(answer.body["success"], false);
    assert!(answer.body["error"]["message"].is_string() && answer.body["error"]["details"].is_array());
    assert_eq!(answer.body["meta"]["requestId"].as_str(), answer.header("x-request-id"));
    assert_eq!(answer.body["meta"]["timestamp"], "1970-01-01T00:00:00Z");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(answer.header("content-security-policy"), Some("default-src 'none'; frame-ancestors 'none'"));
    assert_eq!(answer.header("server"), None);
}

#[actix_web::test]
async fn puts_unknown_addresses_into_the_envelope() {
    for path in ["/", "/api/v1/nothing", "/api/v2/users", "/api/v1/markets/", "/api/v1/users/a/b/c", "/api/v1"] {
        assert_enveloped(&Ports::new().answer(get(path)).await, 404, "NOT_FOUND");
    }
}

/// Threat 25.
#[actix_web::test]
async fn names_the_methods_that_an_address_takes() {
    let answer = Ports::new().answer(TestRequest::patch().uri("/api/v1/orders")).await;
    assert_enveloped(&answer, 405, "METHOD_NOT_ALLOWED");
    let mut allowed: Vec<&str> = answer.header("allow").unwrap().split(", ").collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["DELETE", "GET", "HEAD", "POST"]);
    for method in [Method::TRACE, Method::CONNECT, Method::from_bytes(b"BREW").unwrap()] {
        let answer = Ports::new().answer(TestRequest::default().method(method).uri("/api/v1/orders")).await;
        assert_enveloped(&answer, 405, "METHOD_NOT_ALLOWED");
        assert!(answer.header("allow").is_some());
    }
}

#[actix_web::test]
async fn refuses_malformed_ids_and_unknown_parameters_by_name() {
    let answer = Ports::new().answer(get("/api/v1/markets/Not_A_Slug")).await;
    assert_enveloped(&answer, 400, "BAD_ID");
    let signed_in = |path: &str| get(path).insert_header(("authorization", TOKEN));
    let answer = Ports::new().with_user(Role::User).answer(signed_in("/api/v1/orders/7")).await;
    assert_enveloped(&answer, 400, "BAD_ID");
    let answer = Ports::new().answer(get("/api/v1/markets?colour=red&statuss=open")).await;
    assert_enveloped(&answer, 400, "UNKNOWN_PARAMETER");
    assert_eq!(answer.fields(), ["colour", "statuss"]);
    let answer = Ports::new().answer(get("/api/v1/markets?cursor=AAAA")).await;
    assert_enveloped(&answer, 400, "BAD_CURSOR");
    let answer = Ports::new().answer(get("/api/v1/markets?sort=slug&limit=7")).await;
    assert_enveloped(&answer, 400, "UNKNOWN_PARAMETER");
    let answer = Ports::new().answer(get("/api/v1/markets?limit=0&status=ajar")).await;
    assert_enveloped(&answer, 422, "VALIDATION_ERROR");
    assert_eq!(answer.fields(), ["limit", "status"]);
}

/// Threats 15, 18 and 19.
#[actix_web::test]
async fn refuses_bodies_that_are_not_what_is_asked_for() {
    let login = |body: Vec<u8>, kind: &str| {
        TestRequest::post().uri("/api/v1/auth/login").insert_header(("content-type", kind)).set_payload(body)
    };
    let json = "application/json";
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let table: [(Vec<u8>, &str, u16, &str); 9] = [
        (b"{}".to_vec(), "text/plain", 415, "UNSUPPORTED_MEDIA_TYPE"),
        (vec![b' '; 256 * 1024 + 1], json, 413, "PAYLOAD_TOO_LARGE"),
        (b"{\"email\":".to_vec(), json, 400, "MALFORMED_JSON"),
        (b"{\"email\":1,\"email\":2}".to_vec(), json, 400, "MALFORMED_JSON"),
        (b"{\"email\":\"\xff\"}".to_vec(), json, 400, "MALFORMED_JSON"),
        (deep.into_bytes(), json, 400, "MALFORMED_JSON"),
        (b"{\"email\":\"a\",\"role\":\"admin\",\"x\":1}".to_vec(), json, 400, "UNKNOWN_FIELD"),
        (b"{\"email\":7}".to_vec(), json, 422, "VALIDATION_ERROR"),
        (b"[]".to_vec(), json, 422, "VALIDATION_ERROR"),
    ];
    for (body, kind, status, code) in table {
        assert_enveloped(&Ports::new().answer(login(body, kind)).await, status, code);
    }
    let answer = Ports::new().answer(login(b"{\"email\":1}".to_vec(), json)).await;
    assert_eq!(answer.fields(), ["email", "password"]);
    let zipped = login(b"{}".to_vec(), json).insert_header(("content-encoding", "gzip"));
    let answer = Ports::new().answer(zipped).await;
    assert_enveloped(&answer, 415, "UNSUPPORTED_MEDIA_TYPE");
    assert_eq!(answer.header("accept-encoding"), Some("identity"));
}

#[actix_web::test]
async fn challenges_whoever_is_not_signed_in() {
    let answer = Ports::new().answer(get("/api/v1/orders")).await;
    assert_enveloped(&answer, 401, "UNAUTHENTICATED");
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    let forged = get("/api/v1/orders").insert_header(("authorization", "Bearer forged"));
    let answer = Ports::new().answer(forged).await;
    assert_enveloped(&answer, 401, "UNAUTHENTICATED");
    assert_eq!(answer.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
}

/// A user who was changed elsewhere is looked up anew after a second, so not at each request.
#[actix_web::test]
async fn looks_a_caller_up_less_often_than_it_asks() {
    const REQUESTS: usize = 50;
    let looked_up = Arc::new(AtomicUsize::new(0));
    let mut ports = Ports::new();
    let counter = Arc::clone(&looked_up);
    ports.queries.expect_session().returning(move |id| {
        counter.fetch_add(1, Ordering::SeqCst);
        Ok(Some(session(id, Role::User, UserStatus::Active)))
    });
    ports.queries.expect_transfer().returning(|_| Ok(None));
    let (app, runtime) = ports.into_app();
    for _ in 0..REQUESTS {
        let request = get(&format!("/api/v1/transfers/{MARKET}")).insert_header(("authorization", TOKEN));
        assert_enveloped(&send(&app, request).await, 404, "TRANSFER_NOT_FOUND");
    }
    assert!((1..REQUESTS).contains(&looked_up.load(Ordering::SeqCst)));
    runtime.shutdown_background();
}

/// Threat 14.
#[actix_web::test]
async fn asks_for_a_signature_on_every_route_that_is_not_public() {
    let id = MARKET.to_string();
    let routes = [
        "GET /users",
        "GET /users/me",
        "PUT /users/me",
        "PATCH /users/me",
        "DELETE /users/me",
        "GET /users/me/orders",
        "GET /users/me/positions",
        "GET /users/me/transfers",
        "GET /accounts/me",
        "GET /accounts/me/transfers",
        "POST /transfers",
        "GET /transfers/ID",
        "POST /admin/grants",
        "POST /markets",
        "PUT /markets/ID",
        "PATCH /markets/ID",
        "DELETE /markets/ID",
        "POST /markets/ID/halt",
        "POST /markets/ID/reopen",
        "POST /markets/ID/close",
        "POST /markets/ID/propose",
        "POST /markets/ID/dispute",
        "POST /markets/ID/resolve",
        "POST /markets/ID/void",
        "GET /markets/ID/positions",
        "POST /orders",
        "GET /orders",
        "DELETE /orders",
        "POST /orders/quote",
        "POST /orders/batch",
        "GET /orders/ID",
        "PATCH /orders/ID",
        "DELETE /orders/ID",
        "GET /positions",
        "GET /trades",
    ];
    for route in routes {
        let (method, path) = route.split_once(' ').unwrap();
        let path = format!("/api/v1{}", path.replace("ID", &id));
        let request = TestRequest::default().method(method.parse().unwrap()).uri(&path);
        assert_eq!(Ports::new().answer(request).await.status, 401, "{route}");
    }
}

#[actix_web::test]
async fn answers_with_a_problem_where_one_is_asked_for() {
    let answer = Ports::new().answer(get("/nothing").insert_header(("accept", "application/problem+json"))).await;
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!((&answer.body["status"], &answer.body["code"]), (&404.into(), &"NOT_FOUND".into()));
    assert_eq!(answer.body["title"], "Not Found");
    assert_eq!(answer.body["requestId"].as_str(), answer.header("x-request-id"));
}

/// Threat 23.
#[actix_web::test]
async fn returns_sane_request_ids_and_replaces_others() {
    let with = |id: &'static str| get("/livez").insert_header(("x-request-id", id));
    let answer = Ports::new().answer(with("abc-1.2_3")).await;
    assert_eq!((answer.status, answer.header("x-request-id")), (200, Some("abc-1.2_3")));
    assert_eq!(answer.body["meta"]["requestId"], "abc-1.2_3");
    let answer = Ports::new().answer(with("a b")).await;
    assert_eq!(answer.header("x-request-id"), Some(FRESH.to_string().as_str()));
}

#[actix_web::test]
async fn sends_nothing_but_probes_on_where_too_much_runs() {
    let mut ports = Ports::new();
    ports.options.max_in_flight = 0;
    let (app, runtime) = ports.into_app();
    let answer = send(&app, get("/api/v1/markets")).await;
    assert_enveloped(&answer, 503, "OVERLOADED");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(send(&app, get("/livez")).await.status, 200);
    runtime.shutdown_background();
}

/// Threat 18.
#[actix_web::test]
async fn lets_pages_of_configured_origins_call_and_no_others() {
    let preflight = |origin: &'static str| {
        TestRequest::default()
            .method(Method::OPTIONS)
            .uri("/api/v1/orders")
            .insert_header(("origin", origin))
            .insert_header(("access-control-request-method", "POST"))
    };
    let ports = || {
        let mut ports = Ports::new();
        ports.options.allowed_origins = vec!["https://app.example.org".to_owned()];
        ports
    };
    let answer = ports().answer(preflight("https://app.example.org")).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, Some("https://app.example.org")));
    assert!(answer.header("access-control-allow-headers").unwrap().contains("Idempotency-Key"));
    let answer = ports().answer(preflight("https://evil.example.org")).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (405, None));
    let answer = ports().answer(get("/livez").insert_header(("origin", "null"))).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

/// Threat 31.
#[actix_web::test]
async fn asks_for_an_idempotency_key_where_money_moves() {
    for path in ["/api/v1/orders", "/api/v1/orders/batch", "/api/v1/transfers"] {
        let answer = Ports::new().with_user(Role::User).answer(post(path, "{}")).await;
        assert_enveloped(&answer, 400, "IDEMPOTENCY_KEY_REQUIRED");
    }
}
