//! Signing up, signing in, and what people may know and change of each other.

use bellwether_tests::client::{PASSWORD, limit};
use bellwether_tests::on_each_store;
use serde_json::{Value, json};

/// Threat 1.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_an_unknown_address_are_answered_alike() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let log_in = |email: &str, password: &str| {
            let body = json!({ "email": email, "password": password });
            api.request("POST", "/auth/login").json(&body).send()
        };
        let wrong = log_in(&ann.email, "not the password").await;
        wrong.refused(401, "INVALID_CREDENTIALS");
        let names = |answer: &bellwether_tests::Answer| {
            let mut names: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
            names.sort();
            names
        };
        for (email, password) in [
            ("nobody@example.org", "not the password"),
            ("no address at all", PASSWORD),
            ("", ""),
            (ann.email.as_str(), "x\0y"),
            (ann.email.as_str(), &"x".repeat(100)),
        ] {
            let other = log_in(email, password).await;
            assert_eq!((other.status, &other.body["error"]), (wrong.status, &wrong.body["error"]), "{email:?}");
            assert_eq!(names(&other), names(&wrong));
        }
        assert!(wrong.header("www-authenticate").starts_with("Bearer"));
    })
    .await;
}

/// Threat 3.
#[tokio::test(flavor = "multi_thread")]
async fn passwords_of_any_unicode_up_to_72_bytes_work_and_none_is_cut() {
    on_each_store(|server| async move {
        let api = server.api();
        let sign_up = |n: usize, password: &str| {
            let body = json!({ "email": format!("p{n}@example.org"), "displayName": "P", "password": password });
            api.request("POST", "/users").json(&body).send()
        };
        let log_in = |n: usize, password: &str| {
            let body = json!({ "email": format!("p{n}@example.org"), "password": password });
            api.request("POST", "/auth/login").json(&body).send()
        };
        let longest = "x".repeat(72);
        let umlauts = "ä".repeat(36);
        let good = [
            "пароль-пароль",
            "😀😀😀😀😀😀😀😀",
            " leading and trailing ",
            "e\u{301}e\u{301}e\u{301}e\u{301}",
            &longest,
            &umlauts,
        ];
        for (n, password) in good.into_iter().enumerate() {
            sign_up(n, password).await.expect(201);
            log_in(n, password).await.expect(200);
            // One byte fewer, one more, or trimmed is another password.
            let mut shorter = password.to_owned();
            shorter.pop();
            log_in(n, &shorter).await.refused(401, "INVALID_CREDENTIALS");
            log_in(n, &format!("{password}x")).await.refused(401, "INVALID_CREDENTIALS");
        }
        for (n, password) in
            ["x".repeat(73), "ä".repeat(37), "abc\0defgh".to_owned(), "short".to_owned()].iter().enumerate()
        {
            let answer = sign_up(100 + n, password).await;
            answer.refused(422, "VALIDATION_ERROR");
            assert_eq!(answer.fields(), ["password"]);
            log_in(100 + n, password).await.refused(401, "INVALID_CREDENTIALS");
        }
    })
    .await;
}

/// Threat 13.
#[tokio::test(flavor = "multi_thread")]
async fn other_peoples_private_things_are_not_there() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let cat = api.sign_up("Cat").await;
        let market = api.open_market(&ann, json!({})).await;
        let order = api.post("/orders", &ann, limit(&market, "YES", "buy", "0.5", 10)).await.expect(201);
        let order = order.text("/order/id");
        let paid = api.post("/transfers", &ann, json!({ "toUserId": ben.id, "amount": 1 })).await.expect(201);
        let transfer = paid.text("/id");

        let path = format!("/orders/{order}");
        for (method, body) in [("GET", None), ("DELETE", None), ("PATCH", Some(json!({ "quantity": 1 })))] {
            let mut request = api.request(method, &path).by(&cat);
            if let Some(body) = &body {
                request = request.json(body);
            }
            request.send().await.refused(404, "ORDER_NOT_FOUND");
        }
        api.get(&format!("/transfers/{transfer}"), &cat).await.refused(404, "TRANSFER_NOT_FOUND");
        api.get(&format!("/accounts/{}", ann.id), &cat).await.refused(404, "ACCOUNT_NOT_FOUND");
        api.get(&format!("/accounts/{}/transfers", ann.id), &cat).await.refused(404, "ACCOUNT_NOT_FOUND");
        for list in ["orders", "positions", "transfers"] {
            api.get(&format!("/users/{}/{list}", ann.id), &cat).await.refused(404, "USER_NOT_FOUND");
        }
        // Both sides of a transfer see it; the public part of a user has no address.
        api.get(&format!("/transfers/{transfer}"), &ben).await.expect(200);
        let shown = api.get(&format!("/users/{}", ann.id), &cat).await.expect(200);
        assert_eq!((&shown.data()["displayName"], &shown.data()["email"]), (&json!("Ann"), &Value::Null));
        api.request("GET", "/users").by(&cat).send().await.refused(403, "FORBIDDEN");
        api.post("/admin/grants", &cat, json!({ "userId": cat.id, "amount": 1 })).await.refused(403, "FORBIDDEN");
        assert_eq!(api.get(&path, &ann).await.expect(200).text("/status"), "open");
    })
    .await;
}

/// Threat 15.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_themselves_an_administrator_or_rich_by_a_field() {
    on_each_store(|server| async move {
        let api = server.api();
        let body = json!({
            "email": "eve@example.org", "displayName": "Eve", "password": PASSWORD, "role": "admin", "balance": "1000000",
        });
        let answer = api.request("POST", "/users").json(&body).send().await;
        answer.refused(400, "UNKNOWN_FIELD");
        let mut fields = answer.fields();
        fields.sort_unstable();
        assert_eq!(fields, ["balance", "role"]);
        let log_in = json!({ "email": "eve@example.org", "password": PASSWORD });
        api.request("POST", "/auth/login").json(&log_in).send().await.refused(401, "INVALID_CREDENTIALS");

        let eve = api.sign_up("Eve").await;
        let before = api.get("/users/me", &eve).await.expect(200);
        for change in [
            json!({ "role": "admin" }),
            json!({ "status": "active", "displayName": "E" }),
            json!({ "id": "0193a5e0-0000-7000-8000-000000000000" }),
            json!({ "emailVerified": true }),
            json!({ "version": 99 }),
        ] {
            let request = api.request("PATCH", "/users/me").by(&eve).header("If-Match", "*").json(&change);
            request.send().await.refused(400, "UNKNOWN_FIELD");
        }
        assert_eq!(api.get("/users/me", &eve).await.expect(200).data(), before.data());
        assert_eq!(api.balance(&eve).await, (1_000_000, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_changed_by_who_has_the_current_version() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let shown = api.get("/users/me", &ann).await.expect(200);
        let tag = shown.header("etag").to_owned();
        let change = |tag: &str, body: Value| {
            api.request("PATCH", "/users/me").by(&ann).header("If-Match", tag).json(&body).send()
        };
        let keyless = api.request("PATCH", "/users/me").by(&ann).json(&json!({ "displayName": "A" })).send().await;
        keyless.refused(428, "PRECONDITION_REQUIRED");
        let changed = change(&tag, json!({ "displayName": "Anna" })).await.expect(200);
        assert_eq!((changed.text("/displayName"), &changed.data()["version"]), ("Anna".to_owned(), &json!(2)));
        change(&tag, json!({ "displayName": "Anne" })).await.refused(412, "PRECONDITION_FAILED");

        // Another address or password needs the current password.
        let tag = changed.header("etag").to_owned();
        let bare = change(&tag, json!({ "password": "another pass phrase" })).await;
        bare.refused(422, "VALIDATION_ERROR");
        assert_eq!(bare.fields(), ["currentPassword"]);
        let body = json!({ "password": "another pass phrase", "currentPassword": "wrong wrong wrong" });
        change(&tag, body).await.refused(401, "INVALID_CREDENTIALS");
        let body = json!({ "password": "another pass phrase", "currentPassword": PASSWORD });
        change(&tag, body).await.expect(200);
        api.log_in(&ann.email, "another pass phrase").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_user_is_gone_and_its_orders_are_cancelled() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let market = api.open_market(&ben, json!({})).await;
        api.post("/orders", &ann, limit(&market, "YES", "buy", "0.5", 10)).await.expect(201);
        api.request("DELETE", "/users/me").by(&ann).send().await.refused(428, "PRECONDITION_REQUIRED");
        api.request("DELETE", "/users/me").by(&ann).header("If-Match", "*").send().await.expect(204);
        api.get("/users/me", &ann).await.refused(401, "UNAUTHENTICATED");
        let log_in = json!({ "email": ann.email, "password": PASSWORD });
        api.request("POST", "/auth/login").json(&log_in).send().await.refused(401, "INVALID_CREDENTIALS");
        api.wait_for(&format!("/markets/{market}/book"), None, |book| book["bids"] == json!([])).await;
        let shown = api.get(&format!("/users/{}", ann.id), &ben).await.expect(200);
        assert_eq!(
            (shown.text("/displayName"), shown.text("/status")),
            ("Deleted user".to_owned(), "deactivated".to_owned())
        );
        let pay = json!({ "toUserId": ann.id, "amount": 1 });
        api.post("/transfers", &ben, pay).await.refused(404, "USER_NOT_FOUND");
        // The address is free again.
        let body = json!({ "email": ann.email, "displayName": "Ann", "password": PASSWORD });
        api.request("POST", "/users").json(&body).send().await.expect(201);
        // The last administrator stays.
        let admin = server.admin().await;
        let request = api.request("DELETE", "/users/me").by(admin).header("If-Match", "*");
        request.send().await.refused(409, "LAST_ADMIN");
    })
    .await;
}
