//! Dead-man switches.

use async_trait::async_trait;
use bellwether_domain::cancel_switch::{CancelSwitch, Sender, SwitchKind};
use bellwether_domain::ids::{ApiKeyId, SwitchId, UserId};
use bellwether_domain::ports::{CancelSwitches, StoreError};
use jiff::Timestamp;

use crate::connection::Connection;
use crate::schema::CANCEL_SWITCHES;
use crate::sql::{Row, Sql, Values};
use crate::unit::PgUnitOfWork;

const WHAT: &str = "a dead-man switch";
/// What of a switch changes.
pub(crate) const EXISTS: &str = " ON CONFLICT (id) DO UPDATE SET \
                                 timeout_s = excluded.timeout_s, due_at = excluded.due_at, fired_at = excluded.fired_at";
const DUE: &str = "SELECT user_id, key_id FROM cancel_switches WHERE due_at IS NOT NULL AND due_at <= ? \
                   ORDER BY due_at, id LIMIT ?";

/// The columns of a switch.
pub(crate) fn bind(switch: &CancelSwitch, row: &mut Values) {
    row.add(switch.id)
        .add(switch.sender.user)
        .add(switch.sender.key)
        .add(switch.kind.as_str())
        .add(switch.timeout_s)
        .add(switch.due_at)
        .add(switch.fired_at);
}

fn read(row: &mut Row) -> Result<CancelSwitch, StoreError> {
    Ok(CancelSwitch {
        id: SwitchId(row.id()?),
        sender: read_sender(row)?,
        kind: row.text_as("a kind of switch", SwitchKind::from_name)?,
        timeout_s: row.int()?,
        due_at: row.opt_time()?,
        fired_at: row.opt_time()?,
    })
}

fn read_sender(row: &mut Row) -> Result<Sender, StoreError> {
    Ok(Sender { user: UserId(row.id()?), key: row.opt_id()?.map(ApiKeyId) })
}

fn wanted(sender: Sender, then: &str) -> Sql {
    let sql = Sql::new(CANCEL_SWITCHES.select());
    match sender.key {
        Some(key) => sql.then(" WHERE user_id = ? AND key_id = ? ORDER BY id").then(then).bind(sender.user).bind(key),
        None => sql.then(" WHERE user_id = ? AND key_id IS NULL ORDER BY id").then(then).bind(sender.user),
    }
}

/// The switches of a sender.
pub(crate) async fn of(connection: &mut Connection, sender: Sender) -> Result<Vec<CancelSwitch>, StoreError> {
    connection.read(WHAT, wanted(sender, ""), read).await
}

/// Whose switches have passed their deadline.
pub(crate) async fn due(connection: &mut Connection, now: Timestamp, limit: u32) -> Result<Vec<Sender>, StoreError> {
    connection.read(WHAT, Sql::new(DUE).bind(now).bind(limit), read_sender).await
}

#[async_trait]
impl CancelSwitches for PgUnitOfWork {
    async fn lock_of(&mut self, sender: Sender) -> Result<Vec<CancelSwitch>, StoreError> {
        self.connection.read(WHAT, wanted(sender, " FOR UPDATE"), read).await
    }
}
