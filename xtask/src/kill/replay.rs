//! The server is killed while `bellwether replay` sends recorded trades through its API.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use crate::cargo;
use crate::interrupts::Interrupts;
use crate::kill::Options;
use crate::kill::api::Api;
use crate::kill::server::{Installation, Server};

const EMAIL: &str = "root@example.org";
const PASSWORD: &str = "a passphrase for a throw-away administrator";

/// Replays the recording with as many kills in the middle; returns whether all was well.
pub(super) async fn kill_and_verify(
    installation: &Installation,
    options: &Options,
    interrupts: &Interrupts,
) -> anyhow::Result<bool> {
    let sample = || cargo::workspace_root().join("tests/fixtures/trades_polymarket_2026.csv");
    let recording =
        options.recording.clone().unwrap_or_else(sample).canonicalize().context("cannot find the recording")?;
    let step = rows(&recording, options.limit)? / (u64::from(options.kills) + 1);
    anyhow::ensure!(step > 0, "the recording is too short for {} kills", options.kills);

    let server = installation.start(interrupts).await?;
    fed(installation.command("admin").args(["create", "--email", EMAIL, "--display-name", "Root", "--password-stdin"]))
        .await?
        .wait_with_output()
        .await
        .map_err(anyhow::Error::from)
        .and_then(succeeded)
        .context("cannot make an administrator")?;
    let mut command = installation.command("replay");
    command.arg(&recording).args(["--url", &format!("http://{}", server.address), "--json"]);
    command.args(["--admin-email", EMAIL, "--admin-password-stdin"]);
    if let Some(limit) = options.limit {
        command.args(["--limit", &limit.to_string()]);
    }
    let replay = fed(&mut command).await?;
    let (server, kills) = kill_at_each(step, server, installation, options.kills, interrupts).await?;
    let output = interrupts.or(async { Ok(replay.wait_with_output().await?) }).await?;
    server.stop().await?;
    let audit = installation.audit(interrupts).await;
    interrupts.check()?;
    let is_well = report(kills, &output, audit);
    if kills < options.kills {
        eprintln!("kill: replay: it ended after {kills} of {} kills", options.kills);
    }
    Ok(is_well && kills == options.kills)
}

/// Kills and restarts the server whenever it has done so many more trades; returns its last life,
/// and how many kills met it.
async fn kill_at_each(
    step: u64,
    mut server: Server,
    installation: &Installation,
    kills: u32,
    interrupts: &Interrupts,
) -> anyhow::Result<(Server, u32)> {
    let mut done = interrupts.or(traded(&server)).await?;
    for kill in 0..kills {
        let target = done + step;
        let mut polls = 0_u32;
        while done < target {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let now = interrupts.or(traded(&server)).await?;
            polls = if now == done { polls + 1 } else { 0 };
            done = now;
            if polls > 5_000 {
                return Ok((server, kill));
            }
        }
        let address = server.address.clone();
        server.kill().await?;
        server = installation.start_at(address, interrupts).await?;
    }
    Ok((server, kills))
}

/// The trades in all markets.
async fn traded(server: &Server) -> anyhow::Result<u64> {
    Api::new(&server.address)?.trades().await
}

/// How many trades the recording has, up to the limit.
fn rows(recording: &Path, limit: Option<usize>) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(recording).with_context(|| format!("cannot read {}", recording.display()))?;
    let rows = text.lines().count().saturating_sub(1);
    Ok(u64::try_from(rows.min(limit.unwrap_or(rows)))?)
}

/// Starts a command that reads the administrator's password.
async fn fed(command: &mut Command) -> anyhow::Result<Child> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().context("cannot start the binary")?;
    let mut stdin = child.stdin.take().context("there is no pipe")?;
    stdin.write_all(PASSWORD.as_bytes()).await.context("the password is not read")?;
    Ok(child)
}

fn succeeded(output: Output) -> anyhow::Result<()> {
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

fn report(kills: u32, output: &Output, audit: anyhow::Result<()>) -> bool {
    let said = String::from_utf8_lossy(&output.stdout);
    let summary: Value = serde_json::from_str(&said).unwrap_or_default();
    let number = |name: &str| summary.get(name).and_then(Value::as_u64).unwrap_or(0);
    let is_equal = output.status.success() && number("repeats") > 0;
    eprintln!(
        "kill: replay: {kills} kills, {} orders, {} trades, {} requests repeated",
        number("orders"),
        number("trades"),
        number("repeats")
    );
    if !is_equal {
        eprintln!("kill: replay failed: {said}{}", String::from_utf8_lossy(&output.stderr));
    }
    if let Err(error) = &audit {
        eprintln!("kill: replay: {error:#}");
    }
    if is_equal && audit.is_ok() {
        eprintln!("kill: replay: every figure is the recording's, the audit is clean");
    }
    is_equal && audit.is_ok()
}
