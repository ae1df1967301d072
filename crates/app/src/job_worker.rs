//! The background tasks that do jobs: one for each kind, one that puts aside what webhooks are to be told, and
//! one that begins what schedules say. No request ever waits for them.

use std::sync::Arc;
use std::time::Duration;

use bellwether_usecases::Context;
use bellwether_usecases::events::Progress;
use bellwether_usecases::jobs::{self, Handler, Schedules};
use bellwether_usecases::webhooks::{self, Follower};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::pause::goes_on_after;

/// How often it is looked what schedules say.
const SCHEDULE_INTERVAL: Duration = Duration::from_secs(1);
/// The pause after something was put aside for webhooks: where much happens, some of it is taken at a time.
const BREATH: Duration = Duration::from_millis(100);
/// The pause after what happened could not be read.
const PAUSE: Duration = Duration::from_secs(1);

/// Does jobs until `stop` turns true, and those that are under way then to their end.
pub(crate) async fn run(
    ctx: Context,
    handlers: Vec<Arc<dyn Handler>>,
    schedules: Schedules,
    stop: watch::Receiver<bool>,
) {
    let mut tasks = JoinSet::new();
    for handler in handlers {
        tasks.spawn(jobs::work(ctx.clone(), handler, stop.clone()));
    }
    let mut others = JoinSet::new();
    others.spawn(follow(ctx.clone(), schedules, stop.clone()));
    tasks.spawn(tell_webhooks(ctx, stop));
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a kind of job is not done any more until the next start");
        }
    }
}

/// Puts aside what webhooks are to be told of what happens.
async fn tell_webhooks(ctx: Context, mut stop: watch::Receiver<bool>) {
    let (mut follower, mut ear) = (Follower::default(), ctx.event_bell.listen());
    let mut goes_on = !*stop.borrow();
    while goes_on {
        goes_on = match webhooks::follow(&ctx, &mut follower).await {
            Ok(Progress::More) => !*stop.borrow(),
            Ok(Progress::Some) => goes_on_after(sleep(BREATH), &mut stop).await,
            Ok(Progress::Nothing) => goes_on_after(ear.heard(), &mut stop).await,
            Err(error) => {
                tracing::error!(error = %format_args!("{:#}", anyhow::Error::new(error)), "what happened was not put aside for webhooks; it is tried again");
                goes_on_after(sleep(PAUSE), &mut stop).await
            }
        };
    }
}

/// Begins what schedules say.
async fn follow(ctx: Context, schedules: Schedules, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        if let Err(error) = schedules.begin_due(&ctx).await {
            tracing::error!(error = %format_args!("{:#}", anyhow::Error::new(error)), "what is scheduled was not begun; it is tried again");
        }
        if !goes_on_after(sleep(SCHEDULE_INTERVAL), &mut stop).await {
            return;
        }
    }
}
