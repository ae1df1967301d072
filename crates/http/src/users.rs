//! Users.

use bellwether_domain::ids::UserId;
use bellwether_domain::permissions::Permission;
use bellwether_domain::ports::{CommonPasswords, UserFilter, UserSort};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::text::Lines;
use bellwether_domain::user::{Role, User, UserStatus};
use bellwether_usecases::caching::user_key;
use bellwether_usecases::limits;
use bellwether_usecases::users::{self, UserPatch};
use bellwether_usecases::{Caller, Context, Error};
use serde::Deserialize;

use crate::call::Call;
use crate::envelope::Reply;
use crate::faults::{Detail, Fault};
use crate::fields::{Fields, Node, Place, read};
use crate::idempotency::reply;
use crate::paging::Wanted;
use crate::remembered::{Answer, remembered};
use crate::wire::user::{FIELDS, UserWire, UserWire2, fields_2, render_new_user};
use crate::wire::user_body;
use crate::wire::view::View;

/// The longest address, and no name is as long.
const LONGEST_SEARCH: usize = 254;

/// `POST /users`: anybody; administrators without limits.
pub(crate) async fn sign_up(mut call: Call) -> Result<Reply, Fault> {
    let body = call.body().await?;
    let ctx = call.ctx();
    let request = read(&body.json, Place::Body, |fields| user_body::sign_up(fields, &*ctx.common_passwords))?;
    let (guarded, by, from) = (call.guard_secret(&body, render_new_user)?, call.known_caller(), call.from());
    let work = async move {
        let _guard = guarded.guard;
        limits::sign_up(&ctx, by, from, request, guarded.keyed).await
    };
    reply(call.app().run(work).await?, render_new_user)
}

/// `GET /users`, for administrators.
pub(crate) async fn list(call: Call) -> Result<Reply, Fault> {
    call.caller().await?;
    let (filter, wanted, view) = call.query(|query| {
        let wanted = Wanted::<UserSort>::read(query);
        let view = View::read(query, FIELDS, &[]);
        Some((filter(query)?, wanted?, view?))
    })?;
    let paging = wanted.bind("users", &filter, call.sealer())?;
    let (lists, request) = (call.lists(), paging.request.clone());
    let page = call.app().run(async move { lists.users(&filter, &request).await }).await?;
    let shown: Vec<UserWire<'_>> = page.items.iter().map(UserWire::private).collect();
    let pagination = paging.describe(&page, |user| user.id.0, call.sealer());
    Ok(Reply::json(view.show(&shown)?).paged(pagination))
}

/// Reads which users are wanted.
pub(crate) fn filter(query: &Fields<'_>) -> Option<UserFilter> {
    let role = query.optional("role", |n| n.one_of(&Role::ALL, Role::as_str));
    let status = query.optional("status", |n| n.one_of(&UserStatus::ALL, UserStatus::as_str));
    let created_after = query.optional("createdAfter", Node::time);
    let created_before = query.optional("createdBefore", Node::time);
    let search = query.optional("search", |n| n.text(Lines::One, 1, LONGEST_SEARCH));
    Some(UserFilter {
        role: role?,
        status: status?,
        created_after: created_after?,
        created_before: created_before?,
        search: search?,
    })
}

/// `GET /users/{id}`. Version 2 shows more.
pub(crate) async fn show(call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let view = call.query(|query| View::read(query, FIELDS, &[]))?;
    let id = call.user_id(caller)?;
    let reply = match as_others_see(&call, caller, id, &view).await? {
        Some(reply) => reply,
        None => answer(caller, &load_shown(&call, caller, id).await?, &view)?,
    };
    Ok(reply.superseded_by(format!("/api/v2/users/{id}")))
}

/// What is remembered of a user; none for whom it is not, since more is shown to them.
async fn as_others_see(call: &Call, caller: Caller, id: UserId, view: &View) -> Result<Option<Reply>, Fault> {
    if !view.is_plain() || caller.may(Permission::ReadUser, id == caller.user) {
        return Ok(None);
    }
    let reply = remembered(call, user_key(id), |ctx| plain(ctx, id)).await?;
    let reply = reply.ok_or(Refusal::UserNotFound)?.private();
    let OwnerWire { owner_id } = reply.read_data()?;
    Ok(Some(reply).filter(|_| owner_id != Some(caller.user)))
}

/// Of what is remembered of a user, whose bot it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OwnerWire {
    owner_id: Option<UserId>,
}

/// A user as others see it.
async fn plain(ctx: Context, id: UserId) -> Result<Option<Answer>, Fault> {
    let user = ctx.queries.user(id).await?.filter(|user| is_shown(user, &ctx));
    let answer = |user: &User| Ok(Answer::of(user.version, View::default().show(&UserWire::public(user))?));
    user.as_ref().map(answer).transpose()
}

/// Whether others may know of a user: else a sign-up that did something could be told from one that was answered as if it did.
fn is_shown(user: &User, ctx: &Context) -> bool {
    user.email_verified || user.owner.is_some() || !ctx.policy.conceal_existing_accounts
}

/// `GET /users/{id}` of version 2: with how the user has traded.
pub(crate) async fn show_2(call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let view = call.query(|query| View::read(query, &fields_2(), &[]))?;
    let id = call.user_id(caller)?;
    let user = load_shown(&call, caller, id).await?;
    let lists = call.lists();
    let sum = call.app().sums().in_turn(async move { Ok(lists.statistics(id).await?) });
    let statistics = call.app().run(sum).await?;
    let shown = UserWire2::of(seen_by(caller, &user), &statistics);
    Ok(Reply::json(view.show(&shown)?).tagged(user.version))
}

/// A user, if the caller may know of it.
async fn load_shown(call: &Call, caller: Caller, id: UserId) -> Result<User, Fault> {
    let user = load(call, id).await?;
    if !is_shown(&user, call.app().ctx()) && !caller.may(Permission::ReadUser, id == caller.user) {
        return Err(Refusal::UserNotFound.into());
    }
    Ok(user)
}

/// `PUT /users/{id}`.
pub(crate) async fn replace(call: Call) -> Result<Reply, Fault> {
    update(call, user_body::replacement).await
}

/// `PATCH /users/{id}`.
pub(crate) async fn change(call: Call) -> Result<Reply, Fault> {
    update(call, user_body::patch).await
}

async fn update(
    mut call: Call,
    reader: impl FnOnce(&Fields<'_>, &dyn CommonPasswords) -> Option<UserPatch>,
) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let id = call.user_id(caller)?;
    let version = call.version()?;
    let ctx = call.ctx();
    let mut patch = call.command(|fields| reader(fields, &*ctx.common_passwords)).await?;
    if caller.user == id && patch.email.is_some() {
        // An address that stays needs no password. Nobody else needs one, and must not learn here whether there is such a user.
        let current = load(&call, id).await?;
        patch.email = patch.email.filter(|email| current.email.as_ref() != Some(email));
    }
    let needs_password = patch.email.is_some() || patch.new_password.is_some();
    if caller.user == id && needs_password && patch.current_password.is_none() {
        let message = "is required to change your address or password";
        return Err(Fault::invalid(vec![Detail::of("currentPassword", "required", message)]));
    }
    let user = call.app().run(async move { limits::update_user(&ctx, caller, id, patch, version).await }).await?;
    answer(caller, &user, &View::default())
}

/// `PUT /users/{id}/role`.
pub(crate) async fn set_role(mut call: Call) -> Result<Reply, Fault> {
    let (caller, id, version) = managed(&call).await?;
    let role = call.command(user_body::role).await?;
    let ctx = call.ctx();
    let user = call.app().run(async move { users::set_role(&ctx, caller, id, role, version).await }).await?;
    answer(caller, &user, &View::default())
}

/// `PUT /users/{id}/status`.
pub(crate) async fn set_status(mut call: Call) -> Result<Reply, Fault> {
    let (caller, id, version) = managed(&call).await?;
    let standing = call.command(user_body::standing).await?;
    let ctx = call.ctx();
    let user = call.app().run(async move { users::set_status(&ctx, caller, id, standing, version).await }).await?;
    answer(caller, &user, &View::default())
}

/// Who asks, and which user at which version is to be managed.
async fn managed(call: &Call) -> Result<(Caller, UserId, Option<i64>), Fault> {
    let caller = call.caller().await?;
    Ok((caller, call.user_id(caller)?, call.version()?))
}

/// `DELETE /users/{id}`.
pub(crate) async fn deactivate(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let id = call.user_id(caller)?;
    let version = call.version()?;
    call.no_body().await?;
    let ctx = call.ctx();
    call.app().run(async move { users::deactivate_user(&ctx, caller, id, version).await }).await?;
    Ok(Reply::no_content())
}

/// The user in the path, if the caller has this permission over it; else there is none.
pub(crate) async fn whose_lists(call: &Call, caller: Caller, permission: Permission) -> Result<UserId, Fault> {
    let id = call.user_id(caller)?;
    let is_own = id == caller.user || load(call, id).await?.belongs_to(caller.user);
    if caller.may(permission, is_own) { Ok(id) } else { Err(Refusal::UserNotFound.into()) }
}

async fn load(call: &Call, id: UserId) -> Result<User, Fault> {
    let ctx = call.ctx();
    call.app().run::<_, Error, _>(async move { users::get_user(&ctx, id).await }).await
}

fn answer(caller: Caller, user: &User, view: &View) -> Result<Reply, Fault> {
    Ok(Reply::json(view.show(&seen_by(caller, user))?).tagged(user.version))
}

fn seen_by(caller: Caller, user: &User) -> UserWire<'_> {
    let is_private = caller.may(Permission::ReadUser, user.belongs_to(caller.user));
    if is_private { UserWire::private(user) } else { UserWire::public(user) }
}
