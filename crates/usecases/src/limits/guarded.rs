//! The use cases by which one can guess, each within its limits.

use bellwether_domain::ids::UserId;
use bellwether_domain::permissions::Permission;
use bellwether_domain::ports::{OpaqueToken, PasswordError};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::session::Device;
use bellwether_domain::text::Email;
use bellwether_domain::user::User;

use super::attempts::{Claim, Counts, Outcome};
use super::{AddressBlock, Exceeded, Rule, Subject};
use crate::idempotency::answered_before;
use crate::sessions::{self, SignedIn};
use crate::users::{self, Password, SignUp, UserPatch};
use crate::{Answered, Caller, Context, Error, Keyed, recovery};

/// [`users::log_in`], of which failures are counted: for the account and the address together, for the
/// address, and for the account wherever they come from.
///
/// The last of these limits is higher, and does not hold at an address where the user is signed in
/// already: else anybody could lock anybody out.
///
/// Since each password costs a hash, and all share the queue for these, all are counted for the address besides, and for the
/// account those that are right: only who knows its password can use that up.
pub async fn log_in(
    ctx: &Context,
    from: AddressBlock,
    email: &str,
    password: &Password,
    device: Device,
) -> Result<SignedIn, Error> {
    let (limits, account) = (&ctx.policy.limits, account(email));
    let here = [
        Claim::new(limits.login_address, &from.subject(), Counts::Failed),
        Claim::new(limits.login, &Subject::of(&[&account, from.subject().as_bytes()]), Counts::Failed),
        Claim::new(limits.password_address, &from.subject(), Counts::Tried),
        Claim::new(limits.password, &Subject::of(&[&account]), Counts::Succeeded),
    ];
    let everywhere = Claim::new(limits.login_account, &Subject::of(&[&account]), Counts::Failed);
    let reserved = match ctx.limiter.reserve(&*ctx.clock, &[&here[..], &[everywhere]].concat()).await {
        Err(Error::Limited(exceeded))
            if exceeded.rule == limits.login_account && is_signed_in_at(ctx, email, from).await? =>
        {
            ctx.limiter.reserve(&*ctx.clock, &here).await?
        }
        other => other?,
    };
    let result = users::log_in(ctx, email, password, device).await;
    reserved.settle(outcome(&result)).await;
    result
}

/// [`users::sign_up`], of which those are counted by address that meet a taken one, and those that succeed;
/// none of who may sign others up.
pub async fn sign_up(
    ctx: &Context,
    by: Option<Caller>,
    from: AddressBlock,
    request: SignUp,
    keyed: Option<Keyed<User>>,
) -> Result<Answered<User>, Error> {
    // Whatever the limits say by now: it was let in before.
    if let Some(kept) = answered_before(ctx, keyed.as_ref()).await? {
        return Ok(Answered::Replayed(kept));
    }
    let who = by.map(|caller| caller.user);
    if by.is_some_and(|caller| caller.may(Permission::AddUsers, false)) {
        return users::sign_up(ctx, who, request, keyed).await;
    }
    let limits = &ctx.policy.limits;
    let claims = [
        Claim::new(limits.sign_up, &from.subject(), Counts::Failed),
        Claim::new(limits.new_users, &from.subject(), Counts::Succeeded),
    ];
    let reserved = ctx.limiter.reserve(&*ctx.clock, &claims).await?;
    let result = users::sign_up(ctx, who, request, keyed).await;
    reserved.settle(outcome_of_answer(&result)).await;
    result
}

/// [`users::update_user`], of which wrong passwords, taken addresses and new ones are counted where users change themselves;
/// and all that have a password checked, since that costs a hash.
pub async fn update_user(
    ctx: &Context,
    caller: Caller,
    id: UserId,
    patch: UserPatch,
    version: Option<i64>,
) -> Result<User, Error> {
    if caller.user != id || (patch.email.is_none() && patch.new_password.is_none()) {
        return users::update_user(ctx, caller, id, patch, version).await;
    }
    let limits = &ctx.policy.limits;
    let mut claims = vec![
        Claim::new(limits.login, &subject_of(id), Counts::Failed),
        Claim::new(limits.password, &subject_of(id), Counts::Tried),
    ];
    if patch.email.is_some() {
        // Each new address is sent a mail, and may be a stranger's.
        claims.push(Claim::new(limits.reset, &subject_of(id), Counts::Succeeded));
    }
    let reserved = ctx.limiter.reserve(&*ctx.clock, &claims).await?;
    let result = users::update_user(ctx, caller, id, patch, version).await;
    reserved.settle(outcome(&result)).await;
    result
}

/// [`sessions::refresh`], counted by address.
pub async fn refresh(
    ctx: &Context,
    from: AddressBlock,
    token: &OpaqueToken,
    device: Device,
) -> Result<SignedIn, Error> {
    count(ctx, ctx.policy.limits.refresh, &from.subject()).await?;
    sessions::refresh(ctx, token, device).await
}

/// [`recovery::forgot_password`], counted by address and for each account. Beyond the latter limit no
/// further mail is sent, which is not told: who owns the account has the mails from before.
pub async fn forgot_password(ctx: &Context, from: AddressBlock, email: &str) -> Result<(), Error> {
    let rule = ctx.policy.limits.reset;
    count(ctx, rule, &from.subject()).await?;
    match count(ctx, rule, &Subject::of(&[&account(email)])).await {
        Err(_) => Ok(()),
        Ok(()) => recovery::forgot_password(ctx, email).await,
    }
}

/// [`recovery::reset_password`], of which tokens that are not good are counted by address. Where it
/// succeeds, guesses at the old password count no longer.
pub async fn reset_password(
    ctx: &Context,
    from: AddressBlock,
    token: &OpaqueToken,
    password: &Password,
) -> Result<(), Error> {
    let claims = [Claim::new(ctx.policy.limits.reset, &from.subject(), Counts::Failed)];
    let reserved = ctx.limiter.reserve(&*ctx.clock, &claims).await?;
    let result = recovery::reset_password(ctx, token, password).await;
    reserved.settle(outcome(&result)).await;
    let user = result?;
    if let Some(email) = &user.email {
        ctx.limiter.forget(ctx.policy.limits.login_account, &Subject::of(&[&account(email.as_str())])).await;
    }
    Ok(())
}

/// [`recovery::verify_email`], of which tokens that are not good are counted by address.
pub async fn verify_email(ctx: &Context, from: AddressBlock, token: &OpaqueToken) -> Result<(), Error> {
    let claims = [Claim::new(ctx.policy.limits.reset, &from.subject(), Counts::Failed)];
    let reserved = ctx.limiter.reserve(&*ctx.clock, &claims).await?;
    let result = recovery::verify_email(ctx, token).await;
    reserved.settle(outcome(&result)).await;
    result
}

/// [`recovery::send_verification`], counted by user: whose address it is was not shown yet.
pub async fn send_verification(ctx: &Context, caller: Caller) -> Result<(), Error> {
    count(ctx, ctx.policy.limits.reset, &subject_of(caller.user)).await?;
    recovery::send_verification(ctx, caller).await
}

async fn count(ctx: &Context, rule: Rule, subject: &Subject) -> Result<(), Error> {
    let standing = ctx.limiter.count(rule, subject.as_bytes(), ctx.clock.now()).await;
    if standing.is_allowed { Ok(()) } else { Err(Exceeded { rule, standing }.into()) }
}

/// The account that an address means, whether there is one or not, and however it is written.
fn account(email: &str) -> Vec<u8> {
    Email::parse(email).map_or_else(|_| email.to_owned(), |email| email.key()).into_bytes()
}

pub(super) fn subject_of(user: UserId) -> Subject {
    Subject::of(&[b"user", user.0.as_bytes()])
}

async fn is_signed_in_at(ctx: &Context, email: &str, from: AddressBlock) -> Result<bool, Error> {
    let Ok(email) = Email::parse(email) else { return Ok(false) };
    let Some(user) = ctx.queries.user_by_email(&email.key()).await? else { return Ok(false) };
    let is_here = |address: &str| address.parse().is_ok_and(|address| ctx.policy.limits.block(address) == from);
    let sessions = ctx.queries.sessions_of(user.id, ctx.clock.now(), sessions::MOST_LISTED).await?;
    Ok(sessions.iter().filter_map(|session| session.device.address.as_deref()).any(is_here))
}

/// What an attempt came to whose answer may be one from before, which is nothing new.
pub(super) fn outcome_of_answer<T>(result: &Result<Answered<T>, Error>) -> Outcome {
    if matches!(result, Ok(Answered::Replayed(_))) { Outcome::Void } else { outcome(result) }
}

/// What an attempt told whoever made it.
pub(super) fn outcome<T>(result: &Result<T, Error>) -> Outcome {
    match result {
        Ok(_) => Outcome::Succeeded,
        Err(Error::Refused(Refusal::BadCredentials | Refusal::EmailTaken | Refusal::BadMailToken)) => Outcome::Failed,
        Err(Error::Password(PasswordError::Busy)) => Outcome::Untried,
        Err(_) => Outcome::Void,
    }
}
