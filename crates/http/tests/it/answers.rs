//! What handlers answer, and what the faults of ports become.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use actix_web::test::TestRequest;
use bellwether_domain::market::OutcomeId;
use bellwether_domain::money::{Price, Shares};
use bellwether_domain::order::Side;
use bellwether_domain::ports::{
    BestPrices, BookLevel, Lease, Lookup, MockCache, MockQueries, Page, Start, StoreError, UserStatistics,
};
use bellwether_domain::user::{Role, UserStatus};
use bellwether_http::App;
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::join_all;

use crate::support::{Answer, FRESH, MARKET, Ports, TOKEN, USER, get, market, post, send, user};

fn with_market(queries: &mut MockQueries) {
    queries.expect_market().returning(|_| Ok(Some(market())));
    queries.expect_best_prices().returning(|books| {
        assert_eq!(books, [(MARKET, OutcomeId::FIRST)]);
        let (bid, ask) = (Price::from_mills(400), Price::from_mills(450));
        Ok(vec![BestPrices { market: MARKET, book: OutcomeId::FIRST, bid, ask }])
    });
}

fn failing(error: impl Fn() -> StoreError + Send + 'static) -> Ports {
    let mut ports = Ports::new();
    ports.queries.expect_market().returning(move |_| Err(error()));
    ports
}

const SHOW: &str = "/api/v1/markets/rain-tomorrow";

#[actix_web::test]
async fn publishes_the_keys_of_access_tokens_in_the_form_of_the_standard() {
    let answer = Ports::new().answer(get("/.well-known/jwks.json")).await;
    let key = serde_json::json!({
        "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "a-key",
        "x": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE",
    });
    assert_eq!((answer.status, &answer.body), (200, &serde_json::json!({ "keys": [key] })));
    assert_eq!(answer.header("content-type"), Some("application/jwk-set+json"));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=60"));
}

#[actix_web::test]
async fn shows_a_market_with_both_sides_of_its_book() {
    let mut ports = Ports::new();
    with_market(&mut ports.queries);
    let answer = ports.answer(get(SHOW)).await;
    assert_eq!((answer.status, &answer.body["success"]), (200, &true.into()));
    assert_eq!(answer.body["data"]["outcomes"][1]["bestBid"], "0.550");
    assert_eq!(answer.body["data"]["volume"], "0.000");
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    assert!(answer.header("etag").unwrap().starts_with("\"2."));
}

#[actix_web::test]
async fn answers_304_to_whoever_has_the_answer_already() {
    let mut ports = Ports::new();
    with_market(&mut ports.queries);
    let (app, runtime) = ports.into_app();
    let first = send(&app, get(SHOW)).await;
    let tag = first.header("etag").unwrap();
    let again = send(&app, get(SHOW).insert_header(("if-none-match", tag))).await;
    assert_eq!((again.status, again.header("etag"), again.body.is_null()), (304, Some(tag), true));
    let trimmed = send(&app, get(&format!("{SHOW}?fields=id")).insert_header(("if-none-match", tag))).await;
    assert_eq!((trimmed.status, trimmed.body["data"].to_string()), (200, format!(r#"{{"id":"{MARKET}"}}"#)));
    runtime.shutdown_background();
}

#[actix_web::test]
async fn compresses_what_is_worth_it_under_a_tag_of_its_own() {
    let mut ports = Ports::new();
    ports.queries.expect_market().returning(|_| {
        let mut long = market();
        long.description = "x".repeat(5_000);
        Ok(Some(long))
    });
    ports.queries.expect_best_prices().returning(|_| Ok(vec![]));
    let (app, runtime) = ports.into_app();
    let zipped = send(&app, get(SHOW).insert_header(("accept-encoding", "gzip"))).await;
    assert_eq!(zipped.header("content-encoding"), Some("gzip"));
    let tag = zipped.header("etag").unwrap();
    assert!(tag.ends_with("-gzip\""));
    let again =
        send(&app, get(SHOW).insert_header(("accept-encoding", "gzip")).insert_header(("if-none-match", tag))).await;
    assert_eq!((again.status, again.header("content-encoding")), (304, None));
    let small = send(&app, get("/livez").insert_header(("accept-encoding", "gzip"))).await;
    assert_eq!((small.status, small.header("content-encoding"), &small.body["success"]), (200, None, &true.into()));
    let missing = send(&app, get("/nothing").insert_header(("accept-encoding", "gzip"))).await;
    assert_eq!((missing.status, missing.header("content-encoding"), missing.code()), (404, None, "NOT_FOUND"));
    let nothing = send(&app, get("/livez").insert_header(("accept-encoding", "identity;q=0, *;q=0"))).await;
    assert_eq!((nothing.status, nothing.code()), (406, "NOT_ACCEPTABLE"));
    runtime.shutdown_background();
}

#[actix_web::test]
async fn lists_markets_with_their_creators_in_one_statement_each() {
    let mut ports = Ports::new();
    ports.queries.expect_markets().times(1).returning(|_, request| {
        assert_eq!((&request.start, request.limit), (&Start::Offset(2), 2));
        Ok(Page { items: vec![market()], total: Some(5), has_more: true })
    });
    ports.queries.expect_best_prices().times(1).returning(|_| Ok(vec![]));
    ports.queries.expect_users_by_ids().times(1).returning(|ids| {
        assert_eq!(ids, [USER]);
        Ok(vec![user(Role::User)])
    });
    let answer = ports.answer(get("/api/v1/markets?page=2&limit=2&include=creator&fields=id")).await;
    let expected =
        serde_json::json!([{ "id": MARKET.to_string(), "creator": { "id": USER.to_string(), "displayName": "Ann" } }]);
    assert_eq!(answer.body["data"], expected);
    let pagination = &answer.body["meta"]["pagination"];
    assert_eq!(
        (&pagination["page"], &pagination["total"], &pagination["totalPages"]),
        (&2.into(), &5.into(), &3.into())
    );
    assert!(pagination["nextCursor"].is_string());
}

#[actix_web::test]
async fn walks_a_list_by_cursor() {
    let mut ports = Ports::new();
    ports.queries.expect_markets().returning(|_, request| {
        let is_first = request.start == Start::First;
        assert!(is_first || matches!(&request.start, Start::After(values, id) if values.len() == 1 && *id == MARKET.0));
        Ok(Page { items: vec![market()], total: None, has_more: is_first })
    });
    ports.queries.expect_best_prices().returning(|_| Ok(vec![]));
    let (app, runtime) = ports.into_app();
    let first = send(&app, get("/api/v1/markets?cursor=&sort=-volume")).await;
    let cursor = first.body["meta"]["pagination"]["nextCursor"].as_str().unwrap();
    let next = send(&app, get(&format!("/api/v1/markets?sort=-volume&cursor={cursor}"))).await;
    let expected = serde_json::json!({ "limit": 20, "hasMore": false, "nextCursor": null });
    assert_eq!(next.body["meta"]["pagination"], expected);
    runtime.shutdown_background();
}

#[actix_web::test]
async fn shows_the_book_of_the_second_outcome_mirrored() {
    let mut ports = Ports::new();
    ports.queries.expect_market().returning(|_| Ok(Some(market())));
    ports.queries.expect_book().returning(|_, book, depth| {
        assert_eq!((book, depth), (OutcomeId::FIRST, 7));
        let price = Price::from_mills(300).unwrap();
        Ok((vec![BookLevel { book, side: Side::Buy, price, quantity: Shares::new(4), orders: 2 }], 9))
    });
    let (app, runtime) = ports.into_app();
    let answer = send(&app, get(&format!("{SHOW}/book?outcome=no&depth=7"))).await;
    let data = &answer.body["data"];
    assert_eq!((&data["outcome"], &data["sequence"]), (&"NO".into(), &9.into()));
    assert_eq!(data["asks"][0], serde_json::json!({ "price": "0.700", "quantity": 4, "orders": 2 }));
    let unknown = send(&app, get(&format!("{SHOW}/book?outcome=MAYBE"))).await;
    assert_eq!((unknown.status, unknown.code()), (422, "OUTCOME_NOT_FOUND"));
    runtime.shutdown_background();
}

#[actix_web::test]
async fn shows_an_address_to_its_owner_and_to_administrators_alone() {
    let show = |path: &str| get(path).insert_header(("authorization", TOKEN));
    let own = Ports::new().with_user(Role::User).answer(show("/api/v1/users/me")).await;
    assert_eq!((own.status, &own.body["data"]["email"]), (200, &"ann@example.org".into()));
    assert!(own.header("etag").unwrap().starts_with("\"3."));
    let other = |role: Role| {
        let mut ports = Ports::new();
        ports.queries.expect_user().returning(move |id| {
            let mut found = user(role);
            found.id = id;
            Ok(Some(found))
        });
        ports.with_session(role, UserStatus::Active)
    };
    let path = format!("/api/v1/users/{MARKET}");
    assert!(other(Role::Moderator).answer(show(&path)).await.body["data"].get("email").is_none());
    assert_eq!(other(Role::Admin).answer(show(&path)).await.body["data"]["email"], "ann@example.org");
}

/// Threat 13.
#[actix_web::test]
async fn hides_the_lists_of_others_as_if_they_did_not_exist() {
    for list in ["orders", "positions", "transfers", "sessions"] {
        let path = format!("/api/v1/users/{MARKET}/{list}");
        let answer =
            Ports::new().with_user(Role::Moderator).answer(get(&path).insert_header(("authorization", TOKEN))).await;
        assert_eq!((answer.status, answer.code()), (404, "USER_NOT_FOUND"), "{list}");
    }
}

#[actix_web::test]
async fn asks_for_the_version_that_is_changed() {
    let change = |tag: Option<&'static str>| {
        let request = TestRequest::patch().uri("/api/v1/users/me").insert_header(("authorization", TOKEN));
        let request =
            request.insert_header(("content-type", "application/json")).set_payload(r#"{"password":"long enough"}"#);
        tag.into_iter().fold(request, |request, tag| request.insert_header(("if-match", tag)))
    };
    let answer = |tag| Ports::new().with_user(Role::User).answer(change(tag));
    assert_eq!(answer(None).await.status, 428);
    assert_eq!(answer(Some("\"other\"")).await.status, 412);
    assert_eq!(answer(Some("3")).await.status, 400);
    let unproven = answer(Some("\"3.x\"")).await;
    assert_eq!((unproven.status, unproven.fields()), (422, vec!["currentPassword"]));
}

/// Whether the order is still as the tag says is looked at by nobody.
#[actix_web::test]
async fn does_nothing_for_one_version_alone_where_none_is_looked_at() {
    let amend = |tag: Option<&'static str>| {
        let path = format!("/api/v1/orders/{FRESH}");
        let request = TestRequest::patch().uri(&path).insert_header(("authorization", TOKEN));
        let request = request.insert_header(("content-type", "application/json")).set_payload(r#"{"quantity":0}"#);
        tag.into_iter().fold(request, |request, tag| request.insert_header(("if-match", tag)))
    };
    let answer = |tag| Ports::new().with_user(Role::User).answer(amend(tag));
    let refused = answer(Some("\"0.x\"")).await;
    assert_eq!((refused.status, refused.code()), (412, "PRECONDITION_FAILED"));
    for read in [None, Some("*")] {
        assert_eq!(answer(read).await.fields(), ["quantity"], "{read:?}");
    }
}

#[actix_web::test]
async fn says_what_a_lost_store_means() {
    let unavailable =
        failing(|| StoreError::Unavailable("connection refused to db.internal:5432".into())).answer(get(SHOW)).await;
    assert_eq!(
        (unavailable.status, unavailable.code(), unavailable.header("retry-after")),
        (503, "SERVICE_UNAVAILABLE", Some("1"))
    );
    assert!(!unavailable.body.to_string().contains("db.internal"));
    let unknown = failing(|| StoreError::OutcomeUnknown("eof".into())).answer(get(SHOW)).await;
    assert_eq!((unknown.status, unknown.code()), (503, "OUTCOME_UNKNOWN"));
    assert!(unknown.body["error"]["message"].as_str().unwrap().contains("Idempotency-Key"));
    let conflict = failing(|| StoreError::Conflict("deadlock".into())).answer(get(SHOW)).await;
    assert_eq!((conflict.status, conflict.header("retry-after")), (503, Some("1")));
}

/// As another version of the server has written it.
#[actix_web::test]
async fn what_is_remembered_in_another_form_is_nothing_to_fall_back_upon() {
    let mut ports = failing(|| StoreError::Unavailable("gone".into()));
    ports.cache = MockCache::new();
    ports
        .cache
        .expect_get()
        .returning(|key| Lookup::Hit(Some(Bytes::from_static(b"another form")), Some(Lease::new(key.clone(), 1))));
    ports.cache.expect_release().times(1).returning(|_| ());
    let answer = ports.answer(get(&format!("/api/v1/markets/{MARKET}"))).await;
    assert_eq!((answer.status, answer.code()), (503, "SERVICE_UNAVAILABLE"));
}

#[actix_web::test]
async fn tells_nothing_of_an_unexpected_error_but_the_request_id() {
    let corrupt = failing(|| StoreError::Corrupt("secret column".into())).answer(get(SHOW)).await;
    assert_eq!((corrupt.status, corrupt.code()), (500, "INTERNAL_ERROR"));
    assert!(!corrupt.body.to_string().contains("secret"));
    assert!(corrupt.body["meta"]["requestId"].is_string());
    let mut ports = Ports::new();
    ports.queries.expect_market().returning(|_| panic!("a bug"));
    let panicked = ports.answer(get(SHOW)).await;
    assert_eq!((panicked.status, panicked.code()), (500, "INTERNAL_ERROR"));
}

/// Waits until a path is answered with that status: what was found out is told for a second.
async fn becomes(app: &App, path: &str, status: u16) -> Answer {
    let begun = Instant::now();
    loop {
        let answer = send(app, get(path)).await;
        if answer.status == status {
            return answer;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{path} stays {}", answer.status);
        tokio::task::yield_now().await;
    }
}

#[actix_web::test]
async fn tells_whether_it_lives_is_ready_and_is_well() {
    let is_up = Arc::new(AtomicBool::new(true));
    let (mut ports, up) = (Ports::new(), Arc::clone(&is_up));
    ports.queries.expect_ping().returning(move || match up.load(Ordering::SeqCst) {
        true => Ok(()),
        false => Err(StoreError::Unavailable("gone".into())),
    });
    let (app, runtime) = ports.into_app();
    for path in ["/health", "/api/v1/health"] {
        let well = send(&app, get(path)).await;
        assert_eq!((well.status, &well.body["data"]["status"]), (200, &"ok".into()));
        assert_eq!(well.body["data"]["checks"]["database"]["status"], "ok");
    }
    assert_eq!(send(&app, get("/readyz")).await.status, 200);
    is_up.store(false, Ordering::SeqCst);
    let down = becomes(&app, "/health", 503).await;
    assert_eq!(
        (down.status, &down.body["success"], &down.body["data"]["status"]),
        (503, &false.into(), &"down".into())
    );
    assert_eq!(down.fields(), ["database"]);
    assert_eq!(send(&app, get("/readyz")).await.status, 503);
    is_up.store(true, Ordering::SeqCst);
    becomes(&app, "/readyz", 200).await;
    app.draining().store(true, Ordering::Relaxed);
    let draining = send(&app, get("/readyz")).await;
    assert_eq!((draining.status, draining.code()), (503, "DRAINING"));
    assert_eq!(send(&app, get("/livez")).await.status, 200);
    runtime.shutdown_background();
}

/// Anybody may ask without being counted: the database and the queue are asked once a second all the same.
#[actix_web::test]
async fn asks_once_for_all_who_want_to_know_how_it_is() {
    const REQUESTS: usize = 50;
    let (pings, depths) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (everybody_asks, wait) = mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(wait);
    let mut ports = Ports::new();
    let counter = Arc::clone(&pings);
    ports.queries.expect_ping().returning(move || {
        counter.fetch_add(1, Ordering::SeqCst);
        let _ = gate.lock().unwrap().recv();
        Ok(())
    });
    let counter = Arc::clone(&depths);
    ports.jobs.expect_depth().returning(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        Ok(Vec::new())
    });
    let (app, runtime) = ports.into_app();
    let (begun, paths) = (Instant::now(), ["/health", "/api/v1/health", "/readyz"]);
    let mut asking = Box::pin(join_all((0..REQUESTS).map(|number| send(&app, get(paths[number % paths.len()])))));
    assert!(asking.as_mut().now_or_never().is_none());
    drop(everybody_asks);
    assert!(asking.await.iter().all(|answer| answer.status == 200));
    let most = 1 + usize::try_from(begun.elapsed().as_secs()).unwrap();
    let asked = [&pings, &depths].map(|count| count.load(Ordering::SeqCst));
    assert!(asked.iter().all(|times| (1..=most).contains(times)), "{asked:?} times in {:?}", begun.elapsed());
    runtime.shutdown_background();
}

const PAY: &str = r#"{"toUserId":"0193a5e0-0000-7000-8000-0000000000bb","amount":"1.5"}"#;

fn pay(body: &'static str) -> TestRequest {
    post("/api/v1/transfers", body).insert_header(("idempotency-key", "k-1"))
}

/// Whatever is summed up, and however long that takes, a book is answered.
#[actix_web::test]
async fn sums_wait_for_each_other_and_nobody_else_for_them() {
    let (started, is_started) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(may_go_on);
    let mut ports = Ports::new().with_user(Role::User);
    ports.options.max_loads = 1;
    ports.queries.expect_market().returning(|_| Ok(Some(market())));
    ports.queries.expect_book().returning(|_, _, _| Ok((Vec::new(), 9)));
    ports.queries.expect_candles().returning(move |_| {
        let _ = started.send(());
        let _ = gate.lock().unwrap().recv();
        Ok(Vec::new())
    });
    ports.queries.expect_statistics().returning(|_| Ok(UserStatistics::default()));
    let (app, runtime) = ports.into_app();
    let candles = format!("{SHOW}/candles?from=1970-01-01T00:00:00Z");
    let first = actix_web::rt::spawn({
        let (app, candles) = (app.clone(), candles.clone());
        async move { send(&app, get(&candles)).await.status }
    });
    tokio::task::spawn_blocking(move || is_started.recv().unwrap()).await.unwrap();
    assert_eq!(send(&app, get(&format!("{SHOW}/book?depth=7"))).await.status, 200);
    let user = || get("/api/v2/users/me").insert_header(("authorization", TOKEN));
    for request in [get(&candles), user()] {
        let answer = send(&app, request).await;
        assert_eq!((answer.status, answer.code(), answer.header("retry-after")), (503, "OVERLOADED", Some("1")));
    }
    drop(go_on);
    assert_eq!(first.await.unwrap(), 200);
    assert_eq!(send(&app, user()).await.status, 200);
    runtime.shutdown_background();
}

/// Threat 31.
#[actix_web::test]
async fn answers_409_while_the_same_key_is_running() {
    let (started, is_started) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(may_go_on);
    let mut ports = Ports::new().with_user(Role::User);
    ports.store.expect_begin().returning(move || {
        let _ = started.send(());
        let _ = gate.lock().unwrap().recv();
        Err(StoreError::Unavailable("gone".into()))
    });
    let (app, runtime) = ports.into_app();
    let first = actix_web::rt::spawn({
        let app = app.clone();
        async move { send(&app, pay(PAY)).await.status }
    });
    tokio::task::spawn_blocking(move || is_started.recv().unwrap()).await.unwrap();
    let second = send(&app, pay(PAY)).await;
    assert_eq!(
        (second.status, second.code(), second.header("retry-after")),
        (409, "IDEMPOTENCY_IN_PROGRESS", Some("1"))
    );
    go_on.send(()).unwrap();
    assert_eq!(first.await.unwrap(), 503);
    drop(go_on);
    assert_eq!(send(&app, pay(PAY)).await.status, 503, "the key is free again");
    runtime.shutdown_background();
}

/// Threat 20.
#[actix_web::test]
async fn refuses_amounts_that_are_no_money_before_any_of_it_moves() {
    let table = [
        r#"{"toUserId":"x","amount":1e400}"#,
        r#"{"toUserId":"x","amount":-0}"#,
        r#"{"toUserId":"x","amount":9223372036854775808}"#,
        r#"{"toUserId":"x","amount":"１２"}"#,
        r#"{"toUserId":"x","amount":"NaN"}"#,
        r#"{"toUserId":"x","amount":0.0001}"#,
        r#"{"toUserId":"x","amount":true}"#,
    ];
    for body in table {
        let answer = Ports::new().with_user(Role::User).answer(pay(body)).await;
        assert_eq!((answer.status, answer.fields()), (422, vec!["toUserId", "amount"]), "{body}");
    }
    let answer = Ports::new().with_user(Role::User).answer(pay(r#"{"toUserId":"x","amount":0.0001}"#)).await;
    let message = answer.body["error"]["details"][1]["message"].as_str().unwrap();
    assert_eq!(message, "must have at most 3 decimals");
}

#[actix_web::test]
async fn keeps_what_administrators_do_to_administrators() {
    let grant = || post("/api/v1/admin/grants", r#"{"userId":"x","amount":"1"}"#);
    let answer = Ports::new().with_user(Role::Moderator).answer(grant()).await;
    assert_eq!((answer.status, answer.code()), (403, "FORBIDDEN"));
    let answer =
        Ports::new().with_user(Role::User).answer(get("/api/v1/users").insert_header(("authorization", TOKEN))).await;
    assert_eq!((answer.status, answer.code()), (403, "FORBIDDEN"));
}
