//! Where the figures go: the page, the machine-readable file, the plot.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;

use crate::bench::measured::Figures;
use crate::bench::plot;
use crate::bench::tables::{
    failures, latency_table, open_table, other_table, resource_table, target_table, throughput_table,
};
use crate::bench::targets::{Target, targets};

/// The figures of a run and the command that measured them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) command: String,
    pub(super) targets: Vec<Target>,
    #[serde(flatten)]
    pub(super) figures: Figures,
}

impl Report {
    /// A report of these figures.
    pub(super) fn new(command: String, figures: Figures) -> Self {
        Self { command, targets: targets(&figures), figures }
    }

    /// All tables, with what to know about them.
    pub(super) fn text(&self) -> String {
        let figures = &self.figures;
        let load_share = figures.closed.iter().filter_map(|row| row.load_share).fold(0.0, f64::max) * 100.0;
        let failed = match failures(figures) {
            lines if lines.is_empty() => "No request failed.\n".to_owned(),
            lines => format!("Requests that failed:\n\n{lines}"),
        };
        format!(
            "Written by `{}` on a machine with {} cores\n\
             that load, server and database share; each measurement took {} seconds. Ratios of one run say something; absolute\n\
             figures differ from machine to machine.\n{}\n\
             ## Targets\n\n{}\n\
             ## Orders over the number of clients\n\n{}\n{}\n\
             ![Throughput and latency over the number of clients](benchmarks/load.svg)\n\n\
             ## Latency when requests come by themselves, in ms\n\n{}\n\
             ## Other loads\n\n{}\n\
             ## Memory, and what an order costs\n\n{}\n\
             ## Failures\n\n{failed}The load itself took at most {load_share:.0} % of the processors.\n\
             After the load `bellwether audit` found nothing on any store; else the run would have failed.\n",
            self.command,
            figures.cores,
            figures.seconds,
            of_others(figures.busy_before),
            target_table(figures),
            throughput_table(figures),
            latency_table(figures),
            open_table(figures),
            other_table(figures),
            resource_table(figures),
        )
    }

    /// Writes `docs/benchmarks.md`, and `latest.json` and `load.svg` in `docs/benchmarks`.
    pub(super) fn write(&self, root: &Path) -> anyhow::Result<()> {
        let folder = root.join("docs/benchmarks");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let page = format!("# Benchmarks\n\n{}\n{HOW_TO_READ}", self.text());
        let json = serde_json::to_string_pretty(self)? + "\n";
        for (file, text) in [
            (root.join("docs/benchmarks.md"), page),
            (folder.join("latest.json"), json),
            (folder.join("load.svg"), plot::draw(&self.figures)),
        ] {
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(())
    }
}

/// Writes a page of its own in `docs/benchmarks`, and beside it the figures that it shows.
pub(super) fn write_page(root: &Path, name: &str, text: &str, figures: &impl Serialize) -> anyhow::Result<()> {
    let folder = root.join("docs/benchmarks");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let json = serde_json::to_string_pretty(figures)? + "\n";
    for (file, text) in [(format!("{name}.md"), text), (format!("{name}.json"), &json)] {
        fs::write(folder.join(&file), text).with_context(|| format!("cannot write {file}"))?;
    }
    Ok(())
}

/// The share of the processors that may be busy on a quiet machine.
const QUIET: f64 = 0.1;

/// A line that says so when the machine had other work, because no figure would show it; else nothing.
pub(super) fn of_others(busy_before: f64) -> String {
    if busy_before <= QUIET {
        return String::new();
    }
    let percent = busy_before * 100.0;
    format!(
        "**The machine had other work** ({percent:.0} % busy before the run): these figures and ratios are unsteady.\n"
    )
}

const HOW_TO_READ: &str = "\
## How to read it

- **pgbench** does with plain tables what one matched order does, as one transaction: it locks the market and both
  accounts, moves the money, and writes order, trade, transfer, positions and the idempotency record. It speaks to the
  database itself, without HTTP, tokens, JSON or rules between.
- **Orders** are `POST /api/v1/orders` over kept connections, with an `Idempotency-Key` each; what counts is acknowledged.
  Of each pair the first rests and the second fills it, in one of 100 markets. Commits are durable: `synchronous_commit = on`
  for pgbench, and on both stores the log is on the disk before anything is acknowledged.
- **Groups of 1**: `BELLWETHER_GROUP_LIMIT=1`, so that each request has a commit of its own.
- **Mixed**: of 100 requests 35 are limit orders of makers around a mid price, 20 orders of takers that cross and never
  rest, 15 cancel one of the client's newest 8 orders, 20 read a book and 10 a market; over 50 markets by Zipf's law
  (s = 1). Orders, cancels and reads are counted apart; a cancel is *too late* when its order has been filled.
  The seed decides all choices.
- **Transfers** are `POST /api/v1/transfers` between random users, **reads** `GET /api/v1/markets/{id}` of one market.
- **The knee** is the number of clients with the best throughput. In the table *when requests come by themselves* they are
  due at random moments (a Poisson process), at a share of what was answered at the knee, and latency counts from the moment
  that a request is due: a server that falls behind cannot hide it. *One commit* is pgbench's mean latency with one client.
- PostgreSQL's log files were there before (120 of 16 MB), as on a server that has run for a while; that counts for pgbench too.
- **Bytes written** are write-ahead log for PostgreSQL, and all that the server wrote for SQLite; of the orders in pairs. Microseconds
  are processor time for one of those orders: that of the server, and that of all of PostgreSQL's processes.
- The exchange alone, without server and store: [core.md](benchmarks/core.md).
- Sign-ins, and what they cost those who read: [logins.md](benchmarks/logins.md).
- Live streams, and what it costs to keep many: [live.md](benchmarks/live.md).
- Reads that are remembered, beside a web server with nothing behind it: [reads.md](benchmarks/reads.md).
- Reads where there are a million markets, beside a thousand: [reads-at-scale.md](benchmarks/reads-at-scale.md).
- Orders on a store with ten million trades, beside an empty one: [scale.md](benchmarks/scale.md).
- Several servers, and what a request costs them and the database: [servers.md](benchmarks/servers.md).
- The numbers behind the tables are in [latest.json](benchmarks/latest.json).
";

#[cfg(test)]
mod tests {
    use super::{Report, of_others};
    use crate::bench::measured::tests::figures;

    #[test]
    fn writes_the_page_the_figures_and_the_plot() {
        let root = tempfile::tempdir().unwrap();
        Report::new("cargo xtask bench --seconds 1".to_owned(), figures()).write(root.path()).unwrap();
        let read = |name: &str| std::fs::read_to_string(root.path().join("docs").join(name)).unwrap();
        let page = read("benchmarks.md");
        assert!(page.starts_with("# Benchmarks\n\nWritten by `cargo xtask bench --seconds 1`"), "{page}");
        assert!(page.contains("No request failed."), "{page}");
        let json: serde_json::Value = serde_json::from_str(&read("benchmarks/latest.json")).unwrap();
        assert_eq!(json["closed"][0]["subject"], "pgbench");
        assert_eq!(json["targets"][0]["ratio"], 3.0);
        assert!(read("benchmarks/load.svg").starts_with("<svg"));
    }

    #[test]
    fn says_when_the_machine_had_other_work() {
        assert_eq!(of_others(0.05), "");
        assert!(of_others(0.97).contains("97 % busy"));
    }
}
