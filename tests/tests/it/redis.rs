//! A server beside a Redis that stops, hangs, dies, is full, emptied, or has garbage in it. Whatever
//! becomes of Redis, answers are right, come soon, and all is well again by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bellwether_tests::client::{PASSWORD, limit};
use bellwether_tests::redis::Redis;
use bellwether_tests::{Answer, Api, Installation, Server, Store, User};
use serde_json::json;

/// How long almost every answer may take at most: far longer than anything waits for Redis, for a busy machine.
const SOON: Duration = Duration::from_secs(2);
/// How long any may take, though the machine is held up meanwhile.
const LATE: Duration = Duration::from_secs(20);
/// How long recovery may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The settings of a server with this Redis.
fn with<'a>(redis: &'a [(&'static str, String); 2], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    redis.iter().map(|(name, value)| (*name, value.as_str())).chain(more.iter().copied()).collect()
}

async fn read(api: &Api, path: &str) -> Answer {
    let begun = Instant::now();
    let answer = api.request("GET", path).send().await;
    assert!(begun.elapsed() < LATE, "{path} took {:?}", begun.elapsed());
    answer
}

/// Waits until `/readyz` and `/health` say that, for the sake of Redis alone: a database that a busy machine makes
/// slow for a moment is told of, too.
async fn wait_for_status(api: &Api, wanted: &str) {
    let started = Instant::now();
    loop {
        let ready = read(api, "//readyz").await;
        let health = read(api, "//health").await;
        let redis = if wanted == "ok" { "ok" } else { "down" };
        let (said, checks) = ([&ready, &health].map(|answer| &answer.data()["status"]), &health.data()["checks"]);
        if said == [wanted; 2] && checks["redis"]["status"] == redis && checks["database"]["status"] == "ok" {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "it does not become {wanted}: {}", health.text);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until something is remembered in Redis.
async fn wait_until_used(redis: &Redis) {
    let started = Instant::now();
    while redis.keys("bellwether:c:*").await.is_empty() {
        assert!(started.elapsed() < PATIENCE, "nothing is in Redis");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A market in which one writes and others read all the time.
struct Busy {
    api: Api,
    ann: User,
    market: String,
    round: i64,
    stop: Arc<AtomicBool>,
    /// How many answers each reader had, and how many of them did not come soon.
    readers: Vec<tokio::task::JoinHandle<(u32, u32)>>,
}

impl Busy {
    async fn begin(api: &Api) -> Self {
        let ann = api.sign_up("Ann").await;
        let market = api.open_market(&ann, json!({})).await;
        let stop = Arc::new(AtomicBool::new(false));
        let paths = [format!("/markets/{market}"), format!("/markets/{market}/book"), "/markets".to_owned()];
        let readers = (0..6).map(|reader| {
            let (api, stop, path) = (api.clone(), Arc::clone(&stop), paths[reader % paths.len()].clone());
            tokio::spawn(async move {
                let (mut count, mut late) = (0, 0);
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    read(&api, &path).await.expect(200);
                    count += 1;
                    late += u32::from(begun.elapsed() > SOON);
                }
                (count, late)
            })
        });
        let readers = readers.collect();
        Self { api: api.clone(), ann, market, round: 0, stop, readers }
    }

    /// Writes, and reads it at once, for so long and several times. Almost all of it is done soon: what is not, the
    /// machine held up.
    async fn go_on_for(&mut self, duration: Duration) {
        let (started, mut soon, mut late) = (Instant::now(), 0, 0);
        while started.elapsed() < duration || soon < 5 {
            let begun = Instant::now();
            self.write_and_read().await;
            let is_soon = begun.elapsed() < SOON;
            (soon, late) = (soon + u32::from(is_soon), late + u32::from(!is_soon));
            assert!(late < 4, "only {soon} were soon, and {late} late");
        }
    }

    async fn write_and_read(&mut self) {
        let price = format!("0.{:03}", 100 + self.round % 800);
        self.round += 1;
        let begun = Instant::now();
        let order = limit(&self.market, "YES", "buy", &price, 1);
        let placed = self.api.post("/orders", &self.ann, order).await.expect(201);
        assert!(begun.elapsed() < LATE, "an order took {:?}", begun.elapsed());
        let book = read(&self.api, &format!("/markets/{}/book", self.market)).await.expect(200);
        assert_eq!(book.data()["bids"][0]["price"], json!(price), "{}", book.text);
        let market = read(&self.api, &format!("/markets/{}", self.market)).await.expect(200);
        assert_eq!(market.data()["outcomes"][0]["bestBid"], json!(price), "{}", market.text);
        // So that the next one may be lower.
        let path = format!("/orders/{}", placed.text("/order/id"));
        self.api.request("DELETE", &path).by(&self.ann).send().await.expect(200);
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for reader in self.readers {
            let (count, late) = reader.await.expect("the reader ends");
            assert!(count > 0 && late <= 3 + count / 50, "{late} of {count} answers were late");
        }
    }
}

/// Threats 44 and 58.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_becomes_of_redis_answers_are_right_and_come_soon() {
    for store in Store::ALL {
        let Some(mut redis) = Redis::start().await else { return };
        let settings = redis.settings();
        let Some(installation) = Installation::new(store, &with(&settings, &[])).await else { continue };
        eprintln!("--- on {store:?}");
        let server = Server::start(installation).await;
        let api = server.api();
        wait_for_status(api, "ok").await;
        let mut busy = Busy::begin(api).await;
        busy.go_on_for(Duration::from_millis(500)).await;
        wait_until_used(&redis).await;

        // It hangs, longer than its connections are kept.
        redis.pause();
        wait_for_status(api, "degraded").await;
        busy.go_on_for(Duration::from_secs(3)).await;
        api.log_in(&busy.ann.email, PASSWORD).await;
        redis.go_on();
        busy.go_on_for(Duration::from_millis(500)).await;
        wait_for_status(api, "ok").await;

        // It dies.
        redis.kill();
        wait_for_status(api, "degraded").await;
        busy.go_on_for(Duration::from_secs(1)).await;
        api.log_in(&busy.ann.email, PASSWORD).await;
        redis.restart().await;
        wait_for_status(api, "ok").await;
        busy.go_on_for(Duration::from_millis(500)).await;

        // It forgets.
        for _ in 0..20 {
            redis.tell("FLUSHALL").await;
            redis.tell("SCRIPT FLUSH").await;
            busy.write_and_read().await;
        }
        // It is full.
        redis.tell("CONFIG SET maxmemory 1").await;
        busy.go_on_for(Duration::from_millis(500)).await;
        api.log_in(&busy.ann.email, PASSWORD).await;
        redis.tell("CONFIG SET maxmemory 0").await;
        // What is in it is not what was put there.
        for garbage in ["garbage", "V123", ""] {
            for key in redis.keys("bellwether:c:*").await {
                redis.tell(&format!("SET {key} \"{garbage}\"")).await;
            }
            busy.write_and_read().await;
            for key in redis.keys("bellwether:c:*").await {
                redis.tell(&format!("DEL {key}")).await;
                redis.tell(&format!("LPUSH {key} a b c")).await;
            }
            busy.write_and_read().await;
        }
        wait_for_status(api, "ok").await;
        busy.end().await;
        let installation = server.stop().await;
        installation.audit().await;
        installation.remove().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_starts_without_its_redis_and_uses_it_when_it_is_there() {
    let Some(mut redis) = Redis::prepare() else { return };
    let settings = redis.settings();
    let installation = Installation::new(Store::Sqlite, &with(&settings, &[])).await.expect("SQLite is always there");
    let server = Server::start(installation).await;
    let api = server.api();
    wait_for_status(api, "degraded").await;
    let mut busy = Busy::begin(api).await;
    busy.go_on_for(Duration::from_millis(300)).await;
    redis.restart().await;
    wait_for_status(api, "ok").await;
    busy.go_on_for(Duration::from_millis(300)).await;
    wait_until_used(&redis).await;
    busy.end().await;
    let installation = server.stop().await;
    installation.audit().await;
    installation.remove().await;
}

/// Threats 12 and 58: closed, not open, and whoever had used up the limit before gains nothing by it.
#[tokio::test(flavor = "multi_thread")]
async fn without_redis_limits_are_kept_in_the_process() {
    let Some(redis) = Redis::start().await else { return };
    let settings = redis.settings();
    let more = [("LIMIT_LOGIN", "5/15m"), ("LIMIT_LOGIN_ADDRESS", "50/15m"), ("REDIS_TIMEOUT", "250ms")];
    let installation = Installation::new(Store::Sqlite, &with(&settings, &more)).await.expect("SQLite is always there");
    let server = Server::start(installation).await;
    let api = server.api();
    wait_for_status(api, "ok").await;
    let [ann, bob] = [api.sign_up("Ann").await, api.sign_up("Bob").await];
    let guess = |user: &User| {
        let body = json!({ "email": user.email, "password": "a wrong guess" });
        api.request("POST", "/auth/login").json(&body).send()
    };
    let (begun, mut answered) = (Instant::now(), 0);
    loop {
        let answer = guess(&ann).await;
        if answer.status == 429 {
            break answer.refused(429, "RATE_LIMITED");
        }
        answer.refused(401, "INVALID_CREDENTIALS");
        answered += 1;
        assert!(answered <= 15, "there is no limit");
    }
    // What a busy machine keeps Redis from hearing of in time, Redis may not count.
    assert!(answered == 5 || (answered > 5 && begun.elapsed() > Duration::from_millis(250)), "{answered} guesses");
    assert!(!redis.keys("bellwether:l:*").await.is_empty(), "nothing is counted in Redis");
    redis.pause();
    wait_for_status(api, "degraded").await;
    guess(&ann).await.refused(429, "RATE_LIMITED");
    for _ in 0..5 {
        guess(&bob).await.refused(401, "INVALID_CREDENTIALS");
    }
    guess(&bob).await.refused(429, "RATE_LIMITED");
    redis.go_on();
    let installation = server.stop().await;
    installation.remove().await;
}

/// Threat 71.
#[tokio::test(flavor = "multi_thread")]
async fn the_password_of_redis_is_shown_nowhere() {
    let Some(redis) = Redis::prepare() else { return };
    let url = redis.url().replace("://", "://:CANARY@");
    let settings = [("CACHE", "redis"), ("REDIS_URL", &url), ("LOG_LEVEL", "debug")];
    let installation = Installation::new(Store::Sqlite, &settings).await.expect("SQLite is always there");
    let server = Server::start(installation).await;
    wait_for_status(server.api(), "degraded").await;
    let mut said = server.logged();
    let installation = server.stop().await;
    for command in ["doctor", "config print"] {
        let words: Vec<&str> = command.split(' ').collect();
        let output = installation.run(&words, "").await;
        said.push_str(&String::from_utf8_lossy(&output.stdout));
        said.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    assert!(said.contains("FAIL  redis: "), "{said}");
    assert!(!said.contains("CANARY"), "{said}");
    installation.remove().await;
}

/// The sequences of the events in the stream.
async fn streamed(redis: &Redis) -> Vec<i64> {
    let answer = redis.tell("XRANGE bellwether:events - +").await;
    answer.lines().filter_map(|line| line.strip_suffix("-0")?.parse().ok()).collect()
}

/// Waits until the stream has each event that there is, once and in order.
async fn wait_until_streamed(redis: &Redis, api: &Api, administrator: &User) {
    let started = Instant::now();
    loop {
        let events = api.get("/events?limit=1000", administrator).await.expect(200);
        let wanted: Vec<i64> = events.body["data"]["events"]
            .as_array()
            .expect("a list of events")
            .iter()
            .filter_map(|event| event["sequence"].as_i64())
            .collect();
        let found = streamed(redis).await;
        if found == wanted && !found.is_empty() {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "the stream has {found:?}, and there are {wanted:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_has_each_event_once_also_after_redis_was_emptied_or_gone() {
    for store in Store::ALL {
        let Some(mut redis) = Redis::start().await else { return };
        let settings = redis.settings();
        let settings = with(&settings, &[("REDIS_EVENTS", "100000")]);
        let Some(installation) = Installation::new(store, &settings).await else { continue };
        eprintln!("--- on {store:?}");
        let server = Server::start(installation).await;
        let api = server.api();
        let administrator = server.admin().await;
        let (ann, bob) = (api.sign_up("Ann").await, api.sign_up("Bob").await);
        let payment = json!({ "toUserId": bob.id, "amount": "1" });
        let pay = async || drop(api.post("/transfers", &ann, payment.clone()).await.expect(201));
        pay().await;
        wait_until_streamed(&redis, api, administrator).await;
        redis.tell("FLUSHALL").await;
        pay().await;
        wait_until_streamed(&redis, api, administrator).await;
        redis.kill();
        pay().await;
        redis.restart().await;
        wait_until_streamed(&redis, api, administrator).await;
        let installation = server.stop().await;
        installation.audit().await;
        installation.remove().await;
    }
}
