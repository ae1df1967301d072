//! Closed loop: each client sends its next request when the last one is answered. It finds the most
//! that a server can do; its latencies are those of a server that is kept busy.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::task::JoinSet;

use crate::bench::client::{Client, Tally};
use crate::bench::load::Load;
use crate::bench::world::World;

/// Runs a load with so many clients; returns what came of it, and how long it took.
pub(super) async fn run(
    world: &Arc<World>,
    load: Load,
    clients: usize,
    length: Duration,
) -> anyhow::Result<(Tally, Duration)> {
    let mut connected = Vec::new();
    for _ in 0..clients {
        connected.push(Client::connect(Arc::clone(world), load).await?);
    }
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for mut client in connected {
        tasks.spawn(async move {
            loop {
                let now = Instant::now();
                if now.duration_since(start) >= length {
                    return client.into_tally();
                }
                client.step(now).await;
            }
        });
    }
    let tally = gather(tasks).await?;
    Ok((tally, start.elapsed()))
}

/// What all clients counted.
pub(super) async fn gather(mut tasks: JoinSet<Tally>) -> anyhow::Result<Tally> {
    let mut all = Tally::default();
    while let Some(tally) = tasks.join_next().await {
        all.add(tally.context("a client panicked")?);
    }
    Ok(all)
}
