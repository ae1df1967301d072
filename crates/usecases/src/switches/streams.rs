//! Live streams that stand for their traders while they are open.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bellwether_domain::cancel_switch::{CancelSwitch, Sender};
use bellwether_domain::ids::SwitchId;
use bellwether_domain::permissions::Permission;
use bellwether_domain::ports::{Changes, StoreError, UnitOfWork};
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::settle_now;
use crate::atomically::{Script, Step, atomically};
use crate::{Caller, Context, Error};

/// How often the deadlines of open streams are pushed ahead: three times while they last.
const RENEWAL: Duration = Duration::from_secs(5);
/// How long that may take before it is tried anew, by another connection to the database: twice before the deadlines pass.
const PATIENCE: Duration = Duration::from_secs(4);
/// The pause before it is tried anew.
const AGAIN: Duration = Duration::from_millis(200);

/// The streams of this process that stand for traders. Clones are the same.
#[derive(Clone)]
pub struct Holds {
    ctx: Context,
    open: Arc<Mutex<Open>>,
    /// Locked while the store is told of all that are open. Who ends one takes it away first, and then waits for this: so
    /// what has ended is not renewed after that, and no renewal waits for those that begin or end, however many.
    renewing: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Default)]
struct Open {
    streams: BTreeMap<SwitchId, Sender>,
    /// Whether a task renews them.
    is_renewed: bool,
}

impl std::fmt::Debug for Holds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Holds(..)")
    }
}

impl Holds {
    /// On these ports.
    #[must_use]
    pub fn new(ctx: Context) -> Self {
        Self { ctx, open: Arc::default(), renewing: Arc::default() }
    }

    /// From now on a stream stands for the caller, until the hold is dropped. What it holds is written when this returns.
    pub async fn hold(&self, caller: Caller) -> Result<Hold, Error> {
        caller.require(Permission::ChangeOrder, true)?;
        let (id, sender) = (SwitchId(self.ctx.ids.fresh().next_uuid()), Sender::from(caller));
        atomically(&self.ctx, Renew { streams: vec![(id, sender)] }).await?;
        let mut open = self.open();
        open.streams.insert(id, sender);
        if !std::mem::replace(&mut open.is_renewed, true) {
            tokio::spawn(self.clone().renew());
        }
        Ok(Hold { holds: self.clone(), id, sender, runtime: Handle::current(), is_left: false })
    }

    /// Pushes the deadlines of all open streams ahead, as long as there are some.
    async fn renew(self) {
        let mut pause = RENEWAL;
        loop {
            tokio::time::sleep(pause).await;
            let _renewing = self.renewing.lock().await;
            let Some(streams) = self.open().renewable() else { return };
            let renewed = timeout(PATIENCE, atomically(&self.ctx, Renew { streams })).await;
            pause = match renewed.unwrap_or_else(|late| Err(StoreError::Unavailable(late.into()).into())) {
                Ok(()) => RENEWAL,
                Err(error) => {
                    tracing::warn!(%error, "the deadlines of streams that hold orders were not pushed ahead; it is tried again");
                    AGAIN
                }
            };
        }
    }

    /// A stream has ended: where it was the trader's last one, its orders are cancelled.
    async fn end(self, id: SwitchId, sender: Sender) {
        self.open().streams.remove(&id);
        drop(self.renewing.lock().await);
        if let Err(error) = settle_now(&self.ctx, sender, Some(id)).await {
            tracing::warn!(%error, user = %sender.user, "the end of a stream that holds orders is left to its deadline");
        }
    }

    /// A stream has ended with the server: others, or the server when it is back, wait for its deadline.
    fn leave(&self, id: SwitchId) {
        self.open().streams.remove(&id);
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// All of them; none where there is none, and whoever renews them may go.
    fn renewable(&mut self) -> Option<Vec<(SwitchId, Sender)>> {
        self.is_renewed = !self.streams.is_empty();
        self.is_renewed.then(|| self.streams.iter().map(|(id, sender)| (*id, *sender)).collect())
    }
}

/// A stream that stands for its trader. When it is dropped, and it was the trader's last one, the orders are cancelled.
#[derive(Debug)]
pub struct Hold {
    holds: Holds,
    id: SwitchId,
    sender: Sender,
    runtime: Handle,
    is_left: bool,
}

impl Hold {
    /// Ends it with the server: the trader has until its deadline to come back elsewhere.
    pub(crate) fn leave(mut self) {
        self.is_left = true;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let holds = self.holds.clone();
        if self.is_left {
            holds.leave(self.id);
        } else {
            self.runtime.spawn(holds.end(self.id, self.sender));
        }
    }
}

/// Pushes the deadlines of streams ahead. One that was taken for over meanwhile stands again from now on.
struct Renew {
    streams: Vec<(SwitchId, Sender)>,
}

#[async_trait]
impl Script for Renew {
    type Output = ();

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<()>, Error> {
        let now = ctx.clock.now();
        let cancel_switches = self.streams.iter().map(|(id, sender)| CancelSwitch::stream(*id, *sender, now)).collect();
        unit.write(&Changes { cancel_switches, ..Changes::default() }).await?;
        Ok(Step::Commit(()))
    }
}
