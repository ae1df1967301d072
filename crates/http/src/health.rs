//! Whether the service lives, is ready, and is well.

use std::sync::Arc;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Serialize;

use crate::call::Call;
use crate::envelope::Reply;
use crate::faults::{Detail, Fault};

/// How long the database may take to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(1);
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
#[derive(Serialize, JsonSchema)]
struct JobsCheck {
    status: &'static str,
    /// How many are due and wait, or were left by who did them.
    due: u64,
    /// How many were given up.
    dead: u64,
}

#[derive(Serialize, JsonSchema)]
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

/// `GET /health`: 200 where everything needed answers, 503 where not, with each check either way.
pub(crate) async fn health(call: Call) -> Result<Reply, Fault> {
    call.no_query()?;
    let begun = Instant::now();
    let ping = ping(&call).await;
    let latency = begun.elapsed();
    let database = match &ping {
        Err(_) => "down",
        Ok(()) if latency > SLOW => "degraded",
        Ok(()) => "ok",
    };
    let redis = redis(&call).await?;
    let status = match redis {
        Some(Check { status: "down", .. }) if ping.is_ok() => "degraded",
        _ => database,
    };
    let jobs = if ping.is_ok() { queue(&call).await } else { None };
    let health = Health { status, checks: Checks { database: Check::new(database, latency), redis, jobs } };
    let data = serde_json::to_string(&health).map_err(Fault::internal)?;
    match ping {
        Ok(()) => Ok(Reply::json(data)),
        Err(fault) => Err(fault.with_data(data)),
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
    ping(&call).await?;
    let redis = redis(&call).await?;
    let status = if redis.is_some_and(|check| check.status == "down") { "degraded" } else { "ok" };
    Reply::ok(&Probe { status })
}

/// How Redis is, where there shall be one.
async fn redis(call: &Call) -> Result<Option<Check>, Fault> {
    let Some(redis) = call.app().redis().map(Arc::clone) else { return Ok(None) };
    let check = async move {
        let begun = Instant::now();
        let status = if redis.is_up().await { "ok" } else { "down" };
        Ok::<_, Fault>(Check::new(status, begun.elapsed()))
    };
    call.app().run(check).await.map(Some)
}

/// How the queue stands; nothing where that cannot be told in time.
async fn queue(call: &Call) -> Option<JobsCheck> {
    let ctx = call.ctx();
    let depth = async move {
        let depth = tokio::time::timeout(PING_TIMEOUT, ctx.jobs.depth(ctx.clock.now())).await;
        depth.map_err(Fault::internal)?.map_err(Fault::from)
    };
    let depth = call.app().run(depth).await.ok()?;
    let (due, dead) = depth.iter().fold((0, 0), |(due, dead), kind| (due + kind.due, dead + kind.dead));
    Some(JobsCheck { status: if due > MANY_DUE { "degraded" } else { "ok" }, due, dead })
}

async fn ping(call: &Call) -> Result<(), Fault> {
    let ctx = call.ctx();
    let ping = async move {
        match tokio::time::timeout(PING_TIMEOUT, ctx.queries.ping()).await {
            Ok(result) => result.map_err(Fault::from),
            Err(elapsed) => {
                Err(Fault::unavailable("SERVICE_UNAVAILABLE", "the database does not answer").caused_by(elapsed))
            }
        }
    };
    call.app().run(ping).await.map_err(|fault| {
        let detail = Detail::of("database", "down", "does not answer");
        fault.with_details(vec![detail])
    })
}
