//! Money under concurrency and at the ends of its range.

use std::sync::Mutex;

use bellwether_tests::client::limit;
use bellwether_tests::on_each_store;
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use serde_json::json;

/// Threat 28.
#[tokio::test(flavor = "multi_thread")]
async fn of_64_simultaneous_spends_of_one_balance_one_succeeds() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let body = json!({ "toUserId": ben.id, "amount": "600" });
        let answers = join_all((0..64).map(|_| api.post_patiently("/transfers", &ann, body.clone()))).await;
        let (paid, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
        assert_eq!((paid.len(), refused.len()), (1, 63));
        for answer in refused {
            answer.refused(409, "INSUFFICIENT_FUNDS");
            assert_eq!(answer.body["error"]["details"][0]["available"], json!("400.000"));
        }
        assert_eq!(api.balance(&ann).await, (400_000, 0));
        assert_eq!(api.balance(&ben).await, (1_600_000, 0));
    })
    .await;
}

/// Threats 28 and 29.
#[tokio::test(flavor = "multi_thread")]
async fn simultaneous_orders_and_payments_never_reserve_more_than_there_is() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let markets = [api.open_market(&ben, json!({})).await, api.open_market(&ben, json!({})).await];
        let spends = (0..64).map(|n| {
            let (ann, ben, market) = (&ann, &ben, &markets[n % 2]);
            async move {
                if n % 3 == 0 {
                    return api.post_patiently("/transfers", ann, json!({ "toUserId": ben.id, "amount": "150" })).await;
                }
                api.post_patiently("/orders", ann, limit(market, "YES", "buy", "0.5", 300)).await
            }
        });
        let answers = join_all(spends).await;
        // Each spends 150 of 1000.
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 6);
        for answer in answers.iter().filter(|answer| answer.status != 201) {
            answer.refused(409, "INSUFFICIENT_FUNDS");
        }
        let (balance, held) = api.balance(&ann).await;
        assert_eq!(balance - held, 100_000);
    })
    .await;
}

/// Threat 30.
#[tokio::test(flavor = "multi_thread")]
async fn opposed_transfers_by_the_thousand_all_succeed() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let payments: Vec<_> = (0..2000)
            .map(|n| {
                let (from, to) = if n % 2 == 0 { (&ann, &ben) } else { (&ben, &ann) };
                api.post_patiently("/transfers", from, json!({ "toUserId": to.id, "amount": "0.001" }))
            })
            .collect();
        let answers: Vec<_> = stream::iter(payments).buffer_unordered(64).collect().await;
        for answer in answers {
            answer.expect(201);
        }
        assert_eq!(api.balance(&ann).await, (1_000_000, 0));
        assert_eq!(api.balance(&ben).await, (1_000_000, 0));
    })
    .await;
}

/// Threat 33.
#[tokio::test(flavor = "multi_thread")]
async fn sums_near_the_end_of_the_range_are_refused_alike_on_every_store() {
    let seen = Mutex::new(Vec::new());
    on_each_store(|server| {
        let seen = &seen;
        async move {
            let api = server.api();
            let admin = server.admin().await;
            let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
            let mut answers = Vec::new();
            let mut note =
                |answer: &bellwether_tests::Answer| answers.push(format!("{} {}", answer.status, answer.code()));
            for (user, amount) in [
                (&ann, "9223372036854775.808"),
                (&ann, "9223372036854775.807"),
                (&ann, "9223372036854774.807"),
                (&ann, "9223372036000000.000"),
                (&ben, "9223372036000000.000"),
                (&ben, "1000000.000"),
                (&ann, "854775.807"),
                (&ann, "99999999999999999999999999"),
            ] {
                note(&api.post("/admin/grants", admin, json!({ "userId": user.id, "amount": amount })).await);
            }
            let market = api.open_market(&ann, json!({})).await;
            note(&api.post("/orders", &ann, limit(&market, "YES", "buy", "0.999", 1_000_000_000)).await);
            note(&api.post("/orders", &ann, limit(&market, "YES", "buy", "0.999", 1_000_000_001)).await);
            let (all, held) = api.balance(&ann).await;
            let rest = format!("{}.{:03}", (all - held) / 1000, (all - held) % 1000);
            note(&api.post("/transfers", &ann, json!({ "toUserId": ben.id, "amount": rest })).await);
            note(&api.post("/transfers", &ben, json!({ "toUserId": ann.id, "amount": "9223372036854775.807" })).await);
            answers.push(format!("{:?} {:?}", api.balance(&ann).await, api.balance(&ben).await));
            let mut seen = seen.lock().expect("nobody panics with it");
            seen.push(answers);
        }
    })
    .await;
    let seen = seen.into_inner().expect("nobody panics with it");
    let first = &seen[0];
    assert!(seen.iter().all(|answers| answers == first), "{seen:#?}");
    assert!(first.iter().all(|answer| !answer.starts_with('5')), "{first:#?}");
    assert_eq!(first[0], "422 VALIDATION_ERROR");
    assert_eq!(first[1], "422 OUT_OF_RANGE");
}
