//! One test suite for event buses: what [`EventBus`] promises, every implementation is held to.
//!
//! Say how one is made, and [`bus_conformance!`](crate::bus_conformance) makes one test of each promise.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use async_trait::async_trait;
use bellwether_domain::ports::{EventBus, Received, Subscription, Topic};
use bytes::Bytes;

/// Makes the buses that the suite runs against.
#[async_trait]
pub trait BusHarness: Send + Sync + 'static {
    /// A bus that nobody else uses. [`Skip`](crate::Skip) as the error declines.
    async fn fresh(&self) -> anyhow::Result<BusSubject>;
}

/// The bus that a case tests.
pub struct BusSubject {
    /// The bus.
    pub bus: Arc<dyn EventBus>,
    /// The same one as another process sees it; or just the same one, where it is a process's own.
    pub other: Arc<dyn EventBus>,
    /// What must live until the case has ended.
    pub guard: Box<dyn Any + Send>,
}

impl fmt::Debug for BusSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusSubject").finish_non_exhaustive()
    }
}

/// Runs one case: what each test that [`bus_conformance!`](crate::bus_conformance) makes calls.
#[doc(hidden)]
pub fn run<H, C, F>(harness: H, case: C) -> anyhow::Result<()>
where
    H: BusHarness,
    C: FnOnce(Buses) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    crate::run_within_limits(harness.fresh(), |subject| {
        let (outcome, guard) = (case(Buses { one: subject.bus, other: subject.other }), subject.guard);
        async move {
            let outcome = outcome.await;
            drop(guard);
            outcome
        }
    })
}

/// Makes one `#[test]` for each case of the suite. Takes an expression that makes the [`BusHarness`].
/// Call it inside a module of its own.
#[macro_export]
macro_rules! bus_conformance {
    ($harness:expr $(,)?) => {
        $crate::bus_conformance! { @ $harness,
            every_subscriber_gets_every_message,
            a_publishers_messages_arrive_in_order,
            topics_are_kept_apart_whatever_they_are_called,
            nothing_is_kept_for_who_comes_later,
            who_is_too_slow_is_told_how_many_he_lost,
            one_who_is_too_slow_costs_the_others_nothing,
            a_topic_can_be_left_and_joined_again,
            a_message_that_nobody_waits_for_is_no_error,
            waiting_can_be_given_up_without_losing_anything,
        }
    };
    (@ $harness:expr, $($case:ident,)+) => {
        $(#[test]
        fn $case() -> $crate::anyhow::Result<()> {
            $crate::bus::run($harness, $crate::bus::$case)
        })+
    };
}

/// A bus, as one process and as another see it.
#[doc(hidden)]
pub struct Buses {
    one: Arc<dyn EventBus>,
    other: Arc<dyn EventBus>,
}

/// More than any buffer holds.
const MANY: u64 = 50_000;

fn number(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

async fn next(subscription: &mut Box<dyn Subscription>) -> anyhow::Result<Received> {
    subscription.next().await.context("the bus was shut down")
}

async fn message(subscription: &mut Box<dyn Subscription>) -> anyhow::Result<Bytes> {
    match next(subscription).await? {
        Received::Message(message) => Ok(message),
        other => bail!("{other:?}, where a message should have come"),
    }
}

async fn ensure_message(subscription: &mut Box<dyn Subscription>, expected: &Bytes) -> anyhow::Result<()> {
    let message = message(subscription).await?;
    ensure!(message == expected, "{message:?}, not {expected:?}");
    Ok(())
}

/// In this process and in others, of any content.
pub async fn every_subscriber_gets_every_message(buses: Buses) -> anyhow::Result<()> {
    let topic = Topic::new("news");
    let mut subscriptions =
        [buses.one.subscribe(&topic).await, buses.one.subscribe(&topic).await, buses.other.subscribe(&topic).await];
    let messages = [Bytes::from("text"), Bytes::new(), (0..=255).collect(), Bytes::from(vec![7; 1 << 20])];
    for (bus, expected) in [&buses.one, &buses.other].into_iter().cycle().zip(&messages) {
        bus.publish(&topic, expected.clone()).await?;
        for subscription in &mut subscriptions {
            ensure_message(subscription, expected).await?;
        }
    }
    Ok(())
}

/// Without gaps too, as long as the reader keeps up.
pub async fn a_publishers_messages_arrive_in_order(buses: Buses) -> anyhow::Result<()> {
    let topic = Topic::new("news");
    let mut subscription = buses.other.subscribe(&topic).await;
    for group in 0..20 {
        for i in 0..50 {
            buses.one.publish(&topic, number(group * 50 + i)).await?;
        }
        for i in 0..50 {
            ensure_message(&mut subscription, &number(group * 50 + i)).await?;
        }
    }
    Ok(())
}

/// Names that one could take for patterns, too.
pub async fn topics_are_kept_apart_whatever_they_are_called(buses: Buses) -> anyhow::Result<()> {
    let topics = ["a", "b", "ab", "*", "a*", "?", "{a}", "{a}b", "", " ", "a\r\nb", "ä🦀"].map(Topic::new);
    let mut subscriptions = Vec::new();
    for topic in &topics {
        subscriptions.push(buses.other.subscribe(topic).await);
    }
    for topic in &topics {
        buses.one.publish(topic, Bytes::copy_from_slice(topic.as_str().as_bytes())).await?;
        buses.one.publish(topic, Bytes::from("end")).await?;
    }
    for (topic, subscription) in topics.iter().zip(&mut subscriptions) {
        ensure_message(subscription, &Bytes::copy_from_slice(topic.as_str().as_bytes())).await?;
        ensure_message(subscription, &Bytes::from("end")).await?;
    }
    Ok(())
}

/// The first thing that he gets was published after he came.
pub async fn nothing_is_kept_for_who_comes_later(buses: Buses) -> anyhow::Result<()> {
    let topic = Topic::new("news");
    let mut early = buses.one.subscribe(&topic).await;
    buses.one.publish(&topic, number(1)).await?;
    ensure_message(&mut early, &number(1)).await?;
    let mut late = [buses.one.subscribe(&topic).await, buses.other.subscribe(&topic).await];
    buses.one.publish(&topic, number(2)).await?;
    for subscription in &mut late {
        ensure_message(subscription, &number(2)).await?;
    }
    ensure_message(&mut early, &number(2)).await
}

/// He gets the newest ones, and what he got and what he lost add up.
pub async fn who_is_too_slow_is_told_how_many_he_lost(buses: Buses) -> anyhow::Result<()> {
    let topic = Topic::new("news");
    let mut subscription = buses.other.subscribe(&topic).await;
    for i in 0..MANY {
        buses.one.publish(&topic, number(i)).await?;
    }
    let (mut expected, mut lost) = (0, 0);
    while expected < MANY {
        match next(&mut subscription).await? {
            Received::Message(message) => {
                ensure!(message == number(expected), "{message:?} after {expected} messages, {lost} of them lost");
                expected += 1;
            }
            Received::Lagged(count) => {
                expected += count;
                lost += count;
            }
            other => bail!("{other:?}"),
        }
    }
    ensure!(lost > 0, "it buffered {MANY} messages");
    Ok(())
}

/// Publishing does not wait, and a neighbour misses nothing.
pub async fn one_who_is_too_slow_costs_the_others_nothing(buses: Buses) -> anyhow::Result<()> {
    let topic = Topic::new("news");
    let _slow = buses.one.subscribe(&topic).await;
    let mut quick = buses.one.subscribe(&topic).await;
    for i in 0..MANY / 5 {
        buses.one.publish(&topic, number(i)).await?;
        ensure_message(&mut quick, &number(i)).await?;
    }
    Ok(())
}

/// As when the last browser that looks at a market goes, and another comes.
pub async fn a_topic_can_be_left_and_joined_again(buses: Buses) -> anyhow::Result<()> {
    let topic = Topic::new("news");
    for i in 0..50 {
        let mut first = buses.one.subscribe(&topic).await;
        let mut second = buses.one.subscribe(&topic).await;
        buses.other.publish(&topic, number(i)).await?;
        ensure_message(&mut first, &number(i)).await?;
        drop(first);
        buses.other.publish(&topic, number(1000 + i)).await?;
        ensure_message(&mut second, &number(i)).await?;
        ensure_message(&mut second, &number(1000 + i)).await?;
    }
    Ok(())
}

/// Whether or not anybody did before.
pub async fn a_message_that_nobody_waits_for_is_no_error(buses: Buses) -> anyhow::Result<()> {
    let topic = Topic::new("news");
    buses.one.publish(&topic, number(1)).await?;
    drop(buses.one.subscribe(&topic).await);
    buses.one.publish(&topic, number(2)).await?;
    Ok(())
}

/// As when it is one of several things that somebody waits for.
pub async fn waiting_can_be_given_up_without_losing_anything(buses: Buses) -> anyhow::Result<()> {
    let topic = Topic::new("news");
    let mut subscription = buses.one.subscribe(&topic).await;
    for i in 0..200 {
        // Polled once and dropped.
        let waiting = tokio::time::timeout(std::time::Duration::ZERO, subscription.next()).await;
        ensure!(waiting.is_err(), "{waiting:?}, before anything was published");
        buses.one.publish(&topic, number(i)).await?;
        ensure_message(&mut subscription, &number(i)).await?;
    }
    Ok(())
}
