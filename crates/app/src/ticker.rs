//! The background task that does what time has made due.

use std::time::Duration;

use bellwether_usecases::api_keys::write_last_uses;
use bellwether_usecases::audit_log::tell_of_failures;
use bellwether_usecases::events::forget_old_events;
use bellwether_usecases::idempotency::forget_old_answers;
use bellwether_usecases::recovery::forget_old_mail_tokens;
use bellwether_usecases::sessions::forget_old_sessions;
use bellwether_usecases::settling::tick;
use bellwether_usecases::{Context, Error};
use tokio::sync::watch;
use tokio::time::Instant;

/// The longest pause after failures.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// How often answers, sessions and tokens that were kept long enough are forgotten.
const FORGET_INTERVAL: Duration = Duration::from_secs(600);

/// Ticks until `stop` turns true; a tick that has begun is finished. Failures are logged and tried
/// again, less and less often.
pub(crate) async fn run(ctx: Context, interval: Duration, mut stop: watch::Receiver<bool>) {
    let (mut pause, mut next_forget) = (interval, Instant::now());
    while !*stop.borrow() {
        if next_forget <= Instant::now() {
            next_forget = Instant::now() + FORGET_INTERVAL;
            let forgetting = ctx.clone();
            if let Err(error) = guarded(async move { forget(&forgetting).await }).await {
                tracing::error!(error = %format_args!("{error:#}"), "old answers, sessions and tokens could not be forgotten; it is tried again later");
            }
        }
        let using = ctx.clone();
        if let Err(error) = guarded(async move { write_last_uses(&using).await }).await {
            tracing::warn!(error = %format_args!("{error:#}"), "the last uses of API keys could not be written");
        }
        let ticking = ctx.clone();
        let wait = match guarded(async move { tick(&ticking).await }).await {
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

/// Forgets what was kept long enough, and tells what was counted long enough.
async fn forget(ctx: &Context) -> Result<(), Error> {
    forget_old_answers(ctx).await?;
    forget_old_sessions(ctx).await?;
    forget_old_mail_tokens(ctx).await?;
    tell_of_failures(ctx).await?;
    forget_old_events(ctx).await?;
    Ok(())
}

/// Runs a piece of work in a task of its own: a panic in it is one failure and not the end of all.
async fn guarded<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> anyhow::Result<T> {
    Ok(tokio::spawn(work).await??)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use bellwether_domain::ports::Clock;
    use jiff::Timestamp;
    use tokio::sync::mpsc;

    use super::*;
    use crate::config::of_flags;
    use crate::wiring::{self, Backend};

    /// A clock that tells how often it was asked, and breaks the first two times: when old answers
    /// are to be forgotten, and in the first tick.
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
        assert!(tick(&Context { clock: Arc::new(bellwether_security::SystemClock), ..ctx.clone() }).await.is_err());

        let (stop, stopped) = watch::channel(false);
        let ticking = tokio::spawn(run(ctx, Duration::from_millis(1), stopped));
        while told.recv().await.unwrap() < 5 {}
        stop.send_replace(true);
        ticking.await.unwrap();
    }
}
