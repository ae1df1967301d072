//! The use cases that make what stays for good and costs nothing, counted together for the person who makes it. Who takes it
//! back may make no more for that: a key that was revoked, a bot or a market that was deleted and what the audit log says
//! of them are rows for ever.

use std::future::Future;

use bellwether_domain::api_key::ApiKey;
use bellwether_domain::ports::OpaqueToken;
use bellwether_domain::text::DisplayName;
use bellwether_domain::user::{Role, User};
use bellwether_domain::webhook::Webhook;

use super::attempts::{Claim, Counts, Reserved};
use super::guarded::{outcome, outcome_of_answer, subject_of};
use crate::api_keys::{self, NewKey};
use crate::idempotency::answered_before;
use crate::markets::{self, OpenMarket, Opened};
use crate::webhooks::{self, NewWebhook};
use crate::{Answered, Caller, Context, Error, Keyed, bots};

/// [`api_keys::create`], counted.
pub async fn create_api_key(ctx: &Context, caller: Caller, wanted: NewKey) -> Result<(ApiKey, OpaqueToken), Error> {
    let reserved = reserve(ctx, caller).await?;
    let result = api_keys::create(ctx, caller, wanted).await;
    reserved.settle(outcome(&result)).await;
    result
}

/// [`bots::create`], counted.
pub async fn create_bot(
    ctx: &Context,
    caller: Caller,
    display_name: DisplayName,
    keyed: Option<Keyed<User>>,
) -> Result<Answered<User>, Error> {
    counted(ctx, caller, keyed.as_ref(), bots::create(ctx, caller, display_name, keyed.clone())).await
}

/// [`markets::open_market`], counted.
pub async fn open_market(
    ctx: &Context,
    caller: Caller,
    request: OpenMarket,
    keyed: Option<Keyed<Opened>>,
) -> Result<Answered<Opened>, Error> {
    counted(ctx, caller, keyed.as_ref(), markets::open_market(ctx, caller, request, keyed.clone())).await
}

/// [`webhooks::create`], counted.
pub async fn create_webhook(
    ctx: &Context,
    caller: Caller,
    wanted: NewWebhook,
    keyed: Option<Keyed<Webhook>>,
) -> Result<Answered<Webhook>, Error> {
    counted(ctx, caller, keyed.as_ref(), webhooks::create(ctx, caller, wanted, keyed.clone())).await
}

/// Makes something where the limit allows it. What was made before is answered again, whatever the limit says by now.
async fn counted<T>(
    ctx: &Context,
    caller: Caller,
    keyed: Option<&Keyed<T>>,
    make: impl Future<Output = Result<Answered<T>, Error>>,
) -> Result<Answered<T>, Error> {
    let reserved = match reserve(ctx, caller).await {
        Err(error @ Error::Limited(_)) => {
            let kept = answered_before(ctx, keyed).await?;
            return kept.map(Answered::Replayed).ok_or(error);
        }
        other => other?,
    };
    let result = make.await;
    reserved.settle(outcome_of_answer(&result)).await;
    result
}

/// A place for one more thing, which counts where it is made. Administrators need none; a bot takes its owner's.
async fn reserve(ctx: &Context, caller: Caller) -> Result<Reserved, Error> {
    let mut claims = Vec::new();
    if caller.role != Role::Admin {
        let person = subject_of(caller.person());
        claims.push(Claim::new(ctx.policy.limits.made, &person, Counts::Succeeded));
    }
    ctx.limiter.reserve(&*ctx.clock, &claims).await
}
