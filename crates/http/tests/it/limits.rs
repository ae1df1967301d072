//! How many requests are answered.

use actix_web::test::TestRequest;
use bellwether_domain::user::Role;

use crate::support::{Ports, TOKEN, get, post};

fn allowing(limit: u32) -> Ports {
    let mut ports = Ports::new();
    ports.limit = limit;
    ports
}

fn exhausted() -> Ports {
    allowing(0)
}

/// Threat 55: nothing is done for it, not even looked up, and no cache keeps it.
#[actix_web::test]
async fn a_request_too_many_is_refused_before_anything_is_done_for_it() {
    for request in [
        get("/api/v1/markets"),
        get("/api/v1/markets/rain-tomorrow"),
        get("/nowhere"),
        post("/api/v1/auth/login", r#"{"email": "ann@example.org", "password": "x"}"#)
            .insert_header(("authorization", "Bearer bad")),
        TestRequest::post().uri("/api/v1/users").set_payload("no json"),
        TestRequest::patch().uri("/api/v1/users/me"),
    ] {
        let answer = exhausted().answer(request).await;
        assert_eq!((answer.status, answer.code()), (429, "RATE_LIMITED"));
        assert_eq!(answer.header("retry-after"), Some("60"));
        assert_eq!(answer.header("ratelimit-policy"), Some("\"public\";q=1200;w=60"));
        assert_eq!(answer.header("ratelimit"), Some("\"public\";r=0;t=60"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let detail = &answer.body["error"]["details"][0];
        assert_eq!((&detail["policy"], &detail["retryAfterSeconds"]), (&"public".into(), &60.into()));
    }
}

#[actix_web::test]
async fn whoever_is_signed_in_has_a_limit_of_its_own_wherever_it_asks() {
    for path in ["/api/v1/users/me", "/api/v1/markets"] {
        let ports = exhausted().with_user(Role::User);
        let answer = ports.answer(get(path).insert_header(("authorization", TOKEN))).await;
        assert_eq!(answer.status, 429, "{path}");
        assert_eq!(answer.header("ratelimit-policy"), Some("\"user\";q=6000;w=60"));
    }
}

#[actix_web::test]
async fn an_answer_says_what_is_left() {
    let ports = allowing(3).with_user(Role::User);
    let answer = ports.answer(get("/api/v1/users/me").insert_header(("authorization", TOKEN))).await;
    assert_eq!((answer.status, answer.header("ratelimit")), (200, Some("\"user\";r=2;t=60")));
    let answer = allowing(3).answer(get("/nowhere")).await;
    assert_eq!((answer.status, answer.header("ratelimit")), (404, Some("\"public\";r=2;t=60")));
}

#[actix_web::test]
async fn whether_the_server_lives_can_always_be_asked() {
    let answer = exhausted().answer(get("/livez")).await;
    assert_eq!((answer.status, answer.header("ratelimit")), (200, None));
}

/// A page must be able to read why it was refused.
#[actix_web::test]
async fn what_a_browser_asks_beforehand_is_not_counted() {
    let mut ports = exhausted();
    ports.options.allowed_origins = vec!["https://example.org".to_owned()];
    let asked = TestRequest::default()
        .method(actix_web::http::Method::OPTIONS)
        .uri("/api/v1/markets")
        .insert_header(("origin", "https://example.org"))
        .insert_header(("access-control-request-method", "GET"));
    assert_eq!(ports.answer(asked).await.status, 204);
}
