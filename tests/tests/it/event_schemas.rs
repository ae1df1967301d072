//! The JSON Schemas of events, held against everything that is told of whole lives of markets.

use std::collections::BTreeSet;

use bellwether_domain::event::Event;
use bellwether_tests::client::limit;
use bellwether_tests::receiver::{Manner, Receiver};
use bellwether_tests::schemas::Strict;
use bellwether_tests::stream::{Listener, Told};
use bellwether_tests::{Api, Server, User, on_each_store, on_each_store_with};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const SETTINGS: [(&str, &str); 2] = [("WEBHOOKS_ALLOW", "127.0.0.0/8"), ("CHALLENGE_WINDOW", "1h")];

async fn schema_of(api: &Api, path: &str) -> Value {
    api.request("GET", &format!("/events/schemas{path}")).send().await.expect(200).data().clone()
}

async fn step(api: &Api, user: &User, market: &str, step: &str, body: Value) {
    api.post(&format!("/markets/{market}/{step}"), user, body).await.expect(200);
}

async fn write(api: &Api, user: &User, method: &str, path: &str, body: Value) -> Value {
    let request = api.request(method, path).by(user).header("If-Match", "*");
    let answer = if body.is_null() { request.send().await } else { request.json(&body).send().await };
    assert!(answer.status < 300, "{method} {path}: {}", answer.text);
    answer.data().clone()
}

/// Does everything that is told of, most of it in a market of Ann's; until she is paid.
async fn live(server: &Server, ann: &User, ben: &User, market: &str) {
    let (api, admin) = (server.api(), server.admin().await);
    let order = async |user: &User, order: Value| {
        let placed = api.post("/orders", user, order).await.expect(201);
        format!("/orders/{}", placed.text("/order/id"))
    };
    #[expect(clippy::disallowed_methods, reason = "the server under test looks at the same clock")]
    let soon = Timestamp::now() + SignedDuration::from_secs(6);
    let mut short = limit(market, "YES", "buy", "0.1", 1);
    short["timeInForce"] = json!("gtd");
    short["expiresAt"] = json!(soon.to_string());
    short["clientOrderId"] = json!("mine");
    let short = order(ann, short).await;
    write(api, ann, "PATCH", &format!("/markets/{market}"), json!({ "category": "weather" })).await;
    step(api, admin, market, "halt", json!({})).await;
    step(api, admin, market, "reopen", json!({})).await;
    let resting = order(ann, limit(market, "YES", "buy", "0.4", 10)).await;
    write(api, ann, "PATCH", &resting, json!({ "quantity": 9 })).await;
    order(ben, limit(market, "NO", "buy", "0.6", 4)).await;
    let unwanted = order(ben, limit(market, "NO", "buy", "0.5", 1)).await;
    write(api, ben, "DELETE", &unwanted, Value::Null).await;
    api.wait_for(&short, Some(ann), |order| order["status"] == "expired").await;

    let bot = api.post("/users/me/bots", ann, json!({ "displayName": "Robo" })).await.expect(201).text("/id");
    write(api, ann, "PATCH", "/users/me", json!({ "displayName": "Anna" })).await;
    api.post("/transfers", ann, json!({ "toUserId": bot, "amount": "1.5", "memo": "seed" })).await.expect(201);
    let key = api.post("/api-keys", ann, json!({ "name": "k", "scopes": ["read"] })).await.expect(201).text("/id");
    write(api, ann, "DELETE", &format!("/api-keys/{key}"), Value::Null).await;
    let eve = api.sign_up("Eve").await;
    api.request("POST", "/auth/logout").by(&eve).send().await.expect(204);

    let maker =
        json!({ "liquidity": { "subsidy": "50" }, "outcomes": ["A", "B", "C"], "closesAt": "2199-01-01T00:00:00Z" });
    let many = api.open_market(ann, maker).await;
    order(ben, json!({ "marketId": many, "outcome": "B", "side": "buy", "type": "market", "maxSpend": "5" })).await;
    step(api, admin, &many, "void", json!({ "reason": "Nobody can tell." })).await;
    api.settled(&many).await;
    let untraded = api.open_market(ann, json!({})).await;
    write(api, ann, "DELETE", &format!("/markets/{untraded}"), Value::Null).await;

    step(api, ann, market, "close", json!({})).await;
    step(api, ann, market, "propose", json!({ "outcome": "NO" })).await;
    step(api, ben, market, "dispute", json!({ "reason": "It rained." })).await;
    step(api, admin, market, "resolve", json!({ "outcome": "YES" })).await;
    api.settled(market).await;
}

/// All events, as an administrator reads them.
async fn events(server: &Server) -> Vec<Value> {
    let (mut events, mut after) = (Vec::new(), 0);
    loop {
        let answer = server.api().get(&format!("/events?after={after}"), server.admin().await).await.expect(200);
        let page = answer.data();
        events.extend(page["events"].as_array().cloned().unwrap_or_default());
        after = page["last"].as_i64().expect("a number");
        if page["hasMore"] == false {
            return events;
        }
    }
}

fn kind_of(message: &Value) -> &str {
    message["type"].as_str().expect("a message has a type")
}

/// Everything that a stream tells until a market is paid.
async fn told_until_paid(mut listener: Listener, market: String) -> Vec<Told> {
    let mut all = Vec::new();
    loop {
        all.extend(listener.until("market.paid").await);
        if all.last().is_some_and(|told| told.json["data"]["marketId"] == json!(market)) {
            return all;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_told_is_as_its_schema_says_and_each_kind_is_told() {
    on_each_store_with(&SETTINGS, |server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let receiver = Receiver::start(Manner::Answers("200 OK")).await;
        let hook = json!({ "url": receiver.url(), "events": Event::KINDS });
        let hook = api.post("/webhooks", &ann, hook).await.expect(201).text("/id");
        let market = api.open_market(&ann, json!({ "tags": ["rain"] })).await;
        let path = format!("/stream?channels=market:{market},markets,me");
        let listener = Listener::open(api.request("GET", &path).by(&ann)).await;
        let told = tokio::spawn(told_until_paid(listener, market.clone()));
        let public = Listener::open(api.request("GET", &format!("/stream?channels=market:{market}"))).await;
        let public = tokio::spawn(told_until_paid(public, market.clone()));
        live(&server, &ann, &ben, &market).await;

        let (any, mut seen) = (Strict::of(&schema_of(api, "").await), BTreeSet::new());
        for event in events(&server).await {
            let kind = kind_of(&event);
            any.check(&event, kind);
            if seen.insert(kind.to_owned()) {
                let schema = schema_of(api, &format!("/{kind}")).await;
                Strict::of(&schema).check(&event, kind);
            }
        }
        let missing: Vec<_> = Event::KINDS.iter().filter(|kind| !seen.contains(**kind)).collect();
        assert!(missing.is_empty(), "nothing was told of {missing:?}: what makes it belongs into this test");

        let any = Strict::of(&schema_of(api, "?form=stream").await);
        for told in told.await.expect("the stream goes on").iter().chain(&public.await.expect("the other as well")) {
            any.check(&told.json, &told.kind);
        }

        api.post(&format!("/webhooks/{hook}/test"), &ann, json!({})).await;
        receiver.wait_for(1, |message| message.kind() == "webhook.test").await;
        receiver.wait_for(2, |message| message.kind() == "market.paid").await;
        let any = Strict::of(&schema_of(api, "?form=webhooks").await);
        for message in receiver.arrived() {
            any.check(&message.json(), &message.kind());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_no_schema_names_is_seen_by_these_tests() {
    on_each_store(|server| async move {
        let api = server.api();
        let any = Strict::of(&schema_of(api, "").await);
        api.sign_up("Ann").await;
        let mut event = events(&server).await.pop().expect("there are events");
        any.check(&event, "an event");
        event["data"]["shoeSize"] = json!(44);
        assert!(!any.accepts(&event));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_the_schema_of_nothing_is_told_what_there_is() {
    on_each_store(|server| async move {
        let api = server.api();
        let unknown = api.request("GET", "/events/schemas/market.exploded").send().await;
        unknown.refused(404, "SCHEMA_NOT_FOUND");
        assert!(unknown.text.contains("market.opened"), "{}", unknown.text);
        api.request("GET", "/events/schemas/hello").send().await.refused(404, "SCHEMA_NOT_FOUND");
        api.request("GET", "/events/schemas/hello?form=stream").send().await.expect(200);
        api.request("GET", "/events/schemas?form=smoke").send().await.refused(422, "VALIDATION_ERROR");
        let schema = api.request("GET", "/events/schemas/user.created").send().await.expect(200);
        let again = api.request("GET", "/events/schemas/user.created").header("If-None-Match", schema.header("etag"));
        again.send().await.expect(304);
    })
    .await;
}
