//! What administrators see and do: the audit log.

use bellwether_tests::client::PASSWORD;
use bellwether_tests::{Api, Installation, Server, Store, User, database, on_each_store};
use serde_json::{Value, json};

/// The entries of the audit log that match, the first first.
async fn told(api: &Api, admin: &User, query: &str) -> Vec<Value> {
    let answer = api.get(&format!("/admin/audit-log?sort=createdAt&limit=100&{query}"), admin).await.expect(200);
    answer.data().as_array().expect("a list").clone()
}

async fn log_in(api: &Api, email: &str, password: &str) -> bellwether_tests::Answer {
    api.request("POST", "/auth/login").json(&json!({ "email": email, "password": password })).send().await
}

/// Threats 7 and 61.
#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_tells_who_did_what_to_what_when_and_from_where() {
    on_each_store(|server| async move {
        let (api, admin) = (server.api(), server.admin().await);
        let ann = api.sign_up("Ann").await;
        let request =
            api.request("POST", "/auth/login").header("User-Agent", "a browser").header("X-Request-Id", "r-1");
        let signed_in = request.json(&json!({ "email": ann.email, "password": PASSWORD })).send().await.expect(200);

        let [entry] =
            told(api, admin, &format!("actor={}&action=user.signed_up", ann.id)).await.try_into().expect("one");
        assert_eq!(entry["target"], json!({ "kind": "user", "id": ann.id }));
        let entry = told(api, admin, &format!("actor={}&action=user.signed_in", ann.id)).await.pop().expect("some");
        assert_eq!(entry["actor"], json!({ "kind": "user", "userId": ann.id }));
        assert_eq!((&entry["target"]["kind"], &entry["requestId"]), (&json!("session"), &json!("r-1")));
        assert_eq!((&entry["address"], &entry["agent"]), (&json!("127.0.0.1"), &json!("a browser")));
        assert_eq!(entry["hash"].as_str().map(str::len), Some(64));

        // However often somebody guesses, one entry an hour and at its end another with their number.
        for _ in 0..4 {
            log_in(api, &ann.email, "a wrong pass phrase").await.refused(401, "INVALID_CREDENTIALS");
            log_in(api, "nobody@example.org", "a wrong pass phrase").await.refused(401, "INVALID_CREDENTIALS");
        }
        let failed = told(api, admin, "action=user.sign_in_failed").await;
        let of = |target: &Value| failed.iter().filter(|entry| entry["target"] == *target).count();
        // An hour may begin in between.
        let (hers, nobodys) = (of(&json!({ "kind": "user", "id": ann.id })), of(&Value::Null));
        assert!((1..=2).contains(&hers) && (1..=2).contains(&nobodys), "{failed:#?}");
        assert!(failed.iter().all(|entry| entry["actor"]["kind"] == "stranger" && entry["address"] == "127.0.0.1"));

        // A refresh token that is used again.
        let (first, of) = (signed_in.text("/refreshToken"), |token: &str| json!({ "refreshToken": token }));
        let refresh = |token: String| api.request("POST", "/auth/refresh").json(&of(&token)).send();
        let second = refresh(first.clone()).await.expect(200).text("/refreshToken");
        refresh(second).await.expect(200);
        refresh(first).await.refused(401, "INVALID_REFRESH_TOKEN");
        let [entry] = told(api, admin, "action=session.reused").await.try_into().expect("one entry");
        assert_eq!((&entry["after"], &entry["target"]["kind"]), (&json!({ "userId": ann.id }), &json!("session")));

        // What administrators and moderators do; what owners do to their markets is their own affair.
        let market = api.open_market(&ann, json!({})).await;
        let grant = json!({ "userId": ann.id, "amount": "1.5", "reason": "a prize" });
        let granted = api.post("/admin/grants", admin, grant).await.expect(201).text("/id");
        api.post(&format!("/markets/{market}/halt"), admin, json!({})).await.expect(200);
        api.post(&format!("/markets/{market}/reopen"), admin, json!({})).await.expect(200);
        api.post(&format!("/markets/{market}/close"), &ann, json!({})).await.expect(200);
        api.post(&format!("/markets/{market}/resolve"), admin, json!({ "outcome": "YES" })).await.expect(200);
        let [entry] = told(api, admin, "action=grant.made").await.try_into().expect("one entry");
        assert_eq!(entry["target"], json!({ "kind": "transfer", "id": granted }));
        assert_eq!(entry["after"], json!({ "userId": ann.id, "amount": "1.500", "reason": "a prize" }));
        let entries = told(api, admin, &format!("target={market}")).await;
        let actions: Vec<_> = entries.iter().map(|entry| entry["action"].as_str().expect("an action")).collect();
        assert_eq!(actions, ["market.halted", "market.reopened", "market.resolved"]);
        assert_eq!(entries[0]["before"], json!({ "status": "open" }));
        assert_eq!(entries[2]["after"]["decidedMills"], json!({ "YES": 1000, "NO": 0 }));

        // Nothing in it names anybody or tells a secret. (Threat 71.)
        let all = api.get("/admin/audit-log?limit=100", admin).await.expect(200).text;
        for secret in [ann.email.as_str(), PASSWORD, "wrong pass phrase", ann.token.as_str()] {
            assert!(!all.contains(secret), "the log tells {secret}");
        }
        // The command line's deeds are the system's.
        let [entry, ..] = told(api, admin, "").await.try_into().unwrap_or_else(|all: Vec<Value>| [all[0].clone()]);
        assert_eq!((&entry["actor"]["kind"], &entry["number"]), (&json!("system"), &json!(1)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_is_for_administrators_and_paged_and_its_faults_are_named() {
    on_each_store(|server| async move {
        let (api, admin) = (server.api(), server.admin().await);
        let ann = api.sign_up("Ann").await;
        api.request("GET", "/admin/audit-log").send().await.refused(401, "UNAUTHENTICATED");
        api.get("/admin/audit-log", &ann).await.refused(403, "FORBIDDEN");
        for method in ["POST", "PUT", "DELETE"] {
            let answer = api.request(method, "/admin/audit-log").by(admin).json(&json!({})).send().await;
            answer.refused(405, "METHOD_NOT_ALLOWED");
        }

        for _ in 0..3 {
            log_in(api, &ann.email, PASSWORD).await.expect(200);
        }
        let whole = told(api, admin, "").await;
        let (mut walked, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/admin/audit-log?sort=createdAt&limit=2&cursor={cursor}");
            let page = api.get(&path, admin).await.expect(200);
            walked.extend(page.data().as_array().expect("a list").clone());
            let pagination = &page.body["meta"]["pagination"];
            let Some(next) = pagination["nextCursor"].as_str() else { break };
            next.clone_into(&mut cursor);
        }
        assert_eq!(walked, whole);
        let numbers: Vec<_> = whole.iter().map(|entry| entry["number"].as_i64().expect("a number")).collect();
        assert!(numbers.iter().copied().eq(1..=i64::try_from(numbers.len()).expect("few")), "{numbers:?}");
        let counted = api.get("/admin/audit-log?limit=2&page=2", admin).await.expect(200);
        assert_eq!(counted.body["meta"]["pagination"]["total"], json!(whole.len()));
        let (second, third) =
            (whole[1]["createdAt"].as_str().expect("a time"), whole[2]["createdAt"].as_str().expect("a time"));
        assert_eq!(told(api, admin, &format!("from={second}&until={third}")).await, [whole[1].clone()]);

        for (query, status, code, fields) in [
            ("colour=red", 400, "UNKNOWN_PARAMETER", &["colour"][..]),
            ("sort=number", 400, "UNKNOWN_PARAMETER", &["sort"]),
            ("cursor=x", 400, "BAD_CURSOR", &["cursor"]),
            ("page=1&offset=1", 400, "UNKNOWN_PARAMETER", &["page"]),
            (
                "actor=me&action=user.flew&target=7&from=yesterday&until=2030",
                422,
                "VALIDATION_ERROR",
                &["actor", "action", "target", "from", "until"],
            ),
            ("limit=101&actor=x", 422, "VALIDATION_ERROR", &["limit", "actor"]),
        ] {
            let answer = api.get(&format!("/admin/audit-log?{query}"), admin).await;
            answer.refused(status, code);
            let mut found = answer.fields();
            found.sort_unstable();
            let mut fields = fields.to_vec();
            fields.sort_unstable();
            assert_eq!(found, fields, "{query}");
        }
    })
    .await;
}

/// Threat 7: an entry that was changed behind the server's back is named.
#[tokio::test(flavor = "multi_thread")]
async fn an_audit_names_an_entry_that_was_tampered_with() {
    let Some(installation) = Installation::new(Store::Postgres, &[]).await else { return };
    let server = Server::start(installation).await;
    let api = server.api();
    for name in ["Ann", "Ben", "Cat"] {
        api.sign_up(name).await;
    }
    let installation = server.stop().await;
    installation.audit().await;
    let url = installation.database_url().expect("PostgreSQL has one").to_owned();
    let tamper =
        "ALTER TABLE audit_log DISABLE TRIGGER ALL; UPDATE audit_log SET address = '192.0.2.7' WHERE number = 2";
    database::execute(&url, tamper).await;
    let output = installation.run(&["audit"], "").await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("entry 2 of the audit log"), "{said}");

    database::execute(&url, "DELETE FROM audit_log WHERE number > 3").await;
    let said = installation.run(&["audit", "--json"], "").await;
    let said: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    assert_eq!((&said["ok"], &said["violations"][0]["invariant"]), (&json!(false), &json!(9)));
    installation.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_of_the_keys_is_told() {
    on_each_store(|server| async move {
        let output = server.installation().run(&["keys", "rotate", "--compromised"], "").await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let admin = server.admin().await;
        let [entry] = told(server.api(), admin, "action=keys.rotated").await.try_into().expect("one entry");
        assert_eq!((&entry["actor"]["kind"], &entry["after"]), (&json!("system"), &json!({ "compromised": true })));
    })
    .await;
}
