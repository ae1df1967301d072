//! What is read when somebody asks: how things stand.

use std::sync::Arc;
use std::time::Duration;

use bellwether_domain::ports::StoreError;
use bellwether_usecases::Context;
use bellwether_usecases::live::Live;
use metrics::Label;
use metrics_process::Collector;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::Metrics;
use crate::wiring::Backend;

/// For so long the same is shown again, however many ask.
const KEPT: Duration = Duration::from_secs(2);
/// How long the database may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is watched.
pub(crate) struct Watched {
    metrics: Arc<Metrics>,
    ctx: Context,
    live: Live,
    backend: Backend,
    process: Collector,
    begun: Instant,
    shown: Mutex<Option<(Instant, String)>>,
}

impl Watched {
    pub(crate) fn new(metrics: Arc<Metrics>, ctx: Context, live: Live, backend: Backend) -> Self {
        let process = Collector::default();
        metrics::with_local_recorder(&*metrics.recorder, || process.describe());
        Self { metrics, ctx, live, backend, process, begun: Instant::now(), shown: Mutex::default() }
    }

    /// Everything, as text; at most so old.
    pub(crate) async fn render(&self) -> String {
        let mut shown = self.shown.lock().await;
        if let Some((at, text)) = &*shown
            && at.elapsed() < KEPT
        {
            return text.clone();
        }
        self.read().await;
        let text = self.metrics.handle.render();
        *shown = Some((Instant::now(), text.clone()));
        text
    }

    async fn read(&self) {
        let metrics = &self.metrics;
        metrics::with_local_recorder(&*metrics.recorder, || self.process.collect());
        metrics.gauge("bellwether_uptime_seconds", vec![]).set(self.begun.elapsed().as_secs_f64());
        let figures = self.live.figures();
        metrics.gauge("bellwether_live_streams", vec![]).set(number(figures.streams));
        metrics.counter("bellwether_live_slow_total").absolute(figures.slow);
        let left_alone = self.ctx.webhooks.caller.hosts_left_alone();
        metrics.gauge("bellwether_hosts_left_alone", vec![]).set(number(left_alone));
        let (in_use, most) = self.backend.connections();
        metrics.gauge("bellwether_database_connections", vec![]).set(number(in_use));
        metrics.gauge("bellwether_database_connections_max", vec![]).set(number(most));
        let is_up = match timeout(PATIENCE, self.read_store()).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(%error, "metrics of the database cannot be read");
                false
            }
            Err(_) => false,
        };
        metrics.gauge("bellwether_database_up", vec![]).set(f64::from(u8::from(is_up)));
    }

    async fn read_store(&self) -> Result<(), StoreError> {
        let now = self.ctx.clock.now();
        for depth in self.ctx.jobs.depth(now).await? {
            for (state, count) in [("due", depth.due), ("dead", depth.dead)] {
                let labels = vec![Label::new("kind", depth.kind.as_str()), Label::new("state", state)];
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                self.metrics.gauge("bellwether_jobs", labels).set(f64::from(count));
            }
        }
        for (consumer, position) in self.ctx.outbox.cursors().await? {
            let since = self.ctx.outbox.waiting_since(position).await?;
            let lag = since.map_or(0.0, |since| now.duration_since(since).as_secs_f64().max(0.0));
            self.metrics.gauge("bellwether_outbox_lag_seconds", vec![Label::new("consumer", consumer)]).set(lag);
        }
        Ok(())
    }
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
