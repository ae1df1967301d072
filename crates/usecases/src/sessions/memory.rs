//! What this process remembers of sessions.

use std::sync::Arc;
use std::time::Duration;

use bellwether_domain::ids::{SessionId, UserId};
use bellwether_domain::ports::{EventBus, Queries, SessionOfUser, StoreError};
use bellwether_domain::user::{Role, UserStatus};
use jiff::Timestamp;

use crate::ends::{Ended, Teller};
use crate::remembered::{MAX_AGE, Remembered};

/// A session whose user may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LiveSession {
    pub(crate) user: UserId,
    pub(crate) role: Role,
    pub(crate) expires_at: Timestamp,
}

impl LiveSession {
    fn of(found: &SessionOfUser) -> Option<Self> {
        let SessionOfUser { session, role, status } = found;
        let is_good = session.end.is_none() && *status == UserStatus::Active;
        is_good.then_some(Self { user: session.user, role: *role, expires_at: session.expires_at })
    }
}

/// The memory of sessions. Clones are the same memory.
#[derive(Clone)]
pub struct SessionMemory {
    known: Remembered<SessionId, LiveSession>,
    teller: Option<Teller>,
}

impl std::fmt::Debug for SessionMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionMemory(..)")
    }
}

impl Default for SessionMemory {
    fn default() -> Self {
        Self::with_max_age(MAX_AGE)
    }
}

impl SessionMemory {
    /// A memory whose knowledge may be so old.
    #[must_use]
    pub fn with_max_age(max_age: Duration) -> Self {
        Self { known: Remembered::with_max_age(max_age), teller: None }
    }

    /// The same, and other processes are told of ends by this bus.
    #[must_use]
    pub fn telling(self, bus: Arc<dyn EventBus>) -> Self {
        Self { teller: Some(Teller(bus)), ..self }
    }

    /// What is remembered of a session; none where the store must be asked.
    pub(crate) async fn recall(&self, id: SessionId) -> Option<Option<LiveSession>> {
        self.known.recall(id).await
    }

    /// The session, if it is good. However many ask at the same time, the store is asked once.
    pub(crate) async fn get(&self, queries: &dyn Queries, id: SessionId) -> Result<Option<LiveSession>, StoreError> {
        self.known.get(id, async { Ok(queries.session(id).await?.as_ref().and_then(LiveSession::of)) }).await
    }

    /// Notes that sessions have ended: from now on they are good for nothing here, and other processes are told.
    pub(crate) async fn end(&self, ids: &[SessionId]) {
        self.end_here(ids).await;
        if let Some(teller) = self.teller.as_ref().filter(|_| !ids.is_empty()) {
            teller.tell(&Ended::Sessions(ids.to_vec())).await;
        }
    }

    /// The same where another process told it.
    pub(crate) async fn end_here(&self, ids: &[SessionId]) {
        self.known.end(ids).await;
    }

    /// Asks the store anew for every session.
    pub(crate) fn forget_all(&self) {
        self.known.forget_all();
    }
}

#[cfg(test)]
mod tests {
    use bellwether_domain::ports::MockQueries;
    use bellwether_domain::session::{Device, EndReason, Lifetime, Session};
    use futures_util::FutureExt as _;
    use uuid::Uuid;

    use super::*;

    const ID: SessionId = SessionId(Uuid::from_u128(1));

    fn session() -> Session {
        let lifetime = Lifetime { from: Timestamp::UNIX_EPOCH, until: Timestamp::MAX };
        Session::begin(ID, UserId(Uuid::from_u128(2)), Device::default(), lifetime)
    }

    fn found(session: Session, status: UserStatus) -> Option<SessionOfUser> {
        Some(SessionOfUser { session, role: Role::User, status })
    }

    #[tokio::test]
    async fn the_store_is_asked_once_and_again_when_the_answer_is_old() {
        for (max_age, questions) in [(Duration::from_secs(3600), 1), (Duration::ZERO, 3)] {
            let mut queries = MockQueries::new();
            queries.expect_session().times(questions).returning(|_| Ok(found(session(), UserStatus::Active)));
            let memory = SessionMemory::with_max_age(max_age);
            for _ in 0..3 {
                assert!(memory.get(&queries, ID).await.unwrap().is_some());
            }
        }
    }

    /// Threat 9.
    #[tokio::test]
    async fn a_session_that_is_over_or_whose_user_may_not_act_is_good_for_nothing() {
        let mut ended = session();
        ended.end(EndReason::LoggedOut, Timestamp::UNIX_EPOCH);
        for answer in [
            None,
            found(ended, UserStatus::Active),
            found(session(), UserStatus::Suspended),
            found(session(), UserStatus::Deactivated),
        ] {
            let mut queries = MockQueries::new();
            queries.expect_session().times(1).returning(move |_| Ok(answer.clone()));
            let memory = SessionMemory::with_max_age(Duration::from_secs(3600));
            assert_eq!(memory.recall(ID).await, None);
            assert_eq!(memory.get(&queries, ID).await.unwrap(), None);
            assert_eq!(memory.recall(ID).await, Some(None));
        }
    }

    /// Threats 9 and 40: an end counts at once, and over an answer that was under way.
    #[tokio::test]
    async fn an_end_wins_over_a_read_that_began_before_it() {
        let memory = SessionMemory::with_max_age(Duration::from_secs(3600));
        let (mut queries, ending) = (MockQueries::new(), memory.clone());
        queries.expect_session().times(1).returning(move |_| {
            ending.end(&[ID]).now_or_never().unwrap();
            Ok(found(session(), UserStatus::Active))
        });
        assert_eq!(memory.get(&queries, ID).await.unwrap(), None);
        assert_eq!(memory.recall(ID).await, Some(None));
    }

    #[tokio::test]
    async fn a_store_that_fails_is_asked_again() {
        let mut queries = MockQueries::new();
        queries.expect_session().times(1).returning(|_| Err(StoreError::Corrupt("a row".to_owned())));
        queries.expect_session().times(1).returning(|_| Ok(found(session(), UserStatus::Active)));
        let memory = SessionMemory::default();
        assert!(matches!(memory.get(&queries, ID).await, Err(StoreError::Corrupt(_))));
        assert!(memory.get(&queries, ID).await.unwrap().is_some());
    }
}
