//! What a server tells of itself, where it is asked to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bellwether_tests::client::limit;
use bellwether_tests::receiver::{Manner, Receiver};
use bellwether_tests::stream::Listener;
use bellwether_tests::{Server, on_each_store, on_each_store_with};
use serde_json::json;

/// What the page says that there is.
const PAGE: &str = include_str!("../../../docs/metrics.md");
const SETTINGS: [(&str, &str); 2] = [("METRICS_LISTEN", "127.0.0.1:0"), ("WEBHOOKS_ALLOW", "127.0.0.0/8")];

/// Where the server says that it shows metrics, which it may say a moment after it serves.
async fn address(server: &Server) -> String {
    let started = Instant::now();
    loop {
        let logged = server.logged();
        // The whole of the line.
        let mut lines = logged.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        if let Some(url) = lines.find_map(|line| line.trim().strip_prefix("Metrics  ")) {
            return url.trim().to_owned();
        }
        assert!(started.elapsed() < Duration::from_secs(30), "it does not say where metrics are: {logged}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Series and their values, once this holds.
async fn shown(url: &str, is_wanted: impl Fn(&BTreeMap<String, f64>) -> bool) -> BTreeMap<String, f64> {
    let started = Instant::now();
    loop {
        let text = reqwest::get(url).await.expect("metrics are shown").text().await.expect("as text");
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let series: BTreeMap<String, f64> = lines
            .map(|line| {
                let (name, value) = line.rsplit_once(' ').expect("a name and a value");
                (name.to_owned(), value.parse().expect("a number"))
            })
            .collect();
        if is_wanted(&series) {
            return series;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "metrics stay\n{text}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Names and their labels.
type Names = BTreeMap<String, BTreeSet<String>>;

fn names_of<'a>(series: impl Iterator<Item = &'a String>) -> Names {
    let mut names = Names::new();
    for one in series {
        let (name, labels) = one.split_once('{').unwrap_or((one, ""));
        let ends = ["_bucket", "_sum", "_count"];
        let name = ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let labels = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
        names.entry(name.to_owned()).or_default().extend(labels.filter(|label| label != "le"));
    }
    names
}

/// The rows of the table.
fn names_on_the_page() -> Names {
    let rows = PAGE.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let labels = cells[3].split(',').map(|label| label.trim().trim_matches('`').to_owned());
        (cells[1].trim_matches('`').to_owned(), labels.filter(|label| !label.is_empty()).collect())
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_shown_is_on_the_page_and_the_other_way_round() {
    on_each_store_with(&SETTINGS, |server| async move {
        let (api, url) = (server.api(), address(&server).await);
        let (ann, ben) = (api.sign_up("Ann").await, api.sign_up("Ben").await);
        let receiver = Receiver::start(Manner::Answers("500 Oops")).await;
        api.post("/webhooks", &ann, json!({ "url": receiver.url() })).await.expect(201);
        let market = api.open_market(&ann, json!({})).await;
        let listener = Listener::open(api.request("GET", "/stream?channels=markets")).await;
        for _ in 0..3 {
            api.post("/orders", &ann, limit(&market, "YES", "buy", "0.4", 1)).await.expect(201);
        }
        api.post("/transfers", &ann, json!({ "toUserId": ben.id, "amount": "1" })).await.expect(201);
        api.request("GET", &format!("/markets/{market}")).send().await.expect(200);
        api.request("GET", &format!("/markets/{market}")).send().await.expect(200);
        api.request("GET", "/nowhere/at/all").send().await.refused(404, "NOT_FOUND");
        receiver.wait_for(1, |_| true).await;
        receiver.set(Manner::Answers("200 OK"));

        let requests = |rest: &str| format!("bellwether_http_request_seconds_count{{{rest}}}");
        let least = [
            (requests("method=\"POST\",route=\"/api/v1/orders\",status=\"2xx\""), 3.0),
            (requests("method=\"GET\",route=\"/api/v1/markets/{id}\",status=\"2xx\""), 2.0),
            (requests("method=\"GET\",route=\"\",status=\"4xx\""), 1.0),
            ("bellwether_group_commands_sum{of=\"orders\"}".to_owned(), 3.0),
            ("bellwether_group_seconds_count{of=\"payments\"}".to_owned(), 1.0),
            ("bellwether_commit_seconds_count".to_owned(), 5.0),
            ("bellwether_remembered_total{found=\"hit\"}".to_owned(), 1.0),
            ("bellwether_remembered_total{found=\"miss\"}".to_owned(), 1.0),
            ("bellwether_webhook_calls_total{end=\"taken\"}".to_owned(), 1.0),
            ("bellwether_webhook_calls_total{end=\"refused\"}".to_owned(), 1.0),
            ("bellwether_webhook_retries_total".to_owned(), 1.0),
            ("bellwether_jobs_ended_total{end=\"postponed\",kind=\"webhook\"}".to_owned(), 1.0),
            ("bellwether_database_up".to_owned(), 1.0),
            ("bellwether_database_connections_max".to_owned(), 1.0),
            ("process_resident_memory_bytes".to_owned(), 1_000_000.0),
        ];
        // Some things are counted a moment after they are answered, and what is a state is read now and then.
        let is_complete = |series: &BTreeMap<String, f64>| {
            let has = |(name, least): &(String, f64)| series.get(name).is_some_and(|value| value >= least);
            series.get("bellwether_live_streams") == Some(&1.0)
                && series.contains_key("bellwether_outbox_lag_seconds{consumer=\"webhooks\"}")
                && least.iter().all(has)
        };
        let series = shown(&url, is_complete).await;
        assert_eq!(names_of(series.keys()), names_on_the_page());
        drop(listener);
        shown(&url, |series| series.get("bellwether_live_streams") == Some(&0.0)).await;
    })
    .await;
}

/// Threat 72.
#[tokio::test(flavor = "multi_thread")]
async fn the_address_of_the_api_shows_no_metrics_and_the_other_nothing_else() {
    on_each_store_with(&SETTINGS, |server| async move {
        let url = address(&server).await;
        assert!(!url.contains(server.address()) && url.starts_with("http://127.0.0.1:"), "{url}");
        server.api().request("GET", "//metrics").send().await.refused(404, "NOT_FOUND");
        server.api().request("GET", "/metrics").send().await.refused(404, "NOT_FOUND");
        for path in ["/api/v1/markets", "/health", "/"] {
            let other = reqwest::get(url.replace("/metrics", path)).await.expect("an answer");
            assert_eq!(other.status().as_u16(), 404, "{path}");
        }
        // Nothing is asked for that is anybody's: no secret of the configuration, no name, no address.
        let text = reqwest::get(&url).await.expect("an answer").text().await.expect("as text");
        assert!(!text.contains('@') && !text.contains("postgres://"), "{text}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_shown_where_nobody_asked_for_it() {
    on_each_store(|server| async move {
        assert!(!server.logged().contains("/metrics"), "{}", server.logged());
    })
    .await;
}
