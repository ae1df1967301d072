//! The audit log, for administrators.

use bellwether_domain::audit_log::Action;
use bellwether_domain::ids::UserId;
use bellwether_domain::ports::{AuditFilter, AuditSort};

use crate::call::Call;
use crate::envelope::Reply;
use crate::faults::Fault;
use crate::fields::{Fields, Node};
use crate::paging::Wanted;
use crate::wire::audit_log::EntryWire;

/// `GET /admin/audit-log`.
pub(crate) async fn list(call: Call) -> Result<Reply, Fault> {
    call.caller().await?;
    let (filter, wanted) = call.query(|query| {
        let wanted = Wanted::<AuditSort>::read(query);
        Some((filter(query)?, wanted?))
    })?;
    let paging = wanted.bind("audit-log", &filter, call.sealer())?;
    let (lists, request) = (call.lists(), paging.request.clone());
    let page = call.app().run(async move { lists.audit_log(&filter, &request).await }).await?;
    let shown: Vec<EntryWire<'_>> = page.items.iter().map(EntryWire::of).collect();
    Ok(Reply::ok(&shown)?.paged(paging.describe(&page, |entry| entry.event.id.0, call.sealer())))
}

/// Reads which entries are wanted.
pub(crate) fn filter(query: &Fields<'_>) -> Option<AuditFilter> {
    let actor = query.optional("actor", |n| n.id().map(UserId));
    let action = query.optional("action", |n| n.one_of(Action::ALL, Action::as_str));
    let target = query.optional("target", Node::id);
    let (from, until) = (query.optional("from", Node::time), query.optional("until", Node::time));
    Some(AuditFilter { actor: actor?, action: action?, target: target?, from: from?, until: until? })
}
