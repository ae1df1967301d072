//! Webhooks: what receivers are told, and what becomes of those that do not take it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bellwether_tests::client::limit;
use bellwether_tests::mail::wait_for_written;
use bellwether_tests::receiver::{Manner, Message, Receiver};
use bellwether_tests::{Api, Installation, Server, Store, User, on_each_store, on_each_store_with};
use serde_json::{Value, json};
use standardwebhooks::Webhook;

/// Receivers are on this machine, which no server calls by itself.
const HERE: [(&str, &str); 1] = [("WEBHOOKS_ALLOW", "127.0.0.0/8")];
const OK: Manner = Manner::Answers("200 OK");
const BUSY: Manner = Manner::Answers("500 Oops");

async fn make(api: &Api, user: &User, receiver: &Receiver, events: Value) -> String {
    let body = json!({ "url": receiver.url(), "events": events });
    api.post("/webhooks", user, body).await.expect(201).text("/id")
}

/// The public library, with the secret that the server tells.
async fn checker(api: &Api, user: &User, webhook: &str) -> Webhook {
    let secret = api.get(&format!("/webhooks/{webhook}/secret"), user).await.expect(200).text("/secret");
    Webhook::new(&secret).expect("the secret is of the form that the library wants")
}

/// The deliveries of a webhook, the oldest first.
async fn deliveries(api: &Api, user: &User, webhook: &str) -> Vec<Value> {
    let path = format!("/webhooks/{webhook}/deliveries?limit=100&sort=createdAt");
    api.get(&path, user).await.expect(200).data().as_array().cloned().unwrap_or_default()
}

/// Has two trade a share for another.
async fn trade(api: &Api, market: &str, ann: &User, ben: &User) {
    api.post("/orders", ann, limit(market, "YES", "buy", "0.5", 1)).await.expect(201);
    api.post("/orders", ben, limit(market, "NO", "buy", "0.5", 1)).await.expect(201);
}

fn of_kind(kind: &'static str) -> impl Fn(&Message) -> bool {
    move |message| message.kind() == kind
}

fn sequences(messages: &[Message]) -> Vec<i64> {
    let sequence = |message: &Message| message.json()["sequence"].as_str().and_then(|text| text.parse().ok());
    messages.iter().map(|message| sequence(message).unwrap_or_default()).collect()
}

/// Threats 13 and 52: in order, signed, and of what is another's nothing.
#[tokio::test(flavor = "multi_thread")]
async fn receivers_are_told_what_their_owners_may_know_in_order_and_signed() {
    on_each_store_with(&HERE, |server| async move {
        let api = server.api();
        let (ann, ben, eve) = (api.sign_up("Ann").await, api.sign_up("Ben").await, api.sign_up("Eve").await);
        let (of_ann, of_eve) = (Receiver::start(OK).await, Receiver::start(OK).await);
        let hook = make(api, &ann, &of_ann, json!([])).await;
        make(api, &eve, &of_eve, json!([])).await;
        let market = api.open_market(&ben, json!({})).await;
        for _ in 0..5 {
            trade(api, &market, &ann, &ben).await;
        }
        let trades = of_ann.wait_for(5, of_kind("trade.executed")).await;
        let seen = of_eve.wait_for(5, of_kind("trade.executed")).await;
        assert!(sequences(&trades).is_sorted() && sequences(&trades) == sequences(&seen));
        for (to_ann, to_eve) in trades.iter().zip(&seen) {
            let (to_ann, to_eve) = (to_ann.json(), to_eve.json());
            assert_eq!(to_ann["data"]["role"], json!("maker"), "{to_ann}");
            assert!(to_ann["data"]["orderId"].is_string() && to_ann["data"].get("fee").is_none(), "{to_ann}");
            let told = to_eve["data"].as_object().unwrap();
            assert!(!told.keys().any(|key| key.ends_with("Id") && key != "tradeId" && key != "marketId"), "{to_eve}");
            assert!(!told.contains_key("role") && !told.contains_key("fee"), "{to_eve}");
        }
        // Her own orders, and nobody else's.
        of_ann.wait_for(5, of_kind("order.accepted")).await;
        for message in of_ann.arrived().iter().filter(|message| message.kind().starts_with("order.")) {
            assert_eq!(message.json()["data"]["userId"], json!(ann.id));
        }
        assert!(of_eve.arrived().iter().all(|message| !message.kind().starts_with("order.")));
        assert!(of_ann.arrived().iter().all(|message| message.kind() != "book.changed"));

        let (checker, arrived) = (checker(api, &ann, &hook).await, of_ann.arrived());
        for message in &arrived {
            checker.verify(&message.body, &message.headers).unwrap();
            let mut forged = message.body.clone();
            forged.push(b' ');
            checker.verify(&forged, &message.headers).unwrap_err();
        }
        let ids: BTreeSet<&str> = arrived.iter().map(|message| message.header("webhook-id")).collect();
        assert_eq!(ids.len(), arrived.len());
    })
    .await;
}

/// Threats 50, 53 and 54: whoever does not take a message gets it again, with its id and before what follows it;
/// meanwhile others are told.
#[tokio::test(flavor = "multi_thread")]
async fn receivers_that_fail_get_it_again_and_keep_nobody_waiting() {
    on_each_store_with(&HERE, |server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let redirect = Manner::Answers("302 Found\r\nLocation: http://169.254.169.254/latest/meta-data/");
        let well = Receiver::start(OK).await;
        make(api, &ben, &well, json!(["trade.executed"])).await;
        let mut failing = Vec::new();
        for manner in [Manner::Hangs, BUSY, Manner::Resets, redirect] {
            let receiver = Receiver::start_with(manner, OK).await;
            failing.push((make(api, &ann, &receiver, json!(["trade.executed"])).await, receiver));
        }
        let flood = Receiver::start(Manner::Floods).await;
        let flooded = make(api, &ann, &flood, json!(["trade.executed"])).await;
        let market = api.open_market(&ben, json!({})).await;
        trade(api, &market, &ann, &ben).await;
        trade(api, &market, &ann, &ben).await;
        let started = Instant::now();
        well.wait_for(2, |_| true).await;
        let (_, hanging) = &failing[0];
        assert_eq!(hanging.given_up(), 0, "others were kept waiting until the one that hangs was given up");
        for (hook, receiver) in &failing {
            let arrived = receiver.wait_for(3, |_| true).await;
            let sequences = sequences(&arrived);
            assert!(sequences.is_sorted(), "{sequences:?}");
            let ids: BTreeSet<&str> = arrived.iter().map(|message| message.header("webhook-id")).collect();
            assert_eq!(ids.len(), 2, "a message has one id however often it is sent");
            let checker = checker(api, &ann, hook).await;
            assert!(arrived.iter().all(|message| checker.verify(&message.body, &message.headers).is_ok()));
        }
        // The status was said, so what has no end was taken.
        flood.wait_for(2, |_| true).await;
        let sent = loop {
            let sent = deliveries(api, &ann, &flooded).await;
            if sent.iter().all(|delivery| delivery["status"] == "delivered") {
                break sent;
            }
            assert!(started.elapsed() < Duration::from_secs(120), "{sent:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let answer = sent[0]["lastAttempt"]["answer"].as_str().unwrap();
        assert!(answer.len() == 1024 && sent[0]["lastAttempt"]["status"] == 200, "{sent:?}");
    })
    .await;
}

/// Threat 54: a receiver that is gone is told nothing more, its owner gets a mail, and may have it all sent again.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_is_disabled_and_can_come_back() {
    on_each_store_with(&HERE, |server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let verified = format!("UPDATE users SET email_verified = true WHERE email = '{}'", ann.email);
        server.installation().execute_sql(&verified).await;
        let receiver = Receiver::start(Manner::Answers("410 Gone")).await;
        let hook = make(api, &ann, &receiver, json!(["trade.executed"])).await;
        let market = api.open_market(&ben, json!({})).await;
        trade(api, &market, &ann, &ben).await;
        let first = receiver.wait_for(1, |_| true).await.remove(0);
        let mails = wait_for_written(server.installation(), &ann.email, 2).await;
        assert!(mails.iter().any(|mail| mail.header("Subject") == "A webhook was disabled"), "{mails:?}");
        let path = format!("/webhooks/{hook}");
        assert_eq!(api.get(&path, &ann).await.expect(200).text("/status"), "gone");
        api.post(&format!("{path}/test"), &ann, json!({})).await.refused(409, "WEBHOOK_DISABLED");

        receiver.set(OK);
        let etag = api.get(&path, &ann).await.header("etag").to_owned();
        let enable = json!({ "status": "enabled" });
        let stale = api.request("PATCH", &path).by(&ann).header("If-Match", "\"99\"").json(&enable).send().await;
        assert_eq!(stale.status, 412, "{}", stale.text);
        let enabled = api.request("PATCH", &path).by(&ann).header("If-Match", &etag).json(&enable).send().await;
        assert_eq!(enabled.expect(200).text("/status"), "enabled");
        let sent = deliveries(api, &ann, &hook).await;
        assert!(sent.len() == 1 && sent[0]["status"] == "failed", "{sent:?}");
        let again = json!({ "deliveryId": sent[0]["id"] });
        api.post(&format!("{path}/redeliver"), &ann, again).await.expect(202);
        let second = receiver.wait_for(2, |_| true).await.remove(1);
        assert_eq!(second.header("webhook-id"), first.header("webhook-id"));
        let since = json!({ "since": sent[0]["createdAt"] });
        api.post(&format!("{path}/redeliver"), &ann, since).await.expect(202);
        receiver.wait_for(3, |_| true).await;
        api.post(&format!("{path}/redeliver"), &ann, json!({})).await.refused(422, "VALIDATION_ERROR");

        let whole = api.get(&format!("{path}/deliveries/{}", sent[0]["id"].as_str().unwrap()), &ann).await.expect(200);
        assert_eq!(whole.text("/body").as_bytes(), second.body);
        api.request("DELETE", &path).by(&ann).header("If-Match", "*").send().await.expect(204);
        api.get(&path, &ann).await.refused(404, "WEBHOOK_NOT_FOUND");
    })
    .await;
}

/// Threat 52: for a day whoever has either secret can check what comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_secret_overlaps_with_the_one_before() {
    on_each_store_with(&HERE, |server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let receiver = Receiver::start(OK).await;
        let hook = make(api, &ann, &receiver, json!([])).await;
        let before = checker(api, &ann, &hook).await;
        let rotated = api.post(&format!("/webhooks/{hook}/secret/rotate"), &ann, json!({})).await.expect(200);
        assert!(rotated.text("/publicKey").starts_with("whpk_") && !rotated.data()["previous"].is_null());
        // As if the answer was lost: nothing is changed by that.
        let rotate = || api.request("POST", &format!("/webhooks/{hook}/secret/rotate")).by(&ann).json(&json!({}));
        rotate().send().await.refused(409, "SECRETS_OVERLAP");
        rotate().header("If-Match", "*").send().await.refused(409, "SECRETS_OVERLAP");
        let secret = api.get(&format!("/webhooks/{hook}/secret"), &ann).await.expect(200);
        assert_eq!(secret.data(), rotated.data());
        let after = checker(api, &ann, &hook).await;
        let test = api.post(&format!("/webhooks/{hook}/test"), &ann, json!({})).await.expect(202);
        let message = receiver.wait_for(1, of_kind("webhook.test")).await.remove(0);
        assert_eq!(message.header("webhook-id"), test.text("/messageId"));
        assert_eq!(message.header("webhook-signature").split(' ').count(), 4);
        before.verify(&message.body, &message.headers).unwrap();
        after.verify(&message.body, &message.headers).unwrap();
        let shown = api.get(test.header("location").trim_start_matches("/api/v1"), &ann).await.expect(200);
        assert_eq!(shown.text("/type"), "webhook.test");

        let tag = api.get(&format!("/webhooks/{hook}"), &ann).await.expect(200).header("etag").to_owned();
        let again = rotate().header("If-Match", &tag).send().await.expect(200);
        assert_eq!(again.data()["previous"]["secret"], rotated.data()["secret"]);
        rotate().header("If-Match", &tag).send().await.refused(412, "PRECONDITION_FAILED");
    })
    .await;
}

/// Threats 13 and 51.
#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_where_everybody_could_be_and_their_owners_alone() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        for url in [
            "https://127.0.0.1/",
            "https://0x7f000001/",
            "https://017700000001/",
            "https://[::ffff:10.0.0.1]/",
            "https://169.254.169.254/latest/meta-data/",
            "https://100.64.0.1/",
            "https://[64:ff9b::a00:1]/",
            "https://localhost/",
            "http://93.184.216.34/",
            "ftp://93.184.216.34/",
            "https://user@93.184.216.34/",
            "https://93.184.216.34/ho\u{200b}ok",
        ] {
            let refused = api.post("/webhooks", &ann, json!({ "url": url })).await;
            refused.refused(422, "URL_NOT_CALLED");
        }
        let body = json!({ "url": "https://93.184.216.34/hook", "events": ["order.danced"] });
        api.post("/webhooks", &ann, body).await.refused(422, "VALIDATION_ERROR");
        let body = json!({ "url": "https://93.184.216.34/hook", "events": ["market.paid"] });
        let send = || api.request("POST", "/webhooks").by(&ann).key("once").json(&body).send();
        let (made, again) = (send().await.expect(201), send().await.expect(201));
        assert_eq!(made.text("/id"), again.text("/id"));
        assert!(!made.text.contains("whsec_"), "secrets are not kept with answers");
        for _ in 1..10 {
            api.post("/webhooks", &ann, body.clone()).await.expect(201);
        }
        api.post("/webhooks", &ann, body.clone()).await.refused(409, "TOO_MANY_WEBHOOKS");
        assert_eq!(api.get("/webhooks", &ann).await.expect(200).data().as_array().map(Vec::len), Some(10));
    })
    .await;
}

/// Threats 45, 48 and 54: what was committed is told, in order, however the server dies meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn everything_is_told_in_order_although_the_server_is_killed() {
    for store in Store::ALL {
        let Some(installation) = Installation::new(store, &HERE).await else { continue };
        let mut server = Server::start(installation).await;
        let receiver = Receiver::start(OK).await;
        let (ann, ben) = (server.api().sign_up("Ann").await, server.api().sign_up("Ben").await);
        make(server.api(), &ann, &receiver, json!(["trade.executed"])).await;
        let market = server.api().open_market(&ben, json!({})).await;
        for life in 0..4 {
            receiver.set(if life % 2 == 0 { OK } else { BUSY });
            for _ in 0..3 {
                trade(server.api(), &market, &ann, &ben).await;
            }
            let installation = server.kill().await;
            server = Server::start(installation).await;
        }
        receiver.set(OK);
        let started = Instant::now();
        loop {
            let arrived = receiver.arrived();
            let told: BTreeSet<i64> = sequences(&arrived).into_iter().collect();
            if told.len() == 12 {
                // Each for the first time after those before it, though some came twice.
                let mut seen = BTreeSet::new();
                let firsts: Vec<i64> = sequences(&arrived).into_iter().filter(|s| seen.insert(*s)).collect();
                assert!(firsts.is_sorted(), "{firsts:?}");
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(90), "{} of 12 trades were told", told.len());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let installation = server.stop().await;
        installation.audit().await;
        installation.remove().await;
    }
}
