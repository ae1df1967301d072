//! The timer of a dead-man switch: orders are cancelled where it is not pushed ahead in time.

use bellwether_domain::cancel_switch::TIMEOUTS_S;
use bellwether_usecases::switches::{self, Standing};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::call::Call;
use crate::envelope::Reply;
use crate::faults::Fault;
use crate::fields::Fields;

/// How a trader's switches stand.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CancelSwitches")]
#[serde(rename_all = "camelCase")]
pub(crate) struct SwitchesWire {
    timeout_seconds: Option<i64>,
    cancel_at: Option<Timestamp>,
    fired_at: Option<Timestamp>,
    streams: usize,
    server_time: Timestamp,
}

impl From<Standing> for SwitchesWire {
    fn from(standing: Standing) -> Self {
        let Standing { timeout_s, due_at, fired_at, streams, now } = standing;
        Self { timeout_seconds: timeout_s, cancel_at: due_at, fired_at, streams, server_time: now }
    }
}

/// `GET /orders/cancel-after`.
pub(crate) async fn show(call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    call.no_query()?;
    let ctx = call.ctx();
    let standing = call.app().run(async move { switches::show(&ctx, caller).await }).await?;
    Reply::ok(&SwitchesWire::from(standing))
}

/// After how many seconds; none for 0.
pub(crate) fn timeout(fields: &Fields<'_>) -> Option<Option<i64>> {
    fields.required("timeoutSeconds", |node| match node.whole(0, *TIMEOUTS_S.end())? {
        0 => Some(None),
        timeout if TIMEOUTS_S.contains(&timeout) => Some(Some(timeout)),
        _ => node.fail("range", "must be 5 to 3600 seconds, or 0 to switch it off"),
    })
}

/// `PUT /orders/cancel-after`: a timeout of 0 switches it off.
pub(crate) async fn set(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    let timeout_s = call.command(timeout).await?;
    let ctx = call.ctx();
    let standing = call.app().run(async move { switches::set_timer(&ctx, caller, timeout_s).await }).await?;
    Reply::ok(&SwitchesWire::from(standing))
}

/// `DELETE /orders/cancel-after`.
pub(crate) async fn switch_off(mut call: Call) -> Result<Reply, Fault> {
    let caller = call.caller().await?;
    call.no_body().await?;
    let ctx = call.ctx();
    call.app().run(async move { switches::set_timer(&ctx, caller, None).await }).await?;
    Ok(Reply::no_content())
}
