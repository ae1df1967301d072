//! `bellwether replay`: real trades, sent through the public HTTP API of a running server.

use clap::Args;

/// What `bellwether replay` is given.
#[derive(Debug, Clone, Args)]
pub struct ReplayArgs {}

/// Replays a file of trades.
pub async fn run(args: ReplayArgs) -> anyhow::Result<()> {
    anyhow::bail!("replay is not built yet: {args:?}")
}
