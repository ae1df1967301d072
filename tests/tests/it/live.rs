//! The outbox and live streams, from outside.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bellwether_tests::client::{FAR, limit};
use bellwether_tests::stream::{Listener, Socket, Told, narrow};
use bellwether_tests::{Api, Installation, Server, Store, User, on_each_store, on_each_store_with, raw};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

pub(crate) fn follow(api: &Api, channels: &str) -> bellwether_tests::Request {
    api.request("GET", &format!("/stream?channels={channels}"))
}

pub(crate) async fn place(api: &Api, user: &User, order: Value) -> Value {
    api.post("/orders", user, order).await.expect(201).data()["order"].clone()
}

/// All events after that one, as an administrator reads them.
async fn events_after(server: &Server, mut after: i64) -> Vec<Value> {
    let mut events = Vec::new();
    loop {
        let answer = server.api().get(&format!("/events?after={after}&limit=100"), server.admin().await).await;
        let page = answer.expect(200).data().clone();
        events.extend(page["events"].as_array().expect("a list").clone());
        after = page["last"].as_i64().expect("a number");
        if page["hasMore"] == false {
            return events;
        }
    }
}

/// A book that is made out of messages alone.
#[derive(Default)]
struct Book(BTreeMap<(String, String), (i64, i64)>);

impl Book {
    fn change(&mut self, levels: &Value) {
        for level in levels.as_array().expect("levels") {
            let place = (level["side"].as_str().expect("a side").to_owned(), level["price"].to_string());
            let (shares, orders) = self.0.entry(place).or_default();
            *shares += level["change"].as_i64().expect("a number");
            *orders += level["orders"].as_i64().expect("a number");
        }
        self.0.retain(|_, (_, orders)| *orders > 0);
    }

    fn shown(levels: &Value, side: &str) -> BTreeMap<(String, String), (i64, i64)> {
        let level = |level: &Value| {
            let place = (side.to_owned(), level["price"].to_string());
            (place, (level["quantity"].as_i64().expect("a number"), level["orders"].as_i64().expect("a number")))
        };
        levels.as_array().expect("levels").iter().map(level).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_a_market_is_told_of_trades_and_can_prove_its_book() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let market = api.open_market(&ann, json!({})).await;
        place(api, &ann, limit(&market, "YES", "buy", "0.400", 10)).await;

        let mut listener = Listener::open(follow(api, &format!("market:{market}"))).await;
        assert_eq!(listener.next().await.kind, "hello");
        let snapshot = listener.until("book.snapshot").await.pop().expect("a snapshot").json;
        let first = &snapshot["data"]["books"][0];
        let mut book = Book::default();
        book.change(&first["levels"]);

        place(api, &ann, limit(&market, "YES", "buy", "0.390", 5)).await;
        place(api, &ben, limit(&market, "NO", "buy", "0.600", 4)).await;
        let open = place(api, &ann, limit(&market, "YES", "buy", "0.380", 1)).await;
        api.request("DELETE", &format!("/orders/{}", open["id"].as_str().expect("an id")))
            .by(&ann)
            .send()
            .await
            .expect(200);
        api.request("POST", &format!("/markets/{market}/close")).by(&ann).send().await.expect(200);

        let told = listener.until("market.closed").await;
        for message in told.iter().filter(|told| told.kind == "book.changed") {
            assert!(message.json["data"]["sequence"].as_i64() > first["sequence"].as_i64());
            book.change(&message.json["data"]["levels"]);
        }
        let trades: Vec<&Told> = told.iter().filter(|told| told.kind == "trade.executed").collect();
        assert_eq!(trades.len(), 1);
        let trade = &trades[0].json["data"];
        assert_eq!(
            (&trade["price"], &trade["quantity"], &trade["takerSide"]),
            (&json!("0.400"), &json!(4), &json!("sell"))
        );
        // Who traded is not for everybody.
        for message in &told {
            let text = message.json.to_string();
            assert!(!text.contains(&ben.id) && !message.kind.starts_with("order"), "{text}");
        }
        let ids: Vec<i64> = told.iter().filter_map(|told| told.id).collect();
        assert!(ids.is_sorted_by(|one, other| one < other), "{ids:?}");

        let last = told.iter().rfind(|told| told.kind == "book.changed").expect("the book changed");
        let shown = api.request("GET", &format!("/markets/{market}/book?depth=10")).send().await.expect(200);
        // Closing has cancelled what rested, or is about to; the last message before it is what was proved.
        let sum = &last.json["data"]["checksums"][0]["checksum"];
        let expected = checksum(&book);
        assert_eq!(sum, &json!(expected), "{:?} {}", book.0, shown.data());
    })
    .await;
}

/// CRC-32 as the documentation has it, of a book of at most ten levels a side.
fn checksum(book: &Book) -> u32 {
    let mut bids: Vec<_> = book.0.iter().filter(|((side, _), _)| side == "buy").collect();
    bids.reverse();
    let asks = book.0.iter().filter(|((side, _), _)| side == "sell");
    let text: String = bids
        .into_iter()
        .map(|level| ("bid", level))
        .chain(asks.map(|level| ("ask", level)))
        .map(|(side, ((_, price), (shares, _)))| format!("{side}:{}:{shares};", price.trim_matches('"')))
        .collect();
    crc32fast::hash(text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_book_is_the_one_that_is_answered() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let market = api.open_market(&ann, json!({})).await;
        let mut listener = Listener::open(follow(api, &format!("market:{market}"))).await;
        listener.until("book.snapshot").await;
        let mut book = Book::default();
        for (price, quantity) in [("0.400", 10), ("0.410", 3), ("0.400", 2)] {
            place(api, &ann, limit(&market, "YES", "buy", price, quantity)).await;
            let change = listener.until("book.changed").await.pop().expect("a change").json;
            book.change(&change["data"]["levels"]);
            let answer = api.request("GET", &format!("/markets/{market}/book?depth=10")).send().await.expect(200);
            let shown = answer.data();
            assert_eq!(book.0, Book::shown(&shown["bids"], "buy"));
            assert_eq!(change["data"]["sequence"], shown["sequence"]);
            assert_eq!(change["data"]["checksums"][0]["checksum"], shown["checksum"]);
        }
    })
    .await;
}

/// Threat 13: `me` is one's own orders, money and shares, and nobody else's.
#[tokio::test(flavor = "multi_thread")]
async fn me_is_ones_own_and_nothing_else() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let market = api.open_market(&ann, json!({})).await;
        follow(api, "me").send().await.refused(401, "UNAUTHENTICATED");
        follow(api, "me").header("Authorization", "Bearer nonsense").send().await.refused(401, "UNAUTHENTICATED");
        let mut listener = Listener::open(follow(api, "me").by(&ben)).await;
        listener.until("hello").await;
        place(api, &ann, limit(&market, "YES", "buy", "0.400", 10)).await;
        let taken = place(api, &ben, limit(&market, "NO", "buy", "0.600", 10)).await;
        let mut told = listener.until("position.changed").await;
        let kinds: Vec<String> = told.iter().map(|told| told.kind.clone()).collect();
        assert_eq!(kinds, ["order.accepted", "trade.executed", "balance.changed", "position.changed"]);
        assert_eq!(told[0].json["data"]["orderId"], taken["id"]);
        assert_eq!((&told[1].json["data"]["role"], &told[1].json["data"]["orderId"]), (&json!("taker"), &taken["id"]));
        assert_eq!(told[3].json["data"]["holdings"][1]["quantity"], json!(10));
        let (available, _) = api.balance(&ben).await;
        assert_eq!(bellwether_tests::client::mills(&told[2].json["data"]["available"]), available);
        api.post("/transfers", &ann, json!({ "toUserId": ben.id, "amount": "1" })).await.expect(201);
        told.extend(listener.until("balance.changed").await);
        let others =
            told.iter().filter(|told| told.kind != "transfer.executed" && told.json.to_string().contains(&ann.id));
        assert_eq!(others.count(), 0);
    })
    .await;
}

/// Threats 48 and 66: a client that comes back after the server was killed has exactly what the outbox has.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_after_a_kill_misses_nothing_and_gets_nothing_twice() {
    for store in Store::ALL {
        let Some(installation) = Installation::new(store, &[]).await else { continue };
        let server = Server::start(installation).await;
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let market = api.open_market(&ann, json!({})).await;
        let mut listener = Listener::open(follow(api, &format!("me,market:{market}")).by(&ann)).await;
        let begun = listener.next().await.id.expect("hello has an id");
        for price in ["0.400", "0.410"] {
            place(api, &ann, limit(&market, "YES", "buy", price, 10)).await;
        }
        let mut told = listener.until("book.changed").await;
        told.retain(|told| told.kind != "book.snapshot");
        let last = told.last().and_then(|told| told.id).expect("events have ids");

        let server = Server::start(server.kill().await).await;
        let api = server.api();
        for price in ["0.420", "0.430"] {
            place(api, &ann, limit(&market, "YES", "buy", price, 10)).await;
        }
        let resume = follow(api, &format!("me,market:{market}")).by(&ann).header("Last-Event-ID", &last.to_string());
        let mut listener = Listener::open(resume).await;
        assert_eq!(listener.next().await.kind, "resumed");
        place(api, &ann, limit(&market, "YES", "buy", "0.440", 10)).await;
        api.request("POST", &format!("/markets/{market}/close")).by(&ann).send().await.expect(200);
        told.extend(listener.until("market.closed").await);
        told.retain(|told| !["book.snapshot", "resumed"].contains(&told.kind.as_str()));
        let told: Vec<i64> = told.iter().filter_map(|told| told.id).collect();
        let concerns = |event: &&Value| {
            let data = &event["data"];
            data["userId"] == json!(ann.id) || (data["marketId"] == json!(market))
        };
        let upto = told.last().copied().expect("something was told");
        let events = events_after(&server, begun).await;
        let expected: Vec<i64> = events
            .iter()
            .filter(concerns)
            .filter_map(|event| event["sequence"].as_i64())
            .filter(|s| *s <= upto)
            .collect();
        assert_eq!(told, expected);

        // What the outbox never had is told apart.
        for bad in ["-1", "x"] {
            let refused = follow(api, "markets").header("Last-Event-ID", bad).send().await;
            refused.refused(422, "VALIDATION_ERROR");
            assert_eq!(refused.fields(), ["Last-Event-ID"]);
        }
        let mut listener = Listener::open(follow(api, "markets&resumeFrom=999999999999")).await;
        let gap = listener.next().await;
        assert_eq!((gap.kind.as_str(), &gap.json["data"]["reload"]), ("gap", &json!(["/api/v1/markets"])));
        drop(listener);
        let installation = server.stop().await;
        installation.audit().await;
        installation.remove().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_good_once() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let ticket =
            || async { api.request("POST", "/stream/tickets").by(&ann).send().await.expect(201).text("/ticket") };
        let text = ticket().await;
        let path = format!("/api/v1/ws?channels=me&ticket={text}");
        let mut socket = Socket::open(server.address(), &path, "").await;
        assert_eq!(socket.next().await.expect("a message")["type"], "hello");
        api.request("POST", "/users/me/bots")
            .by(&ann)
            .fresh_key()
            .json(&json!({ "displayName": "B" }))
            .send()
            .await
            .expect(201);
        assert_eq!(socket.next().await.expect("a message")["type"], "user.created");

        follow(api, &format!("me&ticket={text}")).send().await.refused(401, "INVALID_TICKET");
        let forged = ticket().await.replace(&ann.id.replace('-', ""), &"0".repeat(32));
        for bad in [forged.as_str(), "x", "a.b.c.d.e"] {
            follow(api, &format!("me&ticket={bad}")).send().await.refused(401, "INVALID_TICKET");
        }
        api.request("POST", "/stream/tickets").send().await.refused(401, "UNAUTHENTICATED");

        // Threat 9: with the session its streams end, and its tickets.
        let unused = ticket().await;
        let mut listener = Listener::open(follow(api, "me").by(&ann)).await;
        listener.until("hello").await;
        api.request("POST", "/auth/logout").by(&ann).send().await.expect(204);
        let out = Instant::now();
        assert_eq!(socket.next().await, Err((1008, "session_ended".to_owned())));
        assert_eq!(listener.until("end").await.pop().expect("an end").json["reason"], json!("session_ended"));
        assert!(listener.try_next().await.is_none());
        // Where no event told it, it would be found out every half minute.
        assert!(out.elapsed() < Duration::from_secs(15), "it took {:?}", out.elapsed());
        follow(api, &format!("me&ticket={unused}")).send().await.refused(401, "INVALID_TICKET");
    })
    .await;
}

/// Threat 9: also where no event says that a key is good no longer. It is looked for that every half minute, by whichever
/// store, so one of them will do.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_its_key_expires_and_when_the_owner_of_its_bot_may_no_longer_act() {
    let installation = Installation::new(Store::Sqlite, &[]).await.expect("that store is always there");
    let server = Server::start(installation).await;
    let api = server.api();
    let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
    let make_key = async |by: &User, more: (&str, Value)| {
        let mut body = json!({ "name": "A key", "scopes": ["read"] });
        body[more.0] = more.1;
        User { token: api.post("/api-keys", by, body).await.expect(201).text("/key"), ..by.clone() }
    };
    let bot = api.post("/users/me/bots", &ann, json!({ "displayName": "Robo" })).await.expect(201).text("/id");
    let of_bot = make_key(&ann, ("owner", json!(bot))).await;
    let lasting = make_key(&ben, ("expiresAt", json!(FAR))).await;
    let now = api.get("/orders/cancel-after", &ben).await.expect(200).text("/serverTime");
    let soon = now.parse::<jiff::Timestamp>().expect("a time") + jiff::SignedDuration::from_secs(15);
    let short = make_key(&ben, ("expiresAt", json!(soon.to_string()))).await;
    let mut streams = Vec::new();
    for key in [&short, &of_bot, &lasting] {
        let mut stream = Listener::open(follow(api, "me").by(key)).await;
        stream.until("hello").await;
        streams.push(stream);
    }
    let suspend = format!("UPDATE users SET status = 'suspended' WHERE email = '{}'", ann.email);
    server.installation().execute_sql(&suspend).await;
    for stream in &mut streams[..2] {
        assert_eq!(stream.until("end").await.pop().expect("an end").json["reason"], json!("session_ended"));
    }
    // A key that is good is looked at too, and its stream goes on.
    api.post("/users/me/bots", &ben, json!({ "displayName": "Robo" })).await.expect(201);
    streams[2].until("user.created").await;
    drop(streams);
    let installation = server.stop().await;
    installation.audit().await;
    installation.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_limited_for_each_user_and_each_address_and_end_with_the_server() {
    for store in Store::ALL {
        let settings = [("STREAMS_PER_USER", "2"), ("STREAMS_PER_ADDRESS", "1")];
        let Some(installation) = Installation::new(store, &settings).await else { continue };
        let server = Server::start(installation).await;
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let mut listener = Listener::open(follow(api, "markets")).await;
        listener.until("hello").await;
        follow(api, "markets").send().await.refused(429, "TOO_MANY_STREAMS");
        let mine = [Listener::open(follow(api, "me").by(&ann)).await, Listener::open(follow(api, "me").by(&ann)).await];
        follow(api, "me").by(&ann).send().await.refused(429, "TOO_MANY_STREAMS");
        drop(mine);
        // A place is free when the server has seen that the client has gone.
        let started = Instant::now();
        loop {
            let response = follow(api, "me").by(&ann).open().await;
            if response.status().as_u16() == 200 {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(40), "no place is free again");
            tokio::task::yield_now().await;
        }
        let (ben, unknown) = (api.sign_up("Ben").await, format!("market:{}", ann.id));
        follow(api, &unknown).by(&ben).send().await.refused(404, "MARKET_NOT_FOUND");
        let stopping = tokio::spawn(async move { listener.until("end").await.pop() });
        let installation = server.stop().await;
        assert_eq!(stopping.await.expect("no panic").expect("an end").json["reason"], json!("stopping"));
        installation.remove().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_listed_for_administrators_by_their_sequence() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let market = api.open_market(&ann, json!({})).await;
        api.get("/events", &ann).await.refused(403, "FORBIDDEN");
        let admin = server.admin().await;
        let all = events_after(&server, 0).await;
        let kinds: Vec<&str> = all.iter().filter_map(|event| event["type"].as_str()).collect();
        for kind in ["user.created", "transfer.executed", "balance.changed", "market.opened"] {
            assert!(kinds.contains(&kind), "{kinds:?}");
        }
        let opened = all.iter().find(|event| event["type"] == "market.opened").expect("a market");
        assert_eq!((&opened["version"], &opened["data"]["marketId"]), (&json!(1), &json!(market)));
        // Page by page, one at a time.
        let (mut after, mut one_by_one) = (0, Vec::new());
        loop {
            let page = api.get(&format!("/events?after={after}&limit=1"), admin).await.expect(200).data().clone();
            one_by_one.extend(page["events"].as_array().expect("a list").clone());
            after = page["last"].as_i64().expect("a number");
            if page["hasMore"] == false {
                break;
            }
        }
        assert_eq!(one_by_one, all);
    })
    .await;
}

fn socket_path(channels: &str) -> String {
    format!("/api/v1/ws?channels={channels}")
}

fn authorization(user: &User) -> String {
    format!("Authorization: Bearer {}\r\n", user.token)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_follows_what_it_is_told_to() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let (one, two) = (api.open_market(&ann, json!({})).await, api.open_market(&ann, json!({})).await);
        let mut socket = Socket::open(server.address(), &socket_path("markets"), "").await;
        let hello = socket.next().await.expect("a message");
        assert_eq!(hello["type"], "hello");

        socket.say(&json!({ "op": "subscribe", "channels": [format!("market:{one}")], "id": 1 }).to_string()).await;
        let answer = socket.next().await.expect("an answer");
        assert_eq!((&answer["type"], &answer["id"]), (&json!("subscribed"), &json!(1)));
        assert_eq!(answer["data"]["channels"], json!([format!("market:{one}"), "markets"]));
        assert!(answer["sequence"].as_i64() >= hello["sequence"].as_i64());
        let snapshot = socket.next().await.expect("a book");
        assert_eq!((&snapshot["type"], &snapshot["data"]["marketId"]), (&json!("book.snapshot"), &json!(one)));
        place(api, &ann, limit(&two, "YES", "buy", "0.400", 1)).await;
        place(api, &ann, limit(&one, "YES", "buy", "0.400", 1)).await;
        let change = socket.next().await.expect("a change");
        assert_eq!((&change["type"], &change["data"]["marketId"]), (&json!("book.changed"), &json!(one)));
        let shown = api.request("GET", &format!("/markets/{one}/book?depth=10")).send().await.expect(200);
        assert_eq!(change["data"]["checksums"][0]["checksum"], shown.data()["checksum"]);

        // What cannot be done is answered, and changes nothing.
        for (said, code) in [
            (json!({ "op": "subscribe", "channels": ["me"], "id": "x" }), "UNAUTHENTICATED"),
            (json!({ "op": "subscribe", "channels": [format!("market:{}", ann.id)], "id": "x" }), "MARKET_NOT_FOUND"),
            (json!({ "op": "subscribe", "channels": ["weather"], "id": "x" }), "VALIDATION_ERROR"),
        ] {
            socket.say(&said.to_string()).await;
            let answer = socket.next().await.expect("an answer");
            assert_eq!(
                (&answer["type"], &answer["id"], &answer["data"]["code"]),
                (&json!("error"), &json!("x"), &json!(code))
            );
        }
        socket.say("nonsense").await;
        assert_eq!(socket.next().await.expect("an answer")["data"]["code"], "VALIDATION_ERROR");

        socket.say(&json!({ "op": "unsubscribe", "channels": [format!("market:{one}")] }).to_string()).await;
        let answer = socket.next().await.expect("an answer");
        assert_eq!((&answer["type"], &answer["data"]["channels"]), (&json!("unsubscribed"), &json!(["markets"])));
        place(api, &ann, limit(&one, "YES", "buy", "0.410", 1)).await;
        api.request("POST", &format!("/markets/{two}/close")).by(&ann).send().await.expect(200);
        assert_eq!(socket.next().await.expect("a message")["type"], "market.closed");

        // Signed in, one may ask for what is one's own; what has been followed since then is gone on with.
        let mut socket = Socket::open(server.address(), &socket_path("markets"), &authorization(&ann)).await;
        assert_eq!(socket.next().await.expect("a message")["type"], "hello");
        socket.say(&json!({ "op": "subscribe", "channels": ["me"], "id": 2 }).to_string()).await;
        let standing = socket.next().await.expect("an answer")["sequence"].as_i64().expect("a number");
        drop(socket);
        let order = place(api, &ann, limit(&one, "YES", "buy", "0.420", 1)).await;
        let path = format!("{}&resumeFrom={standing}", socket_path("markets,me"));
        let mut socket = Socket::open(server.address(), &path, &authorization(&ann)).await;
        assert_eq!(socket.next().await.expect("a message")["type"], "resumed");
        // What the close of the other market has cancelled may have been told only after that.
        let accepted = loop {
            let message = socket.next().await.expect("a message");
            if message["type"] == "order.accepted" {
                break message;
            }
        };
        assert_eq!(accepted["data"]["orderId"], order["id"]);

        // Whoever talks without end is not listened to.
        for _ in 0..400 {
            socket.say("{}").await;
        }
        let end = loop {
            if let Err(end) = socket.next().await {
                break end;
            }
        };
        assert_eq!(end, (1008, "too_many_messages".to_owned()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_on_which_something_comes_that_is_no_message_is_closed_with_what_was_wrong() {
    on_each_store(|server| async move {
        // 16 KiB and a byte, with a mask of zeros.
        let mut long = vec![0x81, 0xFE, 0x40, 0x01, 0, 0, 0, 0];
        long.resize(long.len() + 0x4001, b' ');
        for (bytes, code, reason) in [
            (long, 1009, "message_too_long"),
            (vec![0x81, 0x82, 0, 0, 0, 0, 0xC3, 0x28], 1007, "invalid_utf8"),
            // Without a mask, with reserved bits, and the rest of a message that did not begin.
            (vec![0x81, 0x01, b'x'], 1002, "protocol_error"),
            (vec![0xC1, 0x80, 0, 0, 0, 0], 1002, "protocol_error"),
            (vec![0x80, 0x80, 0, 0, 0, 0], 1002, "protocol_error"),
        ] {
            let mut socket = Socket::open(server.address(), &socket_path("markets"), "").await;
            assert_eq!(socket.next().await.expect("a message")["type"], "hello");
            socket.send(&bytes).await;
            let end = loop {
                if let Err(end) = socket.next().await {
                    break end;
                }
            };
            assert_eq!(end, (code, reason.to_owned()));
        }
    })
    .await;
}

/// How often there is noise, and of how many orders.
const NOISES: usize = 20;
const ORDERS: usize = 50;

/// Places orders at many prices and cancels them.
pub(crate) async fn make_noise(api: &Api, user: &User, market: &str) {
    let orders: Vec<Value> =
        (1..=ORDERS).map(|cents| limit(market, "YES", "buy", &format!("0.{cents:03}"), 1)).collect();
    api.post("/orders/batch", user, json!({ "orders": orders })).await.expect(200);
    api.request("DELETE", &format!("/orders?marketId={market}")).by(user).send().await.expect(200);
}

/// What comes on a connection until that has come.
async fn heard_until(socket: &mut TcpStream, wanted: &str) -> String {
    let (started, mut text, mut is_closed) = (Instant::now(), String::new(), false);
    while !text.contains(wanted) {
        let end = &text[text.len().saturating_sub(500)..];
        assert!(!is_closed && started.elapsed() < Duration::from_secs(60), "{wanted} does not come: {end}");
        let more = raw::read(socket, Duration::from_millis(100)).await;
        text.push_str(&more.text);
        is_closed = more.closed;
    }
    text
}

/// Threat 59: who does not read is dropped and told so, is sent no more than so much, and can go on; nobody else
/// misses anything meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_dropped_within_bounds_while_others_get_everything() {
    // However slow the machine is, what is slow here is the client.
    on_each_store_with(&[("STALL_TIMEOUT", "10m")], |server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let market = api.open_market(&ann, json!({})).await;
        let channels = format!("me,market:{market}");
        let mut quick = Listener::open(follow(api, &channels).by(&ann)).await;
        let begun = quick.next().await.id.expect("hello has an id");
        let mut socket = Socket::open_narrow(server.address(), &socket_path(&channels), &authorization(&ann)).await;
        let mut events = narrow(server.address()).await;
        let request = format!(
            "GET /api/v1/stream?channels={channels} HTTP/1.1\r\nHost: {}\r\n{}\r\n",
            server.address(),
            authorization(&ann)
        );
        events.write_all(request.as_bytes()).await.expect("the server reads");
        let mut text = heard_until(&mut events, "event: hello").await;
        // Whoever reads is never far behind, however busy the machine is.
        let mut told = Vec::new();
        for _ in 0..NOISES {
            make_noise(api, &ann, &market).await;
            let mut cancelled = 0;
            while cancelled < ORDERS {
                let message = quick.next().await;
                cancelled += usize::from(message.kind == "order.cancelled");
                told.push(message);
            }
        }
        api.request("POST", &format!("/markets/{market}/close")).by(&ann).send().await.expect(200);
        told.extend(quick.until("market.closed").await);
        let told: Vec<i64> = told.iter().filter_map(|told| told.id).collect();
        let concerns =
            |event: &&Value| event["data"]["userId"] == json!(ann.id) || event["data"]["marketId"] == json!(market);
        let all = events_after(&server, begun).await;
        let expected: Vec<i64> = all.iter().filter(concerns).filter_map(|event| event["sequence"].as_i64()).collect();
        let expected = &expected[..told.len().min(expected.len())];
        assert_eq!(told, expected);

        // One of those who were slow: its messages up to the end, which are fewer than there were.
        let mut had = Vec::new();
        let end = loop {
            match socket.next().await {
                Ok(message) if message["type"] == "book.snapshot" || message["type"] == "hello" => {}
                Ok(message) => had.push(message["sequence"].as_i64().expect("a number")),
                Err(end) => break end,
            }
        };
        assert_eq!(end, (1008, "slow".to_owned()));
        assert!(had.len() >= 512 && had.len() < told.len(), "{} of {}", had.len(), told.len());
        assert_eq!(had, told[..had.len()]);
        let last = had.last().expect("it had some").to_string();
        let mut again = Listener::open(follow(api, &channels).by(&ann).header("Last-Event-ID", &last)).await;
        assert_eq!(again.next().await.kind, "resumed");
        while had.len() < told.len() {
            let message = again.next().await;
            had.extend(message.id.filter(|_| message.kind != "resumed"));
        }
        assert_eq!(had, told);

        // The other.
        text.push_str(&heard_until(&mut events, r#"{"type":"end","reason":"slow"}"#).await);
        let count = text.lines().filter(|line| line.starts_with("id: ")).count();
        assert!(count >= 512 && count < told.len(), "{count} of {}", told.len());
    })
    .await;
}

/// Threat 59: the connection of one who never reads again is cut, and its place is free.
#[tokio::test(flavor = "multi_thread")]
async fn who_never_reads_is_cut_off() {
    for store in Store::ALL {
        let settings = [("STREAMS_PER_USER", "1"), ("STALL_TIMEOUT", "1s")];
        let Some(installation) = Installation::new(store, &settings).await else { continue };
        let server = Server::start(installation).await;
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let market = api.open_market(&ann, json!({})).await;
        let mut sleeper = narrow(server.address()).await;
        let request = format!(
            "GET /api/v1/stream?channels=me,market:{market} HTTP/1.1\r\nHost: {}\r\n{}\r\n",
            server.address(),
            authorization(&ann)
        );
        sleeper.write_all(request.as_bytes()).await.expect("the server reads");
        heard_until(&mut sleeper, "event: hello").await;
        follow(api, "me").by(&ann).send().await.refused(429, "TOO_MANY_STREAMS");
        for _ in 0..NOISES {
            make_noise(api, &ann, &market).await;
        }
        let started = Instant::now();
        while follow(api, "me").by(&ann).open().await.status().as_u16() != 200 {
            assert!(started.elapsed() < Duration::from_secs(30), "it is not cut off");
            tokio::task::yield_now().await;
        }
        drop(sleeper);
        let installation = server.stop().await;
        installation.audit().await;
        installation.remove().await;
    }
}
