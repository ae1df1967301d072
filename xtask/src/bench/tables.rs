//! The figures as Markdown tables.

use crate::bench::load::Load;
use crate::bench::measured::{Figures, Measured, Name};
use crate::bench::targets::targets;

/// What is compared over the number of clients, a row each.
const ROWS: [(Name, Load); 6] = [
    (Name::Pgbench, Load::Pairs),
    (Name::PostgresAlone, Load::Pairs),
    (Name::Postgres, Load::Pairs),
    (Name::Sqlite, Load::Pairs),
    (Name::Postgres, Load::Mixed),
    (Name::Sqlite, Load::Mixed),
];

/// Targets beside what was measured.
pub(super) fn target_table(figures: &Figures) -> String {
    let rows = targets(figures).into_iter().map(|target| {
        let verdict = match target.is_met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "not measured",
        };
        vec![target.what.to_owned(), target.wanted.text(), optional(target.ratio, 2), verdict.to_owned()]
    });
    table(&["target", "wanted", "measured", ""], rows)
}

/// Orders in a second over the number of clients, with the ratio to pgbench.
pub(super) fn throughput_table(figures: &Figures) -> String {
    let best_baseline = figures.best(Name::Pgbench, Load::Pairs).map(|row| row.per_second);
    over_clients(
        figures,
        "orders/s (of pgbench)",
        |row| with_ratio(row, figures.baseline(row.clients)),
        |best| {
            let ratio =
                best_baseline.filter(|_| best.subject != Name::Pgbench).map(|baseline| best.per_second / baseline);
            optional(ratio, 2)
        },
    )
}

/// The 99th percentile over the number of clients.
pub(super) fn latency_table(figures: &Figures) -> String {
    over_clients(
        figures,
        "p50 / p99 in ms",
        |row| format!("{:.1} / {:.1}", row.latency.p50_ms, row.latency.p99_ms),
        |_| String::new(),
    )
}

fn over_clients(
    figures: &Figures,
    title: &str,
    cell: impl Fn(&Measured) -> String,
    last: impl Fn(&Measured) -> String,
) -> String {
    let mut clients: Vec<usize> = figures.closed.iter().filter_map(|row| row.clients).collect();
    clients.sort_unstable();
    clients.dedup();
    let has_last = figures.best(Name::Postgres, Load::Pairs).is_some_and(|row| !last(row).is_empty());
    let mut head = vec![title.to_owned()];
    head.extend(clients.iter().map(ToString::to_string));
    head.extend(has_last.then(|| "best to best".to_owned()));
    let rows = ROWS.iter().filter_map(|(subject, load)| {
        let best = figures.best(*subject, *load)?;
        let mut cells = vec![title_of(*subject, *load)];
        for clients in &clients {
            let row = figures.closed(*subject, *load).find(|row| row.clients == Some(*clients));
            cells.push(row.map_or_else(String::new, &cell));
        }
        cells.extend(has_last.then(|| last(best)));
        Some(cells)
    });
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    table(&head, rows)
}

fn title_of(subject: Name, load: Load) -> String {
    match load {
        Load::Pairs => subject.text().to_owned(),
        _ => format!("{}, {}", subject.text(), load.name()),
    }
}

fn with_ratio(row: &Measured, baseline: Option<&Measured>) -> String {
    match baseline.filter(|_| row.subject != Name::Pgbench) {
        Some(baseline) => format!("{:.0} ({:.2})", row.per_second, row.per_second / baseline.per_second),
        None => format!("{:.0}", row.per_second),
    }
}

/// What the mixed load did beside orders at its best, and the loads that are not about orders.
pub(super) fn other_table(figures: &Figures) -> String {
    let mixed = [Name::Postgres, Name::Sqlite].into_iter().filter_map(|name| figures.best(name, Load::Mixed));
    let others = figures.closed.iter().filter(|row| matches!(row.load, Load::Transfers | Load::Reads));
    let rows = mixed.chain(others).map(|row| {
        let done = match (row.cancels_per_second, row.late_cancels_per_second, row.reads_per_second) {
            (Some(cancels), Some(late), Some(reads)) => {
                format!(
                    "{:.0} orders, {cancels:.0} cancels, {late:.0} cancels too late, {reads:.0} reads",
                    row.per_second
                )
            }
            _ => format!("{:.0} {}", row.per_second, row.load.name()),
        };
        let clients = row.clients.map_or_else(String::new, |clients| clients.to_string());
        let latency = format!("{:.1} / {:.1}", row.latency.p50_ms, row.latency.p99_ms);
        vec![format!("{}, {}", row.subject.text(), row.load.name()), clients, done, latency]
    });
    table(&["load", "clients", "done in a second", "p50 / p99 in ms"], rows)
}

/// Latencies of requests that come by themselves.
pub(super) fn open_table(figures: &Figures) -> String {
    let rows = figures.open.iter().map(|row| {
        let latency = row.latency;
        let mut cells = vec![
            format!("{}, {}", row.subject.text(), row.load.name()),
            row.of_knee.map_or_else(String::new, |share| format!("{:.0} %", share * 100.0)),
            optional(row.offered_per_second, 0),
            format!("{:.0}", row.answered_per_second),
        ];
        let percentiles = [latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.p999_ms];
        cells.extend(percentiles.map(|ms| format!("{ms:.1}")));
        cells.push(optional(figures.commit_ms().map(|commit| latency.p99_ms / commit), 1));
        cells
    });
    let head = ["load", "of the knee", "due/s", "answered/s", "p50", "p90", "p99", "p99.9", "p99 in commits"];
    table(&head, rows)
}

/// Memory of the servers, and what an order costs at their best.
pub(super) fn resource_table(figures: &Figures) -> String {
    let names = [Name::Pgbench, Name::PostgresAlone, Name::Postgres, Name::Sqlite];
    let rows = names.into_iter().filter_map(|name| {
        let best = figures.best(name, Load::Pairs)?;
        let memory = figures.memory.iter().find(|memory| memory.subject == name);
        Some(vec![
            name.text().to_owned(),
            memory.map_or_else(String::new, |memory| megabytes(memory.idle_bytes)),
            memory.map_or_else(String::new, |memory| megabytes(memory.loaded_bytes)),
            optional(best.bytes_per_order, 0),
            optional(best.server_us_per_order, 0),
            optional(best.database_us_per_order, 0),
        ])
    });
    let head =
        ["server", "MB idle", "MB after the load", "bytes written for an order", "its own µs", "PostgreSQL's µs"];
    table(&head, rows)
}

/// What failed, a line for each reason; nothing when nothing did.
pub(super) fn failures(figures: &Figures) -> String {
    let rows = figures.closed.iter().chain(&figures.open);
    let lines = rows.flat_map(|row| {
        row.failed.iter().map(|(reason, count)| {
            let how = row.clients.map_or_else(|| "open loop".to_owned(), |clients| format!("{clients} clients"));
            format!("- {}, {}, {how}: {count} failed: {reason}\n", row.subject.text(), row.load.name())
        })
    });
    lines.collect()
}

fn megabytes(bytes: u64) -> String {
    (bytes / (1024 * 1024)).to_string()
}

fn optional(number: Option<f64>, decimals: usize) -> String {
    number.map_or_else(String::new, |number| format!("{number:.decimals$}"))
}

/// A Markdown table: the first column is text, the others are numbers.
pub(super) fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let rule: Vec<&str> = (0..head.len()).map(|column| if column == 0 { "---" } else { "---:" }).collect();
    let mut text = format!("| {} |\n| {} |\n", head.join(" | "), rule.join(" | "));
    for row in rows {
        text.push_str(&format!("| {} |\n", row.join(" | ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::measured::tests::figures;

    #[test]
    fn throughput_is_compared_with_pgbench_at_the_same_number_of_clients_and_best_to_best() {
        let text = throughput_table(&figures());
        assert_eq!(
            text,
            "| orders/s (of pgbench) | 1 | 8 | best to best |\n| --- | ---: | ---: | ---: |\n\
             | pgbench | 100 | 200 |  |\n| PostgreSQL | 50 (0.50) | 600 (3.00) | 3.00 |\n\
             | SQLite | 300 (3.00) | 250 (1.25) | 1.50 |\n| PostgreSQL, mixed |  | 400 (2.00) | 2.00 |\n"
        );
    }

    #[test]
    fn every_row_has_as_many_cells_as_the_head() {
        let figures = figures();
        let tables = [target_table, throughput_table, latency_table, other_table, open_table, resource_table];
        for text in tables.map(|table| table(&figures)) {
            let cells: Vec<usize> = text.lines().map(|line| line.matches('|').count()).collect();
            assert!(cells.len() > 2 && cells.windows(2).all(|pair| pair[0] == pair[1]), "{text}");
        }
    }

    #[test]
    fn a_failure_is_told_with_its_number_and_reason() {
        let mut figures = figures();
        assert_eq!(failures(&figures), "");
        figures.closed[2].failed.insert("Order: 503 BUSY".to_owned(), 4);
        assert_eq!(failures(&figures), "- PostgreSQL, orders in pairs, 1 clients: 4 failed: Order: 503 BUSY\n");
    }
}
