//! `bellwether replay`: real trades and orders, sent through the public HTTP API of a running server.
//!
//! A recording is turned into a plan (`trades`, `auction`) that says every order and everything
//! that must come of it; the plan is sent (`stage`) and the server's figures are compared with it
//! (`verify`). Nothing here knows the server's code but for the text of amounts.

mod auction;
mod client;
mod files;
mod plan;
mod report;
mod stage;
mod trades;
mod verify;

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use client::{Api, Ask, Session};
use files::Recording;
use plan::Plan;
use report::{Progress, Report};
use stage::Stage;
use trades::Venue;

/// What `bellwether replay` is given.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReplayArgs {
    /// A recording: a CSV file of trades or of limit orders, recognised by its header
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The server; given several times, servers on the same data, which get the requests in turn
    #[arg(long = "url", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    urls: Vec<String>,
    /// Whose trades, where the file has several venues'
    #[arg(long, value_enum, default_value = "all")]
    venue: Venue,
    /// The address of an administrator of the server
    #[arg(long, value_name = "ADDRESS")]
    admin_email: Option<String>,
    /// Read the administrator's password from standard input
    #[arg(long, requires = "admin_email")]
    admin_password_stdin: bool,
    /// An administrator's access token; must be valid for as long as the replay takes
    #[arg(
        long,
        value_name = "TOKEN",
        env = "BELLWETHER_ADMIN_TOKEN",
        hide_env_values = true,
        conflicts_with = "admin_email"
    )]
    admin_token: Option<String>,
    /// Replay only so many rows
    #[arg(long, value_name = "ROWS")]
    limit: Option<usize>,
    /// How many markets are played at the same time
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    concurrency: u16,
    /// For how many seconds a request that gets no answer is repeated, with the same idempotency key
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    retry: u64,
    /// Write the summary as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Replays a file. An error where something could not be sent, or where the server's figures are
/// not those that the file implies.
pub(crate) async fn run(args: ReplayArgs) -> anyhow::Result<()> {
    let admin = administrator(&args)?;
    let file = args.file.clone();
    let (venue, limit) = (args.venue, args.limit);
    let plan = tokio::task::spawn_blocking(move || make_plan(&file, venue, limit)).await??;
    let api = Api::new(&args.urls, Duration::from_secs(args.retry))?;
    check_administrator(&api, &admin).await?;
    let report = replay(&api, &admin, plan, usize::from(args.concurrency)).await?;
    let text = if args.json { report.json() } else { report.text() };
    writeln!(std::io::stdout(), "{text}").context("cannot write the summary")?;
    anyhow::ensure!(
        report.differences.is_empty(),
        "the server and the file differ in {} points",
        report.differences.len()
    );
    Ok(())
}

fn make_plan(file: &std::path::Path, venue: Venue, limit: Option<usize>) -> anyhow::Result<Plan> {
    match files::read(file)? {
        Recording::Trades(rows) => trades::plan(rows, venue, limit),
        Recording::Orders(rows) => Ok(auction::plan(rows, &files::answers_beside(file)?, limit)),
    }
}

async fn replay(api: &Api, admin: &Session, plan: Plan, concurrency: usize) -> anyhow::Result<Report> {
    let run = format!("replay-{:012x}", rand::random::<u64>() >> 16);
    say(&format!(
        "{} orders in {} markets; signing {} traders up",
        plan.orders(),
        plan.markets.len(),
        plan.traders.len()
    ));
    let stage = Stage::set(api, admin, run, &plan, concurrency).await?;
    let progress = Progress::begin(plan.orders(), plan.markets.len());
    let mut differences = tokio::select! {
        played = stage.play(&progress, concurrency) => played?,
        () = progress.show() => Vec::new(),
    };
    let figures = progress.finish();
    say("comparing every balance");
    differences.extend(verify::balances(&stage, concurrency).await?);
    Ok(Report {
        figures,
        traders: plan.traders.len(),
        volume: plan.markets.iter().map(|market| market.expected.volume).sum(),
        repeats: api.repeats(),
        notes: plan.notes,
        differences,
    })
}

fn administrator(args: &ReplayArgs) -> anyhow::Result<Session> {
    if let Some(token) = &args.admin_token {
        return Ok(Session::with_token(token.clone()));
    }
    let Some(email) = &args.admin_email else {
        anyhow::bail!(
            "a replay gives its traders credits, which needs an administrator. Make one on the server's machine:\n  \
             bellwether admin create --email admin@example.org --display-name Admin --password-stdin\n\
             and name it: --admin-email admin@example.org --admin-password-stdin"
        );
    };
    anyhow::ensure!(args.admin_password_stdin, "--admin-email needs --admin-password-stdin");
    let mut password = String::new();
    std::io::stdin().read_to_string(&mut password).context("cannot read the password from standard input")?;
    Ok(Session::with_password(email.clone(), password.trim_end_matches(['\r', '\n']).to_owned()))
}

async fn check_administrator(api: &Api, admin: &Session) -> anyhow::Result<()> {
    let user = api.send(&Ask::get("/users/me").by(admin)).await.context("the administrator cannot sign in")?;
    let role = client::text(&user, "role")?;
    anyhow::ensure!(role == "admin", "this needs an administrator, and the role of that user is {role:?}");
    Ok(())
}

/// Says something on standard error, where it does not mix with the summary.
fn say(line: &str) {
    // What cannot be said is not worth stopping for.
    let _ = writeln!(std::io::stderr(), "replay: {line}");
}
