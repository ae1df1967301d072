//! Who may not decide a market, whatever the role.

use bellwether_tests::client::{PASSWORD, limit};
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

/// A bot that trades and leads markets, with some money of its owner's.
async fn make_bot(api: &Api, owner: &User) -> User {
    let id = api.post("/users/me/bots", owner, json!({ "displayName": "Robo" })).await.expect(201).text("/id");
    api.post("/transfers", owner, json!({ "toUserId": id, "amount": "100" })).await.expect(201);
    let body = json!({ "owner": id, "name": "A key", "scopes": ["read", "trade", "admin"] });
    let token = api.post("/api-keys", owner, body).await.expect(201).text("/key");
    User { id, email: String::new(), token }
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

        // What the market maker has left comes back to her who endowed it, and that depends on the outcome.
        let market = api.open_market(&eve, json!({ "liquidity": { "subsidy": "50" } })).await;
        api.post("/orders", &bob, limit(&market, "YES", "buy", "0.60", 10)).await.expect(201);
        lead(api, &market, &eve, "close", json!({})).await.expect(200);
        let no = json!({ "outcome": "NO" });
        lead(api, &market, &eve, "resolve", no.clone()).await.refused(403, "RESOLVER_HOLDS_POSITION");
        lead(api, &market, server.admin().await, "resolve", no).await.expect(200);
        api.settled(&market).await;
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

/// Threat 17. What a bot holds is its owner's, and what its owner does by it the owner does.
#[tokio::test(flavor = "multi_thread")]
async fn shares_of_a_bot_its_owner_or_another_bot_of_the_owner_keep_all_of_them_from_deciding() {
    on_each_store_with(&[("RESOLVER_MAY_HOLD", "false")], |server| async move {
        let api = server.api();
        let (ann, bob, eve) = (api.sign_up("Ann").await, api.sign_up("Bob").await, api.sign_up("Eve").await);
        let (first, second) = (make_bot(api, &ann).await, make_bot(api, &ann).await);
        let yes = json!({ "outcome": "YES" });
        for (opener, holder) in [(&ann, &first), (&first, &ann), (&first, &second)] {
            let market = api.open_market(opener, json!({})).await;
            trade(api, &market, holder, &bob, 10).await;
            lead(api, &market, opener, "close", json!({})).await.expect(200);
            for step in ["propose", "resolve"] {
                lead(api, &market, opener, step, yes.clone()).await.refused(403, "RESOLVER_HOLDS_POSITION");
            }
            lead(api, &market, server.admin().await, "resolve", yes.clone()).await.expect(200);
            api.settled(&market).await;
        }

        // Those of others are nothing to them.
        let market = api.open_market(&first, json!({})).await;
        trade(api, &market, &bob, &eve, 10).await;
        api.resolve(&market, &first, "YES").await;
    })
    .await;
}

/// Threat 17.
#[tokio::test(flavor = "multi_thread")]
async fn a_market_that_a_bot_opened_is_not_decided_by_its_owner_alone() {
    on_each_store_with(&[("RESOLVE_ALONE_UP_TO", "20")], |server| async move {
        let api = server.api();
        let (ann, bob, mod_) = (api.sign_up("Ann").await, api.sign_up("Bob").await, api.sign_up("Mod").await);
        let promote = api.request("PUT", &format!("/users/{}/role", mod_.id)).by(server.admin().await);
        promote.header("If-Match", "*").json(&json!({ "role": "moderator" })).send().await.expect(200);
        let mod_ = api.log_in(&mod_.email, PASSWORD).await;
        let bot = make_bot(api, &mod_).await;
        let market = api.open_market(&bot, json!({})).await;
        trade(api, &market, &ann, &bob, 100).await;
        lead(api, &market, &mod_, "close", json!({})).await.expect(200);
        let yes = json!({ "outcome": "YES" });
        for by in [&bot, &mod_] {
            lead(api, &market, by, "resolve", yes.clone()).await.refused(403, "SECOND_PERSON_NEEDED");
        }
        // Nor when the bot is gone.
        let delete = api.request("DELETE", &format!("/users/{}", bot.id)).by(&mod_).header("If-Match", "*");
        delete.send().await.expect(204);
        lead(api, &market, &mod_, "resolve", yes.clone()).await.refused(403, "SECOND_PERSON_NEEDED");
        lead(api, &market, server.admin().await, "resolve", yes).await.expect(200);
        api.settled(&market).await;
    })
    .await;
}
