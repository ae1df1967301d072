//! A database that stops answering.

use std::cell::Cell;
use std::time::{Duration, Instant};

use bellwether_tests::proxy::Proxy;
use bellwether_tests::{Answer, Api, Installation, Server, Store, User};
use futures_util::future::join_all;
use serde_json::json;

/// How long the database is frozen.
const FROZEN: Duration = Duration::from_secs(30);
/// How many payments are under way when it freezes.
const FLOOD: usize = 100;
/// How long a client waits for an answer before it calls that hanging.
const PATIENCE: Duration = Duration::from_secs(20);

async fn pay(api: &Api, from: &User, to: &User, key: usize) -> Answer {
    let body = json!({ "toUserId": to.id, "amount": "1" });
    let request = api.request("POST", "/transfers").by(from).key(&format!("pay-{key}")).json(&body);
    tokio::time::timeout(PATIENCE, request.send()).await.expect("no request hangs")
}

/// The host and port of a URL, and the URL with others.
fn redirected(url: &str, address: &str) -> (String, String) {
    let (before, host) = url.split_once('@').expect("the URL names a user");
    let (host, after) = host.split_once('/').expect("the URL names a database");
    (host.to_owned(), format!("{before}@{address}/{after}"))
}

/// Threat 64: PostgreSQL is frozen for 30 s in the middle of work. Every request is answered 503,
/// what needs no database is served, and afterwards the server recovers by itself. What had no
/// answer is done once when it is repeated with its key, a commit that was held up on its way included.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_database_is_answered_503_and_served_again_when_it_thaws() {
    let Some(mut installation) = Installation::new(Store::Postgres, &[("DATABASE_TIMEOUT", "3s")]).await else {
        return;
    };
    let url = installation.database_url().expect("PostgreSQL has a URL").to_owned();
    let proxy = Proxy::to(redirected(&url, "").0).await;
    installation.set_database_url(redirected(&url, &proxy.address().to_string()).1);
    let server = Server::start(installation).await;
    let api = server.api();
    let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);

    // In the middle of work: some of these come through, some are cut in their unit or commit. Each client pays until
    // it is told to come later, so that work goes on at the moment of the freeze, however late that is.
    let keys = Cell::new(0);
    let clients = (0..FLOOD).map(|_| async {
        loop {
            let answer = pay(api, &ann, &ben, keys.replace(keys.get() + 1)).await;
            if answer.status == 503 {
                break;
            }
            answer.expect(201);
            proxy.freeze();
        }
    });
    join_all(clients).await;
    let (started, mut key) = (Instant::now(), keys.get());
    while started.elapsed() < FROZEN {
        let answer = pay(api, &ann, &ben, key).await.expect(503);
        assert!(!answer.header("retry-after").is_empty(), "{}", answer.text);
        assert!(!api.is_ready().await);
        api.request("GET", "//livez").send().await.expect(200);
        key += 1;
    }

    assert!(server.logged().contains("within 3000 ms"), "database_timeout is not what was waited for");

    proxy.thaw();
    let thawed = Instant::now();
    while !api.is_ready().await {
        assert!(thawed.elapsed() < PATIENCE, "the server does not recover");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for key in 0..key {
        let body = json!({ "toUserId": ben.id, "amount": "1" });
        let started = Instant::now();
        // Connections that broke are found out by their first use.
        while api.request("POST", "/transfers").by(&ann).key(&format!("pay-{key}")).json(&body).send().await.status
            != 201
        {
            assert!(started.elapsed() < PATIENCE, "payment {key} is not done");
        }
    }
    let paid = 1000 * i64::try_from(key).expect("few");
    assert_eq!((api.balance(&ann).await.0, api.balance(&ben).await.0), (1_000_000 - paid, 1_000_000 + paid));
    let installation = server.stop().await;
    installation.audit().await;
    installation.remove().await;
}
