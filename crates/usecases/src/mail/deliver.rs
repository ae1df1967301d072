//! Sending what was put aside.

use std::sync::Arc;

use async_trait::async_trait;
use bellwether_domain::ids::UserId;
use bellwether_domain::job::{Job, JobKind, Outcome};
use bellwether_domain::mail::{MOST_OUTSTANDING, MailToken};
use bellwether_domain::ports::{Changes, Jobs, MailError, Mailer, StoreError, UnitOfWork};
use bellwether_domain::session::Lifetime;
use bellwether_domain::user::{User, UserStatus};
use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;

use super::{Occasion, read, texts};
use crate::atomically::{Script, Step, atomically};
use crate::{Context, Error};

/// How many mails are taken at once, and sent at the same time.
const AT_ONCE: u32 = 4;
/// How long mails that could not be sent are kept for people to see.
const DEAD_KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How many of those one call of the store forgets.
const FORGOTTEN_AT_ONCE: u32 = 500;

/// What it takes to send mails. Clones are the same.
#[derive(Clone)]
pub struct Delivery {
    /// The queue.
    pub jobs: Arc<dyn Jobs>,
    /// Who sends.
    pub mailer: Arc<dyn Mailer>,
    /// What links in mails begin with, without a slash at the end. From the configuration alone: what a
    /// request says of the host that it was sent to is never asked.
    pub public_url: Arc<str>,
    /// For how long a mail is this process's to send: well longer than the mailer may take.
    pub lease: SignedDuration,
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery")
            .field("public_url", &self.public_url)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// Sends mails that are due, a few at the same time; how many it took from the queue. What fails is
/// noted with its job, and is no error here.
pub async fn deliver_due(ctx: &Context, delivery: &Delivery) -> Result<usize, Error> {
    let now = ctx.clock.now();
    let lease_until = now.checked_add(delivery.lease).map_err(|_| Error::Payload)?;
    let claimed = delivery.jobs.claim(JobKind::Mail, now, lease_until, AT_ONCE).await?;
    let count = claimed.len();
    let mut sending = JoinSet::new();
    for job in claimed {
        let (ctx, delivery) = (ctx.clone(), delivery.clone());
        sending.spawn(async move { deliver(&ctx, &delivery, job).await });
    }
    while let Some(ended) = sending.join_next().await {
        let told = ended.map_err(|error| error.to_string()).and_then(|noted| noted.map_err(|error| error.to_string()));
        if let Err(error) = told {
            tracing::error!(%error, "what became of a mail was not noted; it is sent again when its lease has run out");
        }
    }
    Ok(count)
}

/// Forgets mails that could not be sent and were kept long enough. Returns how many.
pub async fn forget_dead_mails(ctx: &Context, delivery: &Delivery) -> Result<u64, Error> {
    let Ok(before) = ctx.clock.now().checked_sub(DEAD_KEPT) else { return Ok(0) };
    Ok(delivery.jobs.forget_dead_before(before, FORGOTTEN_AT_ONCE).await?)
}

/// Why a mail was not sent.
enum Failure {
    /// It may be sent later.
    ForNow(String),
    /// It never will be.
    ForGood(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::ForNow(chain(&error))
    }
}

impl From<MailError> for Failure {
    fn from(error: MailError) -> Self {
        match error {
            MailError::Unavailable(_) => Self::ForNow(chain(&error)),
            MailError::Refused(_) => Self::ForGood(chain(&error)),
        }
    }
}

/// An error and what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Sends one mail, and notes what became of it.
async fn deliver(ctx: &Context, delivery: &Delivery, job: Job) -> Result<(), StoreError> {
    let (error, outcome) = match send(ctx, delivery, &job).await {
        Ok(()) => {
            if !delivery.jobs.finish(job.claim()).await? {
                tracing::warn!(job = %job.id, "a mail took longer than its lease, and may have been sent twice");
            }
            return Ok(());
        }
        Err(Failure::ForGood(error)) => (error, Outcome::Dead),
        Err(Failure::ForNow(error)) => {
            let [.., random] = ctx.ids.fresh().next_uuid().into_bytes();
            (error, job.after_failure(ctx.clock.now(), random))
        }
    };
    match outcome {
        Outcome::Again(at) => {
            tracing::warn!(job = %job.id, attempt = job.attempts, %error, %at, "a mail was not sent; it is tried again")
        }
        Outcome::Dead => tracing::error!(job = %job.id, attempt = job.attempts, %error, "a mail was given up"),
    }
    delivery.jobs.fail(job.claim(), &error, outcome, ctx.clock.now()).await.map(drop)
}

/// Composes and sends. A mail that nobody needs any more is as good as sent.
async fn send(ctx: &Context, delivery: &Delivery, job: &Job) -> Result<(), Failure> {
    let unreadable = || Failure::ForGood("what was put aside cannot be read".to_owned());
    let (occasion, given, seed) = read(&job.payload).ok_or_else(unreadable)?;
    let token = ctx.mail_tokens.successor(&seed);
    let until = job.created_at.checked_add(occasion.purpose().ttl()).map_err(|_| unreadable())?;
    let Some(user) = ctx.queries.user_by_email(&given.key()).await.map_err(Error::from)? else { return Ok(()) };
    // To the address as its user wrote it. Others that are compared as the same one may be somebody else's.
    let Some(to) = user.email.clone() else { return Ok(()) };
    let lifetime = Lifetime { from: job.created_at, until };
    let (user_id, purpose, sent_to) = (user.id, occasion.purpose(), to.key());
    let token_row = MailToken { hash: ctx.mail_tokens.hash(&token), user: user_id, purpose, sent_to, lifetime };
    if !is_wanted(occasion, &user) || !atomically(ctx, Issue { token: token_row }).await? {
        return Ok(());
    }
    let mail = texts::compose(job.id, occasion, to, &user, &token, until, &delivery.public_url);
    Ok(delivery.mailer.send(&mail).await?)
}

fn is_wanted(occasion: Occasion, user: &User) -> bool {
    user.status == UserStatus::Active && (occasion != Occasion::AddressGiven || !user.email_verified)
}

/// Makes a token good. The same again where a mail is sent again; whether the mail is to be sent.
struct Issue {
    token: MailToken,
}

#[async_trait]
impl Script for Issue {
    type Output = bool;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<bool>, Error> {
        let (now, token) = (ctx.clock.now(), &self.token);
        let user = lock(unit, token.user).await?;
        if !user.is_some_and(|user| token.is_good(token.purpose, &user, now)) {
            return Ok(Step::Discard(false));
        }
        let others = unit.mail_tokens().of_user(token.user).await?;
        if others.iter().any(|other| other.hash == token.hash) {
            return Ok(Step::Discard(true));
        }
        if outstanding(&others, token, now) >= MOST_OUTSTANDING {
            tracing::info!(user = %token.user, purpose = token.purpose.as_str(), "no further mail: enough tokens are outstanding");
            return Ok(Step::Discard(false));
        }
        unit.write(&Changes { new_mail_tokens: vec![token.clone()], ..Changes::default() }).await?;
        Ok(Step::Commit(true))
    }
}

async fn lock(unit: &mut dyn UnitOfWork, user: UserId) -> Result<Option<User>, StoreError> {
    Ok(unit.users().lock(&[user]).await?.pop())
}

/// How many tokens went to the same address for the same purpose and are still good.
fn outstanding(others: &[MailToken], token: &MailToken, now: Timestamp) -> usize {
    let is_like = |other: &&MailToken| {
        other.purpose == token.purpose && other.sent_to == token.sent_to && now < other.lifetime.until
    };
    others.iter().filter(is_like).count()
}
