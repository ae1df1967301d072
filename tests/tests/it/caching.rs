//! What is remembered of markets and books is never what was before a write that was acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bellwether_tests::client::limit;
use bellwether_tests::{Api, on_each_store};
use serde_json::json;

async fn read(api: &Api, path: &str) -> bellwether_tests::Answer {
    api.request("GET", path).send().await
}

/// Threats 40 and 41: while readers keep asking, so that what they ask for is always being loaded or
/// remembered, each write is seen by the first read after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_after_a_write_sees_it_however_many_read_meanwhile() {
    on_each_store(|server| async move {
        let api = server.api();
        let (ann, bob) = (api.sign_up("Ann").await, api.sign_up("Bob").await);
        let market = api.open_market(&ann, json!({})).await;
        let (path, book) = (format!("/markets/{market}"), format!("/markets/{market}/book"));
        let stop = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..8)
            .map(|number| {
                let (api, stop) = (api.clone(), Arc::clone(&stop));
                let path = if number % 2 == 0 { path.clone() } else { book.clone() };
                tokio::spawn(async move {
                    let mut count = 0_u32;
                    while !stop.load(Ordering::Relaxed) {
                        read(&api, &path).await.expect(200);
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        for round in 0..40_i64 {
            let (price, complement) = (format!("0.{:03}", 100 + round), format!("0.{:03}", 900 - round));
            api.post("/orders", &ann, limit(&market, "YES", "buy", &price, 1)).await.expect(201);
            let seen = read(api, &book).await.expect(200);
            assert_eq!(seen.data()["bids"][0]["price"], json!(price), "{}", seen.text);
            let seen = read(api, &path).await.expect(200);
            assert_eq!(seen.data()["outcomes"][0]["bestBid"], json!(price), "{}", seen.text);
            api.post("/orders", &bob, limit(&market, "NO", "buy", &complement, 1)).await.expect(201);
            let seen = read(api, &path).await.expect(200);
            assert_eq!(seen.data()["tradeCount"], json!(round + 1), "{}", seen.text);
        }
        stop.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.await.expect("the reader ends") > 0);
        }
    })
    .await;
}

/// Threat 41.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_there_is_found_when_it_is_and_what_was_deleted_is_not() {
    on_each_store(|server| async move {
        let api = server.api();
        let ann = api.sign_up("Ann").await;
        let market = api.open_market(&ann, json!({})).await;
        let path = format!("/markets/{market}");
        let first = read(api, &path).await.expect(200);
        let tag = first.header("etag").to_owned();
        assert_eq!(read(api, &path).await.expect(200).header("etag"), tag);
        let known = api.request("GET", &path).header("If-None-Match", &tag).send().await;
        assert_eq!((known.status, known.header("etag")), (304, tag.as_str()));

        let edit = json!({ "question": "Will it snow?" });
        let edited = api.request("PATCH", &path).by(&ann).header("If-Match", &tag).json(&edit).send().await.expect(200);
        let seen = api.request("GET", &path).header("If-None-Match", &tag).send().await.expect(200);
        assert_eq!((seen.text("/question").as_str(), seen.header("etag")), ("Will it snow?", edited.header("etag")));

        let delete = api.request("DELETE", &path).by(&ann).header("If-Match", edited.header("etag")).send().await;
        delete.expect(204);
        for path in [path.clone(), format!("{path}/book")] {
            read(api, &path).await.refused(404, "MARKET_NOT_FOUND");
            read(api, &path).await.refused(404, "MARKET_NOT_FOUND");
        }
    })
    .await;
}
