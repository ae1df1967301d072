//! Requests, by route, method and class of status. Which of these there are is known beforehand, so a request
//! finds its histogram by a look-up and without a lock, and nobody can make more of them.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bellwether_http::{ROUTES, RequestMeter};
use metrics::{Histogram, Key, Label, Recorder as _};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::{METADATA, Metrics};

const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Of one route: for each method and class, once there was such an answer.
#[derive(Default)]
struct OfRoute([[OnceLock<Histogram>; CLASSES.len()]; METHODS.len()]);

pub(super) struct Requests {
    recorder: Arc<PrometheusRecorder>,
    routes: HashMap<&'static str, OfRoute>,
    /// Of requests that no route is for.
    nowhere: OfRoute,
}

impl Requests {
    pub(super) fn new(recorder: Arc<PrometheusRecorder>) -> Self {
        let routes = ROUTES.iter().map(|route| (route.path, OfRoute::default())).collect();
        Self { recorder, routes, nowhere: OfRoute::default() }
    }

    fn observe(&self, method: &str, route: &str, status: u16, took: Duration) -> Option<()> {
        let (route, of_route) = match self.routes.get_key_value(route) {
            Some((known, of_route)) => (*known, of_route),
            None => ("", &self.nowhere),
        };
        let (number, method) = METHODS.iter().enumerate().find(|(_, known)| **known == method)?;
        let class = usize::from(status / 100).checked_sub(1)?;
        let (of_class, class) = (of_route.0.get(number)?.get(class)?, CLASSES.get(class)?);
        let histogram = of_class.get_or_init(|| {
            let labels = vec![Label::new("method", *method), Label::new("route", route), Label::new("status", *class)];
            self.recorder.register_histogram(&Key::from_parts("bellwether_http_request_seconds", labels), &METADATA)
        });
        histogram.record(took);
        Some(())
    }
}

impl RequestMeter for Metrics {
    fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        // What is of no known method was refused before it was anything.
        let _ = self.requests.observe(method, route, status, took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_cannot_make_more_series_than_there_are_routes() {
        let metrics = Metrics::new().unwrap();
        for n in 0..1000 {
            metrics.answered("GET", &format!("/nowhere/{n}"), 404, Duration::from_micros(80));
            metrics.answered(&format!("M{n}"), "/livez", 200, Duration::from_micros(80));
            metrics.answered("GET", "/livez", n, Duration::from_micros(80));
        }
        metrics.answered("GET", "/api/v1/markets/{id}", 200, Duration::from_micros(80));
        let text = metrics.handle.render();
        let counts: Vec<&str> =
            text.lines().filter(|line| line.starts_with("bellwether_http_request_seconds_count")).collect();
        assert_eq!(counts.len(), 7, "{counts:?}");
        for line in [
            "bellwether_http_request_seconds_count{method=\"GET\",route=\"\",status=\"4xx\"} 1000",
            "bellwether_http_request_seconds_count{method=\"GET\",route=\"/livez\",status=\"2xx\"} 100",
            "bellwether_http_request_seconds_bucket{method=\"GET\",route=\"/api/v1/markets/{id}\",status=\"2xx\",le=\"0.0001\"} 1",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
        }
    }
}
