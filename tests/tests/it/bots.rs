//! Bots: users who act by the keys that their owners make.

use std::time::{Duration, Instant};

use bellwether_tests::client::limit;
use bellwether_tests::{Api, User, on_each_store};
use serde_json::{Value, json};

/// A bot of a user; its id.
async fn make_bot(api: &Api, owner: &User, name: &str) -> String {
    api.post("/users/me/bots", owner, json!({ "displayName": name })).await.expect(201).text("/id")
}

/// Whom a key of a bot speaks for.
async fn make_key(api: &Api, owner: &User, bot: &str, scopes: Value) -> User {
    let body = json!({ "owner": bot, "name": "A key", "scopes": scopes });
    let made = api.post("/api-keys", owner, body).await.expect(201);
    assert_eq!(made.text("/owner"), bot);
    User { id: bot.to_owned(), email: String::new(), token: made.text("/key") }
}

/// Waits until somebody is answered so, with much room for a busy machine.
async fn is_answered(api: &Api, user: &User, status: u16) {
    let started = Instant::now();
    while api.get("/users/me", user).await.status != status {
        assert!(started.elapsed() < Duration::from_secs(60), "it is not answered {status}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_is_funded_by_its_owner_and_trades_by_its_key() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let market = api.open_market(&ann, json!({})).await;
        let made = api.post("/users/me/bots", &ann, json!({ "displayName": "Robo" })).await.expect(201);
        let bot = made.text("/id");
        assert_eq!((&made.data()["bot"], made.text("/ownerId")), (&json!(true), ann.id.clone()));
        assert_eq!((&made.data()["email"], made.text("/role")), (&Value::Null, "user".to_owned()));
        let key = make_key(api, &ann, &bot, json!(["read", "trade", "transfer"])).await;
        let me = api.get("/users/me", &key).await.expect(200);
        assert_eq!((me.text("/id"), me.text("/displayName")), (bot.clone(), "Robo".to_owned()));
        assert_eq!(api.balance(&key).await, (0, 0), "a bot gets no grant");
        api.post("/orders", &key, limit(&market, "YES", "buy", "0.5", 10)).await.refused(409, "INSUFFICIENT_FUNDS");
        api.post("/transfers", &ann, json!({ "toUserId": bot, "amount": "20" })).await.expect(201);
        let order = api.post("/orders", &key, limit(&market, "YES", "buy", "0.5", 10)).await.expect(201);
        // Its owner sees what is the bot's, and nobody else does.
        let order = format!("/orders/{}", order.text("/order/id"));
        for path in
            [&order, &format!("/accounts/{bot}"), &format!("/users/{bot}/orders"), &format!("/users/{bot}/transfers")]
        {
            api.get(path, &ann).await.expect(200);
            assert_eq!(api.get(path, &ben).await.status, 404, "{path}");
        }
        let shown = api.get(&format!("/users/{bot}"), &ben).await.expect(200);
        assert_eq!((&shown.data()["bot"], shown.text("/ownerId")), (&json!(true), ann.id.clone()));
        assert_eq!(api.get("/users/me", &ann).await.expect(200).data()["bot"], json!(false));
        let bots = api.get("/users/me/bots", &ann).await.expect(200);
        assert_eq!((bots.text("/0/id"), bots.data().as_array().map(Vec::len)), (bot.clone(), Some(1)));
        // What is left goes back by the bot itself.
        api.request("DELETE", &order).by(&key).send().await.expect(200);
        api.post("/transfers", &key, json!({ "toUserId": ann.id, "amount": "20" })).await.expect(201);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bot_cannot_sign_in_nor_make_keys_or_bots() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let bot = make_bot(api, &ann, "Robo").await;
        let key = make_key(api, &ann, &bot, json!(["read", "trade", "transfer", "admin"])).await;
        for (path, body) in [
            ("/users/me/bots", json!({ "displayName": "Child" })),
            ("/api-keys", json!({ "name": "x", "scopes": ["read"] })),
        ] {
            api.post(path, &key, body).await.refused(403, "KEY_SCOPE_MISSING");
        }
        let change = async |by: &User, body: Value| {
            api.request("PATCH", &format!("/users/{bot}")).by(by).header("If-Match", "*").json(&body).send().await
        };
        for by in [&ann, server.admin().await] {
            change(by, json!({ "email": "robo@example.org" })).await.refused(409, "BOT_CANNOT_SIGN_IN");
            change(by, json!({ "password": "correct horse battery" })).await.refused(409, "BOT_CANNOT_SIGN_IN");
        }
        assert_eq!(change(&ann, json!({ "displayName": "Robo 2" })).await.expect(200).text("/displayName"), "Robo 2");
        change(&ben, json!({ "displayName": "Mine" })).await.refused(403, "FORBIDDEN");
        // Nobody else makes keys for it, sees or revokes them, or makes bots for others.
        let body = json!({ "owner": bot, "name": "x", "scopes": ["read"] });
        api.post("/api-keys", &ben, body).await.refused(404, "USER_NOT_FOUND");
        let body = json!({ "owner": ann.id, "name": "x", "scopes": ["read"] });
        api.post("/api-keys", &ben, body).await.refused(404, "USER_NOT_FOUND");
        api.get(&format!("/api-keys?owner={bot}"), &ben).await.refused(404, "USER_NOT_FOUND");
        let keys = api.get(&format!("/api-keys?owner={bot}"), &ann).await.expect(200);
        let path = format!("/api-keys/{}", keys.text("/0/id"));
        api.request("DELETE", &path).by(&ben).send().await.refused(404, "API_KEY_NOT_FOUND");
        let path_of_ann = format!("/users/{}/bots", ann.id);
        api.post(&path_of_ann, &ben, json!({ "displayName": "x" })).await.refused(404, "USER_NOT_FOUND");
        api.get(&path_of_ann, &ben).await.refused(404, "USER_NOT_FOUND");
        assert_eq!(api.get("/api-keys", &ann).await.expect(200).data(), &json!([]), "they are the bot's");
        api.request("DELETE", &path).by(&ann).send().await.expect(204);
        api.get("/users/me", &key).await.refused(401, "UNAUTHENTICATED");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_ten_bots_at_most_and_who_was_deleted_makes_room() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let post = async |body: Value| api.post("/users/me/bots", &ann, body).await;
        let mut bots = Vec::new();
        for number in 0..10 {
            bots.push(make_bot(api, &ann, &format!("Robo {number}")).await);
        }
        let refused = post(json!({ "displayName": "One more" })).await;
        refused.refused(409, "TOO_MANY_BOTS");
        assert_eq!(refused.body.pointer("/error/details/0/limit"), Some(&json!(10)));
        let delete = api.request("DELETE", &format!("/users/{}", bots[3])).by(&ann).header("If-Match", "*");
        delete.send().await.expect(204);
        make_bot(api, &ann, "One more").await;
        assert_eq!(post(json!({})).await.fields(), ["displayName"]);
        post(json!({ "displayName": "x", "ownerId": ann.id })).await.refused(400, "UNKNOWN_FIELD");
        let again = api.request("POST", "/users/me/bots").by(&ann).key("once").json(&json!({ "displayName": "x" }));
        again.send().await.refused(409, "TOO_MANY_BOTS");
    })
    .await;
}

/// What its owner may no longer do, a bot may not either.
#[tokio::test(flavor = "multi_thread")]
async fn a_bot_acts_no_longer_than_its_owner_may() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let market = api.open_market(&ann, json!({})).await;
        let bot = make_bot(api, &ann, "Robo").await;
        let key = make_key(api, &ann, &bot, json!(["read", "trade"])).await;
        api.post("/transfers", &ann, json!({ "toUserId": bot, "amount": "20" })).await.expect(201);
        let order =
            api.post("/orders", &key, limit(&market, "YES", "buy", "0.5", 10)).await.expect(201).text("/order/id");
        let become_ = async |status: &str| {
            let change = format!("UPDATE users SET status = '{status}' WHERE email = '{}'", ann.email);
            server.installation().execute_sql(&change).await;
        };
        become_("suspended").await;
        is_answered(api, &key, 401).await;
        become_("active").await;
        is_answered(api, &key, 200).await;
        // It goes with its owner, and its orders with it.
        let leave = api.request("DELETE", "/users/me").by(&ann).header("If-Match", "*");
        leave.send().await.expect(204);
        is_answered(api, &key, 401).await;
        let admin = server.admin().await;
        assert_eq!(api.get(&format!("/users/{bot}"), admin).await.expect(200).text("/status"), "deactivated");
        let path = format!("/orders/{order}");
        api.wait_for(&path, Some(admin), |order| order["status"] == json!("cancelled")).await;
    })
    .await;
}
