//! Sending what was put aside.

use std::sync::Arc;

use async_trait::async_trait;
use bellwether_domain::ids::UserId;
use bellwether_domain::job::{Job, JobKind};
use bellwether_domain::mail::{MOST_OUTSTANDING, MailToken};
use bellwether_domain::ports::{Changes, MailError, Mailer, StoreError, UnitOfWork};
use bellwether_domain::session::Lifetime;
use bellwether_domain::user::{User, UserStatus};
use jiff::Timestamp;

use super::{Occasion, read, texts};
use crate::atomically::{Script, Step, atomically};
use crate::jobs::{Failure, Handler, Verdict, chain};
use crate::{Context, Error};

/// What it takes to send mails. Clones are the same.
#[derive(Clone)]
pub struct Delivery {
    /// Who sends.
    pub mailer: Arc<dyn Mailer>,
    /// What links in mails begin with, without a slash at the end. From the configuration alone: what a
    /// request says of the host that it was sent to is never asked.
    pub public_url: Arc<str>,
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery").field("public_url", &self.public_url).finish_non_exhaustive()
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

#[async_trait]
impl Handler for Delivery {
    fn kind(&self) -> JobKind {
        JobKind::Mail
    }

    async fn run(&self, ctx: &Context, job: &Job) -> Result<Verdict, Failure> {
        send(ctx, self, job).await.map(|()| Verdict::Done(None))
    }
}

/// Composes and sends. A mail that nobody needs any more is as good as sent.
async fn send(ctx: &Context, delivery: &Delivery, job: &Job) -> Result<(), Failure> {
    let unreadable = || Failure::ForGood("what was put aside cannot be read".to_owned());
    let (occasion, given, seed) = read(&job.payload).ok_or_else(unreadable)?;
    let Some(user) = ctx.queries.user_by_email(&given.key()).await.map_err(Error::from)? else { return Ok(()) };
    // To the address as its user wrote it. Others that are compared as the same one may be somebody else's.
    let Some(to) = user.email.clone() else { return Ok(()) };
    let Some(purpose) = occasion.purpose() else {
        let notice = texts::compose_notice(job.id, to, &user, &delivery.public_url);
        return if is_wanted(occasion, &user) { Ok(delivery.mailer.send(&notice).await?) } else { Ok(()) };
    };
    let token = ctx.mail_tokens.successor(&seed);
    let until = job.created_at.checked_add(purpose.ttl()).map_err(|_| unreadable())?;
    let lifetime = Lifetime { from: job.created_at, until };
    let (user_id, sent_to) = (user.id, to.key());
    let token_row = MailToken { hash: ctx.mail_tokens.hash(&token), user: user_id, purpose, sent_to, lifetime };
    if !is_wanted(occasion, &user) || !atomically(ctx, Issue { token: token_row }).await? {
        return Ok(());
    }
    let mail = texts::compose(job.id, occasion, to, &user, &token, until, &delivery.public_url);
    Ok(delivery.mailer.send(&mail).await?)
}

fn is_wanted(occasion: Occasion, user: &User) -> bool {
    let suits_address = match occasion {
        Occasion::AddressGiven => !user.email_verified,
        // Any number of these could be had sent to another's address by who gives it as its own.
        Occasion::WebhookDisabled => user.email_verified,
        Occasion::PasswordForgotten | Occasion::AddressTaken => true,
    };
    user.status == UserStatus::Active && suits_address
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
