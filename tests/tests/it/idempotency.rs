//! `Idempotency-Key`: a request that is repeated is done once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bellwether_tests::client::limit;
use bellwether_tests::{Answer, Api, Installation, Server, Store, User, on_each_store};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Notify;

async fn pay(api: &Api, from: &User, to: &User, amount: &str, key: &str) -> Answer {
    let body = json!({ "toUserId": to.id, "amount": amount });
    api.request("POST", "/transfers").by(from).key(key).json(&body).send().await
}

/// Threat 31.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_answers_the_same_request_again_and_no_other() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);

        let first = pay(api, &ann, &ben, "10", "k1").await.expect(201);
        let again = pay(api, &ann, &ben, "10", "k1").await.expect(201);
        assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
        assert_eq!((first.data(), first.header("location")), (again.data(), again.header("location")));
        pay(api, &ann, &ben, "11", "k1").await.refused(422, "IDEMPOTENCY_KEY_REUSED");
        assert_eq!(api.balance(&ann).await.0, 990_000);

        // A key belongs to its user and its route.
        pay(api, &ben, &ann, "10", "k1").await.expect(201);
        let market = api.open_market(&ann, json!({})).await;
        let order = limit(&market, "YES", "buy", "0.5", 1);
        let request = || api.request("POST", "/orders").by(&ann).key("k1").json(&order).send();
        let placed = request().await.expect(201);
        assert_eq!(request().await.expect(201).data(), placed.data());
        assert_eq!(api.balance(&ann).await, (1_000_000, 500));

        for (path, body) in [("/transfers", json!({ "toUserId": ben.id, "amount": 1 })), ("/orders", order.clone())] {
            let answer = api.request("POST", path).by(&ann).json(&body).send().await;
            answer.refused(400, "IDEMPOTENCY_KEY_REQUIRED");
        }

        // A refusal is not kept: it had no effect, and the same request may succeed later.
        pay(api, &ben, &ann, "1000.001", "k2").await.refused(409, "INSUFFICIENT_FUNDS");
        pay(api, &ann, &ben, "0.001", "k3").await.expect(201);
        pay(api, &ben, &ann, "1000.001", "k2").await.expect(201);
    })
    .await;
}

/// Threat 31.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_sent_many_times_at_once_does_one_thing() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let answers = join_all((0..32).map(|_| pay(api, &ann, &ben, "7", "same"))).await;
        let mut ids = Vec::new();
        for answer in &answers {
            match answer.status {
                201 => ids.push(answer.text("/id")),
                _ => answer.refused(409, "IDEMPOTENCY_IN_PROGRESS"),
            }
        }
        ids.dedup();
        assert_eq!(ids.len(), 1);
        assert_eq!(api.balance(&ann).await.0, 993_000);
    })
    .await;
}

/// Threat 71: an answer that has an API key is kept nowhere, so there is none to give again.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_no_effect_where_an_api_key_is_made() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let body = json!({ "name": "a bot", "scopes": ["read"] });
        let make = || api.request("POST", "/api-keys").by(&ann).key("k1").json(&body).send();
        let (first, second) = (make().await.expect(201), make().await.expect(201));
        assert!(first.text("/key") != second.text("/key"), "a secret was kept");
        assert_eq!(second.header("idempotency-replayed"), "");
        assert_eq!(api.get("/api-keys", &ann).await.expect(200).data().as_array().map(Vec::len), Some(2));
    })
    .await;
}

const PAYMENTS: usize = 60;

/// Threats 32 and 63.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_cut_off_by_kill_9_is_done_once_when_it_is_repeated() {
    for store in Store::ALL {
        let Some(installation) = Installation::new(store, &[]).await else { continue };
        let server = Server::start(installation).await;
        let (ann, ben) = (server.api().sign_up("Ann").await, server.api().sign_up("Ben").await);

        let (acknowledged, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let payments: Vec<_> = (0..PAYMENTS)
            .map(|n| {
                let (api, ann, ben) = (server.api().clone(), ann.clone(), ben.clone());
                let (acknowledged, enough) = (Arc::clone(&acknowledged), Arc::clone(&enough));
                tokio::spawn(async move {
                    let body = json!({ "toUserId": ben.id, "amount": "1" });
                    let request = api.request("POST", "/transfers").by(&ann).key(&format!("pay-{n}")).json(&body);
                    let answer = request.try_send().await.ok()?;
                    if acknowledged.fetch_add(1, Ordering::SeqCst) == PAYMENTS / 6 {
                        enough.notify_one();
                    }
                    (answer.status == 201).then(|| answer.data().clone())
                })
            })
            .collect();
        enough.notified().await;
        let installation = server.kill().await;
        let before: Vec<Option<Value>> =
            join_all(payments).await.into_iter().map(|payment| payment.expect("no payment panics")).collect();

        let server = Server::start(installation).await;
        let api = server.api();
        for (n, acknowledged) in before.iter().enumerate() {
            let again = pay(api, &ann, &ben, "1", &format!("pay-{n}")).await.expect(201);
            if let Some(data) = acknowledged {
                assert_eq!(again.data(), data);
                assert_eq!(again.header("idempotency-replayed"), "true");
            }
        }
        let (paid, _) = api.balance(&ann).await;
        assert_eq!(paid, 1_000_000 - 1000 * i64::try_from(PAYMENTS).expect("few"));
        let installation = server.stop().await;
        installation.audit().await;
        installation.remove().await;
    }
}
