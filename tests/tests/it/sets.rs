//! Complete sets by hand, what a resolution would pay, and orders that only reduce or must not be late.

use bellwether_tests::client::limit;
use bellwether_tests::{Api, User, on_each_store};
use serde_json::{Value, json};

async fn split(api: &Api, user: &User, market: &str, quantity: i64) -> Value {
    let path = format!("/markets/{market}/split");
    api.post(&path, user, json!({ "quantity": quantity })).await.expect(201).data().clone()
}

/// Threat 31.
#[tokio::test(flavor = "multi_thread")]
async fn sets_are_made_once_for_each_key_and_given_back_for_what_they_cost() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let market = api.open_market(&ann, json!({ "outcomes": ["Red", "Green", "Blue"] })).await;
        let path = format!("/markets/{market}/split");
        let ask = |body: Value| api.request("POST", &path).by(&ben).key("once").json(&body).send();
        let made = ask(json!({ "quantity": 40 })).await.expect(201);
        assert_eq!(made.text("/transfer/kind"), "mint");
        assert_eq!((made.mills("/transfer/amount"), made.mills("/balanceAfter")), (40_000, 960_000));
        let again = ask(json!({ "quantity": 40 })).await.expect(201);
        assert_eq!((again.header("idempotency-replayed"), again.data()), ("true", made.data()));
        // Without a price of any outcome a set is worth what it cost.
        let position = api.get(&format!("/positions?marketId={market}"), &ben).await.expect(200);
        assert_eq!((position.mills("/0/value"), position.mills("/0/profit")), (40_000, 0));
        ask(json!({ "quantity": 41 })).await.refused(422, "IDEMPOTENCY_KEY_REUSED");
        assert_eq!((api.shares(&ben, &market).await, api.balance(&ben).await), (vec![40, 40, 40], (960_000, 0)));
        api.request("POST", &path)
            .by(&ben)
            .json(&json!({ "quantity": 1 }))
            .send()
            .await
            .refused(400, "IDEMPOTENCY_KEY_REQUIRED");
        assert_eq!(api.post(&path, &ben, json!({ "quantity": 0 })).await.expect(422).fields(), ["quantity"]);
        api.post(&path, &ben, json!({ "quantity": 961 })).await.refused(409, "INSUFFICIENT_FUNDS");

        // What an order holds cannot be given back.
        api.post("/orders", &ben, limit(&market, "Green", "sell", "0.9", 30)).await.expect(201);
        let merge = format!("/markets/{market}/merge");
        api.post(&merge, &ben, json!({ "quantity": 11 })).await.refused(409, "INSUFFICIENT_SHARES");
        let merged = api.post(&merge, &ben, json!({ "quantity": 10 })).await.expect(201);
        assert_eq!((merged.text("/transfer/kind"), merged.mills("/balanceAfter")), ("redeem".to_owned(), 970_000));
        assert_eq!(api.shares(&ben, &market).await, [30, 30, 30]);

        // `balanceAfter` is what can be spent: without what orders hold.
        let bid = limit(&market, "Red", "buy", "0.5", 20);
        api.post("/orders", &ben, bid.clone()).await.expect(201);
        let made = api.post(&path, &ben, json!({ "quantity": 1 })).await.expect(201);
        assert_eq!((made.mills("/balanceAfter"), api.balance(&ben).await), (959_000, (969_000, 10_000)));
        let quote = api.post("/orders/quote", &ben, bid).await.expect(200);
        assert_eq!(quote.mills("/balanceAfter"), 949_000);
        server.installation().audit().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_market_of_which_somebody_has_shares_is_not_deleted_and_keeps_its_orders() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben, cid) = (api.sign_up("Ann").await, api.sign_up("Ben").await, api.sign_up("Cid").await);
        let delete = async |market: &str| {
            let path = format!("/markets/{market}");
            api.request("DELETE", &path).by(&ann).header("If-Match", "*").send().await
        };
        let market = api.open_market(&ann, json!({})).await;
        split(api, &ben, &market, 5).await;
        api.post("/orders", &cid, limit(&market, "YES", "buy", "0.4", 10)).await.expect(201);
        delete(&market).await.refused(409, "MARKET_HAS_SHARES");
        assert_eq!(api.balance(&cid).await, (1_000_000, 4_000), "the order was cancelled");

        // What was given back leaves nothing that is in the way.
        let merge = format!("/markets/{market}/merge");
        api.post(&merge, &ben, json!({ "quantity": 5 })).await.expect(201);
        delete(&market).await.expect(204);
        assert_eq!((api.balance(&ben).await, api.balance(&cid).await), ((1_000_000, 0), (1_000_000, 0)));

        // Nor does it go when who has the shares has left.
        let left = api.open_market(&ann, json!({})).await;
        split(api, &ben, &left, 5).await;
        api.request("DELETE", "/users/me").by(&ben).header("If-Match", "*").send().await.expect(204);
        delete(&left).await.refused(409, "MARKET_HAS_SHARES");
        server.installation().audit().await;
    })
    .await;
}

/// What is counted of it would be counted of nothing: the audit at the end would find that.
#[tokio::test(flavor = "multi_thread")]
async fn a_market_that_was_decided_is_not_deleted_though_all_sets_were_given_back() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let (voided, resolved) = (api.open_market(&ann, json!({})).await, api.open_market(&ann, json!({})).await);
        for market in [&voided, &resolved] {
            split(api, &ben, market, 1).await;
            let merge = format!("/markets/{market}/merge");
            api.post(&merge, &ben, json!({ "quantity": 1 })).await.expect(201);
        }
        api.post(&format!("/markets/{voided}/void"), &ann, json!({ "reason": "A mistake." })).await.expect(200);
        api.settled(&voided).await;
        api.resolve(&resolved, &ann, "YES").await;
        let is_counted = |place: &Value| place["userId"] == json!(ben.id) && place["markets"] == json!(2);
        let board = |places: &Value| places.as_array().is_some_and(|places| places.iter().any(is_counted));
        api.wait_for("/leaderboard", Some(&ben), board).await;
        for (market, status) in [(&voided, "voided"), (&resolved, "resolved")] {
            let path = format!("/markets/{market}");
            let kept = api.request("DELETE", &path).by(&ann).header("If-Match", "*").send().await;
            kept.refused(409, "MARKET_DECIDED");
            assert_eq!(kept.body["error"]["details"][0]["status"], json!(status), "{}", kept.text);
            assert_eq!(api.get(&path, &ann).await.expect(200).text("/status"), status);
        }
        server.installation().audit().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_spend_little_makes_few_sets() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let (market, other) = (api.open_market(&ann, json!({})).await, api.open_market(&ann, json!({})).await);
        let limits = json!({ "spendPerDay": "10", "markets": [market] });
        let mut body = json!({ "name": "a bot", "scopes": ["trade"] });
        body.as_object_mut().expect("an object").extend(limits.as_object().expect("an object").clone());
        let made = api.post("/api-keys", &ann, body).await.expect(201);
        let key = User { token: made.text("/key"), ..ann.clone() };
        split(api, &key, &market, 6).await;
        let path = format!("/markets/{market}/split");
        api.post(&path, &key, json!({ "quantity": 5 })).await.refused(409, "KEY_SPENDING_LIMIT");
        split(api, &key, &market, 4).await;
        let path = format!("/markets/{other}/split");
        api.post(&path, &key, json!({ "quantity": 1 })).await.refused(403, "KEY_NOT_FOR_MARKET");
        assert_eq!(api.shares(&ann, &market).await, [10, 10]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_says_what_the_resolution_then_pays() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben, cid) = (api.sign_up("Ann").await, api.sign_up("Ben").await, api.sign_up("Cid").await);
        let market = api.open_market(&ann, json!({})).await;
        split(api, &ben, &market, 20).await;
        api.post("/orders", &ben, limit(&market, "YES", "sell", "0.5", 8)).await.expect(201);
        api.post("/orders", &cid, limit(&market, "YES", "buy", "0.5", 8)).await.expect(201);

        let path = format!("/markets/{market}/resolution-preview");
        let weights = json!({ "weights": { "YES": "0.250", "NO": "0.750" }, "limit": 1, "cursor": "" });
        let admin = server.admin().await;
        let first = api.post(&path, admin, weights).await.expect(200);
        assert_eq!((first.mills("/total"), first.mills("/toMarketMaker")), (20_000, 0));
        let cursor = first.body["meta"]["pagination"]["nextCursor"].clone();
        let weights = json!({ "weights": { "YES": "0.250", "NO": "0.750" }, "limit": 1, "cursor": cursor });
        let second = api.post(&path, admin, weights).await.expect(200);
        let paid = |answer: &Value| (answer["payouts"][0]["userId"].clone(), answer["payouts"][0]["amount"].clone());
        let mut all = [paid(first.data()), paid(second.data())];
        all.sort_by_key(|(user, _)| user != &json!(ben.id));
        // 12 shares of YES and 20 of NO; and 8 of YES.
        assert_eq!(all, [(json!(ben.id), json!("18.000")), (json!(cid.id), json!("2.000"))]);
        assert_eq!(second.body["meta"]["pagination"]["hasMore"], json!(false));

        // Who opened the market sees the sum, but not the others' positions; and others see nothing.
        let own = api.post(&path, &ann, json!({ "outcome": "YES" })).await.expect(200);
        assert_eq!((own.mills("/total"), &own.data()["payouts"]), (20_000, &json!([])));
        api.post(&path, &cid, json!({ "outcome": "YES" })).await.refused(403, "FORBIDDEN");
        api.post(&path, &ann, json!({ "outcome": "MAYBE" })).await.refused(422, "OUTCOME_NOT_FOUND");

        let before = (api.balance(&ben).await.0, api.balance(&cid).await.0);
        api.post(&format!("/markets/{market}/close"), &ann, json!({})).await.expect(200);
        let weights = json!({ "weights": { "YES": "0.250", "NO": "0.750" } });
        api.post(&format!("/markets/{market}/resolve"), &ann, weights).await.expect(200);
        api.settled(&market).await;
        let after = (api.balance(&ben).await.0, api.balance(&cid).await.0);
        assert_eq!((after.0 - before.0, after.1 - before.1), (18_000, 2_000));
        api.post(&path, &ann, json!({ "outcome": "YES" })).await.refused(409, "WRONG_MARKET_STATUS");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_past_its_deadline_is_refused_and_one_that_only_reduces_never_opens() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let market = api.open_market(&ann, json!({})).await;
        let order = |side: &str, more: Value| {
            let mut order = limit(&market, "YES", side, "0.4", 10);
            order.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            order
        };
        let place = async |body: Value| api.post("/orders", &ann, body).await;
        place(order("buy", json!({ "validUntil": "2020-01-01T00:00:00Z" }))).await.refused(409, "ORDER_TOO_LATE");
        place(order("buy", json!({ "validUntil": "2199-01-01T00:00:00Z" }))).await.expect(201);
        assert_eq!(api.balance(&ann).await, (1_000_000, 4_000));
        assert_eq!(place(order("buy", json!({ "validUntil": "soon" }))).await.expect(422).fields(), ["validUntil"]);

        place(order("sell", json!({ "reduceOnly": true }))).await.refused(409, "NOTHING_TO_REDUCE");
        split(api, &ann, &market, 3).await;
        let mut asked = order("sell", json!({ "reduceOnly": true }));
        asked["price"] = json!("0.6");
        let placed = place(asked).await.expect(201);
        assert_eq!(
            (placed.data()["order"]["quantity"].clone(), placed.text("/order/backing")),
            (json!(3), "shares".to_owned())
        );
        let cash = order("sell", json!({ "reduceOnly": true, "backing": "cash" }));
        place(cash).await.refused(422, "REDUCE_ONLY_PAYS_CASH");
        server.installation().audit().await;
    })
    .await;
}
