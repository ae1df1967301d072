//! The background task that does what time has made due.

use std::time::Duration;

use bellwether_usecases::Context;
use bellwether_usecases::settling::{Ticked, tick};
use tokio::sync::watch;

/// The longest pause after failures.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Ticks until `stop` turns true; a tick that has begun is finished. Failures are logged and tried
/// again, less and less often.
pub(crate) async fn run(ctx: Context, interval: Duration, mut stop: watch::Receiver<bool>) {
    let mut pause = interval;
    while !*stop.borrow() {
        let wait = match once(&ctx).await {
            Ok(ticked) => {
                pause = interval;
                if ticked.more { Duration::ZERO } else { interval }
            }
            Err(error) => {
                pause = (pause * 2).min(MAX_PAUSE.max(interval));
                tracing::error!(
                    error = %chain(&*error),
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
async fn once(ctx: &Context) -> Result<Ticked, Box<dyn std::error::Error + Send + Sync>> {
    let ctx = ctx.clone();
    Ok(tokio::spawn(async move { tick(&ctx).await }).await??)
}
