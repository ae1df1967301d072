//! HTTP itself: the envelope on every answer, and requests that no client would send.

use std::time::Duration;

use bellwether_tests::{Answer, Installation, Server, Store, on_each_store, raw};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// Long enough for an answer on a busy machine. Whoever closes the connection is not waited for.
const QUIET: Duration = Duration::from_secs(20);

#[track_caller]
fn is_enveloped(answer: &Answer, status: u16, code: &str) {
    answer.refused(status, code);
    assert_eq!(answer.body["success"], json!(false));
    assert!(answer.body["error"]["message"].as_str().is_some_and(|m| !m.is_empty()));
    assert!(answer.body["error"]["details"].is_array());
    assert_eq!(answer.body["meta"]["requestId"], json!(answer.header("x-request-id")));
    assert!(answer.body["meta"]["timestamp"].as_str().is_some_and(|t| t.ends_with('Z')));
    assert!(answer.header("content-type").starts_with("application/json"));
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_of_the_framework_wears_the_envelope() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let send = |method: &str, path: &str| api.request(method, path).by(&ann).fresh_key();
        is_enveloped(&send("GET", "/nothing").send().await, 404, "NOT_FOUND");
        is_enveloped(&send("GET", "//nothing/at/all").send().await, 404, "NOT_FOUND");
        is_enveloped(&send("GET", "//").send().await, 404, "NOT_FOUND");
        let wrong_method = send("DELETE", "/auth/login").send().await;
        is_enveloped(&wrong_method, 405, "METHOD_NOT_ALLOWED");
        assert_eq!(wrong_method.header("allow"), "POST");
        is_enveloped(&send("PUT", "//livez").send().await, 405, "METHOD_NOT_ALLOWED");
        let big = format!("{{\"memo\":\"{}\"}}", "x".repeat(1 << 20));
        is_enveloped(&send("POST", "/transfers").body(big).send().await, 413, "PAYLOAD_TOO_LARGE");
        let form = send("POST", "/transfers").header("Content-Type", "text/plain").send().await;
        is_enveloped(&form, 415, "UNSUPPORTED_MEDIA_TYPE");
        is_enveloped(&send("POST", "/transfers").body("{").send().await, 400, "MALFORMED_JSON");
        is_enveloped(&send("GET", "/orders/17").send().await, 400, "BAD_ID");
        is_enveloped(&send("GET", "/orders?page=%zz").send().await, 400, "BAD_REQUEST");
        let nobody = api.request("GET", "/orders").send().await;
        is_enveloped(&nobody, 401, "UNAUTHENTICATED");
        assert!(nobody.header("www-authenticate").starts_with("Bearer"));
        let good = send("GET", "/users/me").send().await.expect(200);
        assert_eq!((good.body["success"].as_bool(), good.header("cache-control")), (Some(true), "no-store"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_can_be_had_as_problems_and_requests_bear_an_id() {
    on_each_store(|server| async move {
        let api = server.api();
        let body = json!({ "email": "x", "displayName": "", "password": "1" });
        let request = api.request("POST", "/users").header("Accept", "application/problem+json").json(&body);
        let problem = request.send().await.expect(422);
        assert!(problem.header("content-type").starts_with("application/problem+json"));
        assert_eq!((&problem.body["status"], &problem.body["code"]), (&json!(422), &json!("VALIDATION_ERROR")));
        assert_eq!(problem.body["details"].as_array().map(Vec::len), Some(3));

        let echoed = api.request("GET", "/markets").header("X-Request-Id", "my-id.1").send().await.expect(200);
        assert_eq!((echoed.header("x-request-id"), &echoed.body["meta"]["requestId"]), ("my-id.1", &json!("my-id.1")));
        let replaced = api.request("GET", "/markets").header("X-Request-Id", "a b{}\"").send().await.expect(200);
        assert_eq!(replaced.header("x-request-id").len(), 36);
        // It says so as soon as the database answers quickly.
        api.wait_for("//health", None, |health| health["status"] == "ok").await;
    })
    .await;
}

/// Threat 25.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_two_servers_could_read_differently_are_refused() {
    on_each_store(|server| async move {
        let smuggled = "GET /api/v1/markets HTTP/1.1\r\nHost: x\r\n\r\n";
        let post = "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
        let cases = [
            format!("{post}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
            format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{smuggled}"),
            format!("{post}Content-Length: 2\r\nContent-Length: 4\r\n\r\n{{}}{smuggled}"),
            format!("{post}Content-Length: 2, 4\r\n\r\n{{}}{smuggled}"),
            format!("{post}Content-Length: +2\r\n\r\n{{}}{smuggled}"),
            format!("{post}Content-Length: -1\r\n\r\n{smuggled}"),
            format!("{post}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}"),
            format!("{post}Content-Length : 2\r\n\r\n{{}}{smuggled}"),
            "GET /api/v1/markets\0 HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            "nonsense\r\n\r\n".to_owned(),
        ];
        for case in &cases {
            let answer = raw::exchange(server.address(), case.as_bytes(), QUIET).await;
            let statuses = answer.statuses();
            assert!(matches!(statuses[..], [400 | 411 | 501]), "{case:?} was answered {}", answer.text);
            assert!(answer.closed, "{case:?} left the connection open");
            assert!(!answer.text.contains("\"success\":true"), "{case:?}: {}", answer.text);
        }
        for method in ["TRACE /api/v1/markets", "CONNECT x:1", "PRI *"] {
            let request = format!("{method} HTTP/1.1\r\nHost: x\r\nX-Secret: canary\r\n\r\n");
            let answer = raw::exchange(server.address(), request.as_bytes(), QUIET).await;
            assert!(matches!(answer.statuses()[..], [400 | 405]), "{method} was answered {}", answer.text);
            assert!(answer.closed && !answer.text.contains("canary"), "{method}: {}", answer.text);
        }
        server.api().request("GET", "/markets").send().await.expect(200);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_not_waited_for_for_ever() {
    // No store comes into this, so one is enough for a test that takes as long as the server waits.
    let server = Server::start(Installation::new(Store::Sqlite, &[]).await.expect("SQLite is always there")).await;
    let mut socket = TcpStream::connect(server.address()).await.expect("the server listens");
    let head =
        "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{";
    socket.write_all(head.as_bytes()).await.expect("the server reads");
    // Others are served meanwhile.
    server.api().request("GET", "/markets").send().await.expect(200);
    let answer = raw::read(&mut socket, Duration::from_secs(25)).await;
    assert_eq!(answer.statuses(), [408]);
    assert!(answer.text.contains("REQUEST_TIMEOUT") && answer.closed);
    server.stop().await.audit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_cancels_nothing_half_way() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let body = json!({ "toUserId": ben.id, "amount": "1" }).to_string();
        for n in 0..30 {
            let mut socket = TcpStream::connect(server.address()).await.expect("the server listens");
            let request = format!(
                "POST /api/v1/transfers HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nIdempotency-Key: hang-{n}\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                ann.token,
                body.len()
            );
            socket.write_all(request.as_bytes()).await.expect("the server reads");
            drop(socket);
        }
        // Each was done once or not at all, and repeating them completes them.
        for n in 0..30 {
            loop {
                let request = api.request("POST", "/transfers").by(&ann).key(&format!("hang-{n}")).body(body.clone());
                let answer = request.send().await;
                if answer.code() != "IDEMPOTENCY_IN_PROGRESS" {
                    answer.expect(201);
                    break;
                }
            }
        }
        assert_eq!(api.balance(&ann).await, (970_000, 0));
    })
    .await;
}
