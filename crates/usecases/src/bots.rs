//! Bots: users without an address and a password, who act by the API keys that their owner makes.

use async_trait::async_trait;
use bellwether_domain::audit_log::{Action, Actor, Target};
use bellwether_domain::ids::{AccountId, UserId};
use bellwether_domain::ledger::{Account, Owner};
use bellwether_domain::permissions::Permission;
use bellwether_domain::ports::{Changes, UnitOfWork};
use bellwether_domain::refusal::Refusal;
use bellwether_domain::text::DisplayName;
use bellwether_domain::user::{MOST_BOTS, User, UserStatus};
use serde_json::json;

use crate::atomically::{Script, Step, atomically};
use crate::idempotency::find_answer;
use crate::{Answered, Caller, Context, Error, Keyed, audit_log};

/// Makes a bot of the caller's, with an empty account: its owner pays it what it is to trade with. Refused
/// with [`TooManyBots`](Refusal::TooManyBots).
pub async fn create(
    ctx: &Context,
    caller: Caller,
    display_name: DisplayName,
    keyed: Option<Keyed<User>>,
) -> Result<Answered<User>, Error> {
    caller.require(Permission::MakeBot, true)?;
    atomically(ctx, MakeBot { owner: caller.user, display_name, keyed }).await
}

/// The bots of a user that were not deleted: one's own, or anybody's for an administrator.
pub async fn list(ctx: &Context, caller: Caller, owner: UserId) -> Result<Vec<User>, Error> {
    if !caller.may(Permission::ReadBots, caller.user == owner) {
        return Err(Refusal::UserNotFound.into());
    }
    Ok(ctx.queries.bots_of(owner).await?)
}

struct MakeBot {
    owner: UserId,
    display_name: DisplayName,
    keyed: Option<Keyed<User>>,
}

#[async_trait]
impl Script for MakeBot {
    type Output = Answered<User>;

    async fn run(&mut self, ctx: &Context, unit: &mut dyn UnitOfWork) -> Result<Step<Answered<User>>, Error> {
        if let Some(kept) = find_answer(unit, self.keyed.as_ref()).await? {
            return Ok(Step::Commit(Answered::Replayed(kept)));
        }
        let owner = unit.users().lock(&[self.owner]).await?.pop();
        owner.filter(|owner| owner.status == UserStatus::Active).ok_or(Refusal::UserInactive)?;
        if unit.users().lock_bots_of(self.owner).await?.len() >= MOST_BOTS {
            return Err(Refusal::TooManyBots { limit: MOST_BOTS }.into());
        }
        let (now, id) = (ctx.clock.now(), UserId(ctx.ids.fresh().next_uuid()));
        let bot = User::bot(id, self.owner, self.display_name.clone(), now);
        unit.write(&Changes {
            new_users: vec![bot.clone()],
            new_accounts: vec![Account::open(AccountId::of_user(id), Owner::User(id), now)],
            events: vec![audit_log::with(
                ctx,
                Actor::User(self.owner),
                Action::BotMade,
                Target::User(id),
                &json!({ "ownerId": self.owner.to_string() }),
            )],
            answers: self.keyed.iter().map(|keyed| keyed.keep(&bot, now)).collect(),
            ..Changes::default()
        })
        .await?;
        Ok(Step::Commit(Answered::Fresh(bot)))
    }
}
