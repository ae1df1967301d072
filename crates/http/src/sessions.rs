//! Signing in.

use bellwether_usecases::users;
use serde::Serialize;

use crate::call::Call;
use crate::envelope::Reply;
use crate::faults::Fault;
use crate::wire::user::UserWire;
use crate::wire::user_body;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionWire<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: i64,
    user: UserWire<'a>,
}

/// `POST /auth/login`.
pub(crate) async fn log_in(mut call: Call) -> Result<Reply, Fault> {
    let (email, password) = call.command(user_body::log_in).await?;
    let ctx = call.ctx();
    let session = call.app().run(async move { users::log_in(&ctx, &email, &password).await }).await?;
    Reply::ok(&SessionWire {
        access_token: &session.access_token,
        token_type: "Bearer",
        expires_in: session.expires_in_s,
        user: UserWire::private(&session.user),
    })
}
