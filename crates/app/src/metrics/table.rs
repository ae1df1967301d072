//! Which metrics there are.

use metrics::{KeyName, Recorder, SharedString, Unit};

/// Upper bounds of times, in seconds.
pub(super) const TIMES: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];
/// Upper bounds of numbers of commands.
pub(super) const SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 256.0, 1024.0];

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How often what was how large.
    Histogram,
}

/// A metric.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) sort: Sort,
    pub(super) unit: Unit,
    pub(super) about: &'static str,
}

const fn row(name: &'static str, sort: Sort, unit: Unit, about: &'static str) -> Row {
    Row { name, sort, unit, about }
}

/// All metrics but those of the process.
#[rustfmt::skip]
pub(super) const TABLE: &[Row] = &[
    row("bellwether_http_request_seconds", Sort::Histogram, Unit::Seconds, "How long requests took, to the head of the answer."),
    row("bellwether_group_seconds", Sort::Histogram, Unit::Seconds, "How long groups of orders or payments took."),
    row("bellwether_group_commands", Sort::Histogram, Unit::Count, "How many commands were in one group."),
    row("bellwether_commit_seconds", Sort::Histogram, Unit::Seconds, "How long commits took, to the disk."),
    row("bellwether_jobs", Sort::Gauge, Unit::Count, "How many jobs are in a state."),
    row("bellwether_jobs_ended_total", Sort::Counter, Unit::Count, "Turns of jobs, by what came of them."),
    row("bellwether_outbox_lag_seconds", Sort::Gauge, Unit::Seconds, "How old the oldest event is that a consumer has yet to act on."),
    row("bellwether_live_streams", Sort::Gauge, Unit::Count, "Live streams that are open."),
    row("bellwether_live_slow_total", Sort::Counter, Unit::Count, "Live streams that were ended since nobody took what they told."),
    row("bellwether_webhook_calls_total", Sort::Counter, Unit::Count, "Calls to webhooks, by what came of them."),
    row("bellwether_webhook_retries_total", Sort::Counter, Unit::Count, "Calls to webhooks with a message that was not taken before."),
    row("bellwether_webhook_call_seconds", Sort::Histogram, Unit::Seconds, "How long calls to webhooks took."),
    row("bellwether_hosts_left_alone", Sort::Gauge, Unit::Count, "Hosts that are not called for a while, since they could not be reached."),
    row("bellwether_remembered_total", Sort::Counter, Unit::Count, "Answers that were looked for in the cache."),
    row("bellwether_database_up", Sort::Gauge, Unit::Count, "Whether the database answered just now."),
    row("bellwether_database_connections", Sort::Gauge, Unit::Count, "Connections to the database that are in use."),
    row("bellwether_database_connections_max", Sort::Gauge, Unit::Count, "How many connections there may be."),
    row("bellwether_uptime_seconds", Sort::Gauge, Unit::Seconds, "How long the server has been running."),
];

impl Row {
    /// Tells a recorder what it is.
    pub(super) fn describe(&self, recorder: &impl Recorder) {
        let (name, about) = (KeyName::from_const_str(self.name), SharedString::const_str(self.about));
        match self.sort {
            Sort::Counter => recorder.describe_counter(name, Some(self.unit), about),
            Sort::Gauge => recorder.describe_gauge(name, Some(self.unit), about),
            Sort::Histogram => recorder.describe_histogram(name, Some(self.unit), about),
        }
    }
}
