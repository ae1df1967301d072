//! The log of events: a stream, on one server and on a cluster.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bellwether_conformance::{Skip, anyhow};
use bellwether_domain::event::{EVENTS_PER_BATCH, EventBatch, Recorded};
use bellwether_domain::ports::{EventLog as _, EventLogUnreachable};
use bellwether_redis::{RedisEventLog, RedisLink};
use fred::types::Value;
use jiff::Timestamp;
use tokio::time::{sleep, timeout};

use crate::own_server::OwnServer;
use crate::support::{Place, connected};

const MOST: NonZeroU32 = NonZeroU32::new(1000).expect("it is not zero");

/// The events of these batches, one in each.
fn events(positions: impl IntoIterator<Item = i64>) -> Vec<Recorded> {
    let user = "0193a5e0-0000-7000-8000-000000000001";
    let data = format!(r#"{{"userId":"{user}","balance":"1.000","held":"0.000","available":"1.000"}}"#);
    let payload = format!(r#"[{{"type":"balance.changed","data":{data}}}]"#);
    let batch = |position| EventBatch { position, at: Timestamp::UNIX_EPOCH, payload: payload.clone() };
    positions.into_iter().flat_map(|position| batch(position).events().expect("it can be read")).collect()
}

async fn takes_each_event_once(place: Place) -> anyhow::Result<()> {
    let log = RedisEventLog::new(connected(place.options()?).await?, MOST);
    let [three, five, eight] = [3, 5, 8].map(|position| EVENTS_PER_BATCH * position);
    assert_eq!(log.append(0, &[]).await, Ok(0));
    assert_eq!(log.append(0, &events([3, 5])).await, Ok(five));
    assert_eq!(log.append(0, &events([3])).await, Ok(five), "it has that one");
    assert_eq!(log.append(five, &events([3, 5, 8])).await, Ok(eight), "and the first two");
    assert_eq!(log.append(eight + 1, &events([9])).await, Ok(eight), "it never had what is said to be its newest");
    assert_eq!(log.append(three, &[]).await, Ok(eight));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn takes_each_event_once_on_a_server_and_on_a_cluster() {
    for place in [Place::Server, Place::Cluster] {
        match takes_each_event_once(place).await {
            Err(error) if error.is::<Skip>() => eprintln!("{error}"),
            ended => ended.expect("the log keeps its promise"),
        }
    }
}

/// Programs beside the server share it in a group: each entry goes to one of them, until it is acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn is_read_in_consumer_groups_and_forgets_the_oldest() -> anyhow::Result<()> {
    let Some(mut server) = OwnServer::start(&["--stream-node-max-entries", "10"]) else { return Ok(()) };
    let mut options = server.options();
    // Whether it is in time is tested elsewhere: here a busy machine is no failure.
    options.timeout = Duration::from_secs(5);
    let link = RedisLink::open(options);
    anyhow::ensure!(link.wait_until_connected(Duration::from_secs(20)).await, "no connection");
    let log = RedisEventLog::new(Arc::clone(&link), NonZeroU32::new(20).expect("it is not zero"));
    let all = events(1..=100);
    let newest = all.last().map(|recorded| recorded.sequence);
    assert_eq!(log.append(0, &all).await.ok(), newest);
    let count: usize = server.ask("XLEN bellwether:events").await;
    assert!((20..40).contains(&count), "{count} are kept");

    server.tell("XGROUP CREATE bellwether:events group 0").await;
    let read = "XREADGROUP GROUP group CONSUMER COUNT 1 STREAMS bellwether:events >";
    let (one, other) = (read.replace("CONSUMER", "a"), read.replace("CONSUMER", "b"));
    let read: [Value; 2] = [server.ask(&one).await, server.ask(&other).await];
    let text = read.map(|value| format!("{value:?}"));
    assert!(text.iter().all(|text| text.contains("balance.changed")), "{text:?}");
    assert_ne!(text[0], text[1]);

    server.kill();
    server.restart();
    let again = async {
        while log.append(0, &[]).await != Ok(0) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(60), again).await?;
    let sequence = newest.unwrap_or_default();
    assert_eq!(
        log.append(sequence, &events([101])).await,
        Ok(0),
        "it is empty, and takes nothing that is not the first"
    );
    server.kill();
    assert_eq!(log.append(0, &all).await, Err(EventLogUnreachable));
    Ok(())
}
