//! Who may not decide a market, whatever the role.

use bellwether_tests::client::limit;
use bellwether_tests::{Api, User, on_each_store_with};
use serde_json::{Value, json};

/// Has one share of each outcome traded at 0.50, `count` times: the volume grows by as many credits.
async fn trade(api: &Api, market: &str, yes: &User, no: &User, count: i64) {
    for (user, outcome) in [(yes, "YES"), (no, "NO")] {
        api.post("/orders", user, limit(market, outcome, "buy", "0.50", count)).await.expect(201);
    }
}

async fn lead(api: &Api, market: &str, user: &User, step: &str, body: Value) -> bellwether_tests::Answer {
    api.post(&format!("/markets/{market}/{step}"), user, body).await
}

/// Threat 17.
#[tokio::test(flavor = "multi_thread")]
async fn who_holds_shares_neither_names_nor_decides_the_outcome() {
    on_each_store_with(&[("RESOLVER_MAY_HOLD", "false")], |server| async move {
        let api = server.api();
        let (ann, bob, eve) = (api.sign_up("Ann").await, api.sign_up("Bob").await, api.sign_up("Eve").await);
        let market = api.open_market(&ann, json!({})).await;
        trade(api, &market, &ann, &bob, 10).await;
        lead(api, &market, &ann, "close", json!({})).await.expect(200);
        let yes = json!({ "outcome": "YES" });
        for step in ["propose", "resolve"] {
            lead(api, &market, &ann, step, yes.clone()).await.refused(403, "RESOLVER_HOLDS_POSITION");
        }
        // Nothing was decided, and somebody else decides it.
        assert_eq!(api.get(&format!("/markets/{market}"), &ann).await.expect(200).text("/status"), "closed");
        lead(api, &market, &eve, "resolve", yes.clone()).await.refused(403, "FORBIDDEN");
        lead(api, &market, server.admin().await, "resolve", yes).await.expect(200);
        api.settled(&market).await;

        // Who opened a market and holds nothing decides it as ever.
        let other = api.open_market(&eve, json!({})).await;
        trade(api, &other, &ann, &bob, 10).await;
        api.resolve(&other, &eve, "NO").await;
    })
    .await;
}

/// Threat 17.
#[tokio::test(flavor = "multi_thread")]
async fn a_market_that_traded_much_is_decided_by_two() {
    on_each_store_with(&[("RESOLVE_ALONE_UP_TO", "20")], |server| async move {
        let api = server.api();
        let (ann, bob, eve) = (api.sign_up("Ann").await, api.sign_up("Bob").await, api.sign_up("Eve").await);
        let small = api.open_market(&eve, json!({})).await;
        trade(api, &small, &ann, &bob, 10).await;
        api.resolve(&small, &eve, "YES").await;

        let large = api.open_market(&eve, json!({})).await;
        trade(api, &large, &ann, &bob, 100).await;
        lead(api, &large, &eve, "close", json!({})).await.expect(200);
        let yes = json!({ "outcome": "YES" });
        for step in ["propose", "resolve"] {
            let answer = lead(api, &large, &eve, step, yes.clone()).await;
            answer.refused(403, "SECOND_PERSON_NEEDED");
            assert_eq!(answer.body["error"]["details"][0]["limit"], json!("20.000"), "{}", answer.text);
        }
        lead(api, &large, server.admin().await, "resolve", yes).await.expect(200);
        api.settled(&large).await;
    })
    .await;
}
