//! Redis hangs, goes, comes back, is full: nobody waits long, nothing is wrong, and it heals by itself.
//! Threats 44 and 58.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bellwether_conformance::{anyhow, async_trait};
use bellwether_domain::ports::{
    Auxiliary as _, Cache, CacheKey, CacheKind, CacheUnreachable, EventBus, LimitKey, Lookup, Quota, RateLimiter,
    Received, Standing, Subscription, Topic, get_or_load,
};
use bellwether_redis::{LimiterClock, RedisBus, RedisCache, RedisLimiter, RedisLink, RedisOptions};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep, timeout};

use crate::own_server::{OwnCluster, OwnServer};

/// What a call may take besides the timeout on a busy machine.
const SLACK: Duration = Duration::from_secs(2);
/// So many calls in a row may take longer, since the machine was held up, but none longer than [`HELD_UP`]. One call
/// after the other is made, and whoever waits for a Redis that is not there has three that take long.
const MOST_LATE: u32 = 2;
const HELD_UP: Duration = Duration::from_secs(15);
/// What calls may take where it does not matter whether they are in time.
const PATIENT: Duration = Duration::from_secs(5);
/// How long recovery may take.
const RECOVERY: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(300);
const THREE: Quota = Quota::new(3, SignedDuration::from_secs(3600));

/// Counts without ever forgetting: as a limiter of this process would, as far as these tests go.
#[derive(Default)]
struct Counting(Mutex<HashMap<LimitKey, u32>>);

impl Counting {
    fn used(&self, key: LimitKey) -> u32 {
        self.0.lock().unwrap().get(&key).copied().unwrap_or(0)
    }
}

#[async_trait]
impl RateLimiter for Counting {
    async fn take(&self, key: LimitKey, quota: Quota, now: Timestamp) -> Standing {
        let standing = self.look(key, quota, now).await;
        if standing.is_allowed {
            *self.0.lock().unwrap().entry(key).or_default() += 1;
        }
        standing
    }

    async fn look(&self, key: LimitKey, quota: Quota, _: Timestamp) -> Standing {
        let remaining = quota.limit.saturating_sub(self.used(key));
        Standing { is_allowed: remaining > 0, remaining, frees_in: SignedDuration::ZERO }
    }

    async fn give_back(&self, key: LimitKey, _: Quota, _: Timestamp) {
        self.0.lock().unwrap().entry(key).and_modify(|used| *used = used.saturating_sub(1));
    }

    async fn forget(&self, key: LimitKey) {
        self.0.lock().unwrap().remove(&key);
    }
}

/// The adapters, over one link.
struct Adapters {
    timeout: Duration,
    /// How many calls were not in time of late.
    late: AtomicU32,
    link: Arc<RedisLink>,
    cache: Arc<RedisCache>,
    limiter: RedisLimiter,
    local: Arc<Counting>,
    bus: RedisBus,
}

impl Adapters {
    fn open(options: RedisOptions) -> Self {
        let timeout = options.timeout;
        let link = RedisLink::open(options);
        let local = Arc::new(Counting::default());
        let fallback: Arc<dyn RateLimiter> = local.clone();
        Self {
            timeout,
            late: AtomicU32::new(0),
            cache: Arc::new(RedisCache::new(link.clone())),
            limiter: RedisLimiter::new(link.clone(), LimiterClock::Server, fallback),
            local,
            bus: RedisBus::open(link.clone()),
            link,
        }
    }

    /// Connected to the server, and waiting for its answers for longer than it stops.
    async fn patient(server: &OwnServer) -> Self {
        let mut options = server.options();
        options.timeout = PATIENT;
        Self::connected(options).await
    }

    /// Asks for what nobody has put until it is given the lease. Somebody else's would stand for three seconds, of which each
    /// waits for half a second in vain.
    async fn is_soon_given_the_lease_of(&self, key: &CacheKey) {
        let mut in_vain = 0;
        while self.cache.get(key).await == Lookup::Miss(None) {
            in_vain += 1;
        }
        assert!(in_vain <= 2, "{in_vain} readers waited in vain");
    }

    /// When everything is connected.
    async fn connected(options: RedisOptions) -> Self {
        let adapters = Self::open(options);
        assert!(adapters.link.wait_until_connected(RECOVERY).await, "no connection");
        assert!(adapters.bus.wait_until_connected(RECOVERY).await, "no connection for events");
        adapters
    }

    /// Does one thing, and says how it ended; it has to be in time, as far as it is not the machine that is late.
    async fn in_time<T>(&self, what: &str, call: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let answer = call.await;
        let took = began.elapsed();
        if took >= self.timeout + SLACK {
            let late = self.late.fetch_add(1, Ordering::SeqCst) + 1;
            assert!(late <= MOST_LATE && took < HELD_UP, "{what} took {took:?}, and {late} calls were late");
        }
        answer
    }

    /// Everything at once, while Redis is not there.
    async fn do_without(&self) {
        self.late.store(0, Ordering::SeqCst);
        let key = market("do without");
        for _ in 0..10 {
            let found = self.in_time("get", self.cache.get(&key)).await;
            assert_eq!(found, Lookup::Miss(None));
            let lease = bellwether_domain::ports::Lease::new(key.clone(), 1);
            self.in_time("put", self.cache.put(lease, None, LONG)).await;
            let done = self.in_time("invalidate", self.cache.invalidate(std::slice::from_ref(&key))).await;
            assert_eq!(done, Err(CacheUnreachable), "an invalidation that is lost is told");
            let sent = self.in_time("publish", self.bus.publish(&Topic::new("news"), Bytes::new())).await;
            assert!(sent.is_err());
        }
        let began = Instant::now();
        for _ in 0..200 {
            assert_eq!(self.cache.get(&key).await, Lookup::Miss(None));
        }
        let each = began.elapsed() / 200;
        assert!(each < self.timeout / 2, "while it is known to be down each still takes {each:?}");
        assert!(!self.link.is_up().await);
    }

    /// When Redis is there again, it is used again. A command that the machine makes late may count as a failure once more,
    /// so everything is tried until all of it does.
    async fn recover(&self) {
        let recovered = timeout(RECOVERY, async {
            while !self.is_used().await {
                sleep(Duration::from_millis(20)).await;
            }
        });
        recovered.await.expect("it is not used again");
        assert!(self.bus.wait_until_connected(RECOVERY).await, "events do not arrive again");
    }

    /// Whether what is remembered is found, an invalidation arrives, and the link says that it is up.
    async fn is_used(&self) -> bool {
        let (key, mut is_loaded) = (market("recovered"), false);
        let load = async {
            is_loaded = true;
            anyhow::Ok(Some(Bytes::from("value")))
        };
        get_or_load(&*self.cache, &key, load).await.expect("the load does not fail");
        !is_loaded && self.cache.invalidate(&[key]).await.is_ok() && self.link.is_up().await
    }

    /// Publishes until a subscriber hears of it: a busy machine may be too late with a message, and have the connection
    /// interrupted once more.
    async fn is_heard(&self, topic: &Topic, subscription: &mut Box<dyn Subscription>) {
        let message = Bytes::from("again");
        let heard = timeout(RECOVERY, async {
            loop {
                self.bus.publish(topic, message.clone()).await.ok();
                let hearing = until(subscription, Received::Message(message.clone()));
                if timeout(Duration::from_secs(1), hearing).await.is_ok() {
                    return;
                }
            }
        });
        heard.await.unwrap_or_else(|_| unreachable!("nothing is heard of {topic}"));
    }

    /// Waits until messages do not arrive any more.
    async fn is_interrupted(&self) {
        let interrupted = timeout(RECOVERY, async {
            while self.bus.wait_until_connected(Duration::ZERO).await {
                sleep(Duration::from_millis(10)).await;
            }
        });
        interrupted.await.expect("it is not known that events do not arrive");
    }
}

/// Waits until a subscriber is told that.
async fn until(subscription: &mut Box<dyn Subscription>, wanted: Received) {
    while subscription.next().await.expect("the bus is there") != wanted {}
}

fn market(id: &str) -> CacheKey {
    CacheKey::new(CacheKind::Market, id)
}

async fn fill(cache: &RedisCache, key: &CacheKey, value: &'static str) {
    let load = async { anyhow::Ok(Some(Bytes::from(value))) };
    get_or_load(cache, key, load).await.expect("the load does not fail");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_hangs_nobody_waits_longer_than_the_timeout() {
    let Some(server) = OwnServer::start(&[]) else { return };
    let adapters = Adapters::connected(server.options()).await;
    for _ in 0..2 {
        fill(&adapters.cache, &market("a"), "value").await;
        server.pause();
        adapters.do_without().await;
        server.go_on();
        adapters.recover().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_may_hang_for_so_long_that_the_connections_are_given_up() {
    let Some(server) = OwnServer::start(&[]) else { return };
    let adapters = Adapters::connected(server.options()).await;
    server.pause();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(5) {
        adapters.in_time("get", adapters.cache.get(&market("a"))).await;
        sleep(Duration::from_millis(5)).await;
    }
    adapters.do_without().await;
    server.go_on();
    adapters.recover().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_may_be_killed_and_started_again() {
    let Some(mut server) = OwnServer::start(&[]) else { return };
    let adapters = Adapters::connected(server.options()).await;
    for _ in 0..2 {
        fill(&adapters.cache, &market("a"), "value").await;
        server.kill();
        adapters.do_without().await;
        server.restart();
        adapters.recover().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_need_not_be_there_at_the_start() {
    let Some(mut server) = OwnServer::prepare(&[]) else { return };
    let adapters = Adapters::open(server.options());
    adapters.do_without().await;
    server.restart();
    adapters.recover().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_lets_nobody_in_is_done_without_until_it_does() {
    let Some(mut server) = OwnServer::start(&["--requirepass", "secret"]) else { return };
    let adapters = Adapters::open(server.options());
    adapters.do_without().await;
    // Time for several attempts.
    sleep(Duration::from_millis(1500)).await;
    adapters.do_without().await;
    server.kill();
    server.change_settings(&[]);
    server.restart();
    adapters.recover().await;
}

/// Redis does what it was asked although nobody waits for it any more: nobody has a lease that it gives then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_nobody_heard_of_is_in_nobodys_way() {
    let Some(server) = OwnServer::start(&[]) else { return };
    let adapters = Adapters::connected(server.options()).await;
    let next = Adapters::patient(&server).await;
    // So that Redis knows the script, and is not asked twice.
    fill(&next.cache, &market("another"), "value").await;
    for round in 0..4 {
        adapters.recover().await;
        let key = market(&format!("unheard of {round}"));
        server.pause();
        // Longer than it takes to send the question, and, every other time, shorter than it may take to be answered.
        let limit = if round % 2 == 0 { SLACK } else { adapters.timeout / 2 };
        if let Ok(found) = timeout(limit, adapters.cache.get(&key)).await {
            assert_eq!(found, Lookup::Miss(None));
        }
        server.go_on();
        next.is_soon_given_the_lease_of(&key).await;
    }
}

/// One who loaded while Redis stopped to answer cannot say that he has done so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_could_not_be_given_back_is_in_nobodys_way() {
    let Some(server) = OwnServer::start(&[]) else { return };
    let adapters = Adapters::connected(server.options()).await;
    let next = Adapters::patient(&server).await;
    fill(&next.cache, &market("another"), "value").await;
    for is_put in [true, false] {
        adapters.recover().await;
        let key = market(&format!("held {is_put}"));
        let lease = loop {
            // A busy machine may be too late with the answer.
            if let Lookup::Miss(Some(lease)) = adapters.cache.get(&key).await {
                break lease;
            }
        };
        server.pause();
        // So often that Redis is not even asked any more.
        for _ in 0..5 {
            assert_eq!(adapters.cache.get(&market("any")).await, Lookup::Miss(None));
        }
        match is_put {
            true => adapters.cache.put(lease, None, LONG).await,
            false => adapters.cache.release(lease).await,
        }
        server.go_on();
        next.is_soon_given_the_lease_of(&key).await;
    }
}

/// The right answer, in time, for everybody, whatever happens to Redis meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_and_writers_under_load_notice_nothing() {
    let Some(mut server) = OwnServer::start(&[]) else { return };
    let adapters = Adapters::connected(server.options()).await;
    let (store, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let tasks = (0..32).map(|task| {
        let (cache, store, ended) = (adapters.cache.clone(), store.clone(), ended.clone());
        tokio::spawn(async move {
            let (key, mut slowest) = (market(&(task % 4).to_string()), Duration::ZERO);
            while ended.load(Ordering::SeqCst) == 0 {
                let began = Instant::now();
                let load = async { anyhow::Ok(Some(Bytes::from(store.load(Ordering::SeqCst).to_string()))) };
                let read = get_or_load(&*cache, &key, load).await.expect("the load does not fail");
                assert!(read.is_some(), "it is never absent");
                slowest = slowest.max(began.elapsed());
                if task < 4 {
                    store.fetch_add(1, Ordering::SeqCst);
                    cache.invalidate(std::slice::from_ref(&key)).await.ok();
                }
                sleep(Duration::from_millis(1)).await;
            }
            slowest
        })
    });
    let tasks: Vec<_> = tasks.collect();
    sleep(Duration::from_millis(200)).await;
    server.pause();
    sleep(Duration::from_millis(700)).await;
    server.go_on();
    sleep(Duration::from_millis(300)).await;
    server.kill();
    sleep(Duration::from_millis(300)).await;
    server.restart();
    adapters.recover().await;
    ended.store(1, Ordering::SeqCst);
    for task in tasks {
        // A reader may have waited for another's load besides: for half a second, and a timeout at either end.
        let slowest = task.await.expect("no reader fails");
        assert!(slowest < Duration::from_millis(500) + 4 * (adapters.timeout + SLACK), "{slowest:?}");
    }
}

/// Threat 58: it is closed, not open, and who had used up his limit before gains nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_is_away_limits_are_kept_in_the_process() {
    let Some(server) = OwnServer::start(&[]) else { return };
    let adapters = Adapters::connected(server.options()).await;
    let [ann, bob] = ["ann", "bob"].map(|name| LimitKey::of("login", name.as_bytes()));
    let now = Timestamp::UNIX_EPOCH;
    for _ in 0..3 {
        assert!(adapters.limiter.take(ann, THREE, now).await.is_allowed);
    }
    assert!(!adapters.limiter.take(ann, THREE, now).await.is_allowed);
    assert_eq!(adapters.local.used(ann), 3, "what is let through is counted here too");

    server.pause();
    assert!(!adapters.in_time("take", adapters.limiter.take(ann, THREE, now)).await.is_allowed);
    for expected in [true, true, true, false, false] {
        let standing = adapters.in_time("take", adapters.limiter.take(bob, THREE, now)).await;
        assert_eq!(standing.is_allowed, expected);
    }
    assert!(!adapters.in_time("look", adapters.limiter.look(bob, THREE, now)).await.is_allowed);
    adapters.in_time("give back", adapters.limiter.give_back(bob, THREE, now)).await;
    assert!(adapters.limiter.take(bob, THREE, now).await.is_allowed);
    adapters.in_time("forget", adapters.limiter.forget(bob)).await;
    assert_eq!(adapters.local.used(bob), 0);

    server.go_on();
    adapters.recover().await;
    assert!(!adapters.limiter.take(ann, THREE, now).await.is_allowed, "Redis remembers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_it_is_full_what_is_there_is_read_and_the_rest_is_done_without() {
    let Some(server) = OwnServer::start(&[]) else { return };
    let adapters = Adapters::patient(&server).await;
    fill(&adapters.cache, &market("early"), "early").await;
    let Lookup::Miss(Some(lease)) = adapters.cache.get(&market("late")).await else { unreachable!("nobody put it") };
    server.set("maxmemory", "1").await;

    let early = adapters.cache.get(&market("early")).await;
    assert_eq!(early, Lookup::Hit(Some(Bytes::from("early")), None));
    adapters.cache.put(lease, None, LONG).await;
    for id in ["late", "another"] {
        let found = adapters.in_time("get", adapters.cache.get(&market(id))).await;
        assert_eq!(found, Lookup::Miss(None), "there is no room for a lease");
    }
    let key = LimitKey::of("login", b"ann");
    for expected in [true, true, true, false] {
        let standing = adapters.limiter.take(key, THREE, Timestamp::UNIX_EPOCH).await;
        assert_eq!(standing.is_allowed, expected);
    }
    assert_eq!(adapters.local.used(key), 3);
    adapters.cache.invalidate(&[market("early")]).await.expect("that needs no room");
    assert!(adapters.link.is_up().await);

    server.set("maxmemory", "0").await;
    assert!(adapters.limiter.take(key, THREE, Timestamp::UNIX_EPOCH).await.is_allowed, "Redis had counted none");
    adapters.recover().await;
}

/// What they had subscribed to, they get again without doing anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_are_told_of_an_interruption_and_of_its_end() {
    let Some(mut server) = OwnServer::start(&[]) else { return };
    let adapters = Adapters::connected(server.options()).await;
    let topic = Topic::new("news");
    let mut subscription = adapters.bus.subscribe(&topic).await;
    for is_killed in [true, false] {
        match is_killed {
            true => server.kill(),
            false => server.pause(),
        }
        timeout(RECOVERY, until(&mut subscription, Received::Interrupted)).await.expect("it is told");
        adapters.is_interrupted().await;
        let mut late = adapters.in_time("subscribe", adapters.bus.subscribe(&Topic::new("other"))).await;
        assert_eq!(late.next().await, Some(Received::Interrupted), "it is said at once");
        match is_killed {
            true => server.restart(),
            false => server.go_on(),
        }
        for subscription in [&mut subscription, &mut late] {
            timeout(RECOVERY, until(subscription, Received::Resumed)).await.expect("it is told");
        }
        adapters.recover().await;
        adapters.is_heard(&Topic::new("other"), &mut late).await;
    }
    adapters.is_heard(&topic, &mut subscription).await;
}

/// The old node neither answers nor closes its connections: what it is not told, a client has to find out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_takes_the_place_of_a_node_that_hangs() {
    let Some(cluster) = OwnCluster::start().await else { return };
    let adapters = Adapters::connected(cluster.options()).await;
    // Of every node there is one among so many.
    let keys: Vec<_> = (0..60).map(|i| market(&i.to_string())).collect();
    let topics: Vec<_> = (0..20).map(|i| Topic::new(&i.to_string())).collect();
    let mut subscriptions = Vec::new();
    for topic in &topics {
        subscriptions.push(adapters.bus.subscribe(topic).await);
    }
    for key in &keys {
        fill(&adapters.cache, key, "before").await;
    }

    cluster.nodes[0].pause();
    let recovered = timeout(2 * RECOVERY, async {
        loop {
            let mut is_recovered = true;
            adapters.late.store(0, Ordering::SeqCst);
            for key in &keys {
                let found = adapters.in_time("get", adapters.cache.get(key)).await;
                is_recovered &= found != Lookup::Miss(None);
                if let Lookup::Miss(Some(lease)) = found {
                    adapters.in_time("release", adapters.cache.release(lease)).await;
                }
            }
            if is_recovered && adapters.cache.invalidate(&keys).await.is_ok() {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    });
    recovered.await.expect("some keys stay out of reach");

    assert!(adapters.bus.wait_until_connected(RECOVERY).await, "no events arrive");
    for (topic, subscription) in topics.iter().zip(&mut subscriptions) {
        adapters.is_heard(topic, subscription).await;
    }
}

/// What meets the move is done without, and costs others nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_slot_of_a_cluster_moves_other_keys_are_found() {
    let Some(cluster) = OwnCluster::start().await else { return };
    let mut options = cluster.options();
    options.timeout = Duration::from_secs(1);
    let adapters = Adapters::connected(options.clone()).await;
    let others: Vec<_> = (0..20).map(|i| market(&i.to_string())).collect();
    for key in &others {
        fill(&adapters.cache, key, "value").await;
    }
    cluster.begin_to_move(&format!("{}:c:{{market:moves}}", options.prefix)).await;
    let mut troubled = 0;
    for _ in 0..6 {
        assert!(adapters.link.wait_until_connected(RECOVERY).await, "a connection is not made anew");
        assert_eq!(adapters.cache.get(&market("moves")).await, Lookup::Miss(None));
        let mut missed = 0;
        for key in &others {
            missed += u32::from(adapters.cache.get(key).await == Lookup::Miss(None));
        }
        troubled += u32::from(missed > 0);
    }
    // The connection by which the first was asked may be chosen once more before it has ended.
    assert!(troubled <= 2, "the others were not found {troubled} times");
}
