//! What is done by mail: setting a password that was forgotten, and verifying an address.

use bellwether_domain::permissions::Permission;
use bellwether_domain::ports::{CommonPasswords, OpaqueToken};
use bellwether_domain::refusal::Refusal;
use bellwether_usecases::limits;
use bellwether_usecases::users::Password;
use schemars::JsonSchema;
use serde::Serialize;

use crate::call::Call;
use crate::envelope::Reply;
use crate::faults::Fault;
use crate::fields::{Fields, Node};
use crate::wire::user_body::new_password;

/// That something is on its way.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Accepted {
    message: &'static str,
}

/// Reads a token of a mail.
pub(crate) fn token(node: &Node<'_>) -> Option<OpaqueToken> {
    node.string().map(|text| OpaqueToken::new(text.to_owned()))
}

/// Reads a token and the password that shall be set.
pub(crate) fn new_credentials(fields: &Fields<'_>, common: &dyn CommonPasswords) -> Option<(OpaqueToken, Password)> {
    let token = fields.required("token", token);
    // Whose password it will be is not known yet: the use case holds it against the name and the address.
    let password = fields.required("password", |node| new_password(node, &[], common));
    Some((token?, password?))
}

/// Reads an address.
pub(crate) fn email(fields: &Fields<'_>) -> Option<String> {
    fields.required("email", |node| node.string().map(str::to_owned))
}

/// `POST /auth/password/forgot`: the same answer for every address.
pub(crate) async fn forgot(mut call: Call) -> Result<Reply, Fault> {
    let email = call.command(email).await?;
    let (ctx, from) = (call.ctx(), call.from());
    call.app().run(async move { limits::forgot_password(&ctx, from, &email).await }).await?;
    Reply::accepted(&Accepted { message: "if an account has this address, a mail to it is on its way" })
}

/// `POST /auth/password/reset`.
pub(crate) async fn reset(mut call: Call) -> Result<Reply, Fault> {
    let ctx = call.ctx();
    let (token, password) = call.command(|fields| new_credentials(fields, &*ctx.common_passwords)).await?;
    let from = call.from();
    call.app().run(async move { limits::reset_password(&ctx, from, &token, &password).await }).await?;
    Ok(Reply::no_content())
}

/// `POST /auth/email/verify`.
pub(crate) async fn verify(mut call: Call) -> Result<Reply, Fault> {
    let token = call.command(|fields| fields.required("token", token)).await?;
    let (ctx, from) = (call.ctx(), call.from());
    call.app().run(async move { limits::verify_email(&ctx, from, &token).await }).await?;
    Ok(Reply::no_content())
}

/// `POST /users/{id}/email/verification`: for oneself.
pub(crate) async fn send_verification(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    if !caller.may(Permission::VerifyEmail, call.user_id(caller)? == caller.user) {
        return Err(Refusal::UserNotFound.into());
    }
    call.no_body().await?;
    let ctx = call.ctx();
    call.app().run(async move { limits::send_verification(&ctx, caller).await }).await?;
    Reply::accepted(&Accepted { message: "a mail to your address is on its way" })
}
