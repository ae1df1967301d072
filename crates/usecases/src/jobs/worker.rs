//! The loop that does the jobs of one kind.
//!
//! As many run at the same time as the kind allows. Each has a short lease, which is prolonged as long as it
//! runs: so what a server did that died is done by another some seconds later. A job whose lease was lost is
//! dropped here, and what is said of it after that counts for nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bellwether_domain::job::{Claim, Job, LEASE, Manner, Outcome};
use bellwether_domain::ports::{Finished, JobEnd, StoreError};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::{Failure, Handler, Verdict};
use crate::{Context, Error};

/// The longest pause: so long may a job wait of which nobody was told.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How often leases are prolonged: well before they run out.
const RENEWAL: Duration = Duration::from_secs(3);
/// How often what became of a job is said again where others got in the way.
const TELLINGS: u32 = 3;

/// Does jobs until `stop` turns true, and those that are under way then to their end. Who cannot wait for
/// that drops it: what was not finished is done again, by whoever comes to it, when its lease has run out.
pub async fn work(ctx: Context, handler: Arc<dyn Handler>, mut stop: watch::Receiver<bool>) {
    let mut worker = Worker::new(ctx, handler);
    loop {
        let is_stopping = *stop.borrow();
        if is_stopping && worker.running.is_empty() {
            return;
        }
        let next_look = if is_stopping { None } else { worker.take_jobs().await };
        let (renewal, bell, kind) = (worker.next_renewal, worker.ctx.job_bell.clone(), worker.handler.kind());
        let is_busy = !worker.running.is_empty();
        tokio::select! {
            Some(ended) = worker.running.join_next_with_id(), if is_busy => worker.note(ended).await,
            () = sleep_until(renewal), if is_busy => worker.renew().await,
            () = bell.heard(kind), if next_look.is_some() => {}
            () = sleep_until(next_look.unwrap_or(renewal)), if next_look.is_some() => {}
            changed = stop.changed(), if !is_stopping => if changed.is_err() { return },
        }
    }
}

type Ended = Result<(Id, Result<Verdict, Failure>), JoinError>;

/// A job under way.
struct Held {
    job: Job,
    task: AbortHandle,
}

struct Worker {
    ctx: Context,
    handler: Arc<dyn Handler>,
    manner: Manner,
    running: JoinSet<Result<Verdict, Failure>>,
    held: HashMap<Id, Held>,
    next_renewal: Instant,
}

impl Worker {
    fn new(ctx: Context, handler: Arc<dyn Handler>) -> Self {
        let manner = handler.kind().manner();
        let (running, held, next_renewal) = (JoinSet::new(), HashMap::new(), Instant::now());
        Self { ctx, handler, manner, running, held, next_renewal }
    }

    /// Begins jobs that are due, where there is room for as many as the kind wants. When to look again: none where
    /// there is no room before something ends.
    async fn take_jobs(&mut self) -> Option<Instant> {
        let room = self.manner.at_once.saturating_sub(self.running.len());
        if room < self.manner.least_room {
            return None;
        }
        match self.claim(room).await {
            // There may be more, and room when something ends; at once where all that was taken was given up.
            Ok(taken) if taken == room => self.running.is_empty().then(Instant::now),
            Ok(_) => Some(Instant::now() + self.pause().await),
            Err(error) => {
                tracing::error!(kind = self.handler.kind().as_str(), error = %super::chain(&error), "jobs cannot be looked for; it is tried again");
                Some(Instant::now() + LONGEST_PAUSE)
            }
        }
    }

    async fn claim(&mut self, room: usize) -> Result<usize, Error> {
        let now = self.ctx.clock.now();
        let limit = u32::try_from(room).unwrap_or(u32::MAX);
        let jobs = self.ctx.jobs.claim(self.handler.kind(), now, lease_from(now)?, limit).await?;
        let taken = jobs.len();
        if self.running.is_empty() {
            self.next_renewal = Instant::now() + RENEWAL;
        }
        for job in jobs {
            if job.is_hopeless() {
                let error =
                    job.last_error.clone().unwrap_or_else(|| "whoever did it did not come to its end".to_owned());
                self.give_up(&job, &error).await;
                continue;
            }
            let (ctx, handler, doing) = (self.ctx.clone(), Arc::clone(&self.handler), job.clone());
            let task = self.running.spawn(async move { handler.run(&ctx, &doing).await });
            self.held.insert(task.id(), Held { job, task });
        }
        Ok(taken)
    }

    /// Until the next job is due, as far as is known.
    async fn pause(&self) -> Duration {
        let due = match self.ctx.jobs.next_due(self.handler.kind()).await {
            Ok(Some(due)) => due,
            Ok(None) => return LONGEST_PAUSE,
            Err(error) => {
                tracing::debug!(%error, "it is not known when the next job is due");
                return LONGEST_PAUSE;
            }
        };
        let until_due = due.duration_since(self.ctx.clock.now());
        Duration::try_from(until_due).unwrap_or(Duration::ZERO).min(LONGEST_PAUSE)
    }

    /// Prolongs the leases of what is under way, and drops what is somebody else's by now.
    async fn renew(&mut self) {
        self.next_renewal = Instant::now() + RENEWAL;
        let mut claims: Vec<Claim> = self.held.values().map(|held| held.job.claim()).collect();
        claims.sort_unstable_by_key(|claim| claim.job);
        let Ok(until) = lease_from(self.ctx.clock.now()) else { return };
        match self.ctx.jobs.renew(&claims, until).await {
            Ok(renewed) => {
                for held in self.held.values().filter(|held| !renewed.contains(&held.job.id)) {
                    tracing::warn!(job = %held.job.id, "a job was cancelled or taken over by another server; this one stops doing it");
                    held.task.abort();
                }
            }
            Err(error) => tracing::warn!(%error, "leases of jobs were not prolonged; it is tried again"),
        }
    }

    /// Notes what became of a job that has ended, and of all others that have meanwhile.
    async fn note(&mut self, ended: Ended) {
        let mut all = vec![ended];
        all.extend(std::iter::from_fn(|| self.running.try_join_next_with_id()));
        let mut done = Vec::new();
        for ended in all {
            let id = match &ended {
                Ok((id, _)) => *id,
                Err(error) => error.id(),
            };
            let Some(Held { job, .. }) = self.held.remove(&id) else { continue };
            match ended.map(|(_, outcome)| outcome) {
                Ok(Ok(Verdict::Done(result))) => {
                    self.ctx.meter.job(job.kind, JobEnd::Done);
                    done.push(Finished { claim: job.claim(), result });
                }
                Ok(Ok(Verdict::Later(at))) => self.postpone(&job, at).await,
                Ok(Err(Failure::ForGood(error))) => self.give_up(&job, &error).await,
                Ok(Err(Failure::ForNow(error))) => self.fail(&job, &error).await,
                // It was dropped, and is somebody else's.
                Err(error) if error.is_cancelled() => {}
                Err(error) => self.fail(&job, &error.to_string()).await,
            }
        }
        self.finish(done).await;
    }

    async fn finish(&self, mut done: Vec<Finished>) {
        if done.is_empty() {
            return;
        }
        // In one order everywhere, so that no two wait for each other.
        done.sort_unstable_by_key(|done| done.claim.job);
        let mut said = Err(StoreError::Conflict("not said yet".into()));
        for _ in 0..TELLINGS {
            said = self.ctx.jobs.finish(&done, self.ctx.clock.now()).await;
            if !matches!(said, Err(StoreError::Conflict(_))) {
                break;
            }
        }
        match said {
            Ok(finished) if finished.len() < done.len() => {
                tracing::warn!(
                    kind = self.handler.kind().as_str(),
                    jobs = done.len() - finished.len(),
                    "jobs took longer than their leases or were cancelled, and may have been done twice"
                );
            }
            Ok(_) => {}
            Err(error) => {
                tracing::error!(%error, jobs = done.len(), "what became of jobs was not noted; they are done again when their leases have run out");
            }
        }
    }

    async fn postpone(&self, job: &Job, until: Timestamp) {
        self.ctx.meter.job(job.kind, JobEnd::Postponed);
        self.told(job, self.ctx.jobs.postpone(job.claim(), until, self.ctx.clock.now()).await);
    }

    async fn fail(&self, job: &Job, error: &str) {
        let (now, [.., random]) = (self.ctx.clock.now(), self.ctx.ids.fresh().next_uuid().into_bytes());
        let Outcome::Again(at) = job.after_failure(now, random) else { return self.give_up(job, error).await };
        tracing::warn!(job = %job.id, kind = job.kind.as_str(), attempt = job.attempts, %error, %at, "a job failed; it is tried again");
        self.ctx.meter.job(job.kind, JobEnd::Failed);
        self.told(job, self.ctx.jobs.fail(job.claim(), error, Outcome::Again(at), now).await);
    }

    async fn give_up(&self, job: &Job, error: &str) {
        tracing::error!(job = %job.id, kind = job.kind.as_str(), attempt = job.attempts, %error, "a job was given up");
        self.ctx.meter.job(job.kind, JobEnd::Dead);
        self.told(job, self.ctx.jobs.fail(job.claim(), error, Outcome::Dead, self.ctx.clock.now()).await);
    }

    fn told(&self, job: &Job, told: Result<bool, StoreError>) {
        if let Err(error) = told {
            tracing::error!(job = %job.id, %error, "what became of a job was not noted; it is done again when its lease has run out");
        }
    }
}

fn lease_from(now: Timestamp) -> Result<Timestamp, Error> {
    now.checked_add(LEASE).map_err(|_| Error::Payload)
}
