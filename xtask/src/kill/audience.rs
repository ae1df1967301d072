//! All who are to be told what happens while processes are killed: a reader of the outbox, webhooks, live clients,
//! and whoever begins jobs.

use std::time::{Duration, Instant};

use crate::kill::accounts;
use crate::kill::api::{Api, User};
use crate::kill::follower::{Follower, Manner, Wish};
use crate::kill::jobs::{self, Probes};
use crate::kill::load::Record;
use crate::kill::outbox::{self, Event, Tail};
use crate::kill::receiver::Receiver;
use crate::kill::told::{self, Hook};

/// How long it may take, after the last kill, until everybody was told everything and every job is done: leases run out
/// first, and what a receiver did not take comes again after a pause that grows.
const SETTLING: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(250);
/// How many markets of replays are followed each by a client of its own.
const FOLLOWED: usize = 6;
/// What the second webhook wants.
const SOME_KINDS: [&str; 6] =
    ["trade.executed", "market.opened", "market.closed", "market.resolved", "market.voided", "market.paid"];

/// Everybody.
pub(super) struct Audience {
    api: Api,
    admin: User,
    address: String,
    tail: Tail,
    receiver: Receiver,
    hooks: Vec<Hook>,
    followers: Vec<Follower>,
    /// Among so many events it was looked for markets to follow.
    looked_at: usize,
    probes: Probes,
}

/// What everybody got.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) events: usize,
    pub(super) deliveries: usize,
    /// What came to a receiver again.
    pub(super) redelivered: usize,
    pub(super) clients: usize,
    /// What live clients were told.
    pub(super) told: usize,
    pub(super) resumed: u32,
    pub(super) slow: u32,
    /// How often a live client's book had the checksum that it was told.
    pub(super) proved: usize,
    pub(super) jobs: usize,
    pub(super) settled_after: Duration,
}

impl Audience {
    /// Has these users make webhooks and follow that market, all markets and themselves. Nothing may happen
    /// meanwhile that webhooks are told of.
    pub(super) async fn gather(
        address: &str,
        mut admin: User,
        users: [&User; 2],
        market: &str,
    ) -> anyhow::Result<Self> {
        let api = Api::new(address)?;
        let receiver = Receiver::start().await?;
        let before = outbox::read(&api, &mut admin).await?;
        let after = before.last().map_or(0, |event| event.sequence);
        let wanted: [(&'static str, &'static [&'static str]); 2] = [("all", &[]), ("some", &SOME_KINDS)];
        let mut hooks = Vec::new();
        for (user, (name, kinds)) in users.into_iter().zip(wanted) {
            let (_, secret) = api.make_webhook(user, &receiver.url(name), kinds).await?;
            receiver.open(name, &secret)?;
            hooks.push(Hook { name, owner: user.id.clone(), kinds, after });
        }
        let mut followers = Vec::new();
        for (user, manner) in users.into_iter().zip([Manner::Events, Manner::Socket]) {
            let (user, markets) = (Some(user.clone()), vec![market.to_owned()]);
            followers.push(Follower::start(address, Wish { manner, markets, all_markets: true, user, after: None })?);
        }
        let tail = Tail::start(api.clone(), admin.clone());
        let probes = Probes::start(api.clone(), admin.clone());
        let address = address.to_owned();
        Ok(Self { api, admin, address, tail, receiver, hooks, followers, looked_at: 0, probes })
    }

    /// The reader of the outbox.
    pub(super) fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Follows markets that replays have opened since, from the moment in which they were opened.
    pub(super) fn follow_replays(&mut self) -> anyhow::Result<()> {
        let (count, _) = self.tail.reached();
        for opened in self.tail.opened_after(self.looked_at) {
            let of_replays = self.followers.iter().filter(|follower| follower.wish.user.is_none()).count();
            let Some(market) = opened.market().filter(|_| of_replays < FOLLOWED) else { continue };
            let manner = if of_replays % 2 == 0 { Manner::Socket } else { Manner::Events };
            let after = Some(opened.sequence);
            let wish = Wish { manner, markets: vec![market.to_owned()], all_markets: false, user: None, after };
            self.followers.push(Follower::start(&self.address, wish)?);
        }
        self.looked_at = count;
        Ok(())
    }

    /// Waits until everybody has what is theirs, and checks it; what was wrong, and what everybody got.
    pub(super) async fn settle(&mut self, records: &[Record]) -> anyhow::Result<(Vec<Event>, Vec<String>, Figures)> {
        let begun = self.probes.stop();
        let started = Instant::now();
        self.receiver.be_willing();
        self.follow_replays()?;
        while !self.is_settled().await? && started.elapsed() < SETTLING {
            tokio::time::sleep(PAUSE).await;
        }
        let settled_after = started.elapsed();
        let events = outbox::read(&self.api, &mut self.admin).await?;
        let (read, mut breaches) = self.tail.events();
        if read != events {
            breaches.push(format!(
                "who read the outbox as it grew has {} events, and it has {}",
                read.len(),
                events.len()
            ));
        }
        breaches.extend(accounts::of_themselves(&events));
        breaches.extend(accounts::of_commands(&events, records));
        breaches.extend(accounts::of_the_store(&self.api, &mut self.admin, &events).await?);
        breaches.extend(jobs::breaches(&self.api, &mut self.admin, &begun).await?);
        let mut figures = Figures { events: events.len(), jobs: begun.len(), settled_after, ..Figures::default() };
        for hook in &self.hooks {
            let (arrivals, faults) = self.receiver.arrivals(hook.name);
            breaches.extend(faults);
            breaches.extend(hook.breaches(&events, &arrivals));
            let mut taken: Vec<i64> = arrivals.iter().map(|arrival| arrival.sequence).collect();
            taken.sort_unstable();
            taken.dedup();
            figures.deliveries += taken.len();
            figures.redelivered += arrivals.len() - taken.len();
        }
        for follower in &self.followers {
            breaches.extend(told::breaches(follower, &events));
            let heard = follower.heard();
            figures.clients += 1;
            figures.told += heard.events.len();
            figures.resumed += heard.resumed;
            figures.slow += heard.slow;
            figures.proved += heard.books.proved;
        }
        Ok((events, breaches, figures))
    }

    /// Whether nobody waits for anything.
    async fn is_settled(&mut self) -> anyhow::Result<bool> {
        let (_, last) = self.tail.reached();
        let (newer, _) = self.api.events(&mut self.admin, last).await?;
        if !newer.is_empty() {
            return Ok(false);
        }
        for state in ["waiting", "running"] {
            if !jobs::of_state(&self.api, &mut self.admin, state).await?.is_empty() {
                return Ok(false);
            }
        }
        let (events, _) = self.tail.events();
        let has_all = |hook: &Hook| hook.missing(&events, &self.receiver.arrivals(hook.name).0) == 0;
        Ok(self.hooks.iter().all(has_all)
            && self.followers.iter().all(|follower| told::missing(follower, &events) == 0))
    }
}
