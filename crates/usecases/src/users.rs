//! Sign-up, sign-in, and what users and administrators change about users.

use async_trait::async_trait;
use bellwether_domain::audit_log::{Action, Actor, Event, Target};
use bellwether_domain::event::{self, UserData};
use bellwether_domain::ids::{AccountId, UserId};
use bellwether_domain::job::JobKind;
use bellwether_domain::ledger::{Account, Owner};
use bellwether_domain::password;
use bellwether_domain::permissions::Permission;
use bellwether_domain::ports::{Changes, PasswordError, StoreError, Unique, UnitOfWork};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::session::{Device, EndReason};
use bellwether_domain::text::{DisplayName, Email};
use bellwether_domain::user::{PasswordHash, Role, User, UserStatus};
use bellwether_domain::webhook::WebhookState;
use jiff::Timestamp;
use serde_json::json;

use crate::atomically::{Script, Step, atomically};
use crate::idempotency::find_answer;
use crate::mail::{self, Occasion};
use crate::sessions::{self, SignedIn};
use crate::transfers::grant_from_treasury;
use crate::{Answered, Caller, Context, Error, Keyed, access, audit_log, recovery, webhooks};

/// A request to join.
#[derive(Debug, Clone)]
pub struct SignUp {
    /// The address to sign in with.
    pub email: Email,
    /// The name that others see.
    pub display_name: DisplayName,
    /// The password.
    pub password: Password,
}

/// A password in clear. Its `Debug` shows nothing.
#[derive(Clone)]
pub struct Password(pub String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// A change of a user; what is not named stays.
#[derive(Debug, Clone, Default)]
pub struct UserPatch {
    /// A new name.
    pub display_name: Option<DisplayName>,
    /// A new address; it is unverified again.
    pub email: Option<Email>,
    /// A new password.
    pub new_password: Option<Password>,
    /// The current password: needed from users who change their own address or password.
    pub current_password: Option<Password>,
}

/// Whether a user may act, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is kept from acting.
    pub is_suspended: bool,
    /// Why, at most 500 characters.
    pub reason: String,
}

/// Signs a user up, by itself or by somebody who is signed in: user, account, grant and the mail to verify the
/// address in one unit of work. Refused with [`UnreachableEmail`](Refusal::UnreachableEmail) or
/// [`UnfitPassword`](Refusal::UnfitPassword), or with [`EmailTaken`](Refusal::EmailTaken) unless that is concealed;
/// whose the address is gets a mail then.
pub async fn sign_up(
    ctx: &Context,
    by: Option<UserId>,
    request: SignUp,
    keyed: Option<Keyed<User>>,
) -> Result<Answered<User>, Error> {
    request.email.check_reachable().map_err(Refusal::UnreachableEmail)?;
    check_fitness(ctx, &request.password, &request.email, &request.display_name)?;
    let password_hash = ctx.hasher.hash(&request.password.0).await?;
    let SignUp { email, display_name, .. } = request;
    let newcomer = Newcomer { email, display_name, password_hash, role: Role::User };
    let script = SignUpScript { by: by.map(Actor::User), newcomer: newcomer.clone(), keyed: keyed.clone() };
    let answer = match atomically(ctx, script).await {
        Err(Error::Store(StoreError::Duplicate(Unique::Email))) => address_taken(ctx, newcomer, keyed).await?,
        other => other?,
    };
    ctx.job_bell.ring(JobKind::Mail);
    Ok(answer)
}

/// Tells whose address it is by mail. Who tried to sign up with it is told so, or where that is to be
/// concealed gets the answer that somebody new would have got.
async fn address_taken(ctx: &Context, newcomer: Newcomer, keyed: Option<Keyed<User>>) -> Result<Answered<User>, Error> {
    if ctx.policy.conceal_existing_accounts {
        return atomically(ctx, PretendSignUp { newcomer, keyed }).await;
    }
    if let Err(error) = recovery::put_aside(ctx, Occasion::AddressTaken, newcomer.email).await {
        tracing::warn!(%error, "nobody is told by mail that somebody tried to sign up with a taken address");
    }
    Err(Refusal::EmailTaken.into())
}

/// An administrator as it was made.
#[derive(Debug, Clone)]
pub struct MadeAdmin {
    /// The administrator.
    pub user: User,
    /// Whether somebody had an account with the address already, which was taken over.
    pub is_taken_over: bool,
}

/// Makes an administrator, or makes one of the user with that address. For the command line, whose word
/// on the address is taken: whoever had signed up with it may have been a stranger, so the user's sessions, API keys and
/// webhooks end, and the keys of its bots, in the same unit of work.
pub async fn create_admin(ctx: &Context, request: SignUp) -> Result<MadeAdmin, Error> {
    check_fitness(ctx, &request.password, &request.email, &request.display_name)?;
    let password_hash = ctx.hasher.hash(&request.password.0).await?;
    let SignUp { email, display_name, .. } = request;
    if let Some(existing) = ctx.queries.user_by_email(&email.key()).await? {
        let change = Change::Promote { password_hash };
        let script = ChangeUser { by: Actor::System, id: existing.id, version: None, change };
        return Ok(MadeAdmin { user: change_user(ctx, script).await?, is_taken_over: true });
    }
    let newcomer = Newcomer { email, display_name, password_hash, role: Role::Admin };
    match atomically(ctx, SignUpScript { by: Some(Actor::System), newcomer, keyed: None }).await? {
        Answered::Fresh(user) => Ok(MadeAdmin { user, is_taken_over: false }),
        Answered::Replayed(_) => Err(StoreError::Corrupt("an answer without a key".to_owned()).into()),
    }
}

/// Checks a password and begins a session. An unknown address takes as long as a wrong
/// password and gets the same refusal, as does a user that may not act. Where hashes have become
/// more costly since, the password is hashed anew.
pub async fn log_in(ctx: &Context, email: &str, password: &Password, device: Device) -> Result<SignedIn, Error> {
    let mut user = check_credentials(ctx, email, password).await?;
    let signed_in = match sessions::begin(ctx, user.clone(), device.clone()).await {
        // The password was changed, or hashed anew by another sign-in, while it was checked.
        Err(Error::Refused(Refusal::BadCredentials)) => {
            user = check_credentials(ctx, email, password).await?;
            sessions::begin(ctx, user.clone(), device).await?
        }
        other => other?,
    };
    if let Err(error) = rehash_if_outdated(ctx, &user, password).await {
        tracing::warn!(%error, user = %user.id, "a password is hashed anew at the next sign-in");
    }
    Ok(signed_in)
}

async fn check_credentials(ctx: &Context, email: &str, password: &Password) -> Result<User, Error> {
    let user = match Email::parse(email) {
        Ok(email) => ctx.queries.user_by_email(&email.key()).await?,
        Err(_) => None,
    };
    let hash = user.as_ref().and_then(|u| u.password_hash.as_ref());
    // A password that could never have been set is wrong like any other, and takes as long.
    let is_right = match ctx.hasher.verify(&password.0, hash).await {
        Err(PasswordError::TooLong | PasswordError::ContainsNul) => ctx.hasher.verify("", None).await?,
        other => other?,
    };
    let may_sign_in = |user: &User| {
        user.status == UserStatus::Active && (user.email_verified || !ctx.policy.conceal_existing_accounts)
    };
    let tried = user.as_ref().map(|user| user.id);
    match user.filter(|user| is_right && may_sign_in(user)) {
        Some(user) => Ok(user),
        None => wrong_password(ctx, tried).await,
    }
}

/// Refuses a wrong password, after it was counted: one for an address that nobody has like any other.
async fn wrong_password<T>(ctx: &Context, tried: Option<UserId>) -> Result<T, Error> {
    audit_log::sign_in_failed(ctx, tried).await?;
    Err(Refusal::BadCredentials.into())
}

/// Hashes a password that was just found right at today's cost. It stays the same password, so sessions
/// live on and nobody's version changes.
async fn rehash_if_outdated(ctx: &Context, user: &User, password: &Password) -> Result<(), Error> {
    let Some(old) = user.password_hash.clone().filter(|hash| ctx.hasher.is_outdated(hash)) else { return Ok(()) };
    let new = ctx.hasher.hash(&password.0).await?;
    atomically(ctx, Rehash { id: user.id, old, new }).await
}

struct Rehash {
    id: UserId,
    old: PasswordHash,
    new: PasswordHash,
}

#[async_trait]
impl Script for Rehash {
    type Output = ();

    async fn run(&mut self, _: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<()>, Error> {
        let user = unit.users().lock(&[self.id]).await?.pop();
        // Hashing takes long: the password may have been changed meanwhile.
        let Some(mut user) = user.filter(|user| user.password_hash.as_ref() == Some(&self.old)) else {
            return Ok(Step::Discard(()));
        };
        user.password_hash = Some(self.new.clone());
        unit.write(&Changes { users: vec![user], ..Changes::default() }).await?;
        Ok(Step::Commit(()))
    }
}

/// A user as anybody may see it. (What of it is shown is for the caller to decide.)
pub async fn get_user(ctx: &Context, id: UserId) -> Result<User, Error> {
    Ok(ctx.queries.user(id).await?.ok_or(Refusal::UserNotFound)?)
}

/// Whether the caller has the permission over a user: over itself and its bots as over what is its own.
pub async fn may_over(ctx: &Context, caller: Caller, permission: Permission, id: UserId) -> Result<bool, Error> {
    if caller.may(permission, caller.user == id) {
        return Ok(true);
    }
    if !caller.may(permission, true) {
        return Ok(false);
    }
    Ok(ctx.queries.user(id).await?.is_some_and(|user| user.belongs_to(caller.user)))
}

/// Refuses where [`may_over`] says no.
async fn require_over(ctx: &Context, caller: Caller, permission: Permission, id: UserId) -> Result<(), Error> {
    let is_own = may_over(ctx, caller, permission, id).await?;
    Ok(caller.require(permission, is_own)?)
}

/// Changes a user: oneself, one's bot, or anybody for an administrator. `version` must be the current one
/// where it is given. Refused with [`UnreachableEmail`](Refusal::UnreachableEmail) where the address is another one.
pub async fn update_user(
    ctx: &Context,
    caller: Caller,
    id: UserId,
    patch: UserPatch,
    version: Option<i64>,
) -> Result<User, Error> {
    require_over(ctx, caller, Permission::WriteUser, id).await?;
    // Before the current password is checked, which is a lot of work.
    if let Some(password) = &patch.new_password {
        let User { email, display_name, .. } = get_user(ctx, id).await?;
        let email = patch.email.clone().or(email).ok_or(Refusal::BotCannotSignIn)?;
        check_fitness(ctx, password, &email, patch.display_name.as_ref().unwrap_or(&display_name))?;
    }
    let guards_account = patch.email.is_some() || patch.new_password.is_some();
    let checked = if caller.user == id && guards_account {
        Some(check_current_password(ctx, id, patch.current_password.as_ref()).await?)
    } else {
        None
    };
    let password_hash = match &patch.new_password {
        Some(password) => Some(ctx.hasher.hash(&password.0).await?),
        None => None,
    };
    let UserPatch { display_name, email, current_password, .. } = patch;
    let edit = |checked: Option<PasswordHash>| {
        let (display_name, email) = (display_name.clone(), email.clone());
        let change = Change::Edit { display_name, email, password_hash: password_hash.clone(), checked };
        change_user(ctx, ChangeUser { by: Actor::User(caller.user), id, version, change })
    };
    let changed = match edit(checked).await {
        // The password was changed, or hashed anew by a sign-in, while it was checked.
        Err(Error::Refused(Refusal::BadCredentials)) => {
            let checked = check_current_password(ctx, id, current_password.as_ref()).await?;
            edit(Some(checked)).await
        }
        other => other,
    };
    match changed {
        Err(Error::Store(StoreError::Duplicate(Unique::Email))) => Err(Refusal::EmailTaken.into()),
        other => other,
    }
}

/// Deactivates and anonymises a user with its bots and webhooks, then cancels their open orders. The last administrator
/// stays.
pub async fn deactivate_user(ctx: &Context, caller: Caller, id: UserId, version: Option<i64>) -> Result<(), Error> {
    require_over(ctx, caller, Permission::DeleteUser, id).await?;
    let by = Actor::User(caller.user);
    let changed = change(ctx, ChangeUser { by, id, version, change: Change::Deactivate }).await?;
    // They can no longer place orders. What is not cancelled here, the ticks cancel.
    for id in std::iter::once(id).chain(changed.bots) {
        crate::settling::end_orders_soon(ctx, id).await;
    }
    Ok(())
}

/// Lets a user do more or less. All of its sessions end. Refused: the last administrator.
pub async fn set_role(
    ctx: &Context,
    caller: Caller,
    id: UserId,
    role: Role,
    version: Option<i64>,
) -> Result<User, Error> {
    manage(ctx, caller, id, Change::Role(role), version).await
}

/// Keeps a user from acting, or lets it act again, for a reason that the audit log is told. All of its
/// sessions end; its open orders rest. Refused: the last administrator. Who was deleted stays so.
pub async fn set_status(
    ctx: &Context,
    caller: Caller,
    id: UserId,
    standing: Standing,
    version: Option<i64>,
) -> Result<User, Error> {
    manage(ctx, caller, id, Change::Standing(standing), version).await
}

async fn manage(
    ctx: &Context,
    caller: Caller,
    id: UserId,
    change: Change,
    version: Option<i64>,
) -> Result<User, Error> {
    caller.require(Permission::ManageUsers, false)?;
    change_user(ctx, ChangeUser { by: Actor::User(caller.user), id, version, change }).await
}

/// Refuses a password that somebody of this address and name may not set, for all reasons at once.
pub(crate) fn check_fitness(
    ctx: &Context,
    password: &Password,
    email: &Email,
    name: &DisplayName,
) -> Result<(), Refusal> {
    let faults = password::faults(&password.0, &[email.as_str(), name.as_str()], &*ctx.common_passwords);
    if faults.is_empty() { Ok(()) } else { Err(Refusal::UnfitPassword(faults)) }
}

/// The hash that the password is right by.
async fn check_current_password(ctx: &Context, id: UserId, current: Option<&Password>) -> Result<PasswordHash, Error> {
    let hash = get_user(ctx, id).await?.password_hash;
    let given = current.map_or("", |p| p.0.as_str());
    let is_right = match ctx.hasher.verify(given, hash.as_ref()).await {
        Err(PasswordError::TooLong | PasswordError::ContainsNul) => false,
        other => other?,
    };
    match hash.filter(|_| is_right) {
        Some(hash) => Ok(hash),
        None => wrong_password(ctx, Some(id)).await,
    }
}

/// Somebody who is about to become a user.
#[derive(Clone)]
struct Newcomer {
    email: Email,
    display_name: DisplayName,
    password_hash: PasswordHash,
    role: Role,
}

impl Newcomer {
    fn become_user(&self, id: UserId, now: Timestamp) -> User {
        User {
            id,
            email: Some(self.email.clone()),
            display_name: self.display_name.clone(),
            password_hash: Some(self.password_hash.clone()),
            role: self.role,
            status: UserStatus::Active,
            // Administrators are made by who runs the server, who answers for the address.
            email_verified: self.role == Role::Admin,
            owner: None,
            version: 1,
            created_at: now,
            updated_at: now,
        }
    }
}

/// A new user, its account, its grant and its mail.
struct SignUpScript {
    /// Who signs it up; none for itself.
    by: Option<Actor>,
    newcomer: Newcomer,
    keyed: Option<Keyed<User>>,
}

#[async_trait]
impl Script for SignUpScript {
    type Output = Answered<User>;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Answered<User>>, Error> {
        if let Some(kept) = find_answer(unit, self.keyed.as_ref()).await? {
            return Ok(Step::Commit(Answered::Replayed(kept)));
        }
        let (now, mut ids) = (ctx.clock.now(), ctx.ids.fresh());
        let user = self.newcomer.become_user(UserId(ids.next_uuid()), now);
        let mut account = Account::open(AccountId::of_user(user.id), Owner::User(user.id), now);
        let mut changes = Changes { new_users: vec![user.clone()], ..Changes::default() };
        if ctx.policy.signup_grant.is_positive() {
            let amount = ctx.policy.signup_grant;
            let (treasury, made) =
                grant_from_treasury(unit, &mut account, amount, Some("welcome".to_owned()), &mut ids, now).await?;
            changes.accounts.push(treasury);
            changes.transfers.push(made);
        }
        changes.new_accounts.push(account);
        changes.answers.extend(self.keyed.as_ref().map(|keyed| keyed.keep(&user, now)));
        changes.events.push(self.event(ctx, &user));
        if !user.email_verified {
            changes.new_jobs.push(mail::job(ctx, Occasion::AddressGiven, &self.newcomer.email, now)?);
        }
        unit.write(&changes).await?;
        Ok(Step::Commit(Answered::Fresh(user)))
    }
}

impl SignUpScript {
    fn event(&self, ctx: &Context, user: &User) -> Event {
        let by = self.by.unwrap_or(Actor::User(user.id));
        let role = json!({ "role": user.role.as_str() });
        audit_log::with(ctx, by, Action::SignedUp, Target::User(user.id), &role)
    }
}

/// The answer to a sign-up that did nothing, kept for its key like any other; and the mail to whom the
/// address belongs.
struct PretendSignUp {
    newcomer: Newcomer,
    keyed: Option<Keyed<User>>,
}

#[async_trait]
impl Script for PretendSignUp {
    type Output = Answered<User>;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Answered<User>>, Error> {
        if let Some(kept) = find_answer(unit, self.keyed.as_ref()).await? {
            return Ok(Step::Commit(Answered::Replayed(kept)));
        }
        let now = ctx.clock.now();
        let user = self.newcomer.become_user(UserId(ctx.ids.fresh().next_uuid()), now);
        let new_jobs = vec![mail::job(ctx, Occasion::AddressTaken, &self.newcomer.email, now)?];
        let answers = self.keyed.iter().map(|keyed| keyed.keep(&user, now)).collect();
        unit.write(&Changes { new_jobs, answers, ..Changes::default() }).await?;
        Ok(Step::Commit(Answered::Fresh(user)))
    }
}

/// What is to change about a user.
enum Change {
    Edit {
        display_name: Option<DisplayName>,
        email: Option<Email>,
        password_hash: Option<PasswordHash>,
        /// What the current password was found right by, where it is needed.
        checked: Option<PasswordHash>,
    },
    Promote {
        password_hash: PasswordHash,
    },
    Role(Role),
    Standing(Standing),
    Deactivate,
}

/// Changes a user, and lets this process know which sessions and API keys that ended.
async fn change_user(ctx: &Context, script: ChangeUser) -> Result<User, Error> {
    change(ctx, script).await.map(|changed| changed.user)
}

async fn change(ctx: &Context, script: ChangeUser) -> Result<Changed, Error> {
    let changed = atomically(ctx, script).await?;
    changed.ended.tell(ctx).await;
    ctx.job_bell.ring(JobKind::Mail);
    ctx.job_bell.ring(JobKind::Webhook);
    Ok(changed)
}

/// A user that was changed, what ended by it, and its bots that went with it.
struct Changed {
    user: User,
    ended: access::Ended,
    bots: Vec<UserId>,
}

struct ChangeUser {
    by: Actor,
    id: UserId,
    version: Option<i64>,
    change: Change,
}

#[async_trait]
impl Script for ChangeUser {
    type Output = Changed;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Self::Output>, Error> {
        let now = ctx.clock.now();
        let admins = self.lock_admins(unit).await?;
        let mut user = unit.users().lock(&[self.id]).await?.into_iter().next().ok_or(Refusal::UserNotFound)?;
        if user.status == UserStatus::Deactivated {
            return Err(Refusal::UserNotFound.into());
        }
        if self.version.is_some_and(|v| v != user.version) {
            return Err(Refusal::StaleVersion { current: user.version }.into());
        }
        let before = user.clone();
        let mut changes = Changes::default();
        match &self.change {
            Change::Edit { email, password_hash, .. }
                if user.owner.is_some() && (email.is_some() || password_hash.is_some()) =>
            {
                return Err(Refusal::BotCannotSignIn.into());
            }
            // Checking a password takes long. Who knows only one that was changed meanwhile must not undo that.
            Change::Edit { checked: Some(checked), .. } if user.password_hash.as_ref() != Some(checked) => {
                return Err(Refusal::BadCredentials.into());
            }
            Change::Edit { display_name, email, password_hash, .. } => {
                if let Some(email) = email.as_ref().filter(|e| user.email.as_ref() != Some(e)) {
                    email.check_reachable().map_err(Refusal::UnreachableEmail)?;
                    user.email = Some(email.clone());
                    user.email_verified = false;
                    changes.new_jobs.push(mail::job(ctx, Occasion::AddressGiven, email, now)?);
                }
                user.display_name = display_name.clone().unwrap_or(user.display_name);
                user.password_hash = password_hash.clone().or(user.password_hash);
                user.touch(now);
            }
            Change::Promote { password_hash } => {
                user.role = Role::Admin;
                user.status = UserStatus::Active;
                user.password_hash = Some(password_hash.clone());
                user.email_verified = true;
                user.touch(now);
            }
            Change::Role(_) if user.owner.is_some() => return Err(Refusal::BotHasNoRole.into()),
            Change::Role(role) => user.role = *role,
            Change::Standing(Standing { is_suspended: true, .. }) => user.status = UserStatus::Suspended,
            Change::Standing(Standing { is_suspended: false, .. }) => user.status = UserStatus::Active,
            Change::Deactivate => {
                user.deactivate(now);
                for mut bot in unit.users().lock_bots_of(user.id).await? {
                    let before = bot.clone();
                    bot.deactivate(now);
                    changes.events.extend(audit_log::changes_of_user(ctx, self.by, &before, &bot, None));
                    changes.users.push(bot);
                }
            }
        }
        if matches!(self.change, Change::Role(_) | Change::Standing(_)) {
            if user == before {
                return Ok(Step::Discard(Changed { user, ended: access::Ended::by(&changes), bots: Vec::new() }));
            }
            user.touch(now);
        }
        let is_admin = |user: &User| user.role == Role::Admin && user.status == UserStatus::Active;
        if is_admin(&before) && !is_admin(&user) && admins.iter().all(|admin| admin.id == user.id) {
            return Err(Refusal::LastAdmin.into());
        }
        let bots = changes.users.iter().map(|bot| bot.id).collect();
        let access = |user: &User| (user.password_hash.clone(), user.role, user.status);
        if access(&before) != access(&user) {
            changes.sessions = sessions::end_of_user(unit, user.id, EndReason::UserChanged, now).await?;
            changes.deleted_mail_tokens = recovery::stale(&unit.mail_tokens().of_user(user.id).await?, &user);
        }
        match self.change {
            Change::Promote { .. } => access::revoke_all(ctx, unit, self.by, user.id, &mut changes).await?,
            _ => take_webhooks_along(ctx, unit, &before, &user, &mut changes).await?,
        }
        changes.events.extend(audit_log::changes_of_user(ctx, self.by, &before, &user, self.reason()));
        let ended = access::Ended::by(&changes);
        changes.users.push(user.clone());
        changes.news = changes.users.iter().map(|user| event::Event::UserUpdated(UserData::of(user))).collect();
        unit.write(&changes).await?;
        Ok(Step::Commit(Changed { user, ended, bots }))
    }
}

/// The webhooks of who is deleted are told nothing more, and forget where they are, which is of the person; what they were sent is
/// forgotten in its time, since it may be more than a unit of work can delete. Those of who may act again are told what was
/// left. Bots have none, since no API key makes one.
async fn take_webhooks_along(
    ctx: &Context,
    unit: &mut dyn UnitOfWork,
    before: &User,
    user: &User,
    changes: &mut Changes,
) -> Result<(), Error> {
    if user.status == before.status || user.status == UserStatus::Suspended {
        return Ok(());
    }
    let found = unit.webhooks().of_user(user.id).await?;
    if user.status == UserStatus::Deactivated {
        for webhook in found {
            // Its owner may be deleting it elsewhere.
            if let Some(webhook) = unit.webhooks().lock(webhook.id).await? {
                changes.webhooks.push(webhook.of_nobody(user.updated_at));
            }
        }
    } else {
        let enabled = found.iter().filter(|webhook| webhook.state == WebhookState::Enabled);
        changes.new_jobs.extend(enabled.map(|webhook| webhooks::job(ctx, webhook.id, user.updated_at)));
    }
    Ok(())
}

impl ChangeUser {
    /// All active administrators, where the change may take one away: of two changes that come at the same
    /// time the later one sees what the earlier one left. Who makes it must be one of them still.
    async fn lock_admins(&self, unit: &mut dyn UnitOfWork) -> Result<Vec<User>, Error> {
        let needs_admin = matches!(self.change, Change::Role(_) | Change::Standing(_));
        if !needs_admin && !matches!(self.change, Change::Deactivate) {
            return Ok(Vec::new());
        }
        let admins = unit.users().lock_admins().await?;
        if needs_admin && !admins.iter().any(|admin| Actor::User(admin.id) == self.by) {
            return Err(Refusal::Forbidden(Permission::ManageUsers.row().description).into());
        }
        Ok(admins)
    }

    fn reason(&self) -> Option<&str> {
        match &self.change {
            Change::Standing(standing) => Some(&standing.reason),
            _ => None,
        }
    }
}
