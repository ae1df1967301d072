//! What users do with the mails that they get: set a password that was forgotten, and show that an
//! address is their own.
//!
//! A token that was used, has expired, is another's or for something else, or is none: the refusal is
//! the same, [`BadMailToken`](Refusal::BadMailToken).

use async_trait::async_trait;
use bellwether_domain::audit_log::{Action, Actor, Target};
use bellwether_domain::event::{Event, UserData};
use bellwether_domain::job::JobKind;
use bellwether_domain::mail::{MailToken, TokenPurpose};
use bellwether_domain::ports::{Changes, OpaqueToken, UnitOfWork};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::session::EndReason;
use bellwether_domain::text::Email;
use bellwether_domain::user::{PasswordHash, User};
use serde_json::json;

use crate::atomically::{Script, Step, atomically};
use crate::forgetting::{self, Old, OldInUnits};
use crate::mail::{self, Occasion};
use crate::users::{Password, check_fitness, get_user};
use crate::{Caller, Context, Error, access, audit_log, sessions};

/// Has a mail sent to the user with that address, if there is one, by which a new password can be set.
/// Does the same for every address: whose it is, is looked at when the mail is sent.
pub async fn forgot_password(ctx: &Context, email: &str) -> Result<(), Error> {
    // Nobody can have what is no address.
    let Ok(to) = Email::parse(email) else { return Ok(()) };
    put_aside(ctx, Occasion::PasswordForgotten, to).await
}

/// Has the caller's address verified by another mail. Refused with
/// [`EmailAlreadyVerified`](Refusal::EmailAlreadyVerified).
pub async fn send_verification(ctx: &Context, caller: Caller) -> Result<(), Error> {
    let user = get_user(ctx, caller.user).await?;
    if user.email_verified {
        return Err(Refusal::EmailAlreadyVerified.into());
    }
    put_aside(ctx, Occasion::AddressGiven, user.email.ok_or(Refusal::UserNotFound)?).await
}

/// Has a mail sent, when there is nothing else to do.
pub(crate) async fn put_aside(ctx: &Context, occasion: Occasion, to: Email) -> Result<(), Error> {
    atomically(ctx, PutAside { occasion, to }).await?;
    ctx.job_bell.ring(JobKind::Mail);
    Ok(())
}

/// Sets a new password by a token that was sent by mail: all of the user's sessions end, its API keys and those of its bots
/// are revoked and its webhooks disabled, since a stranger may have made them; and its address is shown to be its own. Refused with [`UnfitPassword`](Refusal::UnfitPassword) too, and then the
/// token can be used again. Returns the user as it was.
pub async fn reset_password(ctx: &Context, token: &OpaqueToken, password: &Password) -> Result<User, Error> {
    let hash = ctx.mail_tokens.hash(token);
    // Before the password is hashed, which is a lot of work.
    let user = holder(ctx, hash, TokenPurpose::ResetPassword).await?;
    let email = user.email.as_ref().ok_or(Refusal::BadMailToken)?;
    check_fitness(ctx, password, email, &user.display_name)?;
    let password_hash = ctx.hasher.hash(&password.0).await?;
    let redeem = Redeem { hash, token_of: user.clone(), new: New::Password(password_hash) };
    atomically(ctx, redeem).await?.tell(ctx).await;
    Ok(user)
}

/// Shows by a token that was sent by mail that an address is the user's own.
pub async fn verify_email(ctx: &Context, token: &OpaqueToken) -> Result<(), Error> {
    let hash = ctx.mail_tokens.hash(token);
    let user = holder(ctx, hash, TokenPurpose::VerifyEmail).await?;
    atomically(ctx, Redeem { hash, token_of: user, new: New::Verified }).await.map(drop)
}

/// Whose a token is, if it is good.
async fn holder(ctx: &Context, hash: [u8; 32], purpose: TokenPurpose) -> Result<User, Error> {
    let token = ctx.queries.mail_token(hash).await?.ok_or(Refusal::BadMailToken)?;
    let user = ctx.queries.user(token.user).await?.ok_or(Refusal::BadMailToken)?;
    if token.is_good(purpose, &user, ctx.clock.now()) { Ok(user) } else { Err(Refusal::BadMailToken.into()) }
}

/// Forgets tokens that have expired, a bounded number in each unit of work. Returns how many.
pub async fn forget_old_mail_tokens(ctx: &Context) -> Result<u64, Error> {
    forgetting::forget(ctx, Old::InUnits(OldInUnits::MailTokens)).await
}

/// The hashes of those of a user's tokens that are good for nothing once what it may do has changed:
/// those to set a password, since a mail that was asked for before would undo a new one; and all of a
/// user without an address, of whom nothing is to stay.
pub(crate) fn stale(tokens: &[MailToken], user: &User) -> Vec<[u8; 32]> {
    let is_stale = |token: &&MailToken| user.email.is_none() || token.purpose == TokenPurpose::ResetPassword;
    tokens.iter().filter(is_stale).map(|token| token.hash).collect()
}

struct PutAside {
    occasion: Occasion,
    to: Email,
}

#[async_trait]
impl Script for PutAside {
    type Output = ();

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<()>, Error> {
        let job = mail::job(ctx, self.occasion, &self.to, ctx.clock.now())?;
        unit.write(&Changes { new_jobs: vec![job], ..Changes::default() }).await?;
        Ok(Step::Commit(()))
    }
}

/// What a token brings about.
enum New {
    Password(PasswordHash),
    Verified,
}

impl New {
    const fn purpose(&self) -> TokenPurpose {
        match self {
            Self::Password(_) => TokenPurpose::ResetPassword,
            Self::Verified => TokenPurpose::VerifyEmail,
        }
    }
}

struct Redeem {
    hash: [u8; 32],
    /// Whose the token was when it was looked at.
    token_of: User,
    new: New,
}

#[async_trait]
impl Script for Redeem {
    /// What ended by it.
    type Output = access::Ended;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<access::Ended>, Error> {
        let now = ctx.clock.now();
        let mut user = unit.users().lock(&[self.token_of.id]).await?.pop().ok_or(Refusal::BadMailToken)?;
        // Under the lock: of two who come at the same time one is too late.
        let tokens = unit.mail_tokens().of_user(user.id).await?;
        let token = tokens.iter().find(|token| token.hash == self.hash).ok_or(Refusal::BadMailToken)?;
        if !token.is_good(self.new.purpose(), &user, now) {
            return Err(Refusal::BadMailToken.into());
        }
        let mut changes = Changes::default();
        if let New::Password(hash) = &self.new {
            user.password_hash = Some(hash.clone());
            changes.sessions = sessions::end_of_user(unit, user.id, EndReason::UserChanged, now).await?;
            access::revoke_all(ctx, unit, Actor::User(user.id), user.id, &mut changes).await?;
        }
        // Whoever has a token has read the mail. The address is verified, and all tokens have served.
        user.email_verified = true;
        user.touch(now);
        changes.deleted_mail_tokens = match self.new {
            New::Password(_) => tokens.iter().map(|token| token.hash).collect(),
            New::Verified => tokens.iter().filter(|t| t.purpose == TokenPurpose::VerifyEmail).map(|t| t.hash).collect(),
        };
        let action = match self.new {
            New::Password(_) => Action::PasswordChanged,
            New::Verified => Action::EmailVerified,
        };
        let by_mail = json!({ "by": "mail" });
        changes.events.push(audit_log::with(ctx, Actor::User(user.id), action, Target::User(user.id), &by_mail));
        changes.news = vec![Event::UserUpdated(UserData::of(&user))];
        changes.users = vec![user];
        let ended = access::Ended::by(&changes);
        unit.write(&changes).await?;
        Ok(Step::Commit(ended))
    }
}
