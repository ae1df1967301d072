//! What processes tell each other of sessions and API keys that have ended, so that an end at one is known at
//! all of them as soon as a message takes.
//!
//! Nothing depends on a message's arriving: without it an end is known within
//! [a second](crate::remembered::MAX_AGE).

use std::sync::Arc;

use bellwether_domain::ids::SessionId;
use bellwether_domain::ports::{EventBus, Received, Topic};
use bytes::{BufMut as _, Bytes, BytesMut};
use uuid::Uuid;

use crate::api_keys::KeyMemory;
use crate::sessions::SessionMemory;

/// What has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Sessions.
    Sessions(Vec<SessionId>),
    /// An API key, by its hash.
    Key([u8; 32]),
}

/// The first byte of each kind of message.
const SESSIONS: u8 = b's';
const KEY: u8 = b'k';

impl Ended {
    fn written(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        match self {
            Self::Sessions(ids) => {
                bytes.put_u8(SESSIONS);
                ids.iter().for_each(|id| bytes.put_slice(id.0.as_bytes()));
            }
            Self::Key(hash) => {
                bytes.put_u8(KEY);
                bytes.put_slice(hash);
            }
        }
        bytes.freeze()
    }

    /// `None` where it makes no sense.
    fn read(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&SESSIONS, ids) => {
                let (ids, rest) = ids.as_chunks::<16>();
                rest.is_empty().then(|| Self::Sessions(ids.iter().map(|id| SessionId(Uuid::from_bytes(*id))).collect()))
            }
            (&KEY, hash) => Some(Self::Key(hash.try_into().ok()?)),
            _ => None,
        }
    }
}

/// Tells other processes of ends. Clones tell the same ones.
#[derive(Clone)]
pub(crate) struct Teller(pub(crate) Arc<dyn EventBus>);

impl Teller {
    /// Tells. Where the bus is away nobody hears it, and that is no error.
    pub(crate) async fn tell(&self, ended: &Ended) {
        if self.0.publish(&topic(), ended.written()).await.is_err() {
            tracing::debug!("other servers could not be told of an end: they find out within a second");
        }
    }
}

fn topic() -> Topic {
    Topic::new("ends")
}

/// Heeds what other processes tell of ends, until the bus is shut down.
pub async fn heed_ends(bus: Arc<dyn EventBus>, sessions: SessionMemory, keys: KeyMemory) {
    let mut subscription = bus.subscribe(&topic()).await;
    while let Some(received) = subscription.next().await {
        let ended = match &received {
            Received::Message(message) => Ended::read(message),
            Received::Lagged(_) | Received::Interrupted | Received::Resumed => None,
        };
        match ended {
            Some(Ended::Sessions(ids)) => sessions.end_here(&ids).await,
            Some(Ended::Key(hash)) => keys.end_here(hash).await,
            // Whatever has ended meanwhile may not be known here.
            None => {
                sessions.forget_all();
                keys.forget_all();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::time::Duration;

    use bellwether_domain::ids::UserId;
    use bellwether_domain::ports::{MockEventBus, MockQueries, MockSubscription, SessionOfUser};
    use bellwether_domain::session::{Device, Lifetime, Session};
    use bellwether_domain::user::{Role, UserStatus};
    use jiff::Timestamp;

    use super::*;

    const ID: SessionId = SessionId(Uuid::from_u128(1));

    fn memory() -> SessionMemory {
        SessionMemory::with_max_age(Duration::from_secs(3600))
    }

    /// A memory that knows a good session, after all that was received was heeded.
    async fn remembered_after(received: Vec<Received>) -> SessionMemory {
        let memory = memory();
        let mut queries = MockQueries::new();
        queries.expect_session().times(1).returning(|id| {
            let lifetime = Lifetime { from: Timestamp::UNIX_EPOCH, until: Timestamp::MAX };
            let session = Session::begin(id, UserId(Uuid::from_u128(2)), Device::default(), lifetime);
            Ok(Some(SessionOfUser { session, role: Role::User, status: UserStatus::Active }))
        });
        assert!(memory.get(&queries, ID).await.unwrap().is_some());
        let (mut bus, received) = (MockEventBus::new(), Mutex::new(VecDeque::from(received)));
        bus.expect_subscribe().return_once(move |_| {
            let mut subscription = MockSubscription::new();
            subscription.expect_next().returning(move || received.lock().unwrap().pop_front());
            Box::new(subscription)
        });
        heed_ends(Arc::new(bus), memory.clone(), KeyMemory::default()).await;
        memory
    }

    /// Threat 9.
    #[tokio::test]
    async fn an_end_elsewhere_counts_here_and_one_that_was_missed_is_asked_for() {
        assert!(remembered_after(Vec::new()).await.recall(ID).await.is_some_and(|known| known.is_some()));
        let other = Ended::Sessions(vec![SessionId(Uuid::from_u128(7))]).written();
        let kept = remembered_after(vec![Received::Message(other)]).await;
        assert!(kept.recall(ID).await.is_some_and(|known| known.is_some()));
        let ended = remembered_after(vec![Received::Message(Ended::Sessions(vec![ID]).written())]).await;
        assert!(ended.recall(ID).await.is_none_or(|known| known.is_none()));
        let nonsense = Received::Message(Bytes::from("nonsense"));
        for missed in [Received::Lagged(1), Received::Interrupted, Received::Resumed, nonsense] {
            assert!(remembered_after(vec![missed]).await.recall(ID).await.is_none());
        }
    }

    #[tokio::test]
    async fn an_end_here_is_told_and_counts_although_nobody_hears_it() {
        let mut bus = MockEventBus::new();
        let told = Ended::Sessions(vec![ID]).written();
        bus.expect_publish()
            .withf(move |_, message| *message == told)
            .times(1)
            .returning(|_, _| Err(bellwether_domain::ports::BusUnreachable));
        let memory = memory().telling(Arc::new(bus));
        memory.end(&[]).await;
        memory.end(&[ID]).await;
        let mut queries = MockQueries::new();
        queries.expect_session().returning(|_| Ok(None));
        assert_eq!(memory.get(&queries, ID).await.unwrap(), None);
    }

    #[test]
    fn what_is_written_is_read_again_and_all_else_makes_no_sense() {
        let ids = [1, 2].map(|id| SessionId(Uuid::from_u128(id)));
        for ended in [Ended::Sessions(ids.to_vec()), Ended::Sessions(Vec::new()), Ended::Key([7; 32])] {
            assert_eq!(Ended::read(&ended.written()), Some(ended));
        }
        for nonsense in [&b""[..], b"x", b"k", b"s123", &[b'k'; 34]] {
            assert_eq!(Ended::read(nonsense), None);
        }
    }
}
