//! A server that reads lists from a replica: whoever writes sees what he wrote at once.

use std::time::{Duration, Instant};

use bellwether_tests::client::limit;
use bellwether_tests::{Installation, Server, Store};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_finds_each_order_in_his_list_at_once() {
    let Ok(replica) = std::env::var("DATABASE_REPLICA_URL") else {
        eprintln!("DATABASE_REPLICA_URL is not set; run the tests with `make test`, which starts a replica");
        return;
    };
    let Some(mut installation) = Installation::new(Store::Postgres, &[]).await else { return };
    let database = installation.database_url().and_then(|url| url.rsplit('/').next()).expect("a database").to_owned();
    let (place, _) = replica.rsplit_once('/').expect("a URL");
    installation.set("READ_URLS", &format!("{place}/{database}"));
    let server = Server::start(installation).await;
    let api = server.api();
    let ann = api.sign_up("Ann").await;
    let market = api.open_market(&ann, json!({})).await;
    // On a busy machine it may take a while until the replica has the database and says so.
    let started = Instant::now();
    while !server.logged().contains("a replica is read from") {
        assert!(started.elapsed() < Duration::from_secs(30), "the replica is left out all the time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for round in 1..=60_usize {
        api.post("/orders", &ann, limit(&market, "YES", "buy", "0.1", 1)).await.expect(201);
        let listed = api.get("/orders?limit=100", &ann).await.expect(200);
        assert_eq!(listed.data().as_array().map(Vec::len), Some(round), "{}", listed.text);
        let markets = api.get("/markets", &ann).await.expect(200);
        assert_eq!(markets.data().as_array().map(Vec::len), Some(1), "{}", markets.text);
    }
    // A server whose replica is gone answers as before.
    let mut installation = server.stop().await;
    installation.set("READ_URLS", &format!("postgres://nobody@127.0.0.1:1/{database}"));
    let server = Server::start(installation).await;
    let ann = server.api().log_in(&ann.email, bellwether_tests::client::PASSWORD).await;
    let listed = server.api().get("/orders?limit=100", &ann).await.expect(200);
    assert_eq!(listed.data().as_array().map(Vec::len), Some(60));
}
