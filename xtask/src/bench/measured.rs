//! The figures of a run.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::bench::latency::Latency;
use crate::bench::load::Load;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Name {
    /// One transaction an order, without a server between.
    Pgbench,
    /// This server on PostgreSQL, with groups of at most one request.
    PostgresAlone,
    /// This server on PostgreSQL.
    Postgres,
    /// This server on SQLite.
    Sqlite,
}

impl Name {
    /// As the tables name it.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Pgbench => "pgbench",
            Self::PostgresAlone => "PostgreSQL, groups of 1",
            Self::Postgres => "PostgreSQL",
            Self::Sqlite => "SQLite",
        }
    }
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Measured {
    pub(super) subject: Name,
    pub(super) load: Load,
    /// How many clients waited for their answers; none in an open loop.
    pub(super) clients: Option<usize>,
    /// How many requests of all kinds were due in a second of an open loop.
    pub(super) offered_per_second: Option<f64>,
    /// The same as a share of what was answered at the knee.
    pub(super) of_knee: Option<f64>,
    /// How many requests of all kinds were answered in a second.
    pub(super) answered_per_second: f64,
    /// How many of the requests that the load is about were done.
    pub(super) done: usize,
    /// The same for each second.
    pub(super) per_second: f64,
    /// What the mixed load did beside orders.
    pub(super) cancels_per_second: Option<f64>,
    pub(super) reads_per_second: Option<f64>,
    /// Cancels that found their order filled already.
    pub(super) late_cancels_per_second: Option<f64>,
    /// How many requests failed, for each reason.
    pub(super) failed: BTreeMap<String, u64>,
    /// Of the requests that the load is about.
    pub(super) latency: Latency,
    /// PostgreSQL: bytes of write-ahead log. SQLite: bytes that the server wrote.
    pub(super) bytes_per_order: Option<f64>,
    /// The share of the machine's processors that the load itself took.
    pub(super) load_share: Option<f64>,
    /// Microseconds of processor time that the server took for an order.
    pub(super) server_us_per_order: Option<f64>,
    /// The same of PostgreSQL, all of its processes together.
    pub(super) database_us_per_order: Option<f64>,
}

/// Resident memory of a server.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Memory {
    pub(super) subject: Name,
    /// Ready, before its first request.
    pub(super) idle_bytes: u64,
    /// After all loads.
    pub(super) loaded_bytes: u64,
}

/// All that a run measured.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Figures {
    /// Processors of the machine, which load, server and database share.
    pub(super) cores: usize,
    /// The share of them that others used before the run.
    pub(super) busy_before: f64,
    /// Seconds of each measurement.
    pub(super) seconds: u64,
    pub(super) closed: Vec<Measured>,
    pub(super) open: Vec<Measured>,
    pub(super) memory: Vec<Memory>,
}

impl Figures {
    /// The measurements of a subject under a load, by number of clients.
    pub(super) fn closed(&self, subject: Name, load: Load) -> impl Iterator<Item = &Measured> {
        self.closed.iter().filter(move |row| row.subject == subject && row.load == load)
    }

    /// The measurement with the best throughput: the knee.
    pub(super) fn best(&self, subject: Name, load: Load) -> Option<&Measured> {
        self.closed(subject, load).max_by(|a, b| a.per_second.total_cmp(&b.per_second))
    }

    /// What pgbench did with so many clients.
    pub(super) fn baseline(&self, clients: Option<usize>) -> Option<&Measured> {
        self.closed(Name::Pgbench, Load::Pairs).find(|row| row.clients == clients)
    }

    /// How long one commit takes: pgbench's mean latency with one client, in milliseconds.
    pub(super) fn commit_ms(&self) -> Option<f64> {
        self.baseline(Some(1)).map(|row| row.latency.mean_ms)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;

    pub(in crate::bench) fn row(subject: Name, load: Load, clients: usize, per_second: f64) -> Measured {
        Measured {
            subject,
            load,
            clients: Some(clients),
            offered_per_second: None,
            of_knee: None,
            answered_per_second: per_second,
            done: 1000,
            per_second,
            cancels_per_second: None,
            reads_per_second: None,
            late_cancels_per_second: None,
            failed: BTreeMap::new(),
            latency: Latency { mean_ms: 2.0, p50_ms: 1.5, p90_ms: 4.0, p99_ms: 8.0, p999_ms: 16.0 },
            bytes_per_order: None,
            load_share: None,
            server_us_per_order: None,
            database_us_per_order: None,
        }
    }

    /// A small run: its best are 200 of pgbench, 600 of PostgreSQL and 300 of SQLite; a commit takes 2 ms.
    pub(in crate::bench) fn figures() -> Figures {
        let closed = vec![
            row(Name::Pgbench, Load::Pairs, 1, 100.0),
            row(Name::Pgbench, Load::Pairs, 8, 200.0),
            row(Name::Postgres, Load::Pairs, 1, 50.0),
            row(Name::Postgres, Load::Pairs, 8, 600.0),
            row(Name::Postgres, Load::Mixed, 8, 400.0),
            row(Name::Sqlite, Load::Pairs, 1, 300.0),
            row(Name::Sqlite, Load::Pairs, 8, 250.0),
            row(Name::Postgres, Load::Reads, 8, 9000.0),
        ];
        let half = row(Name::Postgres, Load::Pairs, 0, 300.0);
        let half = Measured { clients: None, of_knee: Some(0.5), offered_per_second: Some(300.0), ..half };
        let memory = vec![Memory { subject: Name::Postgres, idle_bytes: 20 << 20, loaded_bytes: 30 << 20 }];
        Figures { cores: 2, busy_before: 0.0, seconds: 1, closed, open: vec![half], memory }
    }

    #[test]
    fn the_knee_is_where_throughput_is_best() {
        let figures = figures();
        assert_eq!(figures.best(Name::Sqlite, Load::Pairs).unwrap().clients, Some(1));
        assert_eq!(figures.best(Name::Postgres, Load::Pairs).unwrap().clients, Some(8));
        assert!(figures.best(Name::PostgresAlone, Load::Pairs).is_none());
    }
}
