//! Passwords that were forgotten, addresses that are verified, and what may not be told about either.

use std::time::{Duration, Instant};

use bellwether_tests::client::PASSWORD;
use bellwether_tests::mail::{wait_for_written, written};
use bellwether_tests::{Answer, Api, Server, User, on_each_store, on_each_store_with};
use serde_json::{Value, json};

const NEW_PASSWORD: &str = "another pass phrase";

async fn post(api: &Api, path: &str, body: Value) -> Answer {
    api.request("POST", path).json(&body).send().await
}

async fn forgot(api: &Api, email: &str) -> Answer {
    post(api, "/auth/password/forgot", json!({ "email": email })).await
}

async fn reset(api: &Api, token: &str, password: &str) -> Answer {
    post(api, "/auth/password/reset", json!({ "token": token, "password": password })).await
}

async fn verify(api: &Api, token: &str) -> Answer {
    post(api, "/auth/email/verify", json!({ "token": token })).await
}

async fn log_in(api: &Api, email: &str, password: &str) -> Answer {
    post(api, "/auth/login", json!({ "email": email, "password": password })).await
}

async fn sign_up(api: &Api, email: &str, name: &str) -> Answer {
    post(api, "/users", json!({ "email": email, "displayName": name, "password": PASSWORD })).await
}

async fn is_verified(api: &Api, user: &User) -> bool {
    api.get("/users/me", user).await.expect(200).data()["emailVerified"] == json!(true)
}

/// What an answer says, without what is different for each request.
fn said(answer: &Answer) -> (u16, Value, Vec<String>) {
    let mut body = answer.body.clone();
    if let Some(body) = body.as_object_mut() {
        body.remove("meta");
    }
    let mut names: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
    names.sort();
    (answer.status, body, names)
}

/// The newest mail to an address, which is the count-th.
async fn mail(server: &Server, address: &str, count: usize) -> bellwether_tests::mail::Mail {
    wait_for_written(server.installation(), address, count).await.pop().expect("there is a mail")
}

/// Threats 9 and 11.
#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_password_is_set_by_mail_once_and_ends_every_session() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let elsewhere = api.log_in(&ann.email, PASSWORD).await;
        mail(&server, &ann.email, 1).await;
        forgot(api, &ann.email.to_uppercase()).await.expect(202);
        let mail = mail(&server, &ann.email, 2).await;
        assert_eq!(mail.header("Subject"), "Set a new password");
        let token = mail.token();
        assert!(token.starts_with("bw_mail_"), "{token}");

        // What may not be set leaves the token as it is, and all reasons are told.
        let refused = reset(api, &token, "short").await;
        refused.refused(422, "VALIDATION_ERROR");
        assert_eq!(refused.fields(), ["password"]);
        reset(api, &token, &ann.email).await.refused(422, "VALIDATION_ERROR");
        reset(api, &token, "password123").await.refused(422, "VALIDATION_ERROR");
        assert_eq!(post(api, "/auth/password/reset", json!({})).await.fields(), ["token", "password"]);

        reset(api, &token, NEW_PASSWORD).await.expect(204);
        for session in [&ann, &elsewhere] {
            api.get("/users/me", session).await.refused(401, "UNAUTHENTICATED");
        }
        log_in(api, &ann.email, PASSWORD).await.refused(401, "INVALID_CREDENTIALS");
        let ann = api.log_in(&ann.email, NEW_PASSWORD).await;
        assert!(is_verified(api, &ann).await, "who has the token has read the mail");

        // Used, foreign, malformed or none: one and the same answer.
        let used = reset(api, &token, NEW_PASSWORD).await;
        used.refused(422, "INVALID_TOKEN");
        let unknown = format!("{}x", &token[..token.len() - 1]);
        for other in [unknown.as_str(), "", "x", &token.to_uppercase(), &"x".repeat(100_000), "' OR 1=1 --"] {
            assert_eq!(said(&reset(api, other, NEW_PASSWORD).await), said(&used), "{other:.80}");
        }
        assert_eq!(said(&verify(api, &token).await), said(&used));
        assert_eq!(written(server.installation(), &ann.email).len(), 2);
    })
    .await;
}

/// Threat 11. Of many who use one token at the same time one sets the password.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_used_many_times_at_once_is_used_once() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        forgot(api, &ann.email).await.expect(202);
        let token = mail(&server, &ann.email, 2).await.token();
        let tasks: Vec<_> = (0..8)
            .map(|n| {
                let (api, token) = (api.clone(), token.clone());
                tokio::spawn(async move { (n, reset(&api, &token, &format!("{NEW_PASSWORD} {n}")).await) })
            })
            .collect();
        let mut set = Vec::new();
        for task in tasks {
            let (n, answer) = task.await.expect("it does not panic");
            match answer.status {
                204 => set.push(n),
                _ => answer.refused(422, "INVALID_TOKEN"),
            }
        }
        assert_eq!(set.len(), 1, "set by {set:?}");
        api.log_in(&ann.email, &format!("{NEW_PASSWORD} {}", set[0])).await;
    })
    .await;
}

/// Threat 2. The answer is the same for every address; a mail comes to those that there are, and to
/// nobody more than three.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_whether_an_address_has_an_account() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let wanted = said(&forgot(api, &ann.email).await.expect(202));
        for address in ["nobody@example.org", "no address at all", "", "a@b\r\nBcc: eve@example.org"] {
            assert_eq!(said(&forgot(api, address).await), wanted, "{address:?}");
        }
        post(api, "/auth/password/forgot", json!({ "email": 7 })).await.refused(422, "VALIDATION_ERROR");
        for _ in 0..5 {
            assert_eq!(said(&forgot(api, &ann.email).await), wanted);
        }
        // The queue keeps its order, so what came before is done when this is.
        let ben = api.sign_up("Ben").await;
        mail(&server, &ben.email, 1).await;
        let mails = wait_for_written(server.installation(), &ann.email, 4).await;
        let subjects: Vec<&str> = mails.iter().map(|mail| mail.header("Subject")).collect();
        assert_eq!(subjects, [&["Confirm your e-mail address"][..], &["Set a new password"; 3]].concat());
        assert!(written(server.installation(), "nobody@example.org").is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_verified_by_the_mail_to_it_and_no_other() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let first = mail(&server, &ann.email, 1).await;
        assert_eq!(first.header("Subject"), "Confirm your e-mail address");
        assert!(!is_verified(api, &ann).await);
        let resend = |path: &str| api.request("POST", path).by(&ann).send();
        resend("/users/me/email/verification").await.expect(202);
        let second = mail(&server, &ann.email, 2).await;
        assert_ne!(first.token(), second.token());
        resend(&format!("/users/{}/email/verification", api.sign_up("Ben").await.id))
            .await
            .refused(404, "USER_NOT_FOUND");
        let unsigned = api.request("POST", "/users/me/email/verification").send().await;
        unsigned.refused(401, "UNAUTHENTICATED");

        // A token for an address that was changed since is good for nothing.
        let other = format!("other-{}", ann.email);
        let change = json!({ "email": other, "currentPassword": PASSWORD });
        api.request("PATCH", "/users/me").by(&ann).header("If-Match", "*").json(&change).send().await.expect(200);
        for token in [first.token(), second.token()] {
            verify(api, &token).await.refused(422, "INVALID_TOKEN");
        }
        let third = mail(&server, &other, 1).await;
        reset(api, &third.token(), NEW_PASSWORD).await.refused(422, "INVALID_TOKEN");
        verify(api, &third.token()).await.expect(204);
        assert!(is_verified(api, &ann).await, "and the session lasts");
        verify(api, &third.token()).await.refused(422, "INVALID_TOKEN");
        resend("/users/me/email/verification").await.refused(409, "EMAIL_ALREADY_VERIFIED");
    })
    .await;
}

/// Threat 11: a request can say that it was sent to any host.
#[tokio::test(flavor = "multi_thread")]
async fn links_begin_with_the_configured_url_whatever_host_a_request_names() {
    on_each_store_with(&[("PUBLIC_URL", "https://markets.example.org/bets/")], |server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let request = api
            .request("POST", "/auth/password/forgot")
            .header("Host", "evil.example")
            .header("X-Forwarded-Host", "evil.example")
            .header("Forwarded", "host=evil.example");
        request.json(&json!({ "email": ann.email })).send().await.expect(202);
        let mails = wait_for_written(server.installation(), &ann.email, 2).await;
        for (mail, page) in mails.iter().zip(["verify-email", "reset-password"]) {
            let link = format!("https://markets.example.org/bets/{page}#token={}", mail.token());
            assert!(mail.text.lines().any(|line| line.trim() == link), "{}", mail.text);
            assert!(!mail.text.contains("evil") && !mail.text.contains("127.0.0.1"), "{}", mail.text);
        }
    })
    .await;
}

/// Threats 23 and 71: a name that a stranger chose stands in no mail before the address was verified, and
/// no token stands in the log or, before it is used, in the database.
#[tokio::test(flavor = "multi_thread")]
async fn mails_hold_no_strangers_words_and_logs_and_data_hold_no_token() {
    on_each_store(|server| async move {
        let api = server.api();
        let email = "victim@example.org";
        sign_up(api, email, "Win at http://evil.example").await.expect(201);
        forgot(api, email).await.expect(202);
        let mails = wait_for_written(server.installation(), email, 2).await;
        assert!(mails.iter().all(|mail| !mail.text.contains("evil")), "{mails:#?}");
        // The line follows the file.
        let started = Instant::now();
        let logged = loop {
            let logged = server.logged();
            if logged.contains("Set a new password") && logged.contains(".eml") {
                break logged;
            }
            assert!(started.elapsed() < Duration::from_secs(30), "what was written is logged: {logged}");
            tokio::task::yield_now().await;
        };
        for mail in &mails {
            let token = mail.token();
            assert!(!logged.contains(&token) && !logged.contains("bw_mail_"), "a token was logged");
            for file in std::fs::read_dir(server.installation().data_dir()).expect("there is a data folder") {
                let path = file.expect("it can be listed").path();
                if path.is_file() {
                    let content = std::fs::read(&path).expect("it can be read");
                    let found = content.windows(token.len()).any(|part| part == token.as_bytes());
                    assert!(!found, "{} holds a token", path.display());
                }
            }
        }
        // Once it is verified, the name is the reader's own.
        verify(api, &mails[0].token()).await.expect(204);
        forgot(api, email).await.expect(202);
        let third = mail(&server, email, 3).await;
        assert!(third.text.contains("Hello Win at http://evil.example,"), "{}", third.text);
    })
    .await;
}

/// Threat 2.
#[tokio::test(flavor = "multi_thread")]
async fn whose_address_was_used_to_sign_up_is_told_by_mail() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        sign_up(api, &ann.email, "Eve").await.refused(409, "EMAIL_TAKEN");
        let mail = mail(&server, &ann.email, 2).await;
        assert_eq!(mail.header("Subject"), "You have an account already");
        assert!(!mail.text.contains("Eve"));
        reset(api, &mail.token(), NEW_PASSWORD).await.expect(204);
        api.log_in(&ann.email, NEW_PASSWORD).await;
    })
    .await;
}

/// Threat 2.
#[tokio::test(flavor = "multi_thread")]
async fn where_accounts_are_concealed_a_taken_address_is_answered_like_a_new_one() {
    on_each_store_with(&[("CONCEAL_EXISTING_ACCOUNTS", "true")], |server| async move {
        let api = server.api();
        let (taken, new) = ("taken@example.org", "new@example.org");
        sign_up(api, taken, "Ann").await.expect(201);
        verify(api, &mail(&server, taken, 1).await.token()).await.expect(204);
        let ann = api.log_in(taken, PASSWORD).await;

        let with_key = |email: &str, key: &str| {
            let body = json!({ "email": email, "displayName": "Eve", "password": NEW_PASSWORD });
            api.request("POST", "/users").key(key).json(&body).send()
        };
        let (of_taken, of_new) = (with_key(taken, "one").await.expect(201), with_key(new, "two").await.expect(201));
        let shape = |answer: &Answer, email: &str| {
            let data = answer.data().as_object().expect("a user").clone();
            let keys: Vec<String> = data.keys().cloned().collect();
            let fixed = ["displayName", "role", "status", "emailVerified", "version"].map(|key| data[key].clone());
            assert_eq!((&data["email"], &data["createdAt"]), (&json!(email), &data["updatedAt"]));
            assert_eq!(answer.header("location"), format!("/api/v1/users/{}", answer.text("/id")));
            (keys, fixed, said(answer).2)
        };
        assert_eq!(shape(&of_taken, taken), shape(&of_new, new));
        // Sent again with its key, the answer comes again.
        for (again, first) in [(with_key(taken, "one").await, &of_taken), (with_key(new, "two").await, &of_new)] {
            assert_eq!((again.data(), again.header("idempotency-replayed")), (first.data(), "true"));
        }
        // Neither can be signed in to with what was just said, nor looked up by others.
        let refused = said(&log_in(api, taken, NEW_PASSWORD).await);
        assert_eq!(said(&log_in(api, new, NEW_PASSWORD).await), refused);
        for answer in [&of_taken, &of_new] {
            api.get(&format!("/users/{}", answer.text("/id")), &ann).await.refused(404, "USER_NOT_FOUND");
        }
        assert_eq!(mail(&server, taken, 2).await.header("Subject"), "You have an account already");
        verify(api, &mail(&server, new, 1).await.token()).await.expect(204);
        let eve = api.log_in(new, NEW_PASSWORD).await;
        api.get(&format!("/users/{}", eve.id), &ann).await.expect(200);
        // An administrator's address is vouched for by who runs the server.
        server.admin().await;
    })
    .await;
}

/// A hash that was made at a lower cost is made anew at the next sign-in, and nobody is signed out.
#[tokio::test(flavor = "multi_thread")]
async fn a_raised_cost_takes_effect_at_the_next_sign_in() {
    for store in bellwether_tests::Store::ALL {
        let Some(installation) = bellwether_tests::Installation::new(store, &[]).await else { continue };
        let server = Server::start(installation).await;
        let ann = server.api().sign_up("Ann").await;
        let version = server.api().get("/users/me", &ann).await.expect(200).data()["version"].clone();
        let mut installation = server.stop().await;
        installation.set("PASSWORD_COST", "5");
        let server = Server::start(installation).await;
        let api = server.api();
        let again = api.log_in(&ann.email, PASSWORD).await;
        for session in [&ann, &again] {
            assert_eq!(api.get("/users/me", session).await.expect(200).data()["version"], version);
        }
        log_in(api, &ann.email, "not the password").await.refused(401, "INVALID_CREDENTIALS");
        api.log_in(&ann.email, PASSWORD).await;
        let installation = server.stop().await;
        let output = installation.run(&["doctor"], "").await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            said.contains("cost 5 takes") && said.contains("4 would take") && said.contains("6 would take"),
            "{said}"
        );
        installation.audit().await;
        installation.remove().await;
    }
}
