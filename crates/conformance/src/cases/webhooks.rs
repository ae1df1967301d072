//! Webhooks, and what they are sent.

use anyhow::{Context, bail, ensure};
use bellwether_domain::ids::{DeliveryId, MarketId, WebhookId};
use bellwether_domain::ports::{
    Changes, DeliveryFilter, DeliverySort, Direction, PageRequest, Start, StoreError, Unique,
};
use bellwether_domain::user::{User, UserStatus};
use bellwether_domain::webhook::{Attempt, Delivery, DeliveryState, Webhook, WebhookState};

use crate::fixtures::{self, at};
use crate::world::World;

/// A webhook of somebody, written.
async fn webhook(world: &World) -> anyhow::Result<Webhook> {
    let owner = fixtures::trader(world).await?;
    let webhook = Webhook {
        id: WebhookId(world.id()),
        owner: owner.id,
        url: format!("https://example.org/{}", world.number()),
        description: Some("Ünïcode '".to_owned()),
        events: vec!["market.paid".to_owned(), "trade.executed".to_owned()],
        markets: vec![MarketId(world.id()), MarketId(world.id())],
        state: WebhookState::Enabled,
        secret_number: 7,
        overlap_until: Some(at(5)?),
        failing_since: Some(at(6)?),
        created_at: at(0)?,
        updated_at: at(1)?,
        version: 3,
    };
    world.write(&Changes { new_webhooks: vec![webhook.clone()], ..Changes::default() }).await?;
    Ok(webhook)
}

/// A message that was not written yet.
fn message(world: &World, to: &Webhook, sequence: i64, market: Option<MarketId>) -> anyhow::Result<Delivery> {
    let body = format!("{{\"text\": \"Ünïcode ' {}\"}}", world.number());
    let delivery = Delivery::new(DeliveryId(world.id()), to.id, "trade.executed".to_owned(), body, at(sequence)?);
    Ok(Delivery { sequence, market, ..delivery })
}

async fn put_aside(world: &World, messages: &[Delivery]) -> Result<(), StoreError> {
    world.write(&Changes { new_deliveries: messages.to_vec(), ..Changes::default() }).await
}

async fn change(world: &World, messages: &[Delivery]) -> Result<(), StoreError> {
    world.write(&Changes { deliveries: messages.to_vec(), ..Changes::default() }).await
}

async fn due(world: &World, of: &Webhook, now: i64, limit: u32) -> anyhow::Result<Vec<i64>> {
    let due = world.webhooks.due(of.id, at(now)?, limit).await?;
    Ok(due.iter().map(|message| message.sequence).collect())
}

/// Every field, as it was made and as it changed; and nothing is left when it is deleted.
pub async fn webhooks_round_trip_and_go_with_what_they_were_sent(world: World) -> anyhow::Result<()> {
    let first = webhook(&world).await?;
    let plain = Webhook {
        id: WebhookId(world.id()),
        description: None,
        events: Vec::new(),
        markets: Vec::new(),
        state: WebhookState::Disabled,
        overlap_until: None,
        failing_since: None,
        ..first.clone()
    };
    world.write(&Changes { new_webhooks: vec![plain.clone()], ..Changes::default() }).await?;
    ensure!(world.webhooks.webhook(first.id).await? == Some(first.clone()));
    ensure!(world.webhooks.webhooks_of(first.owner).await? == [first.clone(), plain.clone()]);
    let mut unit = world.begin().await?;
    ensure!(unit.webhooks().lock(plain.id).await? == Some(plain.clone()));
    ensure!(unit.webhooks().of_user(first.owner).await?.len() == 2);
    ensure!(unit.webhooks().enabled().await? == std::slice::from_ref(&first));
    unit.rollback().await?;
    those_of_who_may_not_act_are_not_told(&world, &first).await?;

    let changed = Webhook {
        url: "https://example.net".to_owned(),
        description: None,
        events: vec!["book.changed".to_owned()],
        markets: Vec::new(),
        state: WebhookState::Gone,
        secret_number: 8,
        overlap_until: None,
        failing_since: None,
        updated_at: at(9)?,
        version: 4,
        ..first.clone()
    };
    world.write(&Changes { webhooks: vec![changed.clone()], ..Changes::default() }).await?;
    ensure!(world.webhooks.webhook(first.id).await? == Some(changed));
    let sent = message(&world, &first, 1, None)?;
    put_aside(&world, std::slice::from_ref(&sent)).await?;
    world.write(&Changes { deleted_webhooks: vec![first.id], ..Changes::default() }).await?;
    ensure!(world.webhooks.webhook(first.id).await?.is_none() && world.webhooks.delivery(sent.id).await?.is_none());
    ensure!(world.webhooks.webhooks_of(first.owner).await? == [plain]);
    Ok(())
}

async fn those_of_who_may_not_act_are_not_told(world: &World, enabled: &Webhook) -> anyhow::Result<()> {
    let owner = world.queries.user(enabled.owner).await?.context("there is an owner")?;
    for (status, is_told) in [(UserStatus::Suspended, false), (UserStatus::Active, true)] {
        let users = vec![User { status, ..owner.clone() }];
        world.write(&Changes { users, ..Changes::default() }).await?;
        let mut unit = world.begin().await?;
        let told = unit.webhooks().enabled().await?;
        unit.rollback().await?;
        ensure!(told.contains(enabled) == is_told, "{status:?}: {told:?}");
    }
    Ok(())
}

/// Threat 54: each event once for a webhook, and every field as it was written.
pub async fn messages_round_trip_and_an_event_is_put_aside_once(world: World) -> anyhow::Result<()> {
    let to = webhook(&world).await?;
    let market = Some(MarketId(world.id()));
    let (first, test) = (message(&world, &to, 1, market)?, message(&world, &to, 0, None)?);
    put_aside(&world, &[first.clone(), test.clone(), message(&world, &to, 0, None)?]).await?;
    ensure!(world.webhooks.delivery(first.id).await? == Some(first.clone()));
    let refused = put_aside(&world, &[message(&world, &to, 1, market)?]).await;
    ensure!(matches!(refused, Err(StoreError::Duplicate(Unique::Id))), "{refused:?}");
    let last = Some(Attempt { at: at(2)?, took_ms: 77, status: Some(500), said: "Öops".to_owned() });
    let (next_at, pending_since) = (at(9)?, at(1)?);
    let changed = Delivery { state: DeliveryState::Failed, attempts: 3, next_at, last, pending_since, ..first };
    let silent = Some(Attempt { at: at(2)?, took_ms: 0, status: None, said: "no answer".to_owned() });
    let unanswered = Delivery { attempts: 1, last: silent, ..test };
    change(&world, &[changed.clone(), unanswered.clone()]).await?;
    let mut unit = world.begin().await?;
    ensure!(unit.webhooks().lock(to.id).await?.is_some());
    ensure!(unit.webhooks().delivery(changed.id).await? == Some(changed.clone()));
    ensure!(unit.webhooks().delivery(unanswered.id).await? == Some(unanswered));
    unit.rollback().await?;
    let page =
        PageRequest { sort: vec![(DeliverySort::CreatedAt, Direction::Ascending)], start: Start::First, limit: 10 };
    let filter = DeliveryFilter { webhook: to.id, state: None };
    ensure!(world.webhooks.deliveries(&filter, &page).await?.items.len() == 3);
    let filter = DeliveryFilter { state: Some(DeliveryState::Failed), ..filter };
    ensure!(world.webhooks.deliveries(&filter, &page).await?.items == [changed]);
    Ok(())
}

/// In order; and what was tried and is not due keeps what follows it in its market waiting, and nothing else.
pub async fn what_waits_for_another_try_keeps_its_market_waiting_alone(world: World) -> anyhow::Result<()> {
    let (to, other) = (webhook(&world).await?, webhook(&world).await?);
    let (a, b) = (Some(MarketId(world.id())), Some(MarketId(world.id())));
    let mut messages = Vec::new();
    for (sequence, market) in [(3, a), (1, a), (2, b), (4, None), (5, b)] {
        messages.push(message(&world, &to, sequence, market)?);
    }
    put_aside(&world, &messages).await?;
    put_aside(&world, &[message(&world, &other, 1, a)?]).await?;
    ensure!(due(&world, &to, 0, 10).await? == [1, 2, 3, 4, 5] && due(&world, &to, 0, 2).await? == [1, 2]);
    ensure!(world.webhooks.next_due(to.id).await?.is_none());
    let tried = messages.iter().find(|message| message.sequence == 1).context("there is one")?.clone();
    let tried = Delivery { attempts: 1, next_at: at(50)?, ..tried };
    change(&world, std::slice::from_ref(&tried)).await?;
    ensure!(due(&world, &to, 49, 10).await? == [2, 4, 5], "its market waits for it");
    ensure!(world.webhooks.next_due(to.id).await? == Some(at(50)?));
    ensure!(due(&world, &to, 50, 10).await? == [1, 2, 3, 4, 5]);
    change(&world, &[Delivery { state: DeliveryState::Delivered, attempts: 2, ..tried }]).await?;
    ensure!(due(&world, &to, 49, 10).await? == [2, 3, 4, 5]);
    ensure!(due(&world, &other, 0, 10).await? == [1]);
    Ok(())
}

/// Whoever looks whether a receiver is well again does not wait for what it did not take; and a test that it does not take
/// keeps nothing waiting.
pub async fn a_test_waits_for_no_event_and_no_event_for_it(world: World) -> anyhow::Result<()> {
    let to = webhook(&world).await?;
    let (event, later) = (message(&world, &to, 1, None)?, message(&world, &to, 2, None)?);
    let in_pause = |message: &Delivery| anyhow::Ok(Delivery { attempts: 3, next_at: at(50)?, ..message.clone() });
    put_aside(&world, &[event.clone(), later]).await?;
    change(&world, &[in_pause(&event)?]).await?;
    let (one, other) = (message(&world, &to, 0, None)?, message(&world, &to, 0, None)?);
    put_aside(&world, &[one.clone(), other]).await?;
    ensure!(due(&world, &to, 10, 10).await? == [0, 0]);
    change(&world, &[in_pause(&one)?, Delivery { attempts: 1, ..event }]).await?;
    ensure!(due(&world, &to, 10, 10).await? == [0, 1, 2], "one test is in pause");
    ensure!(due(&world, &to, 50, 10).await? == [0, 0, 1, 2]);
    Ok(())
}

/// As if it had not been tried; what is to be sent for the first time, what was taken, and others' are left alone.
pub async fn what_is_in_pause_is_made_due(world: World) -> anyhow::Result<()> {
    let (to, other) = (webhook(&world).await?, webhook(&world).await?);
    let market = Some(MarketId(world.id()));
    let mut messages = Vec::new();
    for (sequence, of) in [(1, market), (2, market), (3, None), (4, None)] {
        messages.push(message(&world, &to, sequence, of)?);
    }
    let elsewhere = message(&world, &other, 1, market)?;
    put_aside(&world, &messages).await?;
    put_aside(&world, std::slice::from_ref(&elsewhere)).await?;
    let in_pause = |message: &Delivery| anyhow::Ok(Delivery { attempts: 9, next_at: at(50)?, ..message.clone() });
    let [first, _, third, fourth] = messages.as_slice() else { bail!("there are four") };
    let taken = Delivery { state: DeliveryState::Delivered, attempts: 2, ..fourth.clone() };
    change(&world, &[in_pause(first)?, in_pause(third)?, in_pause(&elsewhere)?, taken.clone()]).await?;
    ensure!(due(&world, &to, 20, 10).await?.is_empty());
    let mut unit = world.begin().await?;
    unit.webhooks().lock(to.id).await?;
    ensure!(unit.webhooks().make_due(to.id, at(20)?).await? == 2);
    unit.commit().await?;
    ensure!(due(&world, &to, 20, 10).await? == [1, 2, 3] && world.webhooks.next_due(to.id).await?.is_none());
    let again = world.webhooks.delivery(first.id).await?.context("it is there")?;
    ensure!((again.attempts, again.next_at, again.pending_since) == (0, at(20)?, at(1)?), "{again:?}");
    ensure!(world.webhooks.delivery(fourth.id).await? == Some(taken));
    ensure!(due(&world, &other, 20, 10).await?.is_empty());
    Ok(())
}

/// Since a moment, at most so many, the oldest first; what is to be sent anyway is left alone.
pub async fn what_was_sent_is_sent_again_and_forgotten_in_batches(world: World) -> anyhow::Result<()> {
    let (to, other) = (webhook(&world).await?, webhook(&world).await?);
    let mut messages = Vec::new();
    for sequence in 1..=5 {
        let sent = message(&world, &to, sequence, None)?;
        messages.push(Delivery { state: DeliveryState::Delivered, attempts: 4, ..sent });
    }
    put_aside(&world, &messages).await?;
    let elsewhere = Delivery { state: DeliveryState::Delivered, ..message(&world, &other, 3, None)? };
    put_aside(&world, &[elsewhere]).await?;
    let again = async |since: i64, limit: u32| -> anyhow::Result<u64> {
        let mut unit = world.begin().await?;
        unit.webhooks().lock(to.id).await?;
        let count = unit.webhooks().send_again(to.id, at(since)?, at(20)?, limit).await?;
        unit.commit().await?;
        Ok(count)
    };
    ensure!(again(3, 2).await? == 2 && due(&world, &to, 20, 10).await? == [3, 4]);
    ensure!(again(3, 10).await? == 1 && again(3, 10).await? == 0 && due(&world, &to, 20, 10).await? == [3, 4, 5]);
    ensure!(due(&world, &other, 20, 10).await?.is_empty());
    let sent = world.webhooks.due(to.id, at(20)?, 1).await?.pop().context("it is due")?;
    ensure!((sent.attempts, sent.pending_since, sent.created_at) == (0, at(20)?, at(3)?), "{sent:?}");
    for (before, limit, forgotten) in [(1, 10, 0), (4, 2, 2), (4, 10, 2), (100, 10, 2)] {
        ensure!(world.webhooks.forget_deliveries_before(at(before)?, limit).await? == forgotten, "{before}");
    }
    Ok(())
}

/// One or many webhooks and messages cost the same.
pub async fn the_statements_for_webhooks_do_not_grow_with_their_number(world: World) -> anyhow::Result<()> {
    let cost = async |count: i64| -> anyhow::Result<u64> {
        let to = webhook(&world).await?;
        let (mut messages, mut more) = (Vec::new(), Vec::new());
        for sequence in 1..=count {
            messages.push(message(&world, &to, sequence, None)?);
            more.push(Webhook { id: WebhookId(world.id()), ..to.clone() });
        }
        let before = world.statements();
        world.write(&Changes { new_webhooks: more.clone(), ..Changes::default() }).await?;
        put_aside(&world, &messages).await?;
        change(&world, &messages).await?;
        world.webhooks.due(to.id, at(count)?, 100).await?;
        world.webhooks.next_due(to.id).await?;
        let deleted_webhooks = more.iter().map(|webhook| webhook.id).collect();
        world.write(&Changes { deleted_webhooks, ..Changes::default() }).await?;
        Ok(world.statements() - before)
    };
    cost(1).await?;
    let (one, many) = (cost(1).await?, cost(50).await?);
    ensure!(one == many, "{many} statements for many where one takes {one}");
    Ok(())
}
