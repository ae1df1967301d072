//! How often one may ask, guess and sign up, and who counts as one.

use std::time::{Duration, Instant};

use bellwether_tests::client::{FAR, PASSWORD};
use bellwether_tests::mail::wait_for_written;
use bellwether_tests::stream::{Listener, Socket};
use bellwether_tests::{Answer, Api, Request, User, on_each_store_with};
use futures_util::future::join_all;
use serde_json::json;

/// The limits as they are where nobody sets any, but for those of requests.
const GUESSES: [(&str, &str); 6] = [
    ("LIMIT_LOGIN", "5/15m"),
    ("LIMIT_LOGIN_ADDRESS", "5/15m"),
    ("LIMIT_LOGIN_ACCOUNT", "100/15m"),
    ("LIMIT_SIGNUP", "5/15m"),
    ("LIMIT_NEW_USERS", "30/1h"),
    ("LIMIT_RESET", "5/15m"),
];

/// Behind a proxy on this machine, so that a test can come from anywhere.
const PROXIED: (&str, &str) = ("TRUSTED_PROXIES", "127.0.0.0/8");

fn with(settings: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    [&GUESSES[..], settings].concat()
}

fn from(request: Request, address: &str) -> Request {
    request.header("x-forwarded-for", address)
}

fn log_in(api: &Api, email: &str, password: &str) -> Request {
    api.request("POST", "/auth/login").json(&json!({ "email": email, "password": password }))
}

/// Tries to sign in from an address; the status.
async fn try_at(api: &Api, address: &str, email: &str, password: &str) -> u16 {
    from(log_in(api, email, password), address).send().await.status
}

fn statuses(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

/// Checks all that a refusal has to say.
fn is_limited(answer: &Answer, policy: &str, quota: &str) {
    answer.refused(429, "RATE_LIMITED");
    let wait: i64 = answer.header("retry-after").parse().expect("whole seconds");
    assert!(wait >= 1, "{wait}");
    assert_eq!(answer.header("ratelimit-policy"), format!("\"{policy}\";{quota}"));
    assert_eq!(answer.header("ratelimit"), format!("\"{policy}\";r=0;t={wait}"));
    assert_eq!(answer.header("cache-control"), "no-store");
}

/// Threat 12.
#[tokio::test(flavor = "multi_thread")]
async fn five_wrong_passwords_are_answered_and_successes_are_not_counted() {
    on_each_store_with(&with(&[]), |server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        for _ in 0..8 {
            api.log_in(&ann.email, PASSWORD).await;
        }
        for _ in 0..5 {
            log_in(api, &ann.email, "a wrong guess").send().await.refused(401, "INVALID_CREDENTIALS");
        }
        for password in ["a wrong guess", PASSWORD] {
            is_limited(&log_in(api, &ann.email, password).send().await, "login_address", "q=5;w=900");
        }
        // Who is signed in stays so.
        api.get("/users/me", &ann).await.expect(200);
    })
    .await;
}

/// Threats 12 and 55: over all threads that answer.
#[tokio::test(flavor = "multi_thread")]
async fn many_guesses_at_once_get_no_more_answers_than_one_after_the_other() {
    on_each_store_with(&with(&[("WORKERS", "4")]), |server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let guesses = (0..40).map(|number| log_in(api, &ann.email, &format!("guess number {number}")).send());
        let answers = join_all(guesses).await;
        assert_eq!((statuses(&answers, 401), statuses(&answers, 429)), (5, 35));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_people_behind_one_address_sign_in_at_once() {
    on_each_store_with(&with(&[]), |server| async move {
        let api = server.api();
        let people = [api.sign_up("Ann").await, api.sign_up("Bob").await];
        let sign_ins = (0..50).map(|number| log_in(api, &people[number % 2].email, PASSWORD).send());
        let answers = join_all(sign_ins).await;
        assert_eq!(statuses(&answers, 200), 50, "{:?}", answers.iter().map(|a| a.status).collect::<Vec<_>>());
    })
    .await;
}

/// A right password costs a hash as a wrong one does, and so does one to change one's own.
#[tokio::test(flavor = "multi_thread")]
async fn right_passwords_are_answered_only_so_often() {
    on_each_store_with(&with(&[PROXIED, ("LIMIT_PASSWORD", "4/15m")]), |server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        // The sign-up signed in too.
        for address in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
            assert_eq!(try_at(api, address, &ann.email, PASSWORD).await, 200);
        }
        is_limited(&from(log_in(api, &ann.email, PASSWORD), "192.0.2.4").send().await, "password", "q=4;w=900");
        let stale = api.get("/users/me", &ann).await.expect(200).header("etag").to_owned();
        let rename = api.request("PATCH", "/users/me").by(&ann).header("If-Match", "*");
        rename.json(&json!({ "displayName": "Anna" })).send().await.expect(200);
        let change = |password: &str| {
            let body = json!({ "password": password, "currentPassword": PASSWORD });
            api.request("PATCH", "/users/me").by(&ann).header("If-Match", &stale).json(&body)
        };
        for _ in 0..4 {
            change("another pass phrase").send().await.refused(412, "PRECONDITION_FAILED");
        }
        is_limited(&change("another pass phrase").send().await, "password", "q=4;w=900");
        let bob = api.sign_up("Bob").await;
        assert_eq!(try_at(api, "192.0.2.4", &bob.email, PASSWORD).await, 200);
    })
    .await;
}

/// Of what is made something stays, and it costs nothing: all kinds together, and those of bots with their owner's.
#[tokio::test(flavor = "multi_thread")]
async fn one_person_makes_only_so_much_in_a_day() {
    on_each_store_with(&with(&[("LIMIT_MADE", "4/24h")]), |server| async move {
        let (api, admin) = (server.api(), server.admin().await);
        let (ann, bob) = (api.sign_up("Ann").await, api.sign_up("Bob").await);
        let market = json!({ "question": "Will it rain?", "closesAt": FAR });
        let open = |by: &User, key: &str| api.request("POST", "/markets").by(by).key(key).json(&market).send();
        let first = open(&ann, "one").await.expect(201);
        let bot = api.post("/users/me/bots", &ann, json!({ "displayName": "Robo" })).await.expect(201).text("/id");
        let key = json!({ "name": "Robo's", "scopes": ["admin"], "owner": bot });
        let made = api.post("/api-keys", &ann, key.clone()).await.expect(201);
        api.request("DELETE", &format!("/api-keys/{}", made.text("/id"))).by(&ann).send().await.expect(204);
        let made = api.post("/api-keys", &ann, key.clone()).await.expect(201);
        let robo = User { id: bot, token: made.text("/key"), ..ann.clone() };

        is_limited(&api.post("/api-keys", &ann, key).await, "made", "q=4;w=86400");
        is_limited(&open(&ann, "two").await, "made", "q=4;w=86400");
        is_limited(&open(&robo, "one").await, "made", "q=4;w=86400");
        let again = open(&ann, "one").await;
        assert_eq!((again.status, again.data()), (201, first.data()), "what was made before is answered again");
        open(&bob, "one").await.expect(201);
        for number in 0..5 {
            open(admin, &format!("{number}")).await.expect(201);
        }
    })
    .await;
}

/// Threat 1: what is limited says nothing about who has an account.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_account_is_refused_as_a_known_one_is() {
    on_each_store_with(&with(&[PROXIED]), |server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        for (address, email) in [("192.0.2.1", ann.email.as_str()), ("192.0.2.2", "nobody@example.org")] {
            for _ in 0..5 {
                assert_eq!(try_at(api, address, email, "a wrong guess").await, 401);
            }
            is_limited(&from(log_in(api, email, PASSWORD), address).send().await, "login_address", "q=5;w=900");
        }
    })
    .await;
}

/// Threat 12: neither from one place nor from many.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_can_lock_somebody_else_out() {
    on_each_store_with(&with(&[PROXIED, ("LIMIT_LOGIN_ACCOUNT", "20/15m")]), |server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        for _ in 0..5 {
            assert_eq!(try_at(api, "192.0.2.1", &ann.email, "a wrong guess").await, 401);
        }
        assert_eq!(try_at(api, "192.0.2.1", &ann.email, PASSWORD).await, 429);
        assert_eq!(try_at(api, "198.51.100.7", &ann.email, PASSWORD).await, 200, "at home");
        for number in 0..15 {
            assert_eq!(try_at(api, &format!("192.0.2.{}", 100 + number / 4), &ann.email, "a wrong guess").await, 401);
        }
        let elsewhere = "203.0.113.9";
        let answer = from(log_in(api, &ann.email, PASSWORD), elsewhere).send().await;
        is_limited(&answer, "login_account", "q=20;w=900");
        assert_eq!(try_at(api, "198.51.100.7", &ann.email, PASSWORD).await, 200, "still at home");

        let forgot = api.request("POST", "/auth/password/forgot").json(&json!({ "email": ann.email }));
        from(forgot, elsewhere).send().await.expect(202);
        let mail = wait_for_written(server.installation(), &ann.email, 2).await.pop().expect("a mail");
        let password = "another pass phrase";
        let reset =
            api.request("POST", "/auth/password/reset").json(&json!({ "token": mail.token(), "password": password }));
        from(reset, elsewhere).send().await.expect(204);
        assert_eq!(try_at(api, elsewhere, &ann.email, password).await, 200, "who has the mail has the account");
    })
    .await;
}

/// Threat 56: from anybody who is no trusted proxy.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_says_of_its_own_address_is_ignored() {
    on_each_store_with(&with(&[("TRUSTED_PROXIES", "10.0.0.0/8")]), |server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let attempt = |number: u32| {
            let address = format!("203.0.113.{number}");
            let request = log_in(api, &ann.email, "a wrong guess").header("forwarded", &format!("for={address}"));
            from(request, &address).header("x-real-ip", &address).send()
        };
        for number in 0..5 {
            assert_eq!(attempt(number).await.status, 401);
        }
        for number in 5..10 {
            assert_eq!(attempt(number).await.status, 429);
        }
        let sessions = api.get("/users/me/sessions", &ann).await.expect(200);
        assert_eq!(sessions.text("/0/address"), "127.0.0.1");
    })
    .await;
}

/// Threats 56 and 57.
#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_the_rightmost_stranger_counts_and_a_prefix_of_ipv6_as_one() {
    on_each_store_with(&with(&[PROXIED]), |server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        for number in 0..5 {
            let made_up = format!("198.51.100.{number}, 203.0.113.7, 127.0.0.2");
            assert_eq!(try_at(api, &made_up, &ann.email, "a wrong guess").await, 401);
        }
        assert_eq!(try_at(api, "198.51.100.99, 203.0.113.7", &ann.email, PASSWORD).await, 429);
        assert_eq!(try_at(api, "203.0.113.7, 198.51.100.99", &ann.email, PASSWORD).await, 200);
        for number in 0..5 {
            let address = format!("2001:db8:0:{:x}::{number}", 0xab00 + number);
            assert_eq!(try_at(api, &address, &ann.email, "a wrong guess").await, 401);
        }
        assert_eq!(try_at(api, "2001:db8:0:abff::1", &ann.email, PASSWORD).await, 429);
        let answer = from(log_in(api, &ann.email, PASSWORD), "2001:db8:0:ac00::1").send().await.expect(200);
        let user = User { token: answer.text("/accessToken"), ..ann };
        let sessions = api.get("/users/me/sessions", &user).await.expect(200);
        assert_eq!(sessions.text("/0/address"), "2001:db8:0:ac00::1");
    })
    .await;
}

/// Threat 57.
#[tokio::test(flavor = "multi_thread")]
async fn live_streams_of_one_ipv6_prefix_are_those_of_one_client() {
    on_each_store_with(&[("STREAMS_PER_ADDRESS", "1"), PROXIED], |server| async move {
        let api = server.api();
        let follow = |address: &str| from(api.request("GET", "/stream?channels=markets"), address);
        let mut streams = Vec::new();
        for address in ["2001:db8:0:ab00::1", "2001:db8:0:ac00::1", "203.0.113.7"] {
            let mut stream = Listener::open(follow(address)).await;
            stream.until("hello").await;
            streams.push(stream);
        }
        for address in ["2001:db8:0:ab00::1", "2001:db8:0:abff::2", "203.0.113.7"] {
            follow(address).send().await.refused(429, "TOO_MANY_STREAMS");
        }
        drop(streams);
    })
    .await;
}

/// Threat 55: exact over all threads that answer.
#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_by_address_and_those_of_a_user_by_user() {
    let settings = [("LIMIT_PUBLIC", "100/1h"), ("LIMIT_USER", "30/1h"), ("WORKERS", "4"), PROXIED];
    on_each_store_with(&settings, |server| async move {
        let api = server.api();
        let (ann, bob) = (api.sign_up("Ann").await, api.sign_up("Bob").await);
        let asked = (0..150).map(|_| from(api.request("GET", "/markets"), "192.0.2.1").send());
        let answers = join_all(asked).await;
        // Where the machine is slow, some that are let in are told that too much is being read at once.
        assert_eq!((statuses(&answers, 200) + statuses(&answers, 503), statuses(&answers, 429)), (100, 50));
        is_limited(&from(api.request("GET", "/nowhere"), "192.0.2.1").send().await, "public", "q=100;w=3600");
        from(api.request("GET", "/markets"), "192.0.2.2").send().await.expect(200);
        from(api.request("GET", "//readyz"), "192.0.2.1").send().await.expect(200);
        let forged = from(api.request("GET", "/users/me"), "192.0.2.1").header("authorization", "Bearer a.b.c");
        is_limited(&forged.send().await, "public", "q=100;w=3600");

        let first = from(api.request("GET", "/users/me"), "192.0.2.1").by(&ann).send().await.expect(200);
        assert_eq!(first.header("ratelimit-policy"), "\"user\";q=30;w=3600");
        assert!(first.header("ratelimit").starts_with("\"user\";r=29;t="), "{}", first.header("ratelimit"));
        let asked =
            (0..60).map(|number| from(api.request("GET", "/positions"), &format!("192.0.2.{number}")).by(&ann).send());
        let answers = join_all(asked).await;
        assert_eq!((statuses(&answers, 200) + statuses(&answers, 503), statuses(&answers, 429)), (29, 31));
        is_limited(&api.get("/markets", &ann).await, "user", "q=30;w=3600");
        api.get("/users/me", &bob).await.expect(200);
    })
    .await;
}

/// Each is a question to the store. A good key is let in where others have asked too much.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_none_are_looked_up_only_so_often() {
    on_each_store_with(&[("LIMIT_PUBLIC", "20/1h"), PROXIED], |server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let body = json!({ "name": "My bot", "scopes": ["read"] });
        let key = User { token: api.post("/api-keys", &ann, body).await.expect(201).text("/key"), ..ann };
        for _ in 0..20 {
            from(api.request("GET", "/markets"), "192.0.2.1").send().await.expect(200);
        }
        is_limited(&from(api.request("GET", "/markets"), "192.0.2.1").send().await, "public", "q=20;w=3600");
        from(api.request("GET", "/users/me"), "192.0.2.1").by(&key).send().await.expect(200);
        let try_key = |number: u32| {
            let made_up = format!("Bearer bw_live_{number}");
            from(api.request("GET", "/users/me"), "192.0.2.2").header("authorization", &made_up).send()
        };
        for number in 0..20 {
            try_key(number).await.refused(401, "UNAUTHENTICATED");
        }
        is_limited(&try_key(20).await, "unknown_keys", "q=20;w=3600");
    })
    .await;
}

/// Each asks the store, as a request does.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_subscribed_to_on_a_websocket_counts_as_requests() {
    on_each_store_with(&[("LIMIT_PUBLIC", "5/1h")], |server| async move {
        let mut socket = Socket::open(server.address(), "/api/v1/ws?channels=markets", "").await;
        assert_eq!(socket.next().await.expect("a message")["type"], json!("hello"));
        for wanted in ["subscribed", "subscribed", "subscribed", "subscribed", "error"] {
            socket.say(&json!({ "op": "subscribe", "channels": ["markets"], "id": 1 }).to_string()).await;
            let answer = socket.next().await.expect("a message");
            assert_eq!(answer["type"], json!(wanted), "{answer}");
            assert!(wanted != "error" || answer["data"]["code"] == "RATE_LIMITED", "{answer}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_back_when_told_to_is_let_in() {
    on_each_store_with(&[("LIMIT_PUBLIC", "5/2s")], |server| async move {
        let api = server.api();
        let ask = || api.request("GET", "/markets").send();
        let started = Instant::now();
        while ask().await.status != 429 {}
        while ask().await.status == 429 {
            assert!(started.elapsed() < Duration::from_secs(60), "it stays closed");
            tokio::task::yield_now().await;
        }
        assert!(started.elapsed() >= Duration::from_secs(1), "it was never closed");
    })
    .await;
}

/// Threat 2.
#[tokio::test(flavor = "multi_thread")]
async fn whether_an_address_is_taken_can_be_asked_five_times() {
    on_each_store_with(&with(&[PROXIED]), |server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let sign_up = |email: &str, address| {
            let body = json!({ "email": email, "displayName": "Ann", "password": PASSWORD });
            from(api.request("POST", "/users").json(&body), address).send()
        };
        for _ in 0..5 {
            sign_up(&ann.email, "192.0.2.1").await.refused(409, "EMAIL_TAKEN");
        }
        is_limited(&sign_up(&ann.email, "192.0.2.1").await, "sign_up", "q=5;w=900");
        is_limited(&sign_up("somebody-new@example.org", "192.0.2.1").await, "sign_up", "q=5;w=900");
        sign_up("somebody-new@example.org", "192.0.2.2").await.expect(201);
    })
    .await;
}

/// Each new user is given credits.
#[tokio::test(flavor = "multi_thread")]
async fn one_address_signs_up_only_so_many_users_and_a_repetition_is_none() {
    on_each_store_with(&with(&[("LIMIT_NEW_USERS", "3/1h")]), |server| async move {
        let api = server.api();
        let sign_up = |number: usize| {
            let body =
                json!({ "email": format!("user{number}@example.org"), "displayName": "User", "password": PASSWORD });
            api.request("POST", "/users").key(&format!("sign-up-{number}")).json(&body).send()
        };
        for _ in 0..4 {
            sign_up(0).await.expect(201);
        }
        let answers = join_all((1..20).map(sign_up)).await;
        assert_eq!((statuses(&answers, 201), statuses(&answers, 429)), (2, 17));
        is_limited(&sign_up(20).await, "new_users", "q=3;w=3600");
        // What was done is answered again, though nobody new is let in.
        assert_eq!(sign_up(0).await.expect(201).header("idempotency-replayed"), "true");
        // Whoever runs the house may sign up as many as there are to come.
        let admin = server.admin().await;
        for number in 30..35 {
            let body =
                json!({ "email": format!("user{number}@example.org"), "displayName": "User", "password": PASSWORD });
            api.post("/users", admin, body).await.expect(201);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mails_and_refreshes_are_asked_for_only_so_often() {
    on_each_store_with(&with(&[("LIMIT_REFRESH", "3/1h")]), |server| async move {
        let api = server.api();
        let post = |path: &str, body| api.request("POST", path).json(&body).send();
        for number in 0..5 {
            post("/auth/password/forgot", json!({ "email": format!("user{number}@example.org") })).await.expect(202);
        }
        for (path, body) in [
            ("/auth/password/forgot", json!({ "email": "user9@example.org" })),
            ("/auth/password/reset", json!({ "token": "bw_reset_x", "password": PASSWORD })),
            ("/auth/email/verify", json!({ "token": "bw_verify_x" })),
        ] {
            is_limited(&post(path, body).await, "reset", "q=5;w=900");
        }
        for _ in 0..3 {
            post("/auth/refresh", json!({ "refreshToken": "bw_refresh_x" }))
                .await
                .refused(401, "INVALID_REFRESH_TOKEN");
        }
        is_limited(&post("/auth/refresh", json!({ "refreshToken": "bw_refresh_x" })).await, "refresh", "q=3;w=3600");
    })
    .await;
}
