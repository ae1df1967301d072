//! The README's tour, step by step.

use bellwether_tests::client::{PASSWORD, limit};
use bellwether_tests::on_each_store;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_user_signs_up_trades_and_is_paid() {
    on_each_store(|server| async move {
        let api = server.api();
        let body = json!({ "email": "ann@example.org", "displayName": "ann", "password": PASSWORD });
        let ann = api.request("POST", "/users").json(&body).send().await.expect(201);
        assert_eq!(ann.header("location"), format!("/api/v1/users/{}", ann.text("/id")));
        assert_eq!((ann.text("/role"), ann.text("/status")), ("user".to_owned(), "active".to_owned()));
        assert_eq!((ann.body["success"].as_bool(), ann.data()["emailVerified"].as_bool()), (Some(true), Some(false)));
        let ann = api.log_in("ann@example.org", PASSWORD).await;
        let ben = api.sign_up("Ben").await;
        assert_eq!(api.balance(&ann).await, (1_000_000, 0));

        let market = api.open_market(&ann, json!({ "question": "Will it rain tomorrow?" })).await;
        let bid = api.post("/orders", &ann, limit(&market, "YES", "buy", "0.60", 100)).await.expect(201);
        assert_eq!((bid.text("/order/status"), bid.data()["fills"].clone()), ("open".to_owned(), json!([])));
        assert_eq!(api.balance(&ann).await, (1_000_000, 60_000));

        let taken = api.post("/orders", &ben, limit(&market, "NO", "buy", "0.40", 80)).await.expect(201);
        let fill = &taken.data()["fills"][0];
        assert_eq!((&fill["price"], &fill["quantity"]), (&json!("0.400"), &json!(80)));
        assert_eq!((&fill["settlement"], &fill["counterparty"]), (&json!("mint"), &json!("book")));
        assert_eq!(taken.text("/order/status"), "filled");

        let book = api.request("GET", &format!("/markets/{market}/book?outcome=YES")).send().await.expect(200);
        assert_eq!(book.data()["bids"], json!([{ "price": "0.600", "quantity": 20, "orders": 1 }]));
        let mirrored = api.request("GET", &format!("/markets/{market}/book?outcome=NO")).send().await.expect(200);
        assert_eq!(mirrored.data()["asks"], json!([{ "price": "0.400", "quantity": 20, "orders": 1 }]));

        let trades = api.request("GET", &format!("/markets/{market}/trades")).send().await.expect(200);
        assert_eq!((&trades.data()[0]["price"], &trades.data()[0]["cost"]), (&json!("0.600"), &json!("48.000")));
        let made = api.get("/trades", &ann).await.expect(200).data()[0].clone();
        let took = api.get("/trades", &ben).await.expect(200).data()[0].clone();
        assert_eq!((&made["role"], &made["orderId"]), (&json!("maker"), &bid.data()["order"]["id"]));
        assert_eq!((&took["role"], &took["orderId"]), (&json!("taker"), &taken.data()["order"]["id"]));
        assert_eq!((&took["fee"], &made["fee"]), (&json!("0.000"), &json!(null)));
        assert_eq!((&trades.data()[0]["role"], &trades.data()[0]["orderId"]), (&json!(null), &json!(null)));
        let candles = api.request("GET", &format!("/markets/{market}/candles?interval=1h")).send().await.expect(200);
        assert_eq!((&candles.data()[0]["close"], &candles.data()[0]["trades"]), (&json!("0.600"), &json!(1)));
        assert_eq!(api.shares(&ann, &market).await, [80, 0]);
        assert_eq!(api.shares(&ben, &market).await, [0, 80]);

        api.resolve(&market, &ann, "YES").await;
        assert_eq!(api.balance(&ann).await, (1_032_000, 0));
        assert_eq!(api.balance(&ben).await, (968_000, 0));
        let shown = api.request("GET", &format!("/markets/{market}")).send().await.expect(200);
        assert_eq!((shown.text("/status"), shown.text("/volume")), ("resolved".to_owned(), "48.000".to_owned()));
        assert_eq!(shown.data()["resolution"]["outcome"], json!("YES"));
        let profit = api.get(&format!("/positions?marketId={market}"), &ann).await.expect(200);
        assert_eq!(profit.data()[0]["profit"], json!("32.000"));
    })
    .await;
}
