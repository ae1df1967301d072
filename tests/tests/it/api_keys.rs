//! API keys: what they may, how far, and how long.

use std::time::{Duration, Instant};

use bellwether_tests::client::{FAR, limit};
use bellwether_tests::mail::wait_for_written;
use bellwether_tests::{Answer, Api, User, on_each_store};
use serde_json::{Value, json};

/// Makes a key of a user; whom it speaks for, and the answer.
async fn make(api: &Api, user: &User, fields: Value) -> (User, Answer) {
    let mut body = json!({ "name": "My bot", "scopes": ["read", "trade"] });
    let (Some(body_fields), Value::Object(more)) = (body.as_object_mut(), fields) else { panic!("an object") };
    body_fields.extend(more);
    let made = api.post("/api-keys", user, body).await.expect(201);
    (User { token: made.text("/key"), ..user.clone() }, made)
}

/// Waits until a key is good for nothing; fails where that takes much longer than the second that is promised, on a
/// machine that may be busy.
async fn is_out(api: &Api, key: &User) {
    let started = Instant::now();
    while api.get("/users/me", key).await.status != 401 {
        assert!(started.elapsed() < Duration::from_secs(30), "the key is still good");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_opens_a_market_trades_in_it_at_once_only_with_the_scope_for_that() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let (opens, _) = make(api, &ann, json!({ "scopes": ["admin"] })).await;
        let (both, _) = make(api, &ann, json!({ "scopes": ["admin", "trade"] })).await;
        let order = json!({ "outcome": "YES", "side": "buy", "type": "limit", "price": "0.4", "quantity": 10 });
        let body = json!({ "question": "Q?", "closesAt": FAR, "openingOrder": order });
        api.post("/markets", &opens, body.clone()).await.refused(403, "KEY_SCOPE_MISSING");
        assert_eq!(api.balance(&ann).await, (1_000_000, 0));
        api.open_market(&opens, json!({})).await;
        api.post("/markets", &both, body).await.expect(201);
        assert_eq!(api.balance(&ann).await, (1_000_000, 4_000));
    })
    .await;
}

/// Threat 71.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_once_and_works_until_it_is_revoked() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let limits = json!({ "spendPerDay": "12.5", "maxOpenOrders": 3, "expiresAt": FAR });
        let (key, made) = make(api, &ann, limits).await;
        assert!(key.token.starts_with("bw_live_") && key.token.len() == 51, "{}", key.token);
        assert_eq!(made.header("location"), format!("/api/v1/api-keys/{}", made.text("/id")));
        assert_eq!(made.header("cache-control"), "no-store");
        assert_eq!(made.data()["scopes"], json!(["read", "trade"]));
        assert_eq!((&made.data()["spendPerDay"], &made.data()["maxOpenOrders"]), (&json!("12.500"), &json!(3)));
        assert_eq!((made.text("/owner"), made.text("/expiresAt")), (ann.id.clone(), FAR.to_owned()));

        let listed = api.get("/api-keys", &ann).await.expect(200);
        assert_eq!(listed.data().as_array().map(Vec::len), Some(1));
        assert_eq!((listed.text("/0/id"), &listed.data()[0]["key"]), (made.text("/id"), &Value::Null));
        assert_eq!(listed.data()[0]["lastUsedAt"], Value::Null);

        assert_eq!(api.get("/users/me", &key).await.expect(200).text("/email"), ann.email);
        api.wait_for("/api-keys", Some(&ann), |keys| keys[0]["lastUsedAt"].is_string()).await;
        let path = format!("/api-keys/{}", made.text("/id"));
        api.request("DELETE", &path).by(&ann).send().await.expect(204);
        let refused = api.get("/users/me", &key).await;
        refused.refused(401, "UNAUTHENTICATED");
        assert!(refused.header("www-authenticate").contains("invalid_token"));
        api.request("DELETE", &path).by(&ann).send().await.refused(404, "API_KEY_NOT_FOUND");
        assert_eq!(api.get("/api-keys", &ann).await.expect(200).data(), &json!([]));
        assert!(!server.logged().contains(&key.token), "a key was logged");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_key_is_refused_and_a_key_is_nothing_else() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let (key, _) = make(api, &ann, json!({})).await;
        let shorter = key.token.get(..key.token.len() - 1).expect("a key is long").to_owned();
        let (longer, upper) = (format!("{}A", key.token), key.token.to_uppercase());
        for token in ["bw_live_", &shorter, &longer, &upper, &key.token.replace("bw_live_", "bw_test_")] {
            let forged = User { token: token.to_owned(), ..key.clone() };
            api.get("/users/me", &forged).await.refused(401, "UNAUTHENTICATED");
        }
        // It is no session and no refresh token, and no password or other key comes of it.
        let body = json!({ "refreshToken": key.token });
        api.request("POST", "/auth/refresh").json(&body).send().await.refused(401, "INVALID_REFRESH_TOKEN");
        api.post("/auth/logout", &key, json!({})).await.refused(403, "KEY_SCOPE_MISSING");
        api.post("/api-keys", &key, json!({ "name": "x", "scopes": ["read"] })).await.refused(403, "KEY_SCOPE_MISSING");
        let patch = api.request("PATCH", "/users/me").by(&key).header("If-Match", "*");
        patch.json(&json!({ "displayName": "Bob" })).send().await.refused(403, "KEY_SCOPE_MISSING");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_is_refused_with_every_fault_named() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let post = async |body: Value| api.post("/api-keys", &ann, body).await;
        let bad = json!({ "name": " ", "scopes": [], "markets": ["x"], "spendPerDay": "0", "maxOpenOrders": 1.5 });
        let answer = post(bad).await;
        answer.refused(422, "VALIDATION_ERROR");
        assert_eq!(answer.fields(), ["name", "scopes", "markets[0]", "spendPerDay", "maxOpenOrders"]);
        let unknown = json!({ "name": "x", "scopes": ["read"], "markets": ["0193a5e0-0000-7000-8000-00000000dead"] });
        post(unknown).await.refused(404, "MARKET_NOT_FOUND");
        let past = json!({ "name": "x", "scopes": ["read"], "expiresAt": "2001-01-01T00:00:00Z" });
        post(past).await.refused(422, "EXPIRY_IN_THE_PAST");
        let limited_admin = json!({ "name": "x", "scopes": ["admin"], "spendPerDay": "1" });
        assert_eq!(post(limited_admin).await.fields(), ["scopes"]);
        post(json!({ "name": "x", "scopes": ["read"], "userId": ann.id })).await.refused(400, "UNKNOWN_FIELD");
        assert_eq!(api.get("/api-keys", &ann).await.expect(200).data(), &json!([]));
        for _ in 0..50 {
            make(api, &ann, json!({})).await;
        }
        post(json!({ "name": "x", "scopes": ["read"] })).await.refused(409, "TOO_MANY_API_KEYS");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_ends_with_its_date_and_with_its_user() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let short = short_lived(api, &ann).await;
        let (long, _) = make(api, &ann, json!({})).await;
        let (of_ben, _) = make(api, &ben, json!({})).await;
        is_out(api, &short).await;
        api.get("/users/me", &long).await.expect(200);
        let suspend = format!("UPDATE users SET status = 'suspended' WHERE email = '{}'", ann.email);
        server.installation().execute_sql(&suspend).await;
        is_out(api, &long).await;
        api.get("/users/me", &of_ben).await.expect(200);
        let leave = api.request("DELETE", "/users/me").by(&ben).header("If-Match", "*");
        leave.send().await.expect(204);
        is_out(api, &of_ben).await;
    })
    .await;
}

/// Threat 9: a thief may have made keys, or a stranger who signed up with the address.
#[tokio::test(flavor = "multi_thread")]
async fn keys_end_where_an_account_is_taken_over_or_taken_back_by_mail() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let (key, _) = make(api, &ann, json!({})).await;
        let bot = api.post("/users/me/bots", &ann, json!({ "displayName": "Robo" })).await.expect(201).text("/id");
        let (of_bot, _) = make(api, &ann, json!({ "owner": bot })).await;
        let forgotten = json!({ "email": ann.email });
        api.request("POST", "/auth/password/forgot").json(&forgotten).send().await.expect(202);
        let mail = wait_for_written(server.installation(), &ann.email, 2).await.pop().expect("a mail");
        let reset = json!({ "token": mail.token(), "password": "another pass phrase" });
        api.request("POST", "/auth/password/reset").json(&reset).send().await.expect(204);
        for key in [&key, &of_bot] {
            api.get("/users/me", key).await.refused(401, "UNAUTHENTICATED");
        }

        let ann = api.log_in(&ann.email, "another pass phrase").await;
        assert_eq!(api.get("/api-keys", &ann).await.expect(200).data(), &json!([]));
        let (key, _) = make(api, &ann, json!({ "scopes": ["read", "admin"] })).await;
        let arguments = ["admin", "create", "--email", &ann.email, "--display-name", "Ann", "--password-stdin"];
        let made = server.installation().run(&arguments, "the third pass phrase").await;
        let said = String::from_utf8_lossy(&made.stdout).into_owned();
        assert!(made.status.success() && said.contains("API keys and those of its bots are revoked"), "{said}");
        // By another process: the server hears of it from the store.
        is_out(api, &key).await;
    })
    .await;
}

/// A key that was good and soon ends. Where a busy machine was too slow to see it good, another that lasts longer.
async fn short_lived(api: &Api, user: &User) -> User {
    for seconds in [2, 5, 10] {
        let until = jiff::Timestamp::from_millisecond(now_ms() + seconds * 1_000).expect("a time");
        let body = json!({ "name": "Soon over", "scopes": ["read"], "expiresAt": until.to_string() });
        let made = api.post("/api-keys", user, body).await;
        if made.code() == "EXPIRY_IN_THE_PAST" {
            continue;
        }
        let key = User { token: made.expect(201).text("/key"), ..user.clone() };
        if api.get("/users/me", &key).await.status == 200 {
            return key;
        }
        assert!(now_ms() >= until.as_millisecond(), "a key was not good before its end");
    }
    panic!("the machine is too slow to see a key good");
}

#[expect(clippy::disallowed_methods, reason = "what the server is told must lie in its own future")]
fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_trades_in_its_markets_alone() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let (mine, other) = (api.open_market(&ann, json!({})).await, api.open_market(&ann, json!({})).await);
        let (key, _) = make(api, &ann, json!({ "markets": [mine, mine] })).await;
        let by_hand = api.post("/orders", &ann, limit(&other, "YES", "buy", "0.3", 5)).await.expect(201);
        let by_hand = format!("/orders/{}", by_hand.text("/order/id"));
        api.post("/orders", &key, limit(&mine, "YES", "buy", "0.3", 5)).await.expect(201);
        api.post("/orders", &key, limit(&other, "YES", "buy", "0.3", 5)).await.refused(403, "KEY_NOT_FOR_MARKET");
        api.request("DELETE", &by_hand).by(&key).send().await.refused(403, "KEY_NOT_FOR_MARKET");
        let amend = api.request("PATCH", &by_hand).by(&key).json(&json!({ "quantity": 4 }));
        amend.send().await.refused(403, "KEY_NOT_FOR_MARKET");
        // Another's order is not there, wherever it is.
        let bob = api.sign_up("Bob").await;
        let of_bob = api.post("/orders", &bob, limit(&other, "YES", "buy", "0.2", 5)).await.expect(201);
        let of_bob = format!("/orders/{}", of_bob.text("/order/id"));
        api.request("DELETE", &of_bob).by(&key).send().await.refused(404, "ORDER_NOT_FOUND");
        let amend = api.request("PATCH", &of_bob).by(&key).json(&json!({ "quantity": 4 }));
        amend.send().await.refused(404, "ORDER_NOT_FOUND");
        let batch = json!({ "orders": [limit(&other, "NO", "buy", "0.1", 1), limit(&mine, "NO", "buy", "0.1", 1)] });
        let batch = api.post("/orders/batch", &key, batch).await.expect(200);
        let code = batch.data().pointer("/results/0/error/code");
        assert_eq!(code, Some(&json!("KEY_NOT_FOR_MARKET")), "{}", batch.text);
        assert_eq!(batch.data()["accepted"], json!(1), "{}", batch.text);
        // Of all orders it cancels those in its markets.
        let cancelled = api.request("DELETE", "/orders").by(&key).send().await.expect(200);
        assert_eq!(cancelled.data()["cancelled"], json!(2), "{}", cancelled.text);
        let elsewhere = api.request("DELETE", &format!("/orders?marketId={other}")).by(&key).send().await;
        elsewhere.refused(403, "KEY_NOT_FOR_MARKET");
        assert_eq!(api.get(&by_hand, &ann).await.expect(200).text("/status"), "open");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_as_many_open_orders_as_it_may() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let markets = [api.open_market(&ann, json!({})).await, api.open_market(&ann, json!({})).await];
        let (key, _) = make(api, &ann, json!({ "maxOpenOrders": 2 })).await;
        let [first, second] = markets.each_ref().map(|market| limit(market, "YES", "buy", "0.1", 1));
        for _ in 0..3 {
            api.post("/orders", &ann, first.clone()).await.expect(201);
        }
        let placed = api.post("/orders", &key, first.clone()).await.expect(201).text("/order/id");
        api.post("/orders", &key, second.clone()).await.expect(201);
        let refused = api.post("/orders", &key, second.clone()).await;
        refused.refused(409, "KEY_OPEN_ORDERS");
        assert_eq!(refused.body.pointer("/error/details/0/limit"), Some(&json!(2)));
        api.request("DELETE", &format!("/orders/{placed}")).by(&key).send().await.expect(200);
        let batch = json!({ "orders": [second, first.clone()] });
        let batch = api.post("/orders/batch", &key, batch).await.expect(200);
        assert_eq!(batch.data()["accepted"], json!(1), "{}", batch.text);
        let code = batch.data().pointer("/results/1/error/code");
        assert_eq!(code, Some(&json!("KEY_OPEN_ORDERS")), "{}", batch.text);
        api.post("/orders", &ann, first).await.expect(201);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_spends_in_a_day_is_bounded_over_orders_and_payments() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let market = api.open_market(&ann, json!({})).await;
        let limits = json!({ "scopes": ["read", "trade", "transfer"], "spendPerDay": "10" });
        let (key, _) = make(api, &ann, limits).await;
        let pay = |amount: &str| json!({ "toUserId": ben.id, "amount": amount });
        api.post("/orders", &ben, limit(&market, "NO", "buy", "0.5", 8)).await.expect(201);
        // Eight are bought for 4, four more rest for 2.
        let placed = api.post("/orders", &key, limit(&market, "YES", "buy", "0.5", 12)).await.expect(201);
        api.post("/transfers", &key, pay("3")).await.expect(201);
        let refused = api.post("/transfers", &key, pay("1.001")).await;
        refused.refused(409, "KEY_SPENDING_LIMIT");
        let facts = refused.body.pointer("/error/details/0").cloned().unwrap_or_default();
        let shown = (&facts["limit"], &facts["required"], &facts["available"]);
        assert_eq!(shown, (&json!("10.000"), &json!("1.001"), &json!("1.000")));
        api.post("/orders", &key, limit(&market, "YES", "buy", "0.5", 3)).await.refused(409, "KEY_SPENDING_LIMIT");
        // The order that rests is filled in part by somebody else: reserved before, spent now.
        api.post("/orders", &ben, limit(&market, "NO", "buy", "0.5", 2)).await.expect(201);
        let placed = format!("/orders/{}", placed.text("/order/id"));
        api.request("DELETE", &placed).by(&key).send().await.expect(200);
        api.post("/transfers", &key, pay("2.001")).await.refused(409, "KEY_SPENDING_LIMIT");
        api.post("/transfers", &key, pay("2")).await.expect(201);
        api.post("/transfers", &key, pay("0.001")).await.refused(409, "KEY_SPENDING_LIMIT");
        // The account itself has more.
        api.post("/transfers", &ann, pay("50")).await.expect(201);
    })
    .await;
}

/// Many at once, one by one and together, in several markets: the limit is kept to the mill.
#[tokio::test(flavor = "multi_thread")]
async fn many_orders_and_payments_at_once_never_spend_more_than_the_key_may() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let mut markets = Vec::new();
        for _ in 0..3 {
            let market = api.open_market(&ann, json!({})).await;
            api.post("/orders", &ben, limit(&market, "NO", "buy", "0.5", 100)).await.expect(201);
            markets.push(market);
        }
        let limits = json!({ "scopes": ["read", "trade", "transfer"], "spendPerDay": "10" });
        let (key, _) = make(api, &ann, limits).await;
        let (before, _) = api.balance(&ann).await;
        let tasks: Vec<_> = (0..60_usize)
            .map(|number| {
                let (api, key, market) = (api.clone(), key.clone(), markets[number % 3].clone());
                let to = ben.id.clone();
                tokio::spawn(async move {
                    let answer = match number % 5 {
                        0 => api.post_patiently("/transfers", &key, json!({ "toUserId": to, "amount": "0.7" })).await,
                        1 => api.post_patiently("/orders", &key, limit(&market, "YES", "buy", "0.1", 7)).await,
                        _ => api.post_patiently("/orders", &key, limit(&market, "YES", "buy", "0.5", 1)).await,
                    };
                    if answer.status != 201 {
                        answer.refused(409, "KEY_SPENDING_LIMIT");
                    }
                    answer.status
                })
            })
            .collect();
        let mut done = 0;
        for task in tasks {
            done += usize::from(task.await.expect("the task ends") == 201);
        }
        let (after, held) = api.balance(&ann).await;
        let used = before - after + held;
        // All of them would have come to 34.8; what is left does not pay for the least of them.
        assert!((9_501..=10_000).contains(&used) && done < 60, "{used} mills were used by {done}");
        let pay = |mills: i64| json!({ "toUserId": ben.id, "amount": format!("0.{mills:03}") });
        api.post("/transfers", &key, pay(10_001 - used)).await.refused(409, "KEY_SPENDING_LIMIT");
        if used < 10_000 {
            api.post("/transfers", &key, pay(10_000 - used)).await.expect(201);
        }
        api.post("/transfers", &key, pay(1)).await.refused(409, "KEY_SPENDING_LIMIT");
    })
    .await;
}
