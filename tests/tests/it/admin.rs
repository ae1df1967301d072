//! What administrators see and do: the audit log, and the administration of users; and users as version 2 shows them.

use std::sync::Arc;

use bellwether_tests::client::{PASSWORD, limit};
use bellwether_tests::{Answer, Api, Installation, Server, Store, User, on_each_store};
use serde_json::{Value, json};
use tokio::sync::Barrier;

/// The entries of the audit log that match, the first first.
async fn told(api: &Api, admin: &User, query: &str) -> Vec<Value> {
    let answer = api.get(&format!("/admin/audit-log?sort=createdAt&limit=100&{query}"), admin).await.expect(200);
    answer.data().as_array().expect("a list").clone()
}

async fn log_in(api: &Api, email: &str, password: &str) -> Answer {
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
        let [entry, ..] = &told(api, admin, "action=user.signed_up").await[..] else { panic!("nobody signed up") };
        assert_eq!(entry["actor"]["kind"], "system");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_signs_somebody_up_is_told_as_who_did_it() {
    on_each_store(|server| async move {
        let (api, admin) = (server.api(), server.admin().await);
        let ann = api.sign_up("Ann").await;
        let request = json!({ "email": format!("new-{}", ann.email), "displayName": "New", "password": PASSWORD });
        let newcomer = api.post("/users", admin, request).await.expect(201).text("/id");
        for (who, by) in [(&newcomer, &admin.id), (&ann.id, &ann.id)] {
            let entries = told(api, admin, &format!("action=user.signed_up&target={who}")).await;
            let [entry] = entries.try_into().expect("one entry");
            assert_eq!(entry["actor"], json!({ "kind": "user", "userId": by }));
            assert_eq!(entry["after"], json!({ "role": "user" }));
        }
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
        // A new server audits itself at once, beside everything else.
        let audits = "/admin/audit-log?action=invariants.checked";
        api.wait_for(audits, Some(admin), |entries| *entries != json!([])).await;
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
        // What happens at one time may be written in another order than it happened.
        let mut numbers: Vec<_> = whole.iter().map(|entry| entry["number"].as_i64().expect("a number")).collect();
        numbers.sort_unstable();
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
    for store in Store::ALL {
        let Some(installation) = Installation::new(store, &[]).await else { continue };
        let server = Server::start(installation).await;
        for name in ["Ann", "Ben", "Cat"] {
            server.api().sign_up(name).await;
        }
        let installation = server.stop().await;
        installation.audit().await;
        installation
            .execute_sql(match store {
                Store::Sqlite => "DROP TRIGGER audit_log_is_never_updated; DROP TRIGGER audit_log_is_never_deleted;",
                Store::Postgres => "ALTER TABLE audit_log DISABLE TRIGGER ALL",
            })
            .await;
        // Of a sign-up: whichever entries the server's own check of the invariants is before, it has no address.
        let first = "(SELECT min(number) FROM audit_log WHERE address = '127.0.0.1')";
        installation.execute_sql(&format!("UPDATE audit_log SET address = '192.0.2.7' WHERE number = {first}")).await;
        let output = installation.run(&["audit"], "").await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(" of the audit log (user."), "{said}");

        installation.execute_sql("UPDATE audit_log SET address = '127.0.0.1' WHERE address = '192.0.2.7'").await;
        installation.audit().await;
        installation.execute_sql("DELETE FROM audit_log WHERE number > 2").await;
        let said = installation.run(&["audit", "--json"], "").await;
        let said: Value = serde_json::from_slice(&said.stdout).expect("JSON");
        assert_eq!((&said["ok"], &said["violations"][0]["invariant"]), (&json!(false), &json!(9)));
        installation.remove().await;
    }
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

async fn put(api: &Api, by: &User, path: &str, version: &str, body: Value) -> Answer {
    api.request("PUT", path).by(by).header("If-Match", version).json(&body).send().await
}

async fn tag(api: &Api, admin: &User, user: &User) -> String {
    api.get(&format!("/users/{}", user.id), admin).await.expect(200).header("etag").to_owned()
}

/// Threat 16.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_changed_counts_at_the_next_request() {
    on_each_store(|server| async move {
        let (api, admin) = (server.api(), server.admin().await);
        let ann = api.sign_up("Ann").await;
        let market = api.open_market(&ann, json!({})).await;
        let path = format!("/users/{}/role", ann.id);
        let halt = format!("/markets/{market}/halt");
        api.post(&halt, &ann, json!({})).await.refused(403, "FORBIDDEN");
        put(api, &ann, &path, "*", json!({ "role": "admin" })).await.refused(403, "FORBIDDEN");

        let first = tag(api, admin, &ann).await;
        let changed = put(api, admin, &path, &first, json!({ "role": "moderator" })).await.expect(200);
        assert_eq!((changed.text("/role"), changed.text("/email")), ("moderator".to_owned(), ann.email.clone()));
        put(api, admin, &path, &first, json!({ "role": "user" })).await.refused(412, "PRECONDITION_FAILED");
        // The sessions from before are over.
        api.get("/users/me", &ann).await.refused(401, "UNAUTHENTICATED");
        let ann = api.log_in(&ann.email, PASSWORD).await;
        api.post(&halt, &ann, json!({})).await.expect(200);
        put(api, admin, &path, "*", json!({ "role": "user" })).await.expect(200);
        api.post(&halt, &ann, json!({})).await.refused(401, "UNAUTHENTICATED");

        let entries = told(api, admin, &format!("action=user.role_changed&target={}", ann.id)).await;
        let steps: Vec<_> = entries.iter().map(|entry| (entry["before"].clone(), entry["after"].clone())).collect();
        let role = |role: &str| json!({ "role": role });
        assert_eq!(steps, [(role("user"), role("moderator")), (role("moderator"), role("user"))]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_user_is_out_until_it_is_reactivated_and_its_orders_rest() {
    on_each_store(|server| async move {
        let (api, admin) = (server.api(), server.admin().await);
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let market = api.open_market(&ben, json!({})).await;
        api.post("/orders", &ann, limit(&market, "YES", "buy", "0.5", 10)).await.expect(201);
        let path = format!("/users/{}/status", ann.id);
        let suspend = json!({ "status": "suspended", "reason": "too many complaints" });
        let suspended = put(api, admin, &path, &tag(api, admin, &ann).await, suspend.clone()).await.expect(200);
        assert_eq!(suspended.text("/status"), "suspended");
        // Again is no change.
        let again = put(api, admin, &path, suspended.header("etag"), suspend).await.expect(200);
        assert_eq!(again.header("etag"), suspended.header("etag"));
        api.get("/users/me", &ann).await.refused(401, "UNAUTHENTICATED");
        log_in(api, &ann.email, PASSWORD).await.refused(401, "INVALID_CREDENTIALS");
        // What it offered it stands by.
        api.post("/orders", &ben, limit(&market, "NO", "buy", "0.5", 4)).await.expect(201);
        let found = api.get("/users?status=suspended", admin).await.expect(200);
        assert_eq!(found.data().as_array().map(Vec::len), Some(1));

        put(api, admin, &path, "*", json!({ "status": "active", "reason": "a mistake" })).await.expect(200);
        let ann = api.log_in(&ann.email, PASSWORD).await;
        assert_eq!(api.shares(&ann, &market).await, [4, 0]);
        let entries = told(api, admin, &format!("target={}&actor={}", ann.id, admin.id)).await;
        let told: Vec<_> =
            entries.iter().map(|e| (e["action"].as_str().expect("an action"), e["after"].clone())).collect();
        let status = |status: &str, reason: &str| json!({ "status": status, "reason": reason });
        let wanted = [
            ("user.suspended", status("suspended", "too many complaints")),
            ("user.reactivated", status("active", "a mistake")),
        ];
        assert_eq!(told, wanted);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_see_and_end_the_sessions_of_others() {
    on_each_store(|server| async move {
        let (api, admin) = (server.api(), server.admin().await);
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let elsewhere = api.log_in(&ann.email, PASSWORD).await;
        let path = format!("/users/{}/sessions", ann.id);
        assert_eq!(api.get(&path, admin).await.expect(200).data().as_array().map(Vec::len), Some(2));
        api.get(&path, &ben).await.refused(404, "USER_NOT_FOUND");
        api.request("DELETE", &path).by(&ben).send().await.refused(404, "USER_NOT_FOUND");
        let nobody = "/users/0193a5e0-0000-7000-8000-000000000000/sessions";
        api.request("DELETE", nobody).by(admin).send().await.refused(404, "USER_NOT_FOUND");
        api.request("DELETE", &path).by(admin).send().await.expect(204);
        for user in [&ann, &elsewhere] {
            api.get("/users/me", user).await.refused(401, "UNAUTHENTICATED");
        }
        api.request("DELETE", &path).by(admin).send().await.expect(204);
        let [entry] = told(api, admin, "action=user.sessions_ended").await.try_into().expect("one entry");
        assert_eq!((&entry["target"]["id"], &entry["after"]), (&json!(ann.id), &json!({ "sessions": 2 })));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_searched_filtered_and_paged() {
    on_each_store(|server| async move {
        let (api, admin) = (server.api(), server.admin().await);
        let mut people = Vec::new();
        for name in ["Ann", "Annika", "Ben", "anne"] {
            people.push(api.sign_up(name).await);
        }
        let names = async |query: &str| -> Vec<String> {
            let answer = api.get(&format!("/users?sort=createdAt&{query}"), admin).await.expect(200);
            let name = |user: &Value| user["displayName"].as_str().expect("a name").to_owned();
            answer.data().as_array().expect("a list").iter().map(name).collect()
        };
        assert_eq!(names("search=ann&role=user&status=active").await, ["Ann", "Annika", "anne"]);
        assert_eq!(names("search=BEN").await, ["Ben"]);
        assert_eq!(names(&format!("search={}", people[1].email.to_uppercase())).await, ["Annika"]);
        assert_eq!(names("search=%25").await, [""; 0]);
        let since = api.get(&format!("/users/{}", people[2].id), admin).await.expect(200).text("/createdAt");
        assert_eq!(names(&format!("createdAfter={since}")).await, ["Ben", "anne"]);
        assert_eq!(names(&format!("createdBefore={since}&role=user")).await, ["Ann", "Annika"]);
        let mut walked = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = api
                .get(&format!("/users?search=ann&sort=displayName&limit=1&cursor={cursor}"), admin)
                .await
                .expect(200);
            walked.push(page.text("/0/displayName"));
            let Some(next) = page.body["meta"]["pagination"]["nextCursor"].as_str() else { break };
            next.clone_into(&mut cursor);
        }
        assert_eq!(walked, ["Ann", "Annika", "anne"]);
        let other = format!("/users?search=an&sort=displayName&limit=1&cursor={cursor}");
        api.get(&other, admin).await.refused(400, "BAD_CURSOR");
    })
    .await;
}

/// Of two who take each other's role at the same moment, one is too late.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_administrator_cannot_be_removed_even_by_two_at_once() {
    on_each_store(|server| async move {
        let (api, root) = (server.api(), server.admin().await.clone());
        let of = |user: &User, what: &str| format!("/users/{}/{what}", user.id);
        let demote = json!({ "role": "user" });
        let suspend = json!({ "status": "suspended", "reason": "a test" });
        put(api, &root, &of(&root, "role"), "*", demote.clone()).await.refused(409, "LAST_ADMIN");
        put(api, &root, &of(&root, "status"), "*", suspend.clone()).await.refused(409, "LAST_ADMIN");
        let delete = api.request("DELETE", "/users/me").by(&root).header("If-Match", "*");
        delete.send().await.refused(409, "LAST_ADMIN");

        let mut admins = [root, api.sign_up("Second").await];
        put(api, &admins[0], &of(&admins[1], "role"), "*", json!({ "role": "admin" })).await.expect(200);
        admins[1] = api.log_in(&admins[1].email, PASSWORD).await;
        for round in 0..4 {
            let barrier = Arc::new(Barrier::new(2));
            let race = [(0, 1), (1, 0)].map(|(by, whom)| {
                let (by, whom, barrier) = (admins[by].clone(), admins[whom].clone(), Arc::clone(&barrier));
                let (demote, suspend) = (demote.clone(), suspend.clone());
                let (role, status) = (of(&whom, "role"), of(&whom, "status"));
                async move {
                    barrier.wait().await;
                    if round % 2 == 0 {
                        put(api, &by, &role, "*", demote).await
                    } else {
                        put(api, &by, &status, "*", suspend).await
                    }
                }
            });
            let [first, second] = race;
            let (first, second) = tokio::join!(first, second);
            let won = [first.status == 200, second.status == 200];
            assert!(won[0] != won[1], "{first:?} {second:?}");
            let (winner, loser) = if won[0] { (0, 1) } else { (1, 0) };
            // Whoever was too late is signed out, or no administrator any more.
            let late = if won[0] { &second } else { &first };
            assert!(matches!(late.status, 401 | 403 | 409), "{late:?}");
            // And back again, for the next round.
            let active = json!({ "status": "active", "reason": "a test" });
            put(api, &admins[winner], &of(&admins[loser], "status"), "*", active).await.expect(200);
            put(api, &admins[winner], &of(&admins[loser], "role"), "*", json!({ "role": "admin" })).await.expect(200);
            let password = if loser == 0 { "an administrator's pass phrase" } else { PASSWORD };
            admins[loser] = api.log_in(&admins[loser].email, password).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_what_administrators_send_is_named() {
    on_each_store(|server| async move {
        let (api, admin) = (server.api(), server.admin().await);
        let ann = api.sign_up("Ann").await;
        let (role, status) = (format!("/users/{}/role", ann.id), format!("/users/{}/status", ann.id));
        let nobody = "/users/0193a5e0-0000-7000-8000-000000000000/role";
        let reason = "x".repeat(501);
        for (path, tag, body, code, name, fields) in [
            (role.as_str(), "*", json!({}), 422, "VALIDATION_ERROR", &["role"][..]),
            (&role, "*", json!({ "role": "king" }), 422, "VALIDATION_ERROR", &["role"]),
            (&role, "*", json!({ "role": null }), 422, "VALIDATION_ERROR", &["role"]),
            (&role, "*", json!({ "role": "user", "status": "active" }), 400, "UNKNOWN_FIELD", &["status"]),
            (&role, "3", json!({ "role": "user" }), 400, "BAD_REQUEST", &[]),
            (&role, "\"99.x\"", json!({ "role": "user" }), 412, "PRECONDITION_FAILED", &[]),
            (&status, "*", json!({}), 422, "VALIDATION_ERROR", &["status", "reason"]),
            (
                &status,
                "*",
                json!({ "status": "deactivated", "reason": "" }),
                422,
                "VALIDATION_ERROR",
                &["status", "reason"],
            ),
            (&status, "*", json!({ "status": "active", "reason": reason }), 422, "VALIDATION_ERROR", &["reason"]),
            (&status, "*", json!({ "status": 7, "reason": 7 }), 422, "VALIDATION_ERROR", &["status", "reason"]),
            (nobody, "*", json!({ "role": "user" }), 404, "USER_NOT_FOUND", &[]),
            ("/users/x/role", "*", json!({ "role": "user" }), 400, "BAD_ID", &["id"]),
        ] {
            let answer = put(api, admin, path, tag, body.clone()).await;
            answer.refused(code, name);
            assert_eq!(answer.fields(), fields, "{path} {body}");
        }
        for path in [&role, &status] {
            let bare = api.request("PUT", path).by(admin).json(&json!({ "role": "user" })).send().await;
            bare.refused(428, "PRECONDITION_REQUIRED");
            put(api, &ann, path, "*", json!({ "bad": 1 })).await.refused(403, "FORBIDDEN");
            api.request("PUT", path).json(&json!({})).send().await.refused(401, "UNAUTHENTICATED");
        }
        for (query, code, name, field) in [
            ("search=", 422, "VALIDATION_ERROR", "search"),
            ("search=a%00b", 422, "VALIDATION_ERROR", "search"),
            ("createdAfter=yesterday", 422, "VALIDATION_ERROR", "createdAfter"),
            ("createdBefore=7", 422, "VALIDATION_ERROR", "createdBefore"),
            ("status=gone", 422, "VALIDATION_ERROR", "status"),
            ("name=Ann", 400, "UNKNOWN_PARAMETER", "name"),
        ] {
            let answer = api.get(&format!("/users?{query}"), admin).await;
            answer.refused(code, name);
            assert_eq!(answer.fields(), [field], "{query}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn version_2_shows_how_a_user_has_traded_and_version_1_says_so() {
    on_each_store(|server| async move {
        let (api, admin) = (server.api(), server.admin().await);
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let (old, new) = (format!("/users/{}", ann.id), format!("//api/v2/users/{}", ann.id));
        let first = api.get(&new, &ben).await.expect(200);
        let none = json!({ "trades": 0, "volume": "0.000", "profit": "0.000", "openPositions": 0, "brierScore": null });
        assert_eq!(first.data()["statistics"], none);

        // Ann takes ten shares of YES at 0.6 and five of NO at 0.3, of Ben.
        let markets = [api.open_market(&ben, json!({})).await, api.open_market(&ben, json!({})).await];
        let orders = [
            (&ben, limit(&markets[0], "NO", "buy", "0.4", 10)),
            (&ann, limit(&markets[0], "YES", "buy", "0.6", 10)),
            (&ben, limit(&markets[1], "YES", "buy", "0.7", 5)),
            (&ann, limit(&markets[1], "NO", "buy", "0.3", 5)),
        ];
        for (user, order) in orders {
            api.post("/orders", user, order).await.expect(201);
        }
        let statistics = async |user: &User| {
            api.get(&format!("//api/v2/users/{}", user.id), admin).await.expect(200).data()["statistics"].clone()
        };
        // Both books are those of YES: ten shares at 0.6, five at 0.7.
        let open = json!({ "trades": 2, "volume": "9.500", "profit": "0.000", "openPositions": 2, "brierScore": null });
        assert_eq!((statistics(&ann).await, statistics(&ben).await), (open.clone(), open));

        // YES is right in the first market, and nobody knows about the second.
        for (market, decision) in
            [(&markets[0], json!({ "outcome": "YES" })), (&markets[1], json!({ "reason": "unclear" }))]
        {
            let verb = if decision.get("outcome").is_some() { "resolve" } else { "void" };
            api.post(&format!("/markets/{market}/close"), &ben, json!({})).await.expect(200);
            api.post(&format!("/markets/{market}/{verb}"), admin, decision).await.expect(200);
            api.settled(market).await;
        }
        let (of_ann, of_ben) = (statistics(&ann).await, statistics(&ben).await);
        // Ten shares that cost 6 pay 10; five that cost 1.5 pay their last price. (0.6 - 1)² = 0.16.
        assert_eq!((&of_ann["profit"], &of_ann["brierScore"]), (&json!("4.000"), &json!(0.16)));
        assert_eq!((&of_ben["profit"], &of_ben["brierScore"]), (&json!("-4.000"), &Value::Null));
        assert_eq!((&of_ann["openPositions"], &of_ben["openPositions"]), (&json!(0), &json!(0)));
        assert_eq!((&of_ann["trades"], &of_ben["trades"]), (&json!(2), &json!(2)));

        // The old shape stays, and says where the new one is.
        let shown = api.get(&old, &ann).await.expect(200);
        assert_eq!(shown.data()["statistics"], Value::Null);
        assert_eq!(shown.header("deprecation"), "@1795219200");
        assert_eq!(shown.header("sunset"), "Sun, 21 Nov 2027 00:00:00 GMT");
        assert_eq!(shown.header("link"), format!("</api/v2/users/{}>; rel=\"successor-version\"", ann.id));
        let newer = api.get("//api/v2/users/me", &ann).await.expect(200);
        assert!(!newer.headers.contains_key("deprecation") && !newer.headers.contains_key("sunset"));
        for field in
            ["id", "email", "displayName", "role", "status", "emailVerified", "createdAt", "updatedAt", "version"]
        {
            assert_eq!(newer.data()[field], shown.data()[field], "{field}");
        }
        // What others see has no address, in any version; its tag is that of its data and guards changes.
        assert_eq!(api.get(&new, &ben).await.expect(200).data()["email"], Value::Null);
        assert_ne!(newer.header("etag"), shown.header("etag"));
        let known = api.request("GET", "//api/v2/users/me").by(&ann).header("If-None-Match", newer.header("etag"));
        known.send().await.expect(304);
        let change = api.request("PATCH", "/users/me").by(&ann).header("If-Match", newer.header("etag"));
        change.json(&json!({ "displayName": "Anna" })).send().await.expect(200);

        let part = api.get("//api/v2/users/me?fields=id,statistics", &ann).await.expect(200);
        assert_eq!(part.data().as_object().map(serde_json::Map::len), Some(2));
        for (path, status, code) in [
            ("//api/v2/users/x", 400, "BAD_ID"),
            ("//api/v2/users/0193a5e0-0000-7000-8000-000000000000", 404, "USER_NOT_FOUND"),
            ("//api/v2/users/me?colour=red", 400, "UNKNOWN_PARAMETER"),
            ("//api/v2/users/me?fields=passwordHash", 400, "UNKNOWN_PARAMETER"),
            ("//api/v2/users", 404, "NOT_FOUND"),
            ("//api/v2/markets", 404, "NOT_FOUND"),
        ] {
            api.get(path, &ann).await.refused(status, code);
        }
        api.request("PUT", "//api/v2/users/me")
            .by(&ann)
            .json(&json!({}))
            .send()
            .await
            .refused(405, "METHOD_NOT_ALLOWED");
        api.request("GET", &new).send().await.refused(401, "UNAUTHENTICATED");
    })
    .await;
}
