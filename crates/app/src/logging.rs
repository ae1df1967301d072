//! Logs, on standard error: JSON for machines, pretty on a terminal.

use std::io::IsTerminal;

use anyhow::Context;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Config, LogFormat};

/// Begins to write logs. Once a process.
pub(crate) fn start(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log_level)
        .with_context(|| format!("log_level = {:?}: must be a level such as info, or filters", config.log_level))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let is_pretty = match config.log_format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Json => false,
        LogFormat::Pretty => true,
    };
    let started = if is_pretty {
        builder.compact().finish().with(filter_fn(may_be_logged)).try_init()
    } else {
        let builder = builder.json().flatten_event(true).with_span_list(false);
        builder.finish().with(filter_fn(may_be_logged)).try_init()
    };
    started.map_err(|error| anyhow::anyhow!("logging could not be started: {error}"))
}

/// Whatever is asked for: below `info` the driver of PostgreSQL tells of every statement with its parameters, which are
/// people's addresses, mails, and the hashes of passwords and tokens.
fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= Level::INFO || !metadata.target().starts_with("tokio_postgres")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Threat 71.
    #[test]
    fn no_filter_shows_the_statements_of_the_driver() {
        let filter = EnvFilter::new("trace,tokio_postgres::query=trace");
        let subscriber = tracing_subscriber::fmt().with_env_filter(filter).finish().with(filter_fn(may_be_logged));
        tracing::subscriber::with_default(subscriber, || {
            assert!(!tracing::enabled!(target: "tokio_postgres::query", Level::DEBUG));
            assert!(!tracing::enabled!(target: "tokio_postgres::prepare", Level::TRACE));
            assert!(tracing::enabled!(target: "tokio_postgres::connection", Level::INFO));
            assert!(tracing::enabled!(target: "bellwether::statements", Level::TRACE));
        });
    }
}
