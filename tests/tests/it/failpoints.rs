//! The server killed at the points where it hands something to the kernel: each write to
//! its files, each sync, each packet to its database or its clients.

use std::cell::Cell;
use std::future::ready;

use bellwether_tests::client::limit;
use bellwether_tests::strace::{self, STARTER};
use bellwether_tests::{Api, Installation, Request, Server, Store, User};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

/// Where the server can be killed.
const POINTS: &str = "pwrite64,fsync,fdatasync,ftruncate,sendto,writev";
/// How many courses of events run at the same time.
const AT_ONCE: usize = 4;

/// At which points a run kills: the first, and how far the others are apart. On SQLite at each, since what happens there
/// is on the server's own account. On PostgreSQL, which does the same whichever of its clients goes away, at every third,
/// from another one in each run.
fn points(store: Store) -> (usize, usize) {
    let process = usize::try_from(std::process::id()).expect("a small number");
    match store {
        Store::Sqlite => (1, 1),
        Store::Postgres => (1 + process % 3, 3),
    }
}

/// The server has gone away before it answered.
#[derive(Debug)]
struct Gone;

/// People and a market that are there before anything goes wrong.
#[derive(Clone)]
struct Scene {
    ann: User,
    ben: User,
    market: String,
}

/// What everybody has at the end.
#[derive(Debug, PartialEq)]
struct End {
    balances: [(i64, i64); 2],
    trades: Value,
    volume: Value,
}

impl Scene {
    async fn set_up(api: &Api) -> Self {
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let market = api.open_market(&ann, json!({ "liquidity": { "subsidy": "10" }, "feeRate": "0.01" })).await;
        Self { ann, ben, market }
    }

    /// One of everything that moves money, each with a key of its own. Adds what was acknowledged to
    /// `known`; what is there already must be answered again.
    async fn play(&self, api: &Api, known: &mut Vec<Value>) -> Result<(), Gone> {
        let mut keyed = Keyed { api, known, next: 0 };
        let bid = limit(&self.market, "YES", "buy", "0.40", 10);
        let bid = keyed.post("/orders", &self.ann, bid).await?["order"]["id"].clone();
        keyed.post("/orders", &self.ben, limit(&self.market, "NO", "buy", "0.60", 12)).await?;
        let spend = json!({
            "marketId": self.market, "outcome": "NO", "side": "buy", "type": "market", "maxSpend": "5",
        });
        keyed.post("/orders", &self.ben, spend).await?;
        keyed.post("/transfers", &self.ann, json!({ "toUserId": self.ben.id, "amount": "7" })).await?;
        let bid = format!("/orders/{}", bid.as_str().expect("an id"));
        self.once(api.request("DELETE", &bid).by(&self.ann)).await?;
        for (step, body) in [("close", json!({})), ("resolve", json!({ "outcome": "YES" }))] {
            let path = format!("/markets/{}/{step}", self.market);
            self.once(api.request("POST", &path).by(&self.ann).fresh_key().json(&body)).await?;
        }
        let path = format!("/markets/{}", self.market);
        loop {
            let market = api.request("GET", &path).try_send_patiently().await.map_err(|_| Gone)?;
            if !market.data()["settledAt"].is_null() {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }

    /// A step that is refused as done already when it is repeated.
    async fn once(&self, request: Request) -> Result<(), Gone> {
        let answer = request.try_send_patiently().await.map_err(|_| Gone)?;
        assert!([200, 409].contains(&answer.status), "{}", answer.text);
        Ok(())
    }

    async fn end(&self, api: &Api) -> End {
        let market = api.request("GET", &format!("/markets/{}", self.market)).send().await.expect(200);
        End {
            balances: [api.balance(&self.ann).await, api.balance(&self.ben).await],
            trades: market.data()["tradeCount"].clone(),
            volume: market.data()["volume"].clone(),
        }
    }
}

/// Writes with keys, compared with what was acknowledged under the same keys before.
struct Keyed<'a> {
    api: &'a Api,
    known: &'a mut Vec<Value>,
    next: usize,
}

impl Keyed<'_> {
    async fn post(&mut self, path: &str, user: &User, body: Value) -> Result<Value, Gone> {
        let request = self.api.request("POST", path).by(user).key(&format!("step-{}", self.next)).json(&body);
        let data = request.try_send_patiently().await.map_err(|_| Gone)?.expect(201).data().clone();
        match self.known.get(self.next) {
            Some(known) => assert_eq!(&data, known, "what was acknowledged has changed"),
            None => self.known.push(data.clone()),
        }
        self.next += 1;
        Ok(data)
    }
}

/// One course of events: the server is killed at the `point`th of its points, and everything is
/// asked for again. Whether that point was reached at all.
async fn killed_at(point: usize, template: &Installation, scene: &Scene, expected: &End) -> bool {
    let inject = format!("inject={POINTS}:signal=KILL:when={point}");
    let trace = format!("trace={POINTS}");
    let starter = [&STARTER[..], &["-e", &trace, "-e", &inject]].concat();
    let mut known = Vec::new();
    let (installation, reached) = match Server::start_under(template.copy().await, &starter).await {
        Err(installation) => (installation, true),
        Ok(server) => match scene.play(server.api(), &mut known).await {
            Err(Gone) => (server.gone().await, true),
            // What goes on by itself may have come to the point meanwhile.
            Ok(()) => (server.kill_or_bury().await, false),
        },
    };
    let server = Server::start(installation).await;
    scene.play(server.api(), &mut known).await.expect("nobody kills this server");
    assert_eq!(&scene.end(server.api()).await, expected, "killed at point {point}");
    let installation = server.stop().await;
    installation.audit().await;
    installation.remove().await;
    reached
}

mod heavy {
    use super::*;

    /// Threats 32, 35 and 63: whatever the moment, what was acknowledged is there, nothing is there
    /// twice or by half, and the same requests with the same keys lead to the same end.
    #[tokio::test(flavor = "multi_thread")]
    async fn killed_at_any_point_the_server_loses_nothing_and_does_nothing_twice() {
        if !strace::is_there().await {
            return;
        }
        for store in Store::ALL {
            let Some(template) = Installation::new(store, &[]).await else { continue };
            let server = Server::start(template).await;
            let scene = Scene::set_up(server.api()).await;
            let template = server.stop().await;

            let server = Server::start(template.copy().await).await;
            scene.play(server.api(), &mut Vec::new()).await.expect("nobody kills this server");
            let expected = scene.end(server.api()).await;
            server.stop().await.remove().await;

            let past_the_last = Cell::new(false);
            let (first, apart) = points(store);
            let points = stream::iter((first..).step_by(apart).take_while(|_| !past_the_last.get()))
                .map(|point| killed_at(point, &template, &scene, &expected))
                .buffered(AT_ONCE)
                .inspect(|reached| past_the_last.set(!reached))
                .filter(|reached| ready(*reached))
                .count()
                .await;
            eprintln!("--- on {store:?}: killed at {points} points, from point {first} on, {apart} apart");
            assert!(points * apart > 30, "the server was hardly traced: {points} points");
            template.remove().await;
        }
    }
}
