//! Whether the service lives, is ready, and is well.
//!
//! Anybody may ask, and is not counted. So the database and Redis are asked once for all who come within a second.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bellwether_domain::ports::{Auxiliary, Queries};
use bellwether_usecases::Context;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::Mutex;

use crate::app::App;
use crate::call::Call;
use crate::envelope::Reply;
use crate::faults::{Detail, Fault};

/// How long the database may take to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// How long what was found out is told to whoever else asks.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// From here on the database is slow.
const SLOW: Duration = Duration::from_millis(250);

/// From here on jobs are not done as quickly as they come.
const MANY_DUE: u64 = 1000;

/// How everything is.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Health {
    status: &'static str,
    checks: Checks,
}

#[derive(Serialize, JsonSchema)]
struct Checks {
    database: Check,
    #[serde(skip_serializing_if = "Option::is_none")]
    redis: Option<Check>,
    jobs: Option<JobsCheck>,
}

/// How the queue stands; each number is counted up to 10000 for each kind.
#[derive(Clone, Serialize, JsonSchema)]
struct JobsCheck {
    status: &'static str,
    /// How many are due and wait, or were left by who did them.
    due: u64,
    /// How many were given up.
    dead: u64,
}

#[derive(Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Check {
    status: &'static str,
    latency_ms: u64,
}

impl Check {
    fn new(status: &'static str, latency: Duration) -> Self {
        Self { status, latency_ms: u64::try_from(latency.as_millis()).unwrap_or(u64::MAX) }
    }
}

/// That it is so.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Probe {
    status: &'static str,
}

/// What was found out last. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Findings {
    needed: Shared<Needed>,
    jobs: Shared<Option<JobsCheck>>,
}

/// How what the server needs is.
#[derive(Clone)]
struct Needed {
    /// Why the database is of no use, where it is of none.
    down: Option<String>,
    latency: Duration,
    /// How Redis is, where there shall be one.
    redis: Option<Check>,
}

/// `GET /health`: 200 where everything needed answers, 503 where not, with each check either way.
pub(crate) async fn health(call: Call) -> Result<Reply, Fault> {
    call.no_query()?;
    let Needed { down, latency, redis } = needed(&call).await?;
    let database = match &down {
        Some(_) => "down",
        None if latency > SLOW => "degraded",
        None => "ok",
    };
    let status = match &redis {
        Some(Check { status: "down", .. }) if down.is_none() => "degraded",
        _ => database,
    };
    let jobs = if down.is_none() { queue(&call).await? } else { None };
    let health = Health { status, checks: Checks { database: Check::new(database, latency), redis, jobs } };
    let data = serde_json::to_string(&health).map_err(Fault::internal)?;
    match down {
        None => Ok(Reply::json(data)),
        Some(cause) => Err(database_down(cause).with_data(data)),
    }
}

/// `GET /livez`: 200 as long as requests are answered at all.
pub(crate) async fn alive(call: Call) -> Result<Reply, Fault> {
    call.no_query()?;
    Reply::ok(&Probe { status: "ok" })
}

/// `GET /readyz`: 503 while the server drains or cannot reach its database. Without its Redis it is ready all
/// the same, and says that it is degraded.
pub(crate) async fn ready(call: Call) -> Result<Reply, Fault> {
    call.no_query()?;
    if call.app().is_draining() {
        return Err(Fault::unavailable("DRAINING", "the server is shutting down"));
    }
    let Needed { down, redis, .. } = needed(&call).await?;
    if let Some(cause) = down {
        return Err(database_down(cause));
    }
    let status = if redis.is_some_and(|check| check.status == "down") { "degraded" } else { "ok" };
    Reply::ok(&Probe { status })
}

fn database_down(cause: String) -> Fault {
    let detail = Detail::of("database", "down", "does not answer");
    let fault = Fault::unavailable("SERVICE_UNAVAILABLE", "the database does not answer");
    fault.caused_by(cause).with_details(vec![detail])
}

async fn needed(call: &Call) -> Result<Needed, Fault> {
    let app = call.app();
    let asking = ask_needed(Arc::clone(&app.ctx().queries), app.redis().cloned());
    app.findings().needed.get(app, asking).await
}

async fn ask_needed(queries: Arc<dyn Queries>, redis: Option<Arc<dyn Auxiliary>>) -> Needed {
    let begun = Instant::now();
    let down = match tokio::time::timeout(PING_TIMEOUT, queries.ping()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(Fault::from(error).cause().unwrap_or_default()),
        Err(elapsed) => Some(elapsed.to_string()),
    };
    let latency = begun.elapsed();
    let redis = match redis {
        Some(redis) => {
            let begun = Instant::now();
            let status = if redis.is_up().await { "ok" } else { "down" };
            Some(Check::new(status, begun.elapsed()))
        }
        None => None,
    };
    Needed { down, latency, redis }
}

/// How the queue stands; nothing where that cannot be told in time.
async fn queue(call: &Call) -> Result<Option<JobsCheck>, Fault> {
    let app = call.app();
    app.findings().jobs.get(app, ask_queue(app.ctx().clone())).await
}

async fn ask_queue(ctx: Context) -> Option<JobsCheck> {
    let depth = tokio::time::timeout(PING_TIMEOUT, ctx.jobs.depth(ctx.clock.now())).await.ok()?.ok()?;
    let (due, dead) = depth.iter().fold((0, 0), |(due, dead), kind| (due + kind.due, dead + kind.dead));
    Some(JobsCheck { status: if due > MANY_DUE { "degraded" } else { "ok" }, due, dead })
}

/// What was found out last, and when. Clones are the same.
struct Shared<T>(Arc<Mutex<Option<(Instant, T)>>>);

impl<T: Clone + Send + 'static> Shared<T> {
    /// What is known, or else what asking finds out; whoever comes meanwhile waits for that. Asking goes on where
    /// nobody waits any more, so it is begun no more often for those who hang up.
    async fn get(&self, app: &App, asking: impl Future<Output = T> + Send + 'static) -> Result<T, Fault> {
        let mut known = Arc::clone(&self.0).lock_owned().await;
        if let Some((at, found)) = &*known
            && at.elapsed() < FRESH_FOR
        {
            return Ok(found.clone());
        }
        let work = async move {
            let found = asking.await;
            *known = Some((Instant::now(), found.clone()));
            Ok::<_, Fault>(found)
        };
        app.run(work).await
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}
