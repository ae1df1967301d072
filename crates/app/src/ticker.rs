//! The background tasks: one does what time has made due, one watches the dead-man switches, another writes down what this process has counted.

use std::sync::Arc;
use std::time::Duration;

use bellwether_usecases::api_keys::write_last_uses;
use bellwether_usecases::settling::{Turns, tick};
use bellwether_usecases::switches::Watch;
use bellwether_usecases::{Context, Error};
use tokio::sync::{Mutex, watch};

use crate::pause::goes_on_after;

/// The longest pause after failures.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// The longest pause between two looks at the dead-man switches.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// Ticks until `stop` turns true; a tick that has begun is finished. Failures are logged and tried
/// again, less and less often.
pub(crate) async fn run(ctx: Context, interval: Duration, mut stop: watch::Receiver<bool>) {
    let (mut pause, turns) = (interval, Arc::new(Mutex::new(Turns::default())));
    while !*stop.borrow() {
        let (ticking, turns) = (ctx.clone(), Arc::clone(&turns));
        let wait = match guarded(async move { tick(&ticking, &mut *turns.lock().await).await }).await {
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
        if !goes_on_after(tokio::time::sleep(wait), &mut stop).await {
            return;
        }
    }
}

/// Looks for dead-man switches that have passed their deadline until `stop` turns true: every second, or as often as it is
/// looked for what is due, if that is more often.
pub(crate) async fn watch_switches(ctx: Context, interval: Duration, mut stop: watch::Receiver<bool>) {
    let interval = interval.min(LONGEST_LOOK);
    let (mut watch, mut goes_on) = (Watch::default(), !*stop.borrow());
    while goes_on {
        if let Err(error) = watch.look(&ctx).await {
            tracing::error!(error = %format_args!("{:#}", anyhow::Error::new(error)), "dead-man switches were not all looked at; it is tried again");
        }
        goes_on = goes_on_after(tokio::time::sleep(interval), &mut stop).await;
    }
}

/// Writes when API keys were used, as far as this process knows, until `stop` turns true, and then once more.
pub(crate) async fn write_down(ctx: Context, interval: Duration, mut stop: watch::Receiver<bool>) {
    let mut is_last = false;
    loop {
        let using = ctx.clone();
        if let Err(error) = guarded(async move { write_last_uses(&using).await }).await {
            tracing::warn!(error = %format_args!("{error:#}"), "the last uses of API keys could not be written");
        }
        if is_last {
            return;
        }
        is_last = !goes_on_after(tokio::time::sleep(interval), &mut stop).await;
    }
}

/// Runs a piece of work in a task of its own: a panic in it is one failure and not the end of all.
async fn guarded<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> anyhow::Result<T> {
    Ok(tokio::spawn(work).await??)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use bellwether_domain::ports::Clock;
    use jiff::Timestamp;
    use tokio::sync::mpsc;

    use super::*;
    use crate::config::of_flags;
    use crate::wiring::{self, Backend};

    /// A clock that tells how often it was asked, and breaks the first two times.
    struct BrokenAtFirst(AtomicU32, mpsc::UnboundedSender<u32>);

    impl Clock for BrokenAtFirst {
        fn now(&self) -> Timestamp {
            let asked = self.0.fetch_add(1, Ordering::Relaxed) + 1;
            self.1.send(asked).unwrap();
            assert!(asked > 2, "broken, for the test");
            Timestamp::UNIX_EPOCH
        }
    }

    #[tokio::test]
    async fn a_panicking_tick_and_a_failing_one_are_not_the_last_and_the_end_is_heeded() {
        let folder = tempfile::tempdir().unwrap();
        let config = of_flags(&["--data-dir", folder.path().to_str().unwrap()]);
        // Not migrated, so every tick that does not panic fails.
        let mut ctx = wiring::command_context(&config, &Backend::open(&config).await.unwrap()).unwrap();
        let (tell, mut told) = mpsc::unbounded_channel();
        ctx.clock = Arc::new(BrokenAtFirst(AtomicU32::new(0), tell));
        let in_time = Context { clock: Arc::new(bellwether_security::SystemClock), ..ctx.clone() };
        assert!(tick(&in_time, &mut Turns::default()).await.is_err());

        let (stop, stopped) = watch::channel(false);
        let ticking = tokio::spawn(run(ctx, Duration::from_millis(1), stopped));
        while told.recv().await.unwrap() < 5 {}
        stop.send_replace(true);
        ticking.await.unwrap();
    }
}
