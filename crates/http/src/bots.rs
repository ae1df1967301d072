//! Bots: made and listed by their owners.

use bellwether_domain::refusal::Refusal;
use bellwether_domain::text::DisplayName;
use bellwether_domain::user::User;
use bellwether_usecases::{bots, limits};

use crate::call::Call;
use crate::envelope::Reply;
use crate::faults::Fault;
use crate::fields::{Place, read};
use crate::idempotency::{Need, reply};
use crate::wire::user::{UserWire, render_new_user};

/// `POST /users/{id}/bots`: for oneself.
pub(crate) async fn create(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    if call.user_id(caller)? != caller.user {
        return Err(Refusal::UserNotFound.into());
    }
    let body = call.body().await?;
    let guarded = call.guard::<User>(Need::Optional, caller, &body, render_new_user)?;
    let name =
        read(&body.json, Place::Body, |fields| fields.required("displayName", |n| n.parsed(DisplayName::parse)))?;
    let ctx = call.ctx();
    let work = async move {
        let _guard = guarded.guard;
        limits::create_bot(&ctx, caller, name, guarded.keyed).await
    };
    reply(call.app().run(work).await?, render_new_user)
}

/// `GET /users/{id}/bots`. As many as a user may have fit one answer, so there are no pages.
pub(crate) async fn list(call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    call.no_query()?;
    let (ctx, owner) = (call.ctx(), call.user_id(caller)?);
    let found = call.app().run(async move { bots::list(&ctx, caller, owner).await }).await?;
    Reply::ok(&found.iter().map(UserWire::private).collect::<Vec<_>>())
}
