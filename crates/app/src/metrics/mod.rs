//! What the service tells of itself, in Prometheus' text format, at an address of its own: see `docs/metrics.md`.
//!
//! What happens often is counted where it happens, by way of the ports [`Meter`] and [`RequestMeter`]; what is a
//! state is read when somebody asks. Nothing here is global: the recorder is a value like any other.

mod reading;
mod requests;
mod table;

use std::sync::Arc;
use std::time::Duration;

use bellwether_domain::job::JobKind;
use bellwether_domain::ports::{CallEnd, GroupOf, JobEnd, Meter};
use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder as _};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

pub(crate) use reading::Watched;
use requests::Requests;
use table::{SIZES, TABLE, TIMES};

/// How often what was observed is added up, so that it takes little memory.
const UPKEEP: Duration = Duration::from_secs(5);

static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// What was counted and observed since the process began.
pub(crate) struct Metrics {
    recorder: Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
    requests: Requests,
    group_times: [Histogram; 2],
    group_sizes: [Histogram; 2],
    commits: Histogram,
    jobs: Vec<[Counter; 4]>,
    calls: [Counter; 5],
    calls_again: Counter,
    call_times: Histogram,
    hits: Counter,
    misses: Counter,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics(..)")
    }
}

impl Metrics {
    /// Nothing counted yet. An error where the table of metrics is wrong.
    pub(crate) fn new() -> Result<Self, BuildError> {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&TIMES)?
            .set_buckets_for_metric(Matcher::Suffix("_commands".to_owned()), &SIZES)?
            .build_recorder();
        let recorder = Arc::new(recorder);
        for row in TABLE {
            row.describe(&*recorder);
        }
        let histogram = |name: &'static str, labels: Vec<Label>| {
            recorder.register_histogram(&Key::from_parts(name, labels), &METADATA)
        };
        let counter = |name: &'static str, labels: Vec<Label>| {
            recorder.register_counter(&Key::from_parts(name, labels), &METADATA)
        };
        let of_group = |name: &'static str| GroupOf::ALL.map(|of| histogram(name, vec![Label::new("of", of.as_str())]));
        let of_job = |kind: JobKind| {
            JobEnd::ALL.map(|end| {
                let labels = vec![Label::new("end", end.as_str()), Label::new("kind", kind.as_str())];
                counter("bellwether_jobs_ended_total", labels)
            })
        };
        let call = |end: CallEnd| counter("bellwether_webhook_calls_total", vec![Label::new("end", end.as_str())]);
        let found = |found| counter("bellwether_remembered_total", vec![Label::new("found", found)]);
        Ok(Self {
            requests: Requests::new(Arc::clone(&recorder)),
            group_times: of_group("bellwether_group_seconds"),
            group_sizes: of_group("bellwether_group_commands"),
            commits: histogram("bellwether_commit_seconds", vec![]),
            jobs: JobKind::ALL.map(of_job).into(),
            calls: CallEnd::ALL.map(call),
            calls_again: counter("bellwether_webhook_retries_total", vec![]),
            call_times: histogram("bellwether_webhook_call_seconds", vec![]),
            hits: found("hit"),
            misses: found("miss"),
            handle: recorder.handle(),
            recorder,
        })
    }

    /// Adds up what was observed, now and then, for as long as the process lives.
    pub(crate) async fn keep_up(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            self.handle.run_upkeep();
        }
    }

    fn gauge(&self, name: &'static str, labels: Vec<Label>) -> Gauge {
        self.recorder.register_gauge(&Key::from_parts(name, labels), &METADATA)
    }

    fn counter(&self, name: &'static str) -> Counter {
        self.recorder.register_counter(&Key::from_name(name), &METADATA)
    }
}

/// The one of these that stands for a value, where `all` are all the values.
fn of<'a, T: PartialEq, M>(all: &[T], value: &T, meters: &'a [M]) -> Option<&'a M> {
    all.iter().position(|one| one == value).and_then(|index| meters.get(index))
}

impl Meter for Metrics {
    fn group(&self, of_what: GroupOf, commands: usize, took: Duration) {
        if let Some(times) = of(&GroupOf::ALL, &of_what, &self.group_times) {
            times.record(took);
        }
        if let Some(sizes) = of(&GroupOf::ALL, &of_what, &self.group_sizes) {
            sizes.record(f64::from(u32::try_from(commands).unwrap_or(u32::MAX)));
        }
    }

    fn committed(&self, took: Duration) {
        self.commits.record(took);
    }

    fn job(&self, kind: JobKind, end: JobEnd) {
        let ends = of(&JobKind::ALL, &kind, &self.jobs);
        if let Some(counter) = ends.and_then(|ends| of(&JobEnd::ALL, &end, ends)) {
            counter.increment(1);
        }
    }

    fn webhook(&self, end: CallEnd, is_again: bool, took: Duration) {
        if let Some(counter) = of(&CallEnd::ALL, &end, &self.calls) {
            counter.increment(1);
        }
        if end != CallEnd::LeftAlone {
            self.call_times.record(took);
            self.calls_again.increment(u64::from(is_again));
        }
    }

    fn remembered(&self, is_hit: bool) {
        if is_hit { self.hits.increment(1) } else { self.misses.increment(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_and_observed_is_shown() {
        let metrics = Metrics::new().unwrap();
        metrics.group(GroupOf::Payments, 3, Duration::from_millis(2));
        metrics.job(JobKind::Mail, JobEnd::Failed);
        metrics.webhook(CallEnd::Refused, true, Duration::from_millis(20));
        metrics.remembered(true);
        let text = metrics.handle.render();
        for line in [
            "bellwether_group_commands_bucket{of=\"payments\",le=\"4\"} 1",
            "bellwether_group_commands_bucket{of=\"payments\",le=\"2\"} 0",
            "bellwether_group_seconds_count{of=\"payments\"} 1",
            "bellwether_jobs_ended_total{end=\"failed\",kind=\"mail\"} 1",
            "bellwether_webhook_calls_total{end=\"refused\"} 1",
            "bellwether_webhook_retries_total 1",
            "bellwether_remembered_total{found=\"hit\"} 1",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn everything_that_is_counted_is_in_the_table() {
        let text = Metrics::new().unwrap().handle.render();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            let name = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(TABLE.iter().any(|row| row.name == name), "{name} is not in the table");
        }
    }
}
