//! The background task that ends in the cache what the outbox says has changed.

use std::time::Duration;

use bellwether_usecases::Context;
use bellwether_usecases::cache_follower::CacheFollower;
use bellwether_usecases::events::Progress;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::pause::goes_on_after;

/// The pause after something was heard: where much happens, some of it is taken at a time, and what is read
/// all the time is not ended more often than that.
const BREATH: Duration = Duration::from_millis(250);
/// The pause after a failure.
const PAUSE: Duration = Duration::from_millis(500);

/// Follows until `stop` turns true.
pub(crate) async fn run(ctx: Context, mut stop: watch::Receiver<bool>) {
    let (mut follower, mut ear) = (CacheFollower::default(), ctx.event_bell.listen());
    let (mut is_lost, mut goes_on) = (false, !*stop.borrow());
    while goes_on {
        let heard = follower.follow(&ctx).await;
        match &heard {
            Ok(_) if is_lost => tracing::info!("the cache follows what happens again"),
            Err(error) if !is_lost => {
                tracing::warn!(%error, "the cache does not follow what happens; it is tried again")
            }
            _ => {}
        }
        is_lost = heard.is_err();
        goes_on = match heard {
            Ok(Progress::More) => !*stop.borrow(),
            Ok(Progress::Some) => goes_on_after(sleep(BREATH), &mut stop).await,
            Ok(Progress::Nothing) => goes_on_after(ear.heard(), &mut stop).await,
            Err(_) => goes_on_after(sleep(PAUSE), &mut stop).await,
        };
    }
}
