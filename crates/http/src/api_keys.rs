//! API keys: made, listed and revoked.

use bellwether_domain::ids::{ApiKeyId, UserId};
use bellwether_usecases::{api_keys, limits};

use crate::call::Call;
use crate::envelope::Reply;
use crate::faults::Fault;
use crate::wire::api_key::{ApiKeyWire, new_key, render_new_key};

/// `POST /api-keys`. The answer has the key, which is told only now.
pub(crate) async fn create(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let wanted = call.command(new_key).await?;
    let ctx = call.ctx();
    let (key, token) = call.app().run(async move { limits::create_api_key(&ctx, caller, wanted).await }).await?;
    Reply::rendered(render_new_key(&key, token.expose()))
}

/// `GET /api-keys`: the caller's own, or those of one of its bots. As many as a user may have fit one
/// answer, so there are no pages.
pub(crate) async fn list(call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let owner = call.query(|query| query.or("owner", caller.user, |n| n.id().map(UserId)))?;
    let ctx = call.ctx();
    let found = call.app().run(async move { api_keys::list(&ctx, caller, owner).await }).await?;
    Reply::ok(&found.iter().map(ApiKeyWire::of).collect::<Vec<_>>())
}

/// `DELETE /api-keys/{id}`.
pub(crate) async fn revoke(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let id = call.id().map(ApiKeyId)?;
    call.no_body().await?;
    let ctx = call.ctx();
    call.app().run(async move { api_keys::revoke(&ctx, caller, id).await }).await?;
    Ok(Reply::no_content())
}
