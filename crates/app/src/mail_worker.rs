//! The background task that sends mails: at once when this process put one aside, and now and then what
//! other processes did or what failed before. No request ever waits for it.

use std::sync::Arc;
use std::time::Duration;

use bellwether_domain::job::JobKind;
use bellwether_domain::ports::{EventBus, Topic};
use bellwether_usecases::mail::{Delivery, MailBell, deliver_due, forget_dead_mails};
use bellwether_usecases::{Context, Error};
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

/// The longest pause: so long may a mail wait that another process put aside.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// How often mails that were given up are looked through.
const FORGET_INTERVAL: Duration = Duration::from_secs(3600);

/// Sends until `stop` turns true; mails that are being sent are finished.
pub(crate) async fn run(ctx: Context, delivery: Delivery, mut stop: watch::Receiver<bool>) {
    let mut next_forget = Instant::now();
    while !*stop.borrow() {
        let round = {
            let (ctx, delivery) = (ctx.clone(), delivery.clone());
            let must_forget = next_forget <= Instant::now();
            // In a task of its own: a panic in it is one failure and not the end of all.
            tokio::spawn(async move { round(&ctx, &delivery, must_forget).await })
        };
        let pause = match round.await.map_err(anyhow::Error::new).and_then(|result| Ok(result?)) {
            Ok(pause) => {
                if next_forget <= Instant::now() {
                    next_forget = Instant::now() + FORGET_INTERVAL;
                }
                pause
            }
            Err(error) => {
                tracing::error!(error = %format_args!("{error:#}"), "mails cannot be looked for; it is tried again");
                MAX_PAUSE
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = ctx.mail_bell.heard() => {}
            changed = stop.changed() => if changed.is_err() { return },
        }
    }
}

/// Where other processes send the mails: tells them, over the bus, that one was put aside here.
pub(crate) async fn ring_elsewhere(bell: MailBell, bus: Arc<dyn EventBus>) {
    loop {
        bell.heard().await;
        // Where it is away they find out when they look.
        bus.publish(&topic(), Bytes::new()).await.ok();
    }
}

/// Wakes this process when another has put a mail aside.
pub(crate) async fn listen(bell: MailBell, bus: Arc<dyn EventBus>) {
    let mut subscription = bus.subscribe(&topic()).await;
    while subscription.next().await.is_some() {
        bell.ring();
    }
}

fn topic() -> Topic {
    Topic::new("mail")
}

/// Sends what is due; how long there is nothing more to do.
async fn round(ctx: &Context, delivery: &Delivery, must_forget: bool) -> Result<Duration, Error> {
    if must_forget {
        forget_dead_mails(ctx, delivery).await?;
    }
    if deliver_due(ctx, delivery).await? > 0 {
        return Ok(Duration::ZERO);
    }
    let Some(due) = delivery.jobs.next_due(JobKind::Mail).await? else { return Ok(MAX_PAUSE) };
    let until_due = due.duration_since(ctx.clock.now());
    Ok(Duration::try_from(until_due).unwrap_or(Duration::ZERO).min(MAX_PAUSE))
}
