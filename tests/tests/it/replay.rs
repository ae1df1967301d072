//! Recorded trades of real markets, sent through the API by `bellwether replay`.

use std::path::{Path, PathBuf};

use std::process::Stdio;
use std::time::Duration;

use bellwether_tests::{Installation, Server, Store, on_each_store};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

/// Replays a file on a server; returns the summary, which must name no difference.
async fn replay(server: &Server, file: &Path, more: &[&str]) -> Value {
    replay_on(&[server], file, more).await
}

/// The same on several servers on one database, which get the requests in turn.
pub(crate) async fn replay_on(servers: &[&Server], file: &Path, more: &[&str]) -> Value {
    let server = servers.first().expect("there is a server");
    let admin = server.admin().await;
    let urls: Vec<String> = servers.iter().map(|server| format!("http://{}", server.address())).collect();
    let file = file.to_str().expect("a path in UTF-8");
    let mut arguments = vec!["replay", file, "--admin-email", &admin.email, "--admin-password-stdin", "--json"];
    arguments.extend(urls.iter().flat_map(|url| ["--url", url]));
    arguments.extend(more);
    let output = server.installation().run(&arguments, "an administrator's pass phrase\n").await;
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "the replay failed: {out}{error}");
    let summary: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("no JSON: {out}{error}"));
    assert_eq!(summary["differences"], serde_json::json!([]));
    eprintln!("{summary}");
    summary
}

/// The recording that is part of the project.
pub(crate) fn sample() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/trades_polymarket_2026.csv").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_of_real_trades_replays_to_the_same_figures() {
    on_each_store(|server| async move {
        let summary = replay(&server, Path::new(&sample()), &["--venue", "polymarket-2026"]).await;
        assert_eq!((summary["trades"].as_u64(), summary["orders"].as_u64()), (Some(200), Some(400)));
        assert_eq!((summary["markets"].as_u64(), summary["traders"].as_u64()), (Some(2), Some(162)));
        let markets = server.api().request("GET", "/markets").send().await.expect(200);
        assert!(markets.data().as_array().is_some_and(|m| m.iter().all(|m| !m["settledAt"].is_null())));
    })
    .await;
}

/// Threats 32 and 63: the replay repeats what got no answer with the same keys.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_outlives_the_server_that_is_killed_in_the_middle_of_it() {
    for store in Store::ALL {
        // Where the machine held us up, the replay may have ended before the first kill.
        let mut repeats = Some(0);
        for _ in 0..3 {
            if repeats == Some(0) {
                repeats = replay_killed(store).await;
            }
        }
        assert_ne!(repeats, Some(0), "no kill met the replay");
    }
}

/// Kills a server several times while a replay runs, which must come to the right figures. How many of its requests
/// were repeated; none where the store is not at hand.
async fn replay_killed(store: Store) -> Option<u64> {
    let installation = Installation::new(store, &[]).await?;
    let mut server = Server::start(installation).await;
    let address = server.address().to_owned();
    let (url, sample) = (format!("http://{address}"), sample());
    let admin = server.admin().await.email.clone();
    let arguments = ["replay", &sample, "--url", &url, "--admin-email", &admin, "--admin-password-stdin", "--json"];
    let mut command = server.installation().command(&arguments);
    let mut replay = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the binary can be started");
    let mut stdin = replay.stdin.take().expect("a pipe");
    stdin.write_all(b"an administrator's pass phrase").await.expect("the password is read");
    drop(stdin);
    for trades in [5, 60, 120] {
        while traded(&server).await < trades {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server = Server::start_at(server.kill().await, address.clone()).await;
    }
    let output = replay.wait_with_output().await.expect("the replay can be waited for");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let summary: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&summary["trades"], &summary["differences"]), (&Value::from(200), &Value::from(Vec::<Value>::new())));
    let installation = server.stop().await;
    installation.audit().await;
    installation.remove().await;
    Some(summary["repeats"].as_u64().expect("a number"))
}

/// The trades in all markets.
async fn traded(server: &Server) -> u64 {
    let markets = server.api().request("GET", "/markets").send().await.expect(200);
    markets.data().as_array().into_iter().flatten().filter_map(|market| market["tradeCount"].as_u64()).sum()
}

/// The recordings that are not part of the project; none, and a line that says so, without them.
fn recordings() -> Option<PathBuf> {
    let folder = match std::env::var_os("BELLWETHER_TEST_DATA") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
    };
    if folder.join("trades.csv").is_file() {
        return Some(folder);
    }
    eprintln!("--- skipped: there is no {}; BELLWETHER_TEST_DATA names the folder of the recordings", folder.display());
    None
}

/// Large replays; they get the machine for themselves.
mod heavy {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn many_real_trades_in_whole_shares_replay_exactly() {
        let Some(folder) = recordings() else { return };
        on_each_store(|server| {
            let file = folder.join("trades.csv");
            async move {
                let summary = replay(&server, &file, &["--venue", "kalshi-2025", "--limit", "1500"]).await;
                assert_eq!((summary["trades"].as_u64(), &summary["notes"]), (Some(1500), &serde_json::json!({})));
            }
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn real_limit_orders_replay_into_continuous_books() {
        let Some(folder) = recordings() else { return };
        on_each_store(|server| {
            let file = folder.join("orders_batch_auction.csv");
            async move {
                let summary = replay(&server, &file, &["--limit", "1000"]).await;
                assert!(summary["trades"].as_u64().is_some_and(|trades| trades > 100));
            }
        })
        .await;
    }
}
