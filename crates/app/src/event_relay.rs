//! The background task that hands what happens on to the log beside the store.

use std::time::Duration;

use bellwether_usecases::Context;
use bellwether_usecases::relay::{Relay, RelayError};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::pause::goes_on_after;

/// The pause after a failure.
const PAUSE: Duration = Duration::from_secs(1);

/// Hands events on until `stop` turns true.
pub(crate) async fn run(ctx: Context, mut relay: Relay, mut stop: watch::Receiver<bool>) {
    let mut ear = ctx.event_bell.listen();
    let (mut is_lost, mut goes_on) = (false, !*stop.borrow());
    while goes_on {
        let handed_on = relay.hand_on(&ctx).await;
        match &handed_on {
            Ok(_) if is_lost => tracing::info!("the log of events is told again"),
            Err(error) if !is_lost => {
                tracing::error!(%error, "the log of events is not told; it is tried again every second");
            }
            _ => {}
        }
        is_lost = handed_on.is_err();
        goes_on = match handed_on {
            Ok(true) => !*stop.borrow(),
            Ok(false) => goes_on_after(ear.heard(), &mut stop).await,
            Err(RelayError::Store(_) | RelayError::Log(_)) => goes_on_after(sleep(PAUSE), &mut stop).await,
        };
    }
}
