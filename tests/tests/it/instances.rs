//! Several servers on one PostgreSQL and one Redis behave as one.

use std::path::Path;
use std::time::{Duration, Instant};

use bellwether_tests::client::limit;
use bellwether_tests::mail::wait_for_written;
use bellwether_tests::proxy::Proxy;
use bellwether_tests::redis::Redis;
use bellwether_tests::stream::Listener;
use bellwether_tests::{Answer, Api, Installation, Server, Store, User};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::live::{follow, place};
use crate::replay::{replay_on, sample};

/// So long may one server show what another has changed, with room for a busy machine.
const AGREEMENT: Duration = Duration::from_millis(1500);

/// Three servers and what they share.
struct Three {
    servers: Vec<Server>,
    _redis: Redis,
}

impl Three {
    async fn start(settings: &[(&str, &str)]) -> Option<Self> {
        Self::of_roles(["both"; 3], settings).await
    }

    async fn of_roles(roles: [&str; 3], settings: &[(&str, &str)]) -> Option<Self> {
        let redis = Redis::start().await?;
        let mut installation = Installation::new(Store::Postgres, settings).await?;
        for (name, value) in redis.settings() {
            installation.set(name, &value);
        }
        let mut servers = Vec::new();
        for role in roles {
            let mut installation = installation.clone();
            installation.set("ROLE", role);
            servers.push(Server::start(installation).await);
        }
        Some(Self { servers, _redis: redis })
    }

    fn api(&self, number: usize) -> &Api {
        self.servers[number % self.servers.len()].api()
    }

    /// Stops all, each of which must end cleanly, and audits what they leave.
    async fn stop(self) {
        let mut last = None;
        for server in self.servers {
            last = Some(server.stop().await);
        }
        let installation = last.expect("there are three");
        installation.audit().await;
        installation.remove().await;
    }
}

async fn read(api: &Api, path: &str) -> Answer {
    api.request("GET", path).send().await
}

/// Reads until the answer is as wanted, which has to be soon.
async fn agrees(api: &Api, path: &str, wanted: impl Fn(&Answer) -> bool) {
    agrees_within(AGREEMENT, path, wanted, || read(api, path)).await;
}

async fn agrees_within<F: Future<Output = Answer>>(
    limit: Duration,
    path: &str,
    wanted: impl Fn(&Answer) -> bool,
    read: impl Fn() -> F,
) {
    let started = Instant::now();
    loop {
        let begun = started.elapsed();
        let answer = read().await;
        if wanted(&answer) {
            return;
        }
        assert!(begun < limit, "{path} after {begun:?}: {}", answer.text);
    }
}

/// Threats 40 and 41.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_server_has_written_all_show_within_a_second() {
    let Some(three) = Three::start(&[]).await else { return };
    let (ann, bob) = (three.api(0).sign_up("Ann").await, three.api(0).sign_up("Bob").await);
    let path_of_ann = format!("/users/{}", ann.id);
    let first = three.api(0).open_market(&ann, json!({})).await;
    for round in 0..20 {
        let (writer, price) = (three.api(round), format!("0.{:03}", 100 + round));
        let path = format!("/markets/{first}");
        for number in 0..3 {
            three.api(number).get(&path_of_ann, &bob).await.expect(200);
            read(three.api(number), &path).await.expect(200);
            read(three.api(number), &format!("{path}/book")).await.expect(200);
        }
        writer.post("/orders", &ann, limit(&first, "YES", "buy", &price, 1)).await.expect(201);
        let seen = read(writer, &path).await.expect(200);
        assert_eq!(seen.data()["outcomes"][0]["bestBid"], json!(price), "who wrote reads it at once");
        for number in 0..3 {
            let api = three.api(number);
            agrees(api, &path, |answer| answer.data()["outcomes"][0]["bestBid"] == json!(price)).await;
            agrees(api, &format!("{path}/book"), |answer| answer.data()["bids"][0]["price"] == json!(price)).await;
        }
        let name = json!({ "displayName": format!("Ann {round}") });
        writer.request("PATCH", &path_of_ann).by(&ann).header("If-Match", "*").json(&name).send().await.expect(200);
        assert_eq!(writer.get(&path_of_ann, &bob).await.expect(200).data()["displayName"], name["displayName"]);
        for number in 0..3 {
            let sees = |answer: &Answer| answer.data()["displayName"] == name["displayName"];
            agrees_within(AGREEMENT, &path_of_ann, sees, || three.api(number).get(&path_of_ann, &bob)).await;
        }
        // There one moment, gone the next, and nowhere to be found.
        let market = writer.open_market(&ann, json!({})).await;
        let path = format!("/markets/{market}");
        for number in 0..3 {
            agrees(three.api(number), &path, |answer| answer.status == 200).await;
            agrees(three.api(number), "/markets", |answer| answer.data()[0]["id"] == json!(market)).await;
        }
        writer.request("DELETE", &path).by(&ann).header("If-Match", "*").send().await.expect(204);
        for number in 0..3 {
            agrees(three.api(number), &path, |answer| answer.status == 404).await;
        }
    }
    three.stop().await;
}

/// Threat 48: whichever server trades, and whichever tells; and who comes back at another one goes on where he was.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_at_one_server_tells_of_what_happens_at_the_others() {
    let Some(three) = Three::start(&[]).await else { return };
    let (ann, ben) = (three.api(0).sign_up("Ann").await, three.api(1).sign_up("Ben").await);
    let market = three.api(0).open_market(&ann, json!({})).await;
    let channels = format!("me,market:{market}");
    let mut listener = Listener::open(follow(three.api(2), &channels).by(&ann)).await;
    listener.until("hello").await;

    let resting = place(three.api(0), &ann, limit(&market, "YES", "buy", "0.400", 10)).await;
    let accepted = listener.until("order.accepted").await.pop().expect("it is told").json;
    assert_eq!(accepted["data"]["orderId"], resting["id"]);

    place(three.api(1), &ben, limit(&market, "NO", "buy", "0.600", 10)).await;
    let told = listener.until("position.changed").await;
    let traded = told.iter().find(|told| told.kind == "trade.executed").expect("a trade is told").clone();
    assert_eq!((&traded.json["data"]["role"], &traded.json["data"]["quantity"]), (&json!("maker"), &json!(10)));
    assert!(!traded.json.to_string().contains(&ben.id), "{}", traded.json);
    assert_eq!(told.last().expect("the last").json["data"]["holdings"][0]["quantity"], json!(10));

    // After the trade, and nothing before it again.
    let last = traded.id.expect("events have ids");
    let again = follow(three.api(1), &channels).by(&ann).header("Last-Event-ID", &last.to_string());
    let mut listener = Listener::open(again).await;
    three.api(0).post("/transfers", &ann, json!({ "toUserId": ben.id, "amount": "1" })).await.expect(201);
    let mut told = listener.until("transfer.executed").await;
    told.retain(|told| !["book.snapshot", "resumed"].contains(&told.kind.as_str()));
    assert!(told.iter().filter_map(|told| told.id).all(|id| id > last), "{told:?}");
    assert!(told.iter().any(|told| told.kind == "position.changed"), "{told:?}");
    three.stop().await;
}

/// Threat 9.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_signed_out_at_one_server_is_out_at_all() {
    let Some(three) = Three::start(&[]).await else { return };
    for round in 0..5 {
        let ann = three.api(round).sign_up("Ann").await;
        let made =
            three.api(round).post("/api-keys", &ann, json!({ "name": "A key", "scopes": ["read"] })).await.expect(201);
        let mut key = ann.clone();
        key.token = made.text("/key");
        for who in [&ann, &key] {
            for number in 0..3 {
                three.api(number).get("/users/me", who).await.expect(200);
            }
        }
        let path = format!("/api-keys/{}", made.text("/id"));
        three.api(round).request("DELETE", &path).by(&ann).send().await.expect(204);
        three.api(round).request("POST", "/auth/logout").by(&ann).send().await.expect(204);
        for who in [&ann, &key] {
            let started = Instant::now();
            for number in 0..3 {
                // When it was asked counts, and not when a busy machine came to answer.
                let mut begun = started.elapsed();
                while three.api(number).get("/users/me", who).await.status != 401 {
                    assert!(begun < AGREEMENT, "still in after {begun:?}");
                    begun = started.elapsed();
                }
            }
        }
    }
    three.stop().await;
}

/// Threat 55: exact over all servers.
#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_across_servers_exactly() {
    /// As in the settings: a server that waited so long for Redis counts by itself.
    const REDIS_TIMEOUT: Duration = Duration::from_secs(1);
    let settings = [("LIMIT_PUBLIC", "100/1h"), ("TRUSTED_PROXIES", "127.0.0.0/8"), ("REDIS_TIMEOUT", "1s")];
    let Some(three) = Three::start(&settings).await else { return };
    let ask = |number: usize, address: String| {
        three.api(number).request("GET", "/markets").header("x-forwarded-for", &address).send()
    };
    let mut exact = 0;
    for round in 1..=10 {
        let begun = Instant::now();
        for number in 0..3 {
            has_redis(three.api(number)).await;
        }
        let answers = join_all((0..150).map(|number| ask(number, format!("192.0.2.{round}")))).await;
        let count = |status| answers.iter().filter(|answer| answer.status == status).count();
        let counted = (count(200), count(429));
        // Where the machine was held up for so long, it may have kept Redis from being heard; that is tried once more.
        if counted != (100, 50) && begun.elapsed() >= REDIS_TIMEOUT {
            continue;
        }
        assert_eq!(counted, (100, 50));
        exact += 1;
        if exact == 2 {
            break;
        }
    }
    assert_eq!(exact, 2, "the limit is not kept");
    three.stop().await;
}

/// Waits until a server uses Redis.
async fn has_redis(api: &Api) {
    let started = Instant::now();
    while read(api, "//readyz").await.data()["status"] != "ok" {
        assert!(started.elapsed() < Duration::from_secs(30), "it does without Redis");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Threats 28 and 35: trading is exact although it is spread over all servers.
#[tokio::test(flavor = "multi_thread")]
async fn trading_is_exact_however_it_is_spread() {
    const PEOPLE: usize = 12;
    const ORDERS: usize = 40;
    let Some(three) = Three::start(&[]).await else { return };
    let mut people = Vec::new();
    for number in 0..PEOPLE {
        people.push(three.api(number).sign_up(&format!("Person{number}")).await);
    }
    let mut markets = Vec::new();
    for number in 0..3 {
        markets.push(three.api(number).open_market(&people[0], json!({})).await);
    }
    let traders = (0..PEOPLE).map(|person| {
        let (three, people, markets) = (&three, &people, &markets);
        async move {
            for order in 0..ORDERS {
                let number = person * 7 + order * 13;
                let (outcome, side) = (["YES", "NO"][number % 2], "buy");
                let price = format!("0.{:02}", 30 + number % 45);
                let body = limit(&markets[number % 3], outcome, side, &price, [1, 2, 3, 4, 5][number % 5]);
                three.api(person + order).post_patiently("/orders", &people[person], body).await;
            }
        }
    });
    join_all(traders).await;
    let mut total = 0;
    for (number, market) in markets.iter().enumerate() {
        let seen = three.api(number).wait_for(&format!("/markets/{market}"), None, |m| m["tradeCount"] != 0).await;
        total += seen["tradeCount"].as_i64().expect("a number");
        three.api(number).resolve(market, &people[0], "YES").await;
    }
    assert!(total > 50, "only {total} trades");
    for (number, market) in markets.iter().enumerate() {
        three.api(number + 1).settled(market).await;
    }
    three.stop().await;
}

/// Threats 28 and 35: real trades, each request to the next server, come to the figures that the file implies.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_spread_over_all_servers_comes_to_the_same_figures() {
    let Some(three) = Three::start(&[]).await else { return };
    let servers: Vec<&Server> = three.servers.iter().collect();
    let sample = sample();
    let summary = replay_on(&servers, Path::new(&sample), &["--venue", "polymarket-2026"]).await;
    assert_eq!((summary["trades"].as_u64(), summary["orders"].as_u64()), (Some(200), Some(400)));
    assert_eq!((summary["markets"].as_u64(), summary["traders"].as_u64()), (Some(2), Some(162)));
    assert_eq!(summary["repeats"].as_u64(), Some(0), "a request had to be repeated: {summary}");
    three.stop().await;
}

/// Threat 45: each job is done once, whichever server does it.
#[tokio::test(flavor = "multi_thread")]
async fn each_mail_is_sent_once() {
    let Some(three) = Three::start(&[]).await else { return };
    let mut people = Vec::new();
    for number in 0..9 {
        people.push(three.api(number).sign_up(&format!("Person{number}")).await);
    }
    let forgot = people.iter().enumerate().map(|(number, person)| {
        three.api(number).request("POST", "/auth/password/forgot").json(&json!({ "email": person.email })).send()
    });
    for answer in join_all(forgot).await {
        answer.expect(202);
    }
    for person in &people {
        // One that welcomes, one that was asked for.
        let mails = wait_for_written(three.servers[0].installation(), &person.email, 2).await;
        assert_eq!(mails.len(), 2, "{}", person.email);
    }
    three.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_works_for_servers_that_only_answer() {
    let Some(three) = Three::of_roles(["api", "api", "worker"], &[]).await else { return };
    let worker = three.api(2);
    read(worker, "//readyz").await.expect(200);
    read(worker, "//health").await.expect(200);
    read(worker, "/markets").await.refused(404, "NOT_FOUND");
    let body = json!({ "email": "x@example.org", "password": "whatever it is" });
    worker.request("POST", "/auth/login").json(&body).send().await.refused(404, "NOT_FOUND");

    let ann = three.api(0).sign_up("Ann").await;
    let market = three.api(1).open_market(&ann, json!({})).await;
    three.api(0).resolve(&market, &ann, "YES").await;
    // By the worker, who alone settles and sends.
    three.api(1).settled(&market).await;
    wait_for_written(three.servers[0].installation(), &ann.email, 1).await;
    // The worker has just looked for mails. If nobody told it of the next one, it would look again in five seconds, each
    // time.
    let mut took = Vec::new();
    for number in 0..4 {
        let started = Instant::now();
        let next = three.api(number % 2).sign_up("Next").await;
        wait_for_written(three.servers[0].installation(), &next.email, 1).await;
        took.push(started.elapsed());
    }
    assert!(took.iter().any(|took| *took < Duration::from_secs(3)), "nobody told the worker: {took:?}");
    three.stop().await;
}

/// A server that only reads, and where writers are to be installed who are cut off from Redis.
struct Reader {
    redis: Redis,
    installation: Installation,
    server: Server,
    ann: User,
    market: String,
    path: String,
}

impl Reader {
    /// With a market. None, and a line that says why, where there is no PostgreSQL or no Redis.
    async fn start() -> Option<Self> {
        let redis = Redis::start().await?;
        let mut installation = Installation::new(Store::Postgres, &[]).await?;
        for (name, value) in redis.settings() {
            installation.set(name, &value);
        }
        let server = Server::start(installation.clone()).await;
        let ann = server.api().sign_up("Ann").await;
        let market = server.api().open_market(&ann, json!({})).await;
        let path = format!("/markets/{market}");
        Some(Self { redis, installation, server, ann, market, path })
    }

    /// Another server, which speaks with Redis through this proxy.
    async fn writer(&mut self) -> (Proxy, Server) {
        let proxy = Proxy::to(self.redis.url().replace("redis://", "")).await;
        self.installation.set("REDIS_URL", &format!("redis://{}", proxy.address()));
        let writer = Server::start(self.installation.clone()).await;
        (proxy, writer)
    }

    /// The market, as it shows it.
    async fn read(&self) -> Answer {
        read(self.server.api(), &self.path).await.expect(200)
    }

    /// Waits until it shows that best bid.
    async fn shows(&self, bid: &str) {
        agrees(self.server.api(), &self.path, |answer| best_bid(answer) == bid).await;
    }

    /// Stops, and checks every invariant.
    async fn stop(self) {
        let installation = self.server.stop().await;
        installation.audit().await;
        installation.remove().await;
    }
}

/// The best bid for a market's first outcome.
fn best_bid(market: &Answer) -> &Value {
    &market.data()["outcomes"][0]["bestBid"]
}

/// Threats 40 and 44: a server that writes, and then dies or is cut off before it can say so, leaves nothing
/// stale for longer than a second. Meanwhile others keep what it has changed in Redis by reading it.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_between_commit_and_invalidation_leaves_nothing_stale() {
    let Some(mut reader) = Reader::start().await else { return };
    for (round, dies) in [true, false, true].into_iter().enumerate() {
        let (proxy, writer) = reader.writer().await;
        let price = format!("0.{:03}", 100 + round);
        let stale = reader.read().await;
        // From here on nothing that the writer says of its write gets through.
        proxy.freeze();
        let order = limit(&reader.market, "YES", "buy", &price, 1);
        let (placed, ()) = tokio::join!(writer.api().post("/orders", &reader.ann, order), async {
            for _ in 0..20 {
                reader.read().await;
            }
        });
        placed.expect(201);
        let seen = read(writer.api(), &reader.path).await.expect(200);
        assert_eq!(best_bid(&seen), &price, "who wrote reads it at once");
        if dies {
            writer.kill().await;
        }
        reader.shows(&price).await;
        assert_ne!(best_bid(&stale), &price);
    }
    reader.stop().await;
}

/// Threat 44: an entry that nobody ended is ended by those who hear of the commit from the outbox, however long it
/// would live: here for a minute.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_server_did_not_end_is_ended_by_those_who_hear_of_its_commit() {
    let Some(mut reader) = Reader::start().await else { return };
    let prolong = format!("PEXPIRE bellwether:c:{{market:{}}} 60000", reader.market);
    for round in 0..3 {
        let (proxy, writer) = reader.writer().await;
        let price = format!("0.{:03}", 100 + round);
        let started = Instant::now();
        loop {
            reader.read().await;
            if reader.redis.tell(&prolong).await.starts_with(":1") {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(30), "nothing is in Redis");
        }
        // From here on nothing that the writer says of its write gets through.
        proxy.freeze();
        let order = limit(&reader.market, "YES", "buy", &price, 1);
        writer.api().post("/orders", &reader.ann, order).await.expect(201);
        writer.kill().await;
        // Hearing of it may take a while on a busy machine, though far from a minute.
        let patience = Duration::from_secs(60);
        let ask = || read(reader.server.api(), &reader.path);
        agrees_within(patience, &reader.path, |answer| best_bid(answer) == &price, ask).await;
    }
    reader.stop().await;
}
