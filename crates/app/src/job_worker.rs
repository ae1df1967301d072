//! The background tasks that do jobs: one for each kind, one that hears of jobs that other servers put aside, one
//! that puts aside what webhooks are to be told, and one that begins what schedules say. No request ever waits for them.

use std::sync::Arc;
use std::time::Duration;

use bellwether_domain::ports::JobNotices;
use bellwether_usecases::Context;
use bellwether_usecases::jobs::{self, Handler, Schedules};
use bellwether_usecases::webhooks::{self, Follower};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How often it is looked what schedules say.
const SCHEDULE_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is looked what has happened.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(250);

/// Does jobs until `stop` turns true, and those that are under way then to their end.
pub(crate) async fn run(
    ctx: Context,
    handlers: Vec<Arc<dyn Handler>>,
    schedules: Schedules,
    notices: Option<Box<dyn JobNotices>>,
    stop: watch::Receiver<bool>,
) {
    let mut tasks = JoinSet::new();
    for handler in handlers {
        tasks.spawn(jobs::work(ctx.clone(), handler, stop.clone()));
    }
    let mut others = JoinSet::new();
    others.spawn(follow(ctx.clone(), schedules, stop.clone()));
    tasks.spawn(tell_webhooks(ctx.clone(), stop));
    if let Some(notices) = notices {
        others.spawn(listen(ctx, notices));
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a kind of job is not done any more until the next start");
        }
    }
}

/// Rings when another server put something aside.
async fn listen(ctx: Context, mut notices: Box<dyn JobNotices>) {
    loop {
        match notices.next().await {
            Some(kind) => ctx.job_bell.ring(kind),
            None => ctx.job_bell.ring_all(),
        }
    }
}

/// Puts aside what webhooks are to be told of what happens.
async fn tell_webhooks(ctx: Context, mut stop: watch::Receiver<bool>) {
    let mut follower = Follower::default();
    while !*stop.borrow() {
        let pause = match webhooks::follow(&ctx, &mut follower).await {
            Ok(true) => continue,
            Ok(false) => FOLLOW_INTERVAL,
            Err(error) => {
                tracing::error!(error = %format_args!("{:#}", anyhow::Error::new(error)), "what happened was not put aside for webhooks; it is tried again");
                SCHEDULE_INTERVAL
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = stop.changed() => if changed.is_err() { return },
        }
    }
}

/// Begins what schedules say.
async fn follow(ctx: Context, schedules: Schedules, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        if let Err(error) = schedules.begin_due(&ctx).await {
            tracing::error!(error = %format_args!("{:#}", anyhow::Error::new(error)), "what is scheduled was not begun; it is tried again");
        }
        tokio::select! {
            () = tokio::time::sleep(SCHEDULE_INTERVAL) => {}
            changed = stop.changed() => if changed.is_err() { return },
        }
    }
}
