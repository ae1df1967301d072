//! What servers on one store tell each other.

use std::time::Duration;

use async_trait::async_trait;
use bellwether_domain::job::JobKind;
use bellwether_domain::ports::{MockStore, Notice, Notices};
use bellwether_usecases::events::exchange_notices;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, timeout};

use crate::mocks::context;

/// The line to the other servers.
struct Line {
    heard: UnboundedReceiver<Notice>,
    told: UnboundedSender<Instant>,
}

#[async_trait]
impl Notices for Line {
    async fn next(&mut self) -> Notice {
        self.heard.recv().await.unwrap()
    }

    async fn tell_of_events(&mut self) {
        self.told.send(Instant::now()).unwrap();
    }
}

#[tokio::test]
async fn others_are_told_of_commits_at_once_and_then_of_some_at_a_time_and_not_of_their_own() {
    let ctx = context(MockStore::new());
    let ((say, heard), (told, mut tellings)) = (unbounded_channel(), unbounded_channel());
    let mut ear = ctx.event_bell.listen();
    let exchanging = tokio::spawn(exchange_notices(ctx.clone(), Box::new(Line { heard, told })));
    tokio::task::yield_now().await;

    ctx.event_bell.ring();
    let first = tellings.recv().await.unwrap();
    // All of these are told together.
    (0..10).for_each(|_| ctx.event_bell.ring());
    let second = tellings.recv().await.unwrap();
    assert!(second - first >= Duration::from_millis(20), "{:?}", second - first);
    ear.heard().await;

    // What is heard wakes who follows here, and is not told again.
    say.send(Notice::Events).unwrap();
    ear.heard().await;
    say.send(Notice::Jobs(JobKind::Mail)).unwrap();
    ctx.job_bell.heard(JobKind::Mail).await;
    say.send(Notice::Missed).unwrap();
    ctx.job_bell.heard(JobKind::Webhook).await;
    ear.heard().await;
    assert!(timeout(Duration::from_millis(60), tellings.recv()).await.is_err());
    exchanging.abort();
}
