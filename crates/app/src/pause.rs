//! Waiting in the background, as long as the server does not stop.

use tokio::sync::watch;

/// Waits, at the longest until `stop` turns true; whether to go on then.
pub(crate) async fn goes_on_after(wait: impl Future<Output = ()>, stop: &mut watch::Receiver<bool>) -> bool {
    let has_waited = tokio::select! {
        () = wait => true,
        // Whoever would say so may have gone; then it is over too.
        _ = stop.wait_for(|is_stopping| *is_stopping) => false,
    };
    has_waited && !*stop.borrow()
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn goes_on_until_the_server_stops_or_is_gone() {
        let (stop, mut stopped) = watch::channel(false);
        assert!(goes_on_after(ready(()), &mut stopped).await);
        stop.send_replace(true);
        assert!(!goes_on_after(pending(), &mut stopped).await);
        assert!(!goes_on_after(ready(()), &mut stopped).await);
        let (gone, mut stopped) = watch::channel(false);
        drop(gone);
        assert!(!goes_on_after(pending(), &mut stopped).await);
    }
}
