//! Orders: their races, their lives, batches and quotes.

use bellwether_tests::client::limit;
use bellwether_tests::on_each_store;
use futures_util::future::{join, join_all};
use serde_json::{Value, json};

fn with(mut order: Value, more: Value) -> Value {
    let (Some(fields), Value::Object(more)) = (order.as_object_mut(), more) else { panic!("objects") };
    fields.extend(more);
    order
}

/// Threat 37.
#[tokio::test(flavor = "multi_thread")]
async fn of_a_cancellation_and_a_fill_one_wins() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let market = api.open_market(&ann, json!({})).await;
        let mut fills = 0;
        for round in 0..40 {
            let placed = api.post("/orders", &ann, limit(&market, "YES", "buy", "0.5", 10)).await.expect(201);
            let path = format!("/orders/{}", placed.text("/order/id"));
            let cancel = api.request("DELETE", &path).by(&ann).send();
            let take = with(limit(&market, "NO", "buy", "0.5", 10), json!({ "timeInForce": "ioc" }));
            let take = api.post("/orders", &ben, take);
            let (cancelled, taken) = if round % 2 == 0 {
                join(cancel, take).await
            } else {
                let (taken, cancelled) = join(take, cancel).await;
                (cancelled, taken)
            };
            let taken = taken.expect(201);
            match taken.data()["fills"].as_array().map_or(0, Vec::len) {
                0 => assert_eq!(cancelled.expect(200).text("/status"), "cancelled"),
                _ => {
                    fills += 1;
                    cancelled.refused(409, "ORDER_NOT_OPEN");
                }
            }
        }
        assert_eq!(api.balance(&ann).await, (1_000_000 - fills * 5_000, 0));
        assert_eq!(api.balance(&ben).await, (1_000_000 - fills * 5_000, 0));
    })
    .await;
}

/// Threat 36.
#[tokio::test(flavor = "multi_thread")]
async fn price_goes_before_time_and_everything_is_accounted_for() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben, cat) = (api.sign_up("Ann").await, api.sign_up("Ben").await, api.sign_up("Cat").await);
        let market = api.open_market(&ann, json!({})).await;
        let place = |user, order| async move { api.post("/orders", user, order).await.expect(201) };
        let first = place(&ann, limit(&market, "YES", "buy", "0.50", 10)).await;
        let second = place(&ben, limit(&market, "YES", "buy", "0.50", 10)).await;
        let best = place(&ben, limit(&market, "YES", "buy", "0.55", 10)).await;
        let taken = place(&cat, limit(&market, "NO", "buy", "0.50", 25)).await;
        let prices: Vec<&Value> =
            taken.data()["fills"].as_array().expect("fills").iter().map(|f| &f["price"]).collect();
        assert_eq!(prices, ["0.450", "0.500", "0.500"]);
        let status = |order: &bellwether_tests::Answer| format!("/orders/{}", order.text("/order/id"));
        for (order, owner, filled) in [(&best, &ben, 10), (&first, &ann, 10), (&second, &ben, 5)] {
            let now = api.get(&status(order), owner).await.expect(200);
            assert_eq!(now.data()["filled"], json!(filled));
        }
        api.request("DELETE", &status(&second)).by(&ben).send().await.expect(200);
        let ended = api.get(&status(&second), &ben).await.expect(200);
        assert_eq!((&ended.data()["filled"], &ended.data()["remaining"]), (&json!(5), &json!(0)));
        assert_eq!(api.balance(&ben).await.1, 0);
    })
    .await;
}

/// Threat 36.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_trades_with_themselves() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let market = api.open_market(&ann, json!({})).await;
        let crossing = |rule: Option<&str>| {
            let order = limit(&market, "NO", "buy", "0.5", 4);
            rule.map_or(order.clone(), |rule| with(order, json!({ "selfTradePrevention": rule })))
        };
        for (rule, resting, incoming) in [
            (None, "open", "cancelled"),
            (Some("cancel_oldest"), "cancelled", "open"),
            (Some("decrement"), "open", "cancelled"),
        ] {
            let old = api.post("/orders", &ann, limit(&market, "YES", "buy", "0.5", 10)).await.expect(201);
            let new = api.post("/orders", &ann, crossing(rule)).await.expect(201);
            assert_eq!(new.data()["fills"], json!([]));
            assert_eq!(new.text("/order/status"), incoming, "{rule:?}");
            let old = api.get(&format!("/orders/{}", old.text("/order/id")), &ann).await.expect(200);
            assert_eq!(old.text("/status"), resting, "{rule:?}");
            if rule == Some("decrement") {
                assert_eq!(old.data()["remaining"], json!(6));
            }
            let all = api.request("DELETE", &format!("/orders?marketId={market}")).by(&ann).send().await.expect(200);
            assert_eq!(all.data()["cancelled"], json!(1));
        }
        assert_eq!(api.balance(&ann).await, (1_000_000, 0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_live_as_long_as_they_say() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let market = api.open_market(&ann, json!({})).await;
        let bid = |more: Value| with(limit(&market, "YES", "buy", "0.5", 10), more);
        let ask = |more: Value| with(limit(&market, "NO", "buy", "0.5", 15), more);

        let fok = api.post("/orders", &ben, ask(json!({ "timeInForce": "fok" }))).await;
        fok.refused(409, "FILL_OR_KILL");
        api.post("/orders", &ann, bid(json!({ "postOnly": true }))).await.expect(201);
        api.post("/orders", &ben, ask(json!({ "postOnly": true }))).await.refused(409, "POST_ONLY_WOULD_TAKE");
        let fok = api.post("/orders", &ben, ask(json!({ "timeInForce": "fok" }))).await;
        fok.refused(409, "FILL_OR_KILL");
        assert_eq!(fok.body["error"]["details"][0]["fillable"], json!(10));
        let ioc = api.post("/orders", &ben, ask(json!({ "timeInForce": "ioc" }))).await.expect(201);
        assert_eq!((ioc.text("/order/status"), &ioc.data()["order"]["filled"]), ("cancelled".to_owned(), &json!(10)));

        // Not before the server has it, however busy the machine is.
        let soon = in_millis(6000);
        let gtd = api.post("/orders", &ann, bid(json!({ "timeInForce": "gtd", "expiresAt": soon }))).await.expect(201);
        let path = format!("/orders/{}", gtd.text("/order/id"));
        let ended = api.wait_for(&path, Some(&ann), |order| order["status"] != json!("open")).await;
        assert_eq!(ended["status"], json!("expired"));
        let past = bid(json!({ "timeInForce": "gtd", "expiresAt": "2020-01-01T00:00:00Z" }));
        api.post("/orders", &ann, past).await.refused(422, "EXPIRY_IN_THE_PAST");
        assert_eq!(api.balance(&ann).await, (995_000, 0));
    })
    .await;
}

#[expect(clippy::disallowed_methods, reason = "the server under test looks at the same clock")]
fn in_millis(millis: i64) -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_millis(millis)).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_amended_order_keeps_its_place_only_where_it_shrinks() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben, cat) = (api.sign_up("Ann").await, api.sign_up("Ben").await, api.sign_up("Cat").await);
        let market = api.open_market(&ann, json!({})).await;
        let anns = api.post("/orders", &ann, limit(&market, "YES", "buy", "0.5", 10)).await.expect(201);
        api.post("/orders", &ben, limit(&market, "YES", "buy", "0.5", 10)).await.expect(201);
        let path = format!("/orders/{}", anns.text("/order/id"));
        let amend = |body: Value| api.request("PATCH", &path).by(&ann).json(&body).send();
        amend(json!({ "quantity": 8 })).await.expect(200);
        assert_eq!(api.balance(&ann).await, (1_000_000, 4_000));
        api.post("/orders", &cat, limit(&market, "NO", "buy", "0.5", 3)).await.expect(201);
        assert_eq!(api.get(&path, &ann).await.expect(200).data()["filled"], json!(3));
        amend(json!({ "quantity": 3 })).await.refused(409, "QUANTITY_BELOW_FILLED");
        amend(json!({ "quantity": 20 })).await.expect(200);
        api.post("/orders", &cat, limit(&market, "NO", "buy", "0.5", 3)).await.expect(201);
        assert_eq!(api.get(&path, &ann).await.expect(200).data()["filled"], json!(3));
        amend(json!({ "price": "0.6", "quantity": 5 })).await.expect(200);
        api.post("/orders", &cat, limit(&market, "NO", "buy", "0.4", 2)).await.expect(201);
        let ended = api.get(&path, &ann).await.expect(200);
        assert_eq!((&ended.data()["filled"], ended.text("/status")), (&json!(5), "filled".to_owned()));
        amend(json!({ "quantity": 30 })).await.refused(409, "ORDER_NOT_OPEN");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_fifty_is_answered_order_by_order() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let market = api.open_market(&ann, json!({})).await;
        let order = |n: usize| match n {
            7 => limit(&market, "MAYBE", "buy", "0.2", 1),
            8 => limit("0193a5e0-0000-7000-8000-000000000000", "YES", "buy", "0.2", 1),
            9 => limit(&market, "YES", "buy", "0.5", 1_000_000),
            10 => limit(&market, "YES", "sell", "0.5", 1),
            _ => limit(&market, "YES", "buy", "0.2", 2),
        };
        let batch = json!({ "orders": (0..50).map(order).collect::<Vec<_>>() });
        let request = || api.request("POST", "/orders/batch").by(&ann).key("batch").json(&batch).send();
        let answer = request().await.expect(200);
        let results = answer.data()["results"].as_array().expect("results").clone();
        assert_eq!((results.len(), &answer.data()["accepted"], &answer.data()["refused"]), (50, &json!(46), &json!(4)));
        let codes: Vec<&Value> = results.iter().filter_map(|result| result.pointer("/error/code")).collect();
        assert_eq!(codes, ["OUTCOME_NOT_FOUND", "MARKET_NOT_FOUND", "INSUFFICIENT_FUNDS", "INSUFFICIENT_SHARES"]);
        assert_eq!(request().await.expect(200).data(), answer.data());
        assert_eq!(api.balance(&ann).await, (1_000_000, 46 * 400));

        let swept = api.post("/orders", &ben, limit(&market, "NO", "buy", "0.8", 92)).await.expect(201);
        assert_eq!(swept.data()["fills"].as_array().map(Vec::len), Some(46));
        let many = json!({ "orders": (0..51).map(|_| order(0)).collect::<Vec<_>>() });
        let many = api.post("/orders/batch", &ann, many).await;
        many.refused(422, "VALIDATION_ERROR");
        assert_eq!(many.fields(), ["orders"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_says_what_would_happen_and_writes_nothing() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let market = api.open_market(&ann, json!({ "feeRate": "0.02" })).await;
        api.post("/orders", &ann, limit(&market, "YES", "buy", "0.60", 100)).await.expect(201);
        let book =
            || async { api.request("GET", &format!("/markets/{market}/book")).send().await.expect(200).data().clone() };
        let before = (book().await, api.balance(&ben).await);
        let order = limit(&market, "NO", "buy", "0.45", 120);
        let quote = api.request("POST", "/orders/quote").by(&ben).json(&order).send().await.expect(200);
        assert_eq!((book().await, api.balance(&ben).await), before);
        assert_eq!(api.get("/orders", &ben).await.expect(200).data(), &json!([]));

        let placed = api.post("/orders", &ben, order).await.expect(201);
        let without_ids = |answer: &bellwether_tests::Answer| {
            let mut fills = answer.data()["fills"].clone();
            for fill in fills.as_array_mut().expect("fills") {
                fill["tradeId"].take();
            }
            fills
        };
        assert_eq!(without_ids(&quote), without_ids(&placed));
        let (balance, held) = api.balance(&ben).await;
        assert_eq!(quote.mills("/balanceAfter"), balance - held);
        let shares = quote.data()["positionAfter"]["holdings"].as_array().expect("holdings").clone();
        let shares: Vec<i64> = shares.iter().filter_map(|holding| holding["quantity"].as_i64()).collect();
        assert_eq!(shares, api.shares(&ben, &market).await);
        // At the price after the trade, as the position is worth it then.
        let position = api.get("/positions", &ben).await.expect(200).data()[0].clone();
        for figure in ["value", "profit"] {
            assert_eq!(quote.data()["positionAfter"][figure], position[figure], "{figure}");
        }
        // ceil(0.02 x 100 x 0.6 x 0.4) credits
        assert_eq!(placed.text("/order/fee"), "0.480");
    })
    .await;
}

/// Threat 36: of many at once, each share is sold once.
#[tokio::test(flavor = "multi_thread")]
async fn many_takers_at_once_share_what_is_there() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let takers = join_all((0..8).map(|n| async move { api.sign_up(&format!("T{n}")).await })).await;
        let market = api.open_market(&ann, json!({})).await;
        api.post("/orders", &ann, limit(&market, "YES", "buy", "0.5", 100)).await.expect(201);
        let takes = (0..64).map(|n| {
            let order = with(limit(&market, "NO", "buy", "0.5", 3), json!({ "timeInForce": "ioc" }));
            api.post_patiently("/orders", &takers[n % takers.len()], order)
        });
        let filled: i64 = join_all(takes)
            .await
            .into_iter()
            .map(|a| a.expect(201).data()["order"]["filled"].as_i64().unwrap_or(0))
            .sum();
        assert_eq!(filled, 100);
        assert_eq!(api.shares(&ann, &market).await, [100, 0]);
        assert_eq!(api.balance(&ann).await, (950_000, 0));
    })
    .await;
}
