//! The automated market maker beside the book.

use bellwether_tests::client::limit;
use bellwether_tests::on_each_store;
use serde_json::{Value, json};

fn price(market: &Value) -> i64 {
    bellwether_tests::client::mills(&market["outcomes"][0]["price"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_market_maker_sells_buys_back_and_returns_what_is_left() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let liquidity = json!({ "liquidity": { "subsidy": "100", "probabilities": ["0.3", "0.7"] } });
        let market = api.open_market(&ann, liquidity).await;
        assert_eq!(api.balance(&ann).await, (900_000, 0));
        let shown =
            || async { api.request("GET", &format!("/markets/{market}")).send().await.expect(200).data().clone() };
        let before = shown().await;
        assert_eq!(price(&before), 300);
        assert_eq!(before["liquidity"]["subsidy"], json!("100.000"));

        let buy = json!({ "marketId": market, "outcome": "YES", "side": "buy", "type": "market", "maxSpend": "50" });
        let bought = api.post("/orders", &ben, buy).await.expect(201);
        assert_eq!(bought.data()["fills"][0]["counterparty"], json!("marketMaker"));
        let shares = bought.data()["order"]["filled"].as_i64().expect("a number");
        let spent = 1_000_000 - api.balance(&ben).await.0;
        assert!(shares > 100 && (49_000..=50_000).contains(&spent), "{shares} for {spent}");
        assert!(price(&shown().await) > 400);

        // A limit order takes from the maker up to its price, and rests with what is left.
        let bid = api.post("/orders", &ben, limit(&market, "YES", "buy", "0.60", 10_000)).await;
        bid.refused(409, "INSUFFICIENT_FUNDS");
        let bid = api.post("/orders", &ben, limit(&market, "YES", "buy", "0.60", 500)).await.expect(201);
        assert_eq!(bid.text("/order/status"), "open");
        let order = format!("/orders/{}", bid.text("/order/id"));
        api.request("DELETE", &order).by(&ben).send().await.expect(200);

        // Sold back at once, nothing is gained.
        let all = api.shares(&ben, &market).await[0];
        let sell = json!({
            "marketId": market, "outcome": "YES", "side": "sell", "type": "market", "price": "0.001", "quantity": all,
        });
        api.post("/orders", &ben, sell).await.expect(201);
        assert_eq!(api.shares(&ben, &market).await, [0, 0]);
        let (balance, held) = api.balance(&ben).await;
        assert!((999_900..=1_000_000).contains(&balance) && held == 0, "{balance} {held}");

        let buy = json!({ "marketId": market, "outcome": "NO", "side": "buy", "type": "market", "maxSpend": "20" });
        api.post("/orders", &ben, buy).await.expect(201);
        api.resolve(&market, &ann, "NO").await;
        let all = api.balance(&ann).await.0 + api.balance(&ben).await.0;
        assert_eq!(all, 2_000_000);
        assert!(api.balance(&ann).await.0 >= 900_000);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taker_gets_the_better_of_book_and_market_maker() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben, cat) = (api.sign_up("Ann").await, api.sign_up("Ben").await, api.sign_up("Cat").await);
        let market = api.open_market(&ann, json!({ "liquidity": { "subsidy": "100" } })).await;
        let resting = api.post("/orders", &cat, limit(&market, "NO", "buy", "0.45", 50)).await.expect(201);
        assert_eq!(resting.data()["fills"], json!([]));
        let taken = api.post("/orders", &ben, limit(&market, "YES", "buy", "0.60", 100)).await.expect(201);
        let fills = taken.data()["fills"].as_array().expect("fills").clone();
        let parties: Vec<&Value> = fills.iter().map(|fill| &fill["counterparty"]).collect();
        // From the maker until it asks 0.55 too, then the order that rests there, then the maker again.
        assert_eq!(parties, ["marketMaker", "book", "marketMaker"]);
        assert_eq!((&fills[1]["price"], &fills[1]["quantity"]), (&json!("0.550"), &json!(50)));
        assert_eq!(taken.text("/order/status"), "filled");
        api.resolve(&market, &ann, "YES").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_market_its_maker_and_its_first_order_come_into_being_together_or_not_at_all() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let market = |subsidy: &str, quantity: i64| {
            json!({
                "question": "Q", "closesAt": "2199-01-01T00:00:00Z", "liquidity": { "subsidy": subsidy },
                "openingOrder": { "outcome": "YES", "side": "buy", "type": "limit", "price": "0.6", "quantity": quantity },
            })
        };
        api.post("/markets", &ann, market("1001", 1)).await.refused(409, "INSUFFICIENT_FUNDS");
        api.post("/markets", &ann, market("900", 10_000)).await.refused(409, "INSUFFICIENT_FUNDS");
        let none = api.request("GET", "/markets").send().await.expect(200);
        assert_eq!((none.data(), api.balance(&ann).await), (&json!([]), (1_000_000, 0)));
        let opened = api.post("/markets", &ann, market("500", 100)).await.expect(201);
        assert_eq!(opened.text("/openingOrder/order/status"), "filled");
        let id = opened.text("/id");
        assert_eq!(api.shares(&ann, &id).await, [100, 0]);
        let slug = opened.text("/slug");
        assert_eq!(api.request("GET", &format!("/markets/{slug}")).send().await.expect(200).text("/id"), id);
    })
    .await;
}
