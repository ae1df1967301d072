//! The background task that does what time has made due.

use std::time::Duration;

use bellwether_usecases::Context;
use bellwether_usecases::idempotency::forget_old_answers;
use bellwether_usecases::settling::{Ticked, tick};
use tokio::sync::watch;
use tokio::time::Instant;

/// The longest pause after failures.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// How often answers that were kept long enough are forgotten.
const FORGET_INTERVAL: Duration = Duration::from_secs(600);

/// Ticks until `stop` turns true; a tick that has begun is finished. Failures are logged and tried
/// again, less and less often.
pub(crate) async fn run(ctx: Context, interval: Duration, mut stop: watch::Receiver<bool>) {
    let (mut pause, mut next_forget) = (interval, Instant::now());
    while !*stop.borrow() {
        if next_forget <= Instant::now() {
            next_forget = Instant::now() + FORGET_INTERVAL;
            if let Err(error) = forget_old_answers(&ctx).await {
                tracing::error!(error = %error, "old answers could not be forgotten; it is tried again later");
            }
        }
        let wait = match once(&ctx).await {
            Ok(ticked) => {
                pause = interval;
                if ticked.more { Duration::ZERO } else { interval }
            }
            Err(error) => {
                pause = (pause * 2).min(MAX_PAUSE.max(interval));
                tracing::error!(
                    error = %format_args!("{error:#}"),
                    pause_ms = pause.as_millis(),
                    "a tick failed"
                );
                pause
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            changed = stop.changed() => if changed.is_err() { return },
        }
    }
}

/// One tick, in a task of its own: a panic in it is one failed tick and not the last one.
async fn once(ctx: &Context) -> anyhow::Result<Ticked> {
    let ctx = ctx.clone();
    Ok(tokio::spawn(async move { tick(&ctx).await }).await??)
}
