//! What lets somebody act as a user, or be told what it is told, without its password: API keys and webhooks. A change of
//! the password leaves them. They end where whoever made them may have been a stranger: where an account is given to somebody
//! by the command line, or taken back by a mail.

use bellwether_domain::audit_log::Actor;
use bellwether_domain::ids::{SessionId, UserId};
use bellwether_domain::ports::{Changes, UnitOfWork};
use bellwether_domain::webhook::WebhookState;

use crate::{Context, Error, api_keys, sessions};

/// Within a unit of work that holds the user's lock: revokes its API keys and those of its bots, and disables its webhooks,
/// for the unit to write. Bots have no webhooks, since no API key makes one.
pub(crate) async fn revoke_all(
    ctx: &Context,
    unit: &mut dyn UnitOfWork,
    by: Actor,
    user: UserId,
    changes: &mut Changes,
) -> Result<(), Error> {
    let now = ctx.clock.now();
    let bots = unit.users().lock_bots_of(user).await?;
    for owner in std::iter::once(user).chain(bots.iter().map(|bot| bot.id)) {
        for mut key in unit.api_keys().of_user(owner).await? {
            changes.events.push(api_keys::revoke_now(ctx, by, &mut key));
            changes.api_keys.push(key);
        }
    }
    for found in unit.webhooks().of_user(user).await? {
        // It may have been changed or deleted meanwhile.
        let webhook = unit.webhooks().lock(found.id).await?;
        if let Some(mut webhook) = webhook.filter(|webhook| webhook.state == WebhookState::Enabled) {
            webhook.state = WebhookState::Disabled;
            webhook.change(now);
            changes.webhooks.push(webhook);
        }
    }
    Ok(())
}

/// The sessions and API keys, by their hashes, that a unit of work ended.
pub(crate) struct Ended {
    sessions: Vec<SessionId>,
    keys: Vec<[u8; 32]>,
}

impl Ended {
    /// By what a unit writes.
    pub(crate) fn by(changes: &Changes) -> Self {
        let keys = changes.api_keys.iter().filter(|key| key.revoked_at.is_some()).map(|key| key.hash).collect();
        Self { sessions: sessions::ids(&changes.sessions), keys }
    }

    /// Lets this process and others know, once the unit was committed.
    pub(crate) async fn tell(&self, ctx: &Context) {
        ctx.session_memory.end(&self.sessions).await;
        for key in &self.keys {
            ctx.key_memory.end(*key).await;
        }
    }
}
