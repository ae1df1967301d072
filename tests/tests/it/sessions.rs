//! Sessions: refreshing, signing out, what ends them, and tokens that are not good.

use std::collections::HashSet;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether_tests::client::PASSWORD;
use bellwether_tests::server::free_port;
use bellwether_tests::tokens::part;
use bellwether_tests::{Answer, Api, Installation, Server, Store, User, on_each_store, on_each_store_with};
use serde_json::{Value, json};
use tokio::sync::Barrier;

/// What a sign-in or a refresh gave.
#[derive(Debug, Clone)]
struct Tokens {
    user: User,
    refresh: String,
}

impl Tokens {
    fn of(answer: &Answer, user: &User) -> Self {
        let user = User { token: answer.text("/accessToken"), ..user.clone() };
        Self { user, refresh: answer.text("/refreshToken") }
    }
}

async fn sign_in(api: &Api, user: &User) -> Tokens {
    let body = json!({ "email": user.email, "password": PASSWORD });
    Tokens::of(&api.request("POST", "/auth/login").json(&body).send().await.expect(200), user)
}

async fn refresh(api: &Api, token: &str) -> Answer {
    api.request("POST", "/auth/refresh").json(&json!({ "refreshToken": token })).send().await
}

async fn me(api: &Api, user: &User) -> u16 {
    api.get("/users/me", user).await.status
}

/// Waits until an access token is good for nothing; fails where that takes much longer than the
/// second that is promised, on a machine that may be busy.
async fn is_out(api: &Api, user: &User) {
    let started = Instant::now();
    while me(api, user).await != 401 {
        assert!(started.elapsed() < Duration::from_secs(60), "the access token is still good");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_gives_both_tokens_and_a_refresh_gives_the_next() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let body = json!({ "email": ann.email, "password": PASSWORD });
        let answer = api.request("POST", "/auth/login").json(&body).send().await.expect(200);
        assert_eq!((&answer.data()["tokenType"], &answer.data()["expiresIn"]), (&json!("Bearer"), &json!(900)));
        assert_eq!((&answer.data()["refreshExpiresIn"], answer.text("/user/id")), (&json!(604_800), ann.id.clone()));
        assert_eq!(answer.header("cache-control"), "no-store");
        let first = Tokens::of(&answer, &ann);
        assert!(first.refresh.starts_with("bw_refresh_") && first.refresh.len() == 54, "{}", first.refresh);

        let mut seen = HashSet::from([first.refresh.clone()]);
        let mut tokens = first;
        for _ in 0..5 {
            let answer = refresh(api, &tokens.refresh).await.expect(200);
            assert_eq!(answer.data()["refreshExpiresIn"], json!(604_800));
            let next = Tokens::of(&answer, &ann);
            assert!(seen.insert(next.refresh.clone()), "a refresh token came twice");
            assert_ne!(next.user.token, tokens.user.token);
            // The access token from before is good until it expires: the session lasts.
            assert_eq!((me(api, &tokens.user).await, me(api, &next.user).await), (200, 200));
            tokens = next;
        }
    })
    .await;
}

/// Threat 7.
#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_is_used_again_ends_the_whole_session() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let (first, elsewhere) = (sign_in(api, &ann).await, sign_in(api, &ann).await);
        let second = Tokens::of(&refresh(api, &first.refresh).await.expect(200), &ann);
        let third = Tokens::of(&refresh(api, &second.refresh).await.expect(200), &ann);
        assert_eq!(me(api, &third.user).await, 200);
        // The client has the second token, so this is no lost answer, however soon it comes.
        refresh(api, &first.refresh).await.refused(401, "INVALID_REFRESH_TOKEN");
        for access in [&first.user, &second.user, &third.user] {
            api.get("/users/me", access).await.refused(401, "UNAUTHENTICATED");
        }
        for token in [&first.refresh, &second.refresh, &third.refresh] {
            let answer = refresh(api, token).await;
            answer.refused(401, "INVALID_REFRESH_TOKEN");
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
        }
        // Another session of the same user is another family.
        assert_eq!(me(api, &elsewhere.user).await, 200);
        refresh(api, &elsewhere.refresh).await.expect(200);
        let logged = server.logged();
        assert!(logged.contains("a spent refresh token was used again"), "a replay is an event");
        assert!(!logged.contains("bw_refresh_") && !logged.contains(&third.user.token), "a token was logged");
    })
    .await;
}

/// Threat 8: all who come at the same time get the same successor.
#[tokio::test(flavor = "multi_thread")]
async fn many_refreshes_of_one_token_leave_one_live_branch() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let first = sign_in(api, &ann).await;
        let barrier = Arc::new(Barrier::new(32));
        let tasks: Vec<_> = (0..32)
            .map(|_| {
                let (api, token, barrier) = (api.clone(), first.refresh.clone(), Arc::clone(&barrier));
                tokio::spawn(async move {
                    barrier.wait().await;
                    refresh(&api, &token).await
                })
            })
            .collect();
        let mut successors = HashSet::new();
        let mut last = None;
        for task in tasks {
            let answer = task.await.expect("the task ends").expect(200);
            let tokens = Tokens::of(&answer, &ann);
            assert_eq!(me(api, &tokens.user).await, 200);
            successors.insert(tokens.refresh.clone());
            last = Some(tokens);
        }
        assert_eq!(successors.len(), 1, "more than one branch lives");
        let last = last.expect("32 answers");
        let sessions = api.get("/users/me/sessions", &last.user).await.expect(200);
        // That of the sign-up, and this.
        assert_eq!(sessions.data().as_array().map(Vec::len), Some(2));
        refresh(api, &last.refresh).await.expect(200);
    })
    .await;
}

/// Threat 8: whoever lost the answer asks again, of a server that has forgotten everything too.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_lost_the_answer_gets_the_same_successor_even_after_a_crash() {
    /// So long after the first answer it is given again.
    const GRACE: Duration = Duration::from_secs(10);
    for store in Store::ALL {
        let Some(installation) = Installation::new(store, &[]).await else { continue };
        let mut server = Server::start(installation).await;
        let ann = server.api().sign_up("Ann").await;
        let (mut tries, mut asked) = (0, Instant::now());
        let (lost, answer) = loop {
            let first = sign_in(server.api(), &ann).await;
            let lost = Tokens::of(&refresh(server.api(), &first.refresh).await.expect(200), &ann);
            server = Server::start(server.kill().await).await;
            let answer = refresh(server.api(), &first.refresh).await;
            // Where a busy machine took too long to start the server, it is tried once more.
            if answer.status == 200 || asked.elapsed() < GRACE || tries == 3 {
                break (lost, answer);
            }
            (tries, asked) = (tries + 1, Instant::now());
        };
        let api = server.api();
        let again = Tokens::of(&answer.expect(200), &ann);
        assert_eq!(again.refresh, lost.refresh);
        assert_eq!((me(api, &lost.user).await, me(api, &again.user).await), (200, 200), "both are of the session");
        refresh(api, &again.refresh).await.expect(200);
        server.stop().await.remove().await;
    }
}

/// Threat 9.
#[tokio::test(flavor = "multi_thread")]
async fn signing_out_counts_at_the_next_request() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        // By the refresh token, which needs no access token; a second time there is nothing to do.
        let tokens = sign_in(api, &ann).await;
        assert_eq!(me(api, &tokens.user).await, 200);
        let body = json!({ "refreshToken": tokens.refresh });
        for _ in 0..2 {
            api.request("POST", "/auth/logout").json(&body).send().await.expect(204);
        }
        assert_eq!(me(api, &tokens.user).await, 401);
        refresh(api, &tokens.refresh).await.refused(401, "INVALID_REFRESH_TOKEN");
        // By the access token.
        let tokens = sign_in(api, &ann).await;
        assert_eq!(me(api, &tokens.user).await, 200);
        api.request("POST", "/auth/logout").by(&tokens.user).send().await.expect(204);
        assert_eq!(me(api, &tokens.user).await, 401);
        refresh(api, &tokens.refresh).await.refused(401, "INVALID_REFRESH_TOKEN");
        api.request("POST", "/auth/logout").by(&tokens.user).send().await.refused(401, "UNAUTHENTICATED");
        // Whoever has the refresh token needs nothing else, so a key that may not sign out does not matter.
        let tokens = sign_in(api, &ann).await;
        let made = api.post("/api-keys", &ann, json!({ "name": "a key", "scopes": ["read"] })).await.expect(201);
        let key = User { token: made.text("/key"), ..ann.clone() };
        api.post("/auth/logout", &key, json!({})).await.refused(403, "KEY_SCOPE_MISSING");
        api.post("/auth/logout", &key, json!({ "refreshToken": tokens.refresh })).await.expect(204);
        assert_eq!((me(api, &tokens.user).await, me(api, &key).await), (401, 200));
        // A token that nobody has tells nothing.
        let nobodys = json!({ "refreshToken": "bw_refresh_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" });
        api.request("POST", "/auth/logout").json(&nobodys).send().await.expect(204);
        // Everywhere, but not for others.
        let ben = api.sign_up("Ben").await;
        let all = [sign_in(api, &ann).await, sign_in(api, &ann).await, sign_in(api, &ann).await];
        api.request("POST", "/auth/logout-all").by(&all[1].user).send().await.expect(204);
        for tokens in &all {
            assert_eq!(me(api, &tokens.user).await, 401);
            refresh(api, &tokens.refresh).await.refused(401, "INVALID_REFRESH_TOKEN");
        }
        assert_eq!((me(api, &ann).await, me(api, &ben).await), (401, 200));
    })
    .await;
}

/// Threat 13.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_and_ended_by_their_owner_and_administrators() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben, admin) = (api.sign_up("Ann").await, api.sign_up("Ben").await, server.admin().await);
        let body = json!({ "email": ann.email, "password": PASSWORD });
        let login = api.request("POST", "/auth/login").header("User-Agent", "Téléphone").json(&body).send().await;
        let strange = Tokens::of(&login.expect(200), &ann);
        let login = api.request("POST", "/auth/login").header("User-Agent", "a phone").json(&body).send().await;
        let phone = Tokens::of(&login.expect(200), &ann);

        let listed = api.get("/users/me/sessions", &phone.user).await.expect(200);
        let sessions = listed.data().as_array().cloned().unwrap_or_default();
        assert_eq!(sessions.len(), 3, "{}", listed.text);
        assert_eq!((&sessions[0]["current"], &sessions[0]["agent"]), (&json!(true), &json!("a phone")));
        assert_eq!(sessions[0]["address"], json!("127.0.0.1"));
        assert_eq!((&sessions[1]["current"], &sessions[1]["agent"]), (&json!(false), &Value::Null));
        let mut keys: Vec<&str> =
            sessions[0].as_object().map(|s| s.keys().map(String::as_str).collect()).unwrap_or_default();
        keys.sort_unstable();
        assert_eq!(keys, ["address", "agent", "createdAt", "current", "expiresAt", "id", "lastSeenAt"]);
        // A refresh makes it the one seen last.
        refresh(api, &strange.refresh).await.expect(200);
        let listed = api.get("/users/me/sessions", &phone.user).await.expect(200);
        assert_eq!((&listed.data()[1]["id"], &listed.data()[0]["id"]), (&sessions[0]["id"], &sessions[1]["id"]));

        let phone_path = format!("/sessions/{}", sessions[0]["id"].as_str().unwrap_or_default());
        let end = |whose: &str, by: &User| api.request("DELETE", &format!("/users/{whose}{phone_path}")).by(by).send();
        api.get(&format!("/users/{}/sessions", ann.id), &ben).await.refused(404, "USER_NOT_FOUND");
        end(&ann.id, &ben).await.refused(404, "USER_NOT_FOUND");
        end("me", &ben).await.refused(404, "SESSION_NOT_FOUND");
        let bad = api.request("DELETE", "/users/me/sessions/7").by(&ann).send().await;
        bad.refused(400, "BAD_ID");
        assert_eq!((bad.fields(), me(api, &phone.user).await), (vec!["session"], 200));

        end("me", &ann).await.expect(204);
        assert_eq!((me(api, &phone.user).await, me(api, &ann).await), (401, 200));
        end("me", &ann).await.refused(404, "SESSION_NOT_FOUND");
        // An administrator sees and ends those of others.
        let listed = api.get(&format!("/users/{}/sessions", ann.id), admin).await.expect(200);
        assert_eq!(listed.data().as_array().map(Vec::len), Some(2));
        for session in listed.data().as_array().into_iter().flatten() {
            assert_eq!(session["current"], json!(false));
            let path = format!("/users/{}/sessions/{}", ann.id, session["id"].as_str().unwrap_or_default());
            api.request("DELETE", &path).by(admin).send().await.expect(204);
        }
        assert_eq!((me(api, &strange.user).await, me(api, &ann).await), (401, 401));
    })
    .await;
}

/// Threats 9 and 16.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_change_a_promotion_and_a_deletion_end_every_session() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let other = sign_in(api, &ann).await;
        let change = |user: &User, body: Value| {
            api.request("PATCH", "/users/me").by(user).header("If-Match", "*").json(&body).send()
        };
        change(&ann, json!({ "displayName": "Anna" })).await.expect(200);
        assert_eq!((me(api, &ann).await, me(api, &other.user).await), (200, 200), "a name changes nothing");
        let body = json!({ "password": "another pass phrase", "currentPassword": PASSWORD });
        change(&ann, body).await.expect(200);
        assert_eq!((me(api, &ann).await, me(api, &other.user).await), (401, 401));
        refresh(api, &other.refresh).await.refused(401, "INVALID_REFRESH_TOKEN");

        // By another process: the server hears of it from the store.
        let ann = api.log_in(&ann.email, "another pass phrase").await;
        assert_eq!(me(api, &ann).await, 200);
        let arguments = ["admin", "create", "--email", &ann.email, "--display-name", "Ann", "--password-stdin"];
        assert!(server.installation().run(&arguments, "the third pass phrase").await.status.success());
        is_out(api, &ann).await;
        let ann = api.log_in(&ann.email, "the third pass phrase").await;
        api.get("/users", &ann).await.expect(200);

        server.admin().await;
        let tokens_of_ann = api.log_in(&ann.email, "the third pass phrase").await;
        api.request("DELETE", "/users/me").by(&ann).header("If-Match", "*").send().await.expect(204);
        assert_eq!((me(api, &ann).await, me(api, &tokens_of_ann).await), (401, 401));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_too_many_ends_the_one_not_seen_for_longest() {
    on_each_store_with(&[("MAX_SESSIONS", "3")], |server| async move {
        let api = server.api();
        // The sign-up signs in too.
        let ann = api.sign_up("Ann").await;
        let (second, third) = (sign_in(api, &ann).await, sign_in(api, &ann).await);
        assert_eq!(me(api, &ann).await, 200);
        let fourth = sign_in(api, &ann).await;
        assert_eq!((me(api, &ann).await, me(api, &second.user).await), (401, 200));
        // Refreshing counts as being seen.
        refresh(api, &second.refresh).await.expect(200);
        sign_in(api, &ann).await;
        let found = (me(api, &second.user).await, me(api, &third.user).await, me(api, &fourth.user).await);
        assert_eq!(found, (200, 401, 200));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_last_as_long_as_the_settings_say() {
    on_each_store_with(&[("ACCESS_TOKEN_TTL", "1s"), ("REFRESH_TOKEN_TTL", "1m")], |server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let tokens = sign_in(api, &ann).await;
        let claims = part(&tokens.user.token, 1);
        assert_eq!(claims["exp"].as_i64(), claims["iat"].as_i64().map(|at| at + 1));
        let answer = refresh(api, &tokens.refresh).await.expect(200);
        assert_eq!((&answer.data()["expiresIn"], &answer.data()["refreshExpiresIn"]), (&json!(1), &json!(60)));
    })
    .await;
}

/// Session fixation: nobody gets somebody else into a session that he knows.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_begins_a_session_of_its_own_whatever_it_is_sent_with() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, eve) = (api.sign_up("Ann").await, api.sign_up("Eve").await);
        let known = sign_in(api, &eve).await;
        let body = json!({ "email": ann.email, "password": PASSWORD });
        let request = api.request("POST", "/auth/login").by(&known.user).header("Cookie", "sid=known; session=known");
        let answer = request.header("X-Session-Id", "known").json(&body).send().await.expect(200);
        assert!(answer.header("set-cookie").is_empty(), "{:?}", answer.headers);
        let begun = Tokens::of(&answer, &ann);
        let (of_eve, of_ann) = (part(&known.user.token, 1), part(&begun.user.token, 1));
        assert_ne!(of_ann["sid"], of_eve["sid"]);
        assert_eq!((&of_ann["sub"], &of_eve["sub"]), (&json!(ann.id), &json!(eve.id)));
        // What Eve knows is still Eve's own.
        let seen = api.get("/users/me", &known.user).await.expect(200);
        assert_eq!(seen.text("/id"), eve.id);
        assert_eq!(Tokens::of(&refresh(api, &known.refresh).await.expect(200), &eve).user.id, eve.id);
    })
    .await;
}

/// Threat 5.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_refresh_token_gives_no_session() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let tokens = sign_in(api, &ann).await;
        let access = tokens.user.token.as_str();
        for token in [access, "", "bw_refresh_", &tokens.refresh.to_uppercase(), &format!("{} ", tokens.refresh)] {
            refresh(api, token).await.refused(401, "INVALID_REFRESH_TOKEN");
        }
        assert_eq!(me(api, &ann).await, 200);
        refresh(api, &tokens.refresh).await.expect(200);
    })
    .await;
}

async fn keys(server: &Server, arguments: &[&str]) -> String {
    let output = server.installation().run(&[&["keys"], arguments].concat(), "").await;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn published(api: &Api) -> Vec<String> {
    let answer = api.request("GET", "//.well-known/jwks.json").send().await.expect(200);
    let keys = answer.body["keys"].as_array().cloned().unwrap_or_default();
    keys.iter().map(|key| key["kid"].as_str().expect("a kid").to_owned()).collect()
}

/// Threat 10: with a server that lives on, and nobody signed out.
#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_under_a_running_server_and_nobody_is_signed_out() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let kid = |user: &User| part(&user.token, 0)["kid"].as_str().expect("a kid").to_owned();
        let old = kid(&ann);
        assert_eq!(published(api).await, [old.as_str()]);
        keys(&server, &["rotate"]).await;
        let started = Instant::now();
        let mut new = sign_in(api, &ann).await;
        while kid(&new.user) == old {
            assert!(started.elapsed() < Duration::from_secs(60), "the rotation is not picked up");
            new = Tokens::of(&refresh(api, &new.refresh).await.expect(200), &ann);
            // Whichever key signed, and whatever is published meanwhile: both tokens are good.
            assert_eq!((me(api, &new.user).await, me(api, &ann).await), (200, 200));
        }
        assert_eq!(published(api).await, [kid(&new.user), old.clone()]);
        let listed = keys(&server, &["list"]).await;
        assert!(listed.contains(&format!("{} signs since", kid(&new.user))), "{listed}");
        assert!(listed.contains(&format!("{old} verifies until")), "{listed}");
        // Not again before the old tokens have expired.
        let output = server.installation().run(&["keys", "rotate"], "").await;
        assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("--compromised"));

        // After a compromise the old keys are worth nothing, and a refresh gives a good token.
        keys(&server, &["rotate", "--compromised"]).await;
        is_out(api, &ann).await;
        is_out(api, &new.user).await;
        let again = Tokens::of(&refresh(api, &new.refresh).await.expect(200), &ann);
        assert_eq!((published(api).await, me(api, &again.user).await), (vec![kid(&again.user)], 200));
    })
    .await;
}

/// Threats 9 and 10, with two servers on one database that share their files: what one does, the
/// other hears of from the store. So it is with API keys.
#[tokio::test(flavor = "multi_thread")]
async fn servers_that_share_a_database_share_sessions_and_keys() {
    let settings = [("SECRET_KEY", "f3b1c8a97e5d42460b9f8e7d6c5a4b3c2d1e0f9a8b7c6d5e")];
    let Some(installation) = Installation::new(Store::Postgres, &settings).await else { return };
    let server = Server::start(installation).await;
    let other_address = format!("127.0.0.1:{}", free_port());
    let mut other = server.installation().command(&["serve", "--listen", &other_address]);
    let mut process = other.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a second server starts");
    let (api, other) = (server.api(), Api::new(&other_address));
    let started = Instant::now();
    while !other.is_ready().await {
        assert!(started.elapsed() < Duration::from_secs(60), "the second server is not ready");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let ann = api.sign_up("Ann").await;
    let tokens = sign_in(api, &ann).await;
    assert_eq!((me(api, &tokens.user).await, me(&other, &tokens.user).await), (200, 200));
    // The answer of one is lost, and the other gives it again.
    let next = Tokens::of(&refresh(api, &tokens.refresh).await.expect(200), &ann);
    let again = Tokens::of(&refresh(&other, &tokens.refresh).await.expect(200), &ann);
    assert_eq!(next.refresh, again.refresh);

    keys(&server, &["rotate", "--compromised"]).await;
    is_out(api, &next.user).await;
    is_out(&other, &next.user).await;
    let next = Tokens::of(&refresh(api, &next.refresh).await.expect(200), &ann);
    assert_eq!((me(api, &next.user).await, me(&other, &next.user).await), (200, 200));

    api.request("POST", "/auth/logout").by(&next.user).send().await.expect(204);
    assert_eq!(me(api, &next.user).await, 401);
    is_out(&other, &next.user).await;
    refresh(&other, &next.refresh).await.refused(401, "INVALID_REFRESH_TOKEN");

    let body = json!({ "name": "A key", "scopes": ["read"] });
    let ann = sign_in(api, &ann).await.user;
    let made = api.post("/api-keys", &ann, body).await.expect(201);
    let key = User { token: made.text("/key"), ..ann.clone() };
    assert_eq!((me(api, &key).await, me(&other, &key).await), (200, 200));
    let path = format!("/api-keys/{}", made.text("/id"));
    other.request("DELETE", &path).by(&ann).send().await.expect(204);
    assert_eq!(me(&other, &key).await, 401);
    is_out(api, &key).await;
    process.kill().await.expect("the second server can be stopped");
    server.stop().await.remove().await;
}
