//! What is in Redis may be anything. Threat 44.

use std::sync::Arc;
use std::time::Duration;

use bellwether_conformance::{Skip, anyhow};
use bellwether_domain::ports::{Cache, CacheKey, CacheKind, LimitKey, Lookup, Quota, RateLimiter, get_or_load};
use bellwether_redis::{LimiterClock, RedisCache, RedisLimiter, RedisOptions};
use bytes::Bytes;
use fred::clients::Client;
use fred::interfaces::{ClientLike, KeysInterface, LuaInterface};
use fred::types::{CustomCommand, Value, config::Config};
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, sleep};

use crate::support::{Place, Refusing, connected};

/// Options and a client that writes what it likes; nothing, and why, where there is no server.
async fn subject() -> Option<(RedisOptions, Client)> {
    let options = match Place::Server.options() {
        Ok(options) => options,
        Err(error) => {
            assert!(error.is::<Skip>(), "{error:#}");
            eprintln!("{error}");
            return None;
        }
    };
    let url = std::env::var("REDIS_URL").expect("the options are of it");
    let client = Client::new(Config::from_url(&url).expect("a URL"), None, None, None);
    client.init().await.expect("the server is there");
    Some((options, client))
}

async fn command(client: &Client, words: &[&[u8]]) {
    let (name, args) = words.split_first().expect("a command");
    let name = String::from_utf8(name.to_vec()).expect("a name");
    let args: Vec<_> = args.iter().map(|word| Value::Bytes(Bytes::copy_from_slice(word))).collect();
    client.custom::<Value, _>(CustomCommand::new(name, None, false), args).await.expect("the command is done");
}

async fn fill(cache: &RedisCache, key: &CacheKey, value: &'static str) {
    let load = async { anyhow::Ok(Some(Bytes::from(value))) };
    get_or_load(cache, key, load).await.expect("the load does not fail");
}

async fn is_there(cache: &RedisCache, key: &CacheKey, value: &'static str) -> bool {
    cache.get(key).await == Lookup::Hit(Some(Bytes::from(value)), None)
}

#[tokio::test]
async fn an_entry_that_is_not_what_was_put_is_a_miss_and_heals() {
    let Some((options, client)) = subject().await else { return };
    let cache = RedisCache::new(connected(options.clone()).await.expect("a link"));
    let key = CacheKey::new(CacheKind::Market, "a");
    let name = format!("{}:c:{{market:a}}", options.prefix);
    let name = name.as_bytes();
    let wrong: [&[&[u8]]; 7] = [
        &[b"SET", name, b""],
        &[b"SET", name, b"V"],
        &[b"SET", name, b"garbage that is long enough"],
        &[b"SETRANGE", name, b"5", b"X"],
        &[b"LPUSH", name, b"1"],
        &[b"HSET", name, b"a", b"b"],
        &[b"XADD", name, b"*", b"a", b"b"],
    ];
    for words in wrong {
        cache.invalidate(std::slice::from_ref(&key)).await.expect("it is reached");
        fill(&cache, &key, "right").await;
        if words[0] != b"SETRANGE" {
            cache.invalidate(std::slice::from_ref(&key)).await.expect("it is reached");
        }
        command(&client, words).await;
        let found = cache.get(&key).await;
        assert!(matches!(found, Lookup::Miss(_)), "{found:?} after {words:?}");
        if let Lookup::Miss(Some(lease)) = found {
            cache.release(lease).await;
        }
        fill(&cache, &key, "right").await;
        assert!(is_there(&cache, &key, "right").await, "after {words:?}");
    }
}

#[tokio::test]
async fn a_lease_that_is_not_ours_does_not_stand_in_the_way_for_ever() {
    let Some((options, client)) = subject().await else { return };
    let cache = RedisCache::new(connected(options.clone()).await.expect("a link"));
    let name = format!("{}:c:{{market:a}}l", options.prefix);
    let key = CacheKey::new(CacheKind::Market, "a");
    let wrong: [&[&[u8]]; 2] = [&[b"SET", name.as_bytes(), b"for ever"], &[b"LPUSH", name.as_bytes(), b"1"]];
    for words in wrong {
        command(&client, words).await;
        fill(&cache, &key, "not put").await;
        fill(&cache, &key, "put").await;
        assert!(is_there(&cache, &key, "put").await, "after {words:?}");
        cache.invalidate(std::slice::from_ref(&key)).await.expect("it is reached");
    }
}

/// Else all that was loaded when a server came up would end at the same moment, again and again.
#[tokio::test]
async fn what_lives_no_longer_than_it_may_does_not_all_end_together() {
    let Some((options, client)) = subject().await else { return };
    let link = connected(options.clone()).await.expect("a link");
    let cache = RedisCache::new(link).with_longest_life(Duration::from_secs(50));
    let mut lives = Vec::new();
    for number in 0..32 {
        let key = CacheKey::new(CacheKind::Market, &number);
        fill(&cache, &key, "value").await;
        let name = format!("{}:c:{{market:{number}}}", options.prefix);
        lives.push(client.pttl::<i64, _>(name).await.expect("the server answers"));
    }
    assert!(lives.iter().all(|life| (1..=50_000).contains(life)), "{lives:?}");
    assert!(lives.iter().any(|life| *life < 49_000), "{lives:?}");
}

/// As after the clock of Redis was set back: what should have ended stands for as much longer.
#[tokio::test]
async fn what_has_longer_to_live_than_it_was_given_is_not_shown_and_not_waited_for() {
    let Some((options, client)) = subject().await else { return };
    let link = connected(options.clone()).await.expect("a link");
    let cache = RedisCache::new(link).with_longest_life(Duration::from_secs(2));
    let key = CacheKey::new(CacheKind::Market, "a");
    let name = format!("{}:c:{{market:a}}", options.prefix);
    let lease = format!("{name}l");

    let wrong: [&[&[u8]]; 2] = [&[b"PEXPIRE", name.as_bytes(), b"3600000"], &[b"PERSIST", name.as_bytes()]];
    for words in wrong {
        fill(&cache, &key, "old").await;
        command(&client, words).await;
        let Lookup::Miss(Some(given)) = cache.get(&key).await else { panic!("it is shown after {words:?}") };
        cache.release(given).await;
    }

    // Somebody's, who died.
    let Lookup::Miss(Some(_)) = cache.get(&key).await else { panic!("it is there") };
    command(&client, &[b"PEXPIRE", lease.as_bytes(), b"3600000"]).await;
    assert_eq!(cache.get(&key).await, Lookup::Miss(None));
    let Lookup::Miss(Some(held)) = cache.get(&key).await else { panic!("it is waited for") };

    // Nobody knows how old what was read under it is.
    command(&client, &[b"PEXPIRE", lease.as_bytes(), b"3600000"]).await;
    cache.put(held, Some(Bytes::from("old")), Duration::from_secs(300)).await;
    let found = cache.get(&key).await;
    assert!(matches!(found, Lookup::Miss(Some(_))), "{found:?}");
}

const THREE: Quota = Quota::new(3, SignedDuration::from_secs(60));

#[tokio::test]
async fn a_window_that_is_not_ours_is_begun_anew() {
    let Some((options, client)) = subject().await else { return };
    let link = connected(options.clone()).await.expect("a link");
    let limiter = RedisLimiter::new(link, LimiterClock::Caller, Arc::new(Refusing));
    let key = LimitKey::of("test", b"ann");
    let name = [format!("{}:l:", options.prefix).as_bytes(), key.as_bytes()].concat();
    let wrong: [&[&[u8]]; 6] = [
        &[b"SET", &name, b""],
        &[b"SET", &name, b"\xff\xff"],
        &[b"SET", &name, b"\x93\x01\x02\x03"],
        &[b"SET", &name, b"\x94\x01\xa1a\x03\x04"],
        &[b"SET", &name, b"17"],
        &[b"LPUSH", &name, b"1"],
    ];
    for words in wrong {
        limiter.forget(key).await;
        command(&client, words).await;
        let standing = limiter.take(key, THREE, Timestamp::UNIX_EPOCH).await;
        assert!(standing.is_allowed && standing.remaining == 2, "{standing:?} after {words:?}");
    }
}

/// As after a restart: the scripts are gone too.
#[tokio::test]
async fn what_is_flushed_was_never_known() {
    let Some((options, client)) = subject().await else { return };
    let cache = RedisCache::new(connected(options.clone()).await.expect("a link"));
    let key = CacheKey::new(CacheKind::Market, "a");
    let Lookup::Miss(Some(lease)) = cache.get(&key).await else { unreachable!("nobody put it") };
    let names = ["", "l"].map(|end| format!("{}:c:{{market:a}}{end}", options.prefix));
    client.del::<i64, _>(names.to_vec()).await.expect("they are deleted");
    client.script_flush(false).await.expect("the scripts are forgotten");
    cache.put(lease, Some(Bytes::from("old")), Duration::from_secs(60)).await;
    fill(&cache, &key, "new").await;
    assert!(is_there(&cache, &key, "new").await);
}

/// Of two processes whose clocks differ by a year, say.
#[tokio::test]
async fn the_servers_clock_counts_whatever_the_callers_say() {
    let Some((options, _)) = subject().await else { return };
    let link = connected(options).await.expect("a link");
    let limiter = RedisLimiter::new(link, LimiterClock::Server, Arc::new(Refusing));
    let key = LimitKey::of("test", b"ann");
    // No busy machine takes so long for what must come within one window.
    let quota = Quota::new(3, SignedDuration::from_secs(5));
    let said = [0, 1_800_000_000, 7].map(|second| Timestamp::from_second(second).expect("a time"));

    let began = Instant::now();
    for now in said {
        assert!(limiter.take(key, quota, now).await.is_allowed);
    }
    assert!(!limiter.take(key, quota, said[1]).await.is_allowed);
    limiter.give_back(key, quota, said[1]).await;
    limiter.give_back(key, quota, said[1]).await;
    assert!(limiter.take(key, quota, said[0]).await.is_allowed, "one was given back");
    let refused = limiter.take(key, quota, said[0]).await;
    assert!(!refused.is_allowed, "and only one");
    assert!(refused.frees_in <= quota.window, "{refused:?}");
    while !limiter.take(key, quota, said[0]).await.is_allowed {
        sleep(Duration::from_millis(10)).await;
    }
    assert!(began.elapsed() >= Duration::from_secs(5), "{:?}", began.elapsed());
}

/// Threat 44: so what is shown is never older than that, though no invalidation was ever carried out.
#[tokio::test]
async fn an_entry_is_as_old_as_its_lease() {
    let Some((options, _)) = subject().await else { return };
    let life = Duration::from_millis(600);
    let link = connected(options).await.expect("a link");
    let (cache, other) = (RedisCache::new(Arc::clone(&link)).with_longest_life(life), RedisCache::new(link));
    for (loading, is_kept) in [(Duration::ZERO, true), (life / 2, true), (life, false)] {
        let mut tries = 0;
        let (key, given) = loop {
            let key = CacheKey::new(CacheKind::MarketList, &format!("{}-{tries}", loading.as_millis()));
            let began = Instant::now();
            let Lookup::Miss(Some(lease)) = cache.get(&key).await else { panic!("it is there") };
            let given = Instant::now();
            sleep(loading).await;
            cache.put(lease, Some(Bytes::from("v")), Duration::from_secs(300)).await;
            let found = other.get(&key).await;
            if matches!(found, Lookup::Hit(..)) == is_kept {
                break (key, given);
            }
            // A machine that is held up makes it too old before it is looked for.
            tries += 1;
            let is_too_old = is_kept && began.elapsed() >= life && tries < 20;
            assert!(is_too_old, "loaded in {loading:?}: {found:?} after {:?}", began.elapsed());
        };
        loop {
            // When it was asked for counts, and not when a busy machine came to answer.
            let age = given.elapsed();
            if !matches!(other.get(&key).await, Lookup::Hit(..)) {
                break;
            }
            assert!(age < life + Duration::from_secs(1), "it is there after {age:?}");
            sleep(Duration::from_millis(10)).await;
        }
    }
}
