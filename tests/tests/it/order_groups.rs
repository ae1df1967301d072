//! Order groups with a fill cap, from outside.

use bellwether_tests::client::limit;
use bellwether_tests::{Api, User, on_each_store};
use serde_json::{Value, json};

async fn group(api: &Api, user: &User, market: &str, cap: i64) -> String {
    let body = json!({ "marketId": market, "fillCap": cap });
    api.post("/order-groups", user, body).await.expect(201).text("/id")
}

fn grouped(mut order: Value, group: &str) -> Value {
    order["orderGroupId"] = json!(group);
    order
}

async fn filled(api: &Api, user: &User, id: &str) -> (i64, Value) {
    let order = api.get(&format!("/orders/{id}"), user).await.expect(200).data().clone();
    (order["filled"].as_i64().expect("a number"), order["endReason"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_filled_up_to_its_cap_and_no_further_until_it_is_reset() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let (market, other) = (api.open_market(&ann, json!({})).await, api.open_market(&ann, json!({})).await);
        let id = group(api, &ann, &market, 15).await;
        let place = async |price: &str| {
            let order = grouped(limit(&market, "YES", "buy", price, 10), &id);
            let placed = api.post("/orders", &ann, order).await.expect(201);
            assert_eq!(placed.text("/order/orderGroupId"), id);
            placed.text("/order/id")
        };
        let orders = [place("0.400").await, place("0.390").await, place("0.380").await];
        let taken = api.post("/orders", &ben, limit(&market, "NO", "buy", "0.700", 100)).await.expect(201);
        assert_eq!(taken.data()["order"]["filled"], json!(15));
        let ends = [
            filled(api, &ann, &orders[0]).await,
            filled(api, &ann, &orders[1]).await,
            filled(api, &ann, &orders[2]).await,
        ];
        assert_eq!(ends, [(10, json!(null)), (5, json!("group_full")), (0, json!("group_full"))]);
        assert_eq!(api.balance(&ann).await.1, 0, "nothing is held any more");

        let shown = api.get(&format!("/order-groups/{id}"), &ann).await.expect(200).data().clone();
        assert_eq!((&shown["status"], &shown["filled"], &shown["fillCap"]), (&json!("full"), &json!(15), &json!(15)));
        let order = grouped(limit(&market, "YES", "buy", "0.100", 10), &id);
        api.post("/orders", &ann, order.clone()).await.refused(409, "ORDER_GROUP_FULL");
        api.request("POST", &format!("/order-groups/{id}/reset")).by(&ann).send().await.expect(200);
        let open = api.post("/orders", &ann, order.clone()).await.expect(201).text("/order/id");
        // Another's group, one of another market, and one that there is not.
        api.post("/orders", &ben, order).await.refused(404, "ORDER_GROUP_NOT_FOUND");
        let elsewhere = grouped(limit(&other, "YES", "buy", "0.100", 10), &id);
        api.post("/orders", &ann, elsewhere).await.refused(422, "ORDER_GROUP_OF_OTHER_MARKET");
        api.get(&format!("/order-groups/{id}"), &ben).await.refused(404, "ORDER_GROUP_NOT_FOUND");
        // With the group its open orders go.
        api.request("DELETE", &format!("/order-groups/{id}")).by(&ann).send().await.expect(204);
        assert_eq!(filled(api, &ann, &open).await, (0, json!("requested")));
        assert_eq!(api.get("/order-groups", &ann).await.expect(200).data(), &json!([]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_takers_at_once_never_fill_a_group_beyond_its_cap() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let market = api.open_market(&ann, json!({})).await;
        let id = group(api, &ann, &market, 25).await;
        for price in ["0.400", "0.390", "0.380", "0.370", "0.360"] {
            let order = grouped(limit(&market, "YES", "buy", price, 10), &id);
            api.post("/orders", &ann, order).await.expect(201);
        }
        let mut takers = Vec::new();
        for number in 0..8 {
            takers.push(api.sign_up(&format!("Taker{number}")).await);
        }
        let takes =
            takers.iter().map(|taker| api.post_patiently("/orders", taker, limit(&market, "NO", "buy", "0.700", 7)));
        for answer in futures_util::future::join_all(takes).await {
            answer.expect(201);
        }
        assert_eq!(api.shares(&ann, &market).await, [25, 0]);
        let shown = api.get(&format!("/order-groups/{id}"), &ann).await.expect(200).data().clone();
        assert_eq!((&shown["status"], &shown["filled"]), (&json!("full"), &json!(25)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_a_group_is_checked() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let market = api.open_market(&ann, json!({})).await;
        let bad = json!({ "marketId": "x", "fillCap": 0, "windowSeconds": 86401 });
        let answer = api.post("/order-groups", &ann, bad).await.expect(422);
        assert_eq!(answer.fields(), ["marketId", "fillCap", "windowSeconds"]);
        let unknown = json!({ "marketId": ann.id, "fillCap": 1 });
        api.post("/order-groups", &ann, unknown).await.refused(404, "MARKET_NOT_FOUND");
        let wide = json!({ "marketId": market, "fillCap": 1, "windowSeconds": 60 });
        let made = api.post("/order-groups", &ann, wide).await.expect(201);
        assert_eq!((&made.data()["windowSeconds"], &made.data()["status"]), (&json!(60), &json!("active")));
        assert_eq!(api.get("/order-groups", &ann).await.expect(200).data()[0]["id"], made.data()["id"]);
    })
    .await;
}
