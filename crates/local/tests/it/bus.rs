//! The suite of event buses, and what is this one's own.

use std::sync::Arc;

use bellwether_conformance::bus::{BusHarness, BusSubject};
use bellwether_conformance::{anyhow, async_trait};
use bellwether_domain::ports::{EventBus, Topic};
use bellwether_local::LocalBus;

struct Local;

#[async_trait]
impl BusHarness for Local {
    async fn fresh(&self) -> anyhow::Result<BusSubject> {
        let bus: Arc<dyn EventBus> = Arc::new(LocalBus::new());
        Ok(BusSubject { other: Arc::clone(&bus), bus, guard: Box::new(()) })
    }
}

mod conformance {
    bellwether_conformance::bus_conformance!(super::Local);
}

#[tokio::test]
async fn a_topic_goes_with_its_last_subscriber() {
    let bus = LocalBus::new();
    let mut subscriptions = Vec::new();
    for i in 0..1000 {
        subscriptions.push(bus.subscribe(&Topic::new(&(i / 2).to_string())).await);
    }
    assert_eq!(bus.topics(), 500);
    subscriptions.pop();
    assert_eq!(bus.topics(), 500);
    subscriptions.clear();
    assert_eq!(bus.topics(), 0);
}
