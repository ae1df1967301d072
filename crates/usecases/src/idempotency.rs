//! Idempotency keys: the answer is kept in the transaction of what it answers.

use async_trait::async_trait;
use bellwether_domain::ports::{AnswerKey, KeptAnswer, UnitOfWork};
use bellwether_domain::refusal::Refusal;
use jiff::Timestamp;

use crate::atomically::{Script, Step, atomically};
use crate::forgetting::{self, Old, OldInUnits};
use crate::{Context, Error};

/// A key that a client sent with a request for a `T`, and how the answer to it is written down.
///
/// A refusal keeps no answer: the same key may be tried again.
#[derive(Debug)]
pub struct Keyed<T: ?Sized> {
    /// The key.
    pub key: AnswerKey,
    /// SHA-256 of the request.
    pub fingerprint: [u8; 32],
    /// Writes the answer down.
    pub render: fn(&T) -> Rendered,
}

impl<T: ?Sized> Clone for Keyed<T> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), fingerprint: self.fingerprint, render: self.render }
    }
}

/// An answer as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The HTTP-like status.
    pub status: u16,
    /// The `Location`, if there is one.
    pub location: Option<String>,
    /// The data as JSON text.
    pub body: String,
}

/// The outcome of a request that may bear a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Answered<T> {
    /// It was done now.
    Fresh(T),
    /// It was done before; this was the answer.
    Replayed(KeptAnswer),
}

impl<T: ?Sized> Keyed<T> {
    /// The answer to keep.
    pub fn keep(&self, value: &T, now: Timestamp) -> KeptAnswer {
        let Rendered { status, location, body } = (self.render)(value);
        KeptAnswer { key: self.key.clone(), fingerprint: self.fingerprint, status, location, body, created_at: now }
    }

    /// The kept answer to this very request, if there is one; a refusal if the key was used with another.
    pub fn replay(&self, kept: &[KeptAnswer]) -> Result<Option<KeptAnswer>, Error> {
        match kept.iter().find(|k| k.key == self.key) {
            None => Ok(None),
            Some(kept) if kept.fingerprint == self.fingerprint => Ok(Some(kept.clone())),
            Some(_) => Err(Refusal::IdempotencyMismatch.into()),
        }
    }
}

/// The kept answer to a request that may bear a key, within a unit of work.
pub(crate) async fn find_answer<T: ?Sized>(
    unit: &mut dyn UnitOfWork,
    keyed: Option<&Keyed<T>>,
) -> Result<Option<KeptAnswer>, Error> {
    match keyed {
        None => Ok(None),
        Some(keyed) => {
            let key = keyed.key.clone();
            keyed.replay(&unit.answers().find(&[key]).await?)
        }
    }
}

/// The kept answer to a request that may bear a key, looked for before anything may refuse the request: what was done
/// once is answered again. Who does it looks again, in the unit of work that does it.
pub(crate) async fn answered_before<T: ?Sized>(
    ctx: &Context,
    keyed: Option<&Keyed<T>>,
) -> Result<Option<KeptAnswer>, Error> {
    match keyed {
        None => Ok(None),
        Some(keyed) => keyed.replay(&atomically(ctx, LookUp { key: keyed.key.clone() }).await?),
    }
}

struct LookUp {
    key: AnswerKey,
}

#[async_trait]
impl Script for LookUp {
    type Output = Vec<KeptAnswer>;

    async fn run(&mut self, _: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Vec<KeptAnswer>>, Error> {
        let kept = unit.answers().find(std::slice::from_ref(&self.key)).await?;
        Ok(if kept.is_empty() { Step::Discard(kept) } else { Step::Commit(kept) })
    }
}

/// Forgets answers that were kept for as long as they are to be, a bounded number in each unit of
/// work. Returns how many.
pub async fn forget_old_answers(ctx: &Context) -> Result<u64, Error> {
    let before = ctx.clock.now().saturating_sub(ctx.policy.answers_kept);
    let Ok(before) = before else { return Ok(0) };
    forgetting::forget(ctx, Old::InUnits(OldInUnits::Answers(before))).await
}
