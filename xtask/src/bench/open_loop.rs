//! Open loop: requests are due at moments that do not depend on the server, as those of people who
//! know nothing of each other. Latency counts from the moment that a request is due, so a server that
//! falls behind cannot hide it by holding up who would have measured it ("coordinated omission").

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use crate::bench::client::{Client, Tally};
use crate::bench::closed_loop::gather;
use crate::bench::load::Load;
use crate::bench::world::World;

/// The most requests that are under way at once. One that finds no connection free waits, and its
/// latency counts on.
const CONNECTIONS: usize = 256;

/// Sends `per_second` requests of a load at random moments; returns what came of them, and how long it
/// took until all were answered.
pub(super) async fn run(
    world: &Arc<World>,
    load: Load,
    per_second: f64,
    length: Duration,
) -> anyhow::Result<(Tally, Duration)> {
    let mut connected = Vec::new();
    for _ in 0..CONNECTIONS {
        connected.push(Client::connect(Arc::clone(world), load).await?);
    }
    let moments = arrivals(world.seed, per_second, length);
    let (sender, receiver) = unbounded_channel();
    let due = Arc::new(Mutex::new(receiver));
    let start = Instant::now();
    std::thread::spawn(move || announce(start, &moments, &sender));
    let mut tasks = JoinSet::new();
    for client in connected {
        tasks.spawn(serve(client, Arc::clone(&due)));
    }
    let tally = gather(tasks).await?;
    Ok((tally, start.elapsed()))
}

/// Says when each request is due. A thread of its own, because the runtime's timers know milliseconds
/// only, and a request may take less.
fn announce(start: Instant, moments: &[Duration], due: &UnboundedSender<Instant>) {
    for moment in moments {
        let moment = start + *moment;
        std::thread::sleep(moment.saturating_duration_since(Instant::now()));
        if due.send(moment).is_err() {
            return;
        }
    }
}

async fn serve(mut client: Client, due: Arc<Mutex<UnboundedReceiver<Instant>>>) -> Tally {
    loop {
        let next = due.lock().await.recv().await;
        match next {
            Some(moment) => client.step(moment).await,
            None => return client.into_tally(),
        }
    }
}

/// Moments of a Poisson process: independent arrivals at that mean rate, for so long.
fn arrivals(seed: u64, per_second: f64, length: Duration) -> Vec<Duration> {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut seconds, mut moments) = (0.0, Vec::new());
    loop {
        // `random` is below 1, so the logarithm is finite.
        seconds -= (1.0 - random.random::<f64>()).ln() / per_second;
        if !seconds.is_finite() || seconds >= length.as_secs_f64() {
            return moments;
        }
        moments.push(Duration::from_secs_f64(seconds));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::arrivals;

    #[test]
    fn arrivals_come_in_order_at_the_rate_and_as_the_seed_says() {
        let moments = arrivals(1, 2000.0, Duration::from_secs(10));
        assert!((19_500..20_500).contains(&moments.len()), "{}", moments.len());
        assert!(moments.is_sorted());
        assert!(moments.iter().all(|moment| *moment < Duration::from_secs(10)));
        assert_eq!(moments, arrivals(1, 2000.0, Duration::from_secs(10)));
        assert_ne!(moments, arrivals(2, 2000.0, Duration::from_secs(10)));
    }

    #[test]
    fn the_gaps_vary_as_much_as_they_are_long() {
        let moments = arrivals(1, 1000.0, Duration::from_secs(20));
        let gaps: Vec<f64> = moments.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
        let count = f64::from(u32::try_from(gaps.len()).unwrap());
        let mean = gaps.iter().sum::<f64>() / count;
        let deviation = (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / count).sqrt();
        assert!((deviation / mean - 1.0).abs() < 0.05, "{deviation} of {mean}");
    }

    #[test]
    fn nothing_arrives_at_no_rate() {
        assert!(arrivals(1, 0.0, Duration::from_secs(1)).is_empty());
    }
}
