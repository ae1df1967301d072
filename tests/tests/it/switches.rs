//! Dead-man switches, from outside: timers, and streams that stand for their traders.

use std::time::{Duration, Instant};

use bellwether_tests::client::limit;
use bellwether_tests::stream::{Listener, Socket, narrow};
use bellwether_tests::{Answer, Api, Installation, Server, Store, User, on_each_store, on_each_store_with};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::live::make_noise;

async fn set(api: &Api, user: &User, seconds: i64) -> Answer {
    let body = json!({ "timeoutSeconds": seconds });
    api.request("PUT", "/orders/cancel-after").by(user).json(&body).send().await
}

async fn place(api: &Api, user: &User, market: &str, price: &str) -> String {
    api.post("/orders", user, limit(market, "YES", "buy", price, 10)).await.expect(201).text("/order/id")
}

async fn standing(api: &Api, user: &User) -> Value {
    api.get("/orders/cancel-after", user).await.expect(200).data().clone()
}

async fn key_of(api: &Api, user: &User) -> User {
    let body = json!({ "name": "a bot", "scopes": ["trade", "read"] });
    User { token: api.post("/api-keys", user, body).await.expect(201).text("/key"), ..user.clone() }
}

async fn order(api: &Api, user: &User, id: &str) -> Value {
    api.get(&format!("/orders/{id}"), user).await.expect(200).data().clone()
}

async fn is_open(api: &Api, user: &User, id: &str) -> bool {
    order(api, user, id).await["status"] == "open"
}

/// Waits until an order is cancelled, for the reason that fits.
async fn cancelled(api: &Api, user: &User, id: &str) {
    let order = api.wait_for(&format!("/orders/{id}"), Some(user), |order| order["status"] != "open").await;
    assert_eq!((&order["status"], &order["endReason"]), (&json!("cancelled"), &json!("disconnected")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_that_is_not_pushed_ahead_cancels_what_its_sender_placed_and_nothing_else() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let (market, other) = (api.open_market(&ann, json!({})).await, api.open_market(&ann, json!({})).await);
        let key = key_of(api, &ann).await;
        let by_hand = place(api, &ann, &market, "0.100").await;
        let of_key = [place(api, &key, &market, "0.200").await, place(api, &key, &other, "0.200").await];
        let of_ben = place(api, &ben, &market, "0.300").await;
        set(api, &ben, 3600).await.expect(200);
        for bad in [-1, 1, 4, 3601] {
            assert_eq!(set(api, &key, bad).await.expect(422).fields(), ["timeoutSeconds"]);
        }
        let mut listener = Listener::open(api.request("GET", "/stream?channels=me").by(&ann)).await;
        listener.until("hello").await;
        // It is pushed ahead from a minute to more, and back to five seconds.
        set(api, &key, 60).await.expect(200);
        set(api, &key, 600).await.expect(200);
        let shown = standing(api, &key).await;
        assert_eq!(
            (&shown["timeoutSeconds"], &shown["firedAt"], &shown["streams"]),
            (&json!(600), &json!(null), &json!(0))
        );
        assert!(shown["cancelAt"].as_str() > shown["serverTime"].as_str());
        assert_eq!(standing(api, &ann).await["cancelAt"], json!(null), "a session's is another one");
        set(api, &key, 5).await.expect(200);
        for _ in &of_key {
            let event = listener.until("order.cancelled").await.pop().expect("an event").json;
            assert_eq!(event["data"]["endReason"], json!("disconnected"));
        }
        for id in &of_key {
            cancelled(api, &ann, id).await;
        }
        assert!(is_open(api, &ann, &by_hand).await && is_open(api, &ben, &of_ben).await);
        let shown = standing(api, &key).await;
        assert!(shown["firedAt"].is_string() && shown["cancelAt"].is_null(), "{shown}");
        // What is placed afterwards stays, and it can be set again and switched off.
        let later = place(api, &key, &market, "0.250").await;
        set(api, &key, 3600).await.expect(200);
        api.request("DELETE", "/orders/cancel-after").by(&key).send().await.expect(204);
        assert_eq!(standing(api, &key).await["firedAt"], json!(null));
        assert_eq!(set(api, &ben, 0).await.expect(200).data()["cancelAt"], json!(null));
        assert!(is_open(api, &ann, &later).await);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_stream_that_holds_orders_takes_them_with_it_within_seconds() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let market = api.open_market(&ann, json!({})).await;
        let follow = |query: &str| api.request("GET", &format!("/stream?channels={query}")).by(&ann);
        assert_eq!(follow("markets&cancelOnDisconnect=true").send().await.expect(422).fields(), ["cancelOnDisconnect"]);
        let reading = json!({ "name": "a reader", "scopes": ["read"] });
        let reader = User { token: api.post("/api-keys", &ann, reading).await.expect(201).text("/key"), ..ann.clone() };
        let asked = api.request("GET", "/stream?channels=me&cancelOnDisconnect=true").by(&reader).send().await;
        asked.refused(403, "KEY_SCOPE_MISSING");

        let authorization = format!("Authorization: Bearer {}\r\n", ann.token);
        let path = "/api/v1/ws?channels=me&cancelOnDisconnect=true";
        let first = Socket::open(server.address(), path, &authorization).await;
        let mut second = Listener::open(follow("me&cancelOnDisconnect=true")).await;
        second.until("hello").await;
        let mut onlooker = Listener::open(follow("me")).await;
        onlooker.until("hello").await;
        assert_eq!(standing(api, &ann).await["streams"], json!(2));
        let open = place(api, &ann, &market, "0.400").await;
        drop(first);
        api.wait_for("/orders/cancel-after", Some(&ann), |standing| standing["streams"] == 1).await;
        assert!(is_open(api, &ann, &open).await);
        let dropped = Instant::now();
        drop(second);
        let event = onlooker.until("order.cancelled").await.pop().expect("an event").json;
        assert_eq!((&event["data"]["orderId"], &event["data"]["endReason"]), (&json!(open), &json!("disconnected")));
        assert!(dropped.elapsed() < Duration::from_secs(15), "it took {:?}", dropped.elapsed());

        let kept = place(api, &ann, &market, "0.410").await;
        let no_handshake = api.request("GET", "/ws?channels=me&cancelOnDisconnect=true").by(&ann);
        no_handshake.header("Upgrade", "websocket").send().await.refused(400, "VALIDATION_ERROR");
        assert_eq!(standing(api, &ann).await["streams"], json!(0), "what was no stream ends nothing");
        let other = place(api, &ann, &market, "0.420").await;
        api.request("DELETE", &format!("/orders/{other}")).by(&ann).send().await.expect(200);
        let event = onlooker.until("order.cancelled").await.pop().expect("an event").json;
        assert_eq!(event["data"]["orderId"], json!(other));
        assert!(is_open(api, &ann, &kept).await);
    })
    .await;
}

/// Threat 59: a client that hangs takes neither what happens nor that it is dropped, and its connection stands.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_while_it_is_told_much_loses_its_orders() {
    on_each_store_with(&[("STALL_TIMEOUT", "10m")], |server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let (busy, quiet) = (api.open_market(&ann, json!({})).await, api.open_market(&ann, json!({})).await);
        let authorization = |user: &User| format!("Authorization: Bearer {}\r\n", user.token);
        let path = |route: &str| format!("/api/v1/{route}?channels=me&cancelOnDisconnect=true");
        let socket = Socket::open_narrow(server.address(), &path("ws"), &authorization(&ann)).await;
        let mut events = narrow(server.address()).await;
        let (path, host, authorization) = (path("stream"), server.address(), authorization(&ben));
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{authorization}\r\n");
        events.write_all(request.as_bytes()).await.expect("the server reads");
        for user in [&ann, &ben] {
            api.wait_for("/orders/cancel-after", Some(user), |standing| standing["streams"] == 1).await;
            let open = place(api, user, &quiet, "0.400").await;
            let started = Instant::now();
            while is_open(api, user, &open).await {
                assert!(started.elapsed() < Duration::from_secs(60), "the order is open still");
                make_noise(api, user, &busy).await;
            }
            cancelled(api, user, &open).await;
        }
        drop((socket, events));
    })
    .await;
}

/// A server that is killed cannot say that its streams are over: their deadlines say so, on the next one.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_held_is_cancelled_by_the_next_and_who_comes_back_in_time_keeps_it() {
    for store in Store::ALL {
        let Some(installation) = Installation::new(store, &[]).await else { continue };
        let server = Server::start(installation).await;
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let market = api.open_market(&ann, json!({})).await;
        let hold = |api: &Api, user: &User| api.request("GET", "/stream?channels=me&cancelOnDisconnect=true").by(user);
        let mut streams = Vec::new();
        for user in [&ann, &ben] {
            let mut stream = Listener::open(hold(api, user)).await;
            stream.until("hello").await;
            streams.push(stream);
        }
        let (of_ann, of_ben) = (place(api, &ann, &market, "0.400").await, place(api, &ben, &market, "0.300").await);
        set(api, &ben, 3600).await.expect(200);
        let server = Server::start(server.kill().await).await;
        let api = server.api();
        assert!(is_open(api, &ann, &of_ann).await);
        let mut back = Listener::open(hold(api, &ben)).await;
        back.until("hello").await;
        cancelled_in_time(api, &ann, &of_ann).await;
        assert!(is_open(api, &ben, &of_ben).await, "who came back in time keeps its orders");
        assert_eq!(standing(api, &ben).await["timeoutSeconds"], json!(3600), "timers outlive servers");
        let installation = server.stop().await;
        drop(back);
        installation.audit().await;
        installation.remove().await;
    }
}

/// Within the lease of the stream and the grace after an outage, which run together, and room for a busy machine.
async fn cancelled_in_time(api: &Api, user: &User, id: &str) {
    let started = Instant::now();
    while is_open(api, user, id).await {
        assert!(started.elapsed() < Duration::from_secs(40), "the order is open still");
        tokio::task::yield_now().await;
    }
    cancelled(api, user, id).await;
}
