//! Leases that may stand although nobody holds them.

use std::sync::Arc;
use std::time::Duration;

use fred::types::scripts::Script;
use fred::types::{Key, Value};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::link::{RedisLink, Unanswered};

/// How many are looked after at the same time. Those beyond stand until they end by themselves.
const MOST: usize = 256;
/// How long to wait before asking again: at first, and at most.
const ASKING: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(400));
/// For so long Redis is asked again after it said that there is no such lease: what was to give it may still be on its
/// way by another connection.
const SETTLING: Duration = Duration::from_secs(1);
/// For so long a Redis that does not answer is asked.
const PATIENCE: Duration = Duration::from_secs(30);

/// Ends leases of which nobody knows whether they stand: what was asked is done even where its answer comes too late
/// for whoever asked, and everybody else would wait for him.
#[derive(Debug)]
pub(crate) struct Strays {
    link: Arc<RedisLink>,
    release: Script,
    places: Arc<Semaphore>,
}

impl Strays {
    /// Over these connections; the script ends a lease, and answers 1 if it stood.
    pub(crate) fn new(link: Arc<RedisLink>, release: Script) -> Self {
        Self { link, release, places: Arc::new(Semaphore::new(MOST)) }
    }

    /// Sees to it that this lease ends, and does not wait for it.
    pub(crate) fn end(&self, key: Key, token: String) {
        // Where there is no runtime any more, the process ends.
        let (Ok(runtime), Ok(place)) = (Handle::try_current(), Arc::clone(&self.places).try_acquire_owned()) else {
            return;
        };
        let (link, release) = (Arc::clone(&self.link), self.release.clone());
        runtime.spawn(async move {
            end(&link, &release, &key, &token).await;
            drop(place);
        });
    }
}

async fn end(link: &RedisLink, release: &Script, key: &Key, token: &str) {
    let (mut pause, longest) = ASKING;
    let mut until = Instant::now() + PATIENCE;
    let mut is_settling = false;
    while Instant::now() < until {
        sleep(pause).await;
        pause = longest.min(pause * 2);
        let args: Vec<Value> = vec![token.into()];
        match link.try_run::<i64>(release, vec![key.clone()], args).await {
            // Where it is refused once it would be again, and each time may cost a connection.
            Ok(1) | Err(Unanswered::Refused) => return,
            Ok(_) if !is_settling => {
                is_settling = true;
                until = Instant::now() + SETTLING;
            }
            Ok(_) | Err(Unanswered::Unasked | Unanswered::Unheard) => {}
        }
    }
}
