//! The cache: an entry and its lease are two keys, in one slot of a cluster.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bellwether_domain::ports::{Cache, CacheKey, CacheUnreachable, Cached, Lease, Lookup};
use bytes::{Bytes, BytesMut};
use fred::interfaces::KeysInterface as _;
use fred::types::scripts::Script;
use fred::types::{Key, Value};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout_at};

use crate::link::{RedisLink, Unanswered};
use crate::polls::{Polls, Turn};
use crate::strays::Strays;

/// How long a lease stands: longer than almost every load, and not much longer than one would wait for it.
const LEASE: Duration = Duration::from_secs(3);
/// How long to wait for who loads what is missing.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often to ask whether he has: at first, and at most.
const ASKING: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(64));
/// How many keys are invalidated in one go.
const MOST_AT_ONCE: usize = 256;
/// The first byte of an entry with a value.
const PRESENT: u8 = b'V';
/// The first byte of one that says that there is none.
const ABSENT: u8 = b'A';
/// What comes before the value: that byte, and a checksum.
const HEADER: usize = 5;

/// Remembers in Redis, for all processes.
///
/// A replica that takes over may not have heard of the last invalidations; what it shows wrongly, it shows for the
/// entry's time to live at most, or for the [longest life](Self::with_longest_life).
#[derive(Debug)]
pub struct RedisCache {
    link: Arc<RedisLink>,
    /// No entry lives longer; none for as long as it likes.
    longest_life: Option<Duration>,
    polls: Polls,
    get: Script,
    put: Script,
    release: Script,
    strays: Strays,
}

/// A question that may be answered with a lease, until that is known.
struct Asked<'a> {
    cache: &'a RedisCache,
    lease: Option<Lease>,
}

impl Asked<'_> {
    /// The lease that was asked for; nobody else has to see to it.
    fn heard(mut self) -> Option<Lease> {
        self.lease.take()
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if let Some(lease) = &self.lease {
            self.cache.give_up(lease);
        }
    }
}

/// What Redis answered.
enum Answer {
    Found(Cached, Option<Lease>),
    Given(Lease),
    /// Somebody else is loading it.
    Taken,
    /// Nothing, or nothing of use.
    None,
}

impl RedisCache {
    /// Over these connections.
    #[must_use]
    pub fn new(link: Arc<RedisLink>) -> Self {
        let release = Script::from_lua(include_str!("lua/release.lua"));
        Self {
            strays: Strays::new(Arc::clone(&link), release.clone()),
            link,
            longest_life: None,
            polls: Polls::default(),
            get: Script::from_lua(include_str!("lua/get.lua")),
            put: Script::from_lua(include_str!("lua/put.lua")),
            release,
        }
    }

    /// The same, with entries that live no longer than that from when their lease was given: where it may happen that
    /// an invalidation is not carried out.
    #[must_use]
    pub fn with_longest_life(self, longest_life: Duration) -> Self {
        Self { longest_life: Some(longest_life), ..self }
    }

    /// How long before its end an entry is refreshed.
    fn refresh_ahead(&self, key: &CacheKey) -> Duration {
        let longest = self.longest_life.unwrap_or(Duration::MAX);
        key.kind().refresh_ahead().min(longest / 2)
    }

    /// The keys of an entry and of its lease. What is in the first pair of braces chooses the slot, and that is the
    /// same in both, whatever the id.
    fn keys(&self, key: &CacheKey) -> [Key; 2] {
        let entry = format!("{}:c:{{{key}}}", self.link.options().prefix);
        let lease = format!("{entry}l");
        [entry.into(), lease.into()]
    }

    /// Ends a lease of which it is not known whether it stands, when Redis can be asked again.
    fn give_up(&self, lease: &Lease) {
        let [_, key] = self.keys(lease.key());
        self.strays.end(key, token_text(lease.token()));
    }

    /// The same where what was to end it got no answer. Where that was refused, the lease ends by itself.
    fn see_to(&self, lease: &Lease, answer: Result<Value, Unanswered>) {
        if matches!(answer, Err(Unanswered::Unasked | Unanswered::Unheard)) {
            self.give_up(lease);
        }
    }

    async fn ask(&self, key: &CacheKey) -> Answer {
        let token = rand::random::<u128>();
        let longest = millis(self.longest_life.unwrap_or_default());
        let args = vec![token_text(token).into(), millis(LEASE), millis(self.refresh_ahead(key)), longest];
        let asked = Asked { cache: self, lease: Some(Lease::new(key.clone(), token)) };
        let answer = self.link.try_run::<(Option<Bytes>, String)>(&self.get, self.keys(key).to_vec(), args).await;
        if answer == Err(Unanswered::Unheard) {
            return Answer::None;
        }
        let lease = asked.heard();
        let Ok((entry, became)) = answer else { return Answer::None };
        let given = lease.filter(|_| became == "given");
        match (entry, given) {
            (Some(entry), given) => match decode(key, &entry) {
                Some(value) => Answer::Found(value, given),
                None => {
                    tracing::warn!(%key, "an entry of the cache makes no sense: it is removed");
                    // Where that fails, the next reader finds it again.
                    self.invalidate(std::slice::from_ref(key)).await.ok();
                    Answer::None
                }
            },
            (None, Some(lease)) => Answer::Given(lease),
            (None, None) if became == "taken" => Answer::Taken,
            (None, None) => Answer::None,
        }
    }

    /// Asks until there is something else than that somebody is loading it.
    async fn poll(&self, key: &CacheKey, deadline: Instant) -> Answer {
        let (mut pause, longest) = ASKING;
        while Instant::now() < deadline {
            sleep(pause.mul_f64(rand::random_range(0.75..=1.0))).await;
            pause = longest.min(pause * 2);
            match self.ask(key).await {
                Answer::Taken => {}
                answer => return answer,
            }
        }
        Answer::None
    }
}

#[async_trait]
impl Cache for RedisCache {
    async fn get(&self, key: &CacheKey) -> Lookup {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = match self.ask(key).await {
                Answer::Taken => match self.polls.join(key) {
                    Turn::Mine(_turn) => self.poll(key, deadline).await,
                    Turn::Another(mut ended) => match timeout_at(deadline, ended.changed()).await {
                        // Nothing is ever sent: it has ended.
                        Ok(_) => continue,
                        Err(_) => Answer::None,
                    },
                },
                answer => answer,
            };
            return match answer {
                Answer::Found(value, lease) => Lookup::Hit(value, lease),
                Answer::Given(lease) => Lookup::Miss(Some(lease)),
                Answer::Taken | Answer::None => Lookup::Miss(None),
            };
        }
    }

    async fn put(&self, lease: Lease, value: Cached, ttl: Duration) {
        let key = lease.key();
        // Both, since whichever is shorter counts.
        let jitter = rand::random_range(0.9..=1.0);
        let [ttl, longest] = [ttl, self.longest_life.unwrap_or_default()].map(|life| millis(life.mul_f64(jitter)));
        let args = vec![token_text(lease.token()).into(), encode(key, &value).into(), ttl, millis(LEASE), longest];
        let answer = self.link.try_run(&self.put, self.keys(key).to_vec(), args).await;
        self.see_to(&lease, answer);
    }

    async fn release(&self, lease: Lease) {
        let [_, key] = self.keys(lease.key());
        let args = vec![token_text(lease.token()).into()];
        let answer = self.link.try_run(&self.release, vec![key], args).await;
        self.see_to(&lease, answer);
    }

    async fn invalidate(&self, keys: &[CacheKey]) -> Result<(), CacheUnreachable> {
        // Some at a time, so that many are not too many for the time that is allowed.
        for keys in keys.chunks(MOST_AT_ONCE) {
            let done = self.link.call(|client| async move {
                // One command a key, since each may be on another node. They are sent without waiting in between.
                let commands = keys.iter().map(|key| client.unlink::<i64, _>(self.keys(key).to_vec()));
                join_all(commands).await.into_iter().collect::<Result<Vec<_>, _>>()
            });
            done.await.ok_or(CacheUnreachable)?;
        }
        Ok(())
    }
}

fn token_text(token: u128) -> String {
    format!("{token:032x}")
}

/// Whole milliseconds, one at least.
fn millis(duration: Duration) -> Value {
    if duration.is_zero() {
        return Value::Integer(0);
    }
    Value::Integer(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).max(1))
}

/// Of the key too, so that an entry is known to be of its key.
fn checksum(key: &CacheKey, kind: u8, value: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key.to_string().as_bytes());
    hasher.update(&[0xff, kind]);
    hasher.update(value);
    hasher.finalize().to_be_bytes()
}

fn encode(key: &CacheKey, value: &Cached) -> Bytes {
    let (kind, value) = match value {
        Some(value) => (PRESENT, value.as_ref()),
        None => (ABSENT, [].as_slice()),
    };
    let mut entry = BytesMut::with_capacity(HEADER + value.len());
    entry.extend_from_slice(&[kind]);
    entry.extend_from_slice(&checksum(key, kind, value));
    entry.extend_from_slice(value);
    entry.freeze()
}

/// `None` where it is not what was put under this key.
fn decode(key: &CacheKey, entry: &Bytes) -> Option<Cached> {
    let (header, value) = entry.split_at_checked(HEADER)?;
    let (kind, sum) = header.split_first()?;
    if sum != checksum(key, *kind, value) {
        return None;
    }
    match *kind {
        PRESENT => Some(Some(entry.slice(HEADER..))),
        ABSENT if value.is_empty() => Some(None),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bellwether_domain::ports::CacheKind;

    use super::*;

    /// Threat 44.
    #[test]
    fn an_entry_that_was_changed_or_belongs_to_another_key_makes_no_sense() {
        let [key, other] = ["a", "b"].map(|id| CacheKey::new(CacheKind::Market, id));
        for value in [Some(Bytes::from("value")), Some(Bytes::new()), None] {
            let entry = encode(&key, &value);
            assert_eq!(decode(&key, &entry), Some(value));
            assert_eq!(decode(&other, &entry), None);
            for place in 0..entry.len() {
                let mut changed = entry.to_vec();
                changed[place] ^= 1;
                assert_eq!(decode(&key, &changed.into()), None);
                assert_eq!(decode(&key, &entry.slice(..place)), None);
            }
        }
        assert_eq!(decode(&key, &Bytes::new()), None);
    }
}
