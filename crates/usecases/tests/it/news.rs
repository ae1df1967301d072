//! What units of work tell the outbox.

use bellwether_domain::event;
use bellwether_domain::market::{MarketStatus, OutcomeId, Proposal, Weights};
use bellwether_domain::ports::{MockPasswordHasher, MockQueries, MockTokenSigner};
use bellwether_domain::user::Role;
use bellwether_usecases::settling::{Turns, tick};
use bellwether_usecases::{Caller, markets, users};
use jiff::SignedDuration;

use crate::mocks::{Unit, context, context_with, market, market_id, nothing_else_due, now, store, user, user_id};

/// The kinds of the events of a write.
fn kinds(changes: &bellwether_domain::ports::Changes) -> Vec<&'static str> {
    changes.news.iter().map(event::Event::kind).collect()
}

/// A unit that changes a market once and tells one thing.
fn changes_market(status: MarketStatus, kind: &'static str) -> Unit {
    let mut unit = Unit::default();
    let mut market = market(1, status);
    if status == MarketStatus::Proposed {
        market.proposal = Some(Proposal {
            weights: Weights::winner(OutcomeId::FIRST, 2),
            evidence_url: None,
            proposed_by: user_id(9),
            proposed_at: now() - SignedDuration::from_hours(2),
            challenge_until: now() - SignedDuration::from_hours(1),
            disputed_by: None,
            dispute_reason: None,
        });
    }
    market.closes_at = now() - SignedDuration::from_secs(1);
    unit.markets.expect_lock().returning(move |_| Ok(vec![market.clone()]));
    unit.unit.expect_write().times(1).withf(move |changes| kinds(changes) == [kind]).returning(|_| Ok(()));
    unit.commits()
}

#[tokio::test]
async fn a_moderators_change_of_a_market_is_told_by_its_kind() {
    let moderator = Caller::signed_in(user_id(5), Role::Moderator);
    let ctx = context(store(1, |_| changes_market(MarketStatus::Open, "market.halted")));
    markets::halt_market(&ctx, moderator, market_id(1), None).await.unwrap();
    let ctx = context(store(1, |_| changes_market(MarketStatus::Halted, "market.reopened")));
    markets::reopen_market(&ctx, moderator, market_id(1), None).await.unwrap();
}

#[tokio::test]
async fn what_time_does_to_a_market_is_told() {
    for (status, kind) in [(MarketStatus::Open, "market.closed"), (MarketStatus::Proposed, "market.resolved")] {
        let mut queries = MockQueries::new();
        let due = |is_due: bool| move |_, _| Ok(if is_due { vec![market_id(1)] } else { Vec::new() });
        queries.expect_markets_to_close().returning(due(status == MarketStatus::Open));
        queries.expect_proposals_to_decide().returning(due(status == MarketStatus::Proposed));
        nothing_else_due(&mut queries);
        let store = store(2, move |run| match run {
            0 => changes_market(status, kind),
            // Its settlement, of which there is nothing to do.
            _ => {
                let mut unit = Unit::default();
                unit.markets.expect_lock().returning(|_| Ok(Vec::new()));
                unit.rolls_back()
            }
        });
        let ctx = context_with(store, queries, MockPasswordHasher::new(), MockTokenSigner::new());
        tick(&ctx, &mut Turns::default()).await.unwrap();
    }
}

#[tokio::test]
async fn a_change_of_a_user_is_told() {
    let ctx = context(store(1, |_| {
        let mut unit = Unit::default();
        unit.users.expect_lock_admins().returning(|| {
            let mut admin = user(5);
            admin.role = Role::Admin;
            Ok(vec![admin])
        });
        unit.users.expect_lock().returning(|_| Ok(vec![user(1)]));
        unit.sessions.expect_lock_of_user().returning(|_| Ok(Vec::new()));
        unit.mail_tokens.expect_of_user().returning(|_| Ok(Vec::new()));
        unit.unit.expect_write().times(1).withf(|changes| kinds(changes) == ["user.updated"]).returning(|_| Ok(()));
        unit.commits()
    }));
    let admin = Caller::signed_in(user_id(5), Role::Admin);
    users::set_role(&ctx, admin, user_id(1), Role::Moderator, None).await.unwrap();
}
