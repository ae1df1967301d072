//! Many rows quickly: copies of a market that a server made, by the store's own SQL. The tables' columns are
//! read from the store, so what is not said here is as it was in the original.
//!
//! The rows obey the schema, but not the sums of the ledger: a store that was filled like this is not audited.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context as _;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::bench::psql::Database;
use crate::interrupts::Interrupts;
use crate::process;

/// A store that no server is on.
pub(super) enum Store {
    Postgres(Database),
    /// The file.
    Sqlite(PathBuf),
}

/// A table, which of its rows are copied, and the columns in which copies differ.
pub(super) struct Copied {
    table: &'static str,
    of: String,
    /// Copies are numbered `i`, from one on; `c` is the original.
    differs: Vec<(&'static str, String)>,
    count: u64,
}

/// What is copied.
pub(super) struct Original {
    /// A market, with its open orders and positions.
    pub(super) market: String,
    /// Somebody who has a position in it, and gets one in every copy.
    pub(super) holder: String,
}

/// The id of a copied market.
pub(super) fn market_id(number: u64) -> String {
    uuid(format!("{MARKET}{number:015x}").as_bytes())
}

/// Ids are sixteen letters, which both stores can make of a number.
const MARKET: char = 'm';
const ORDER: char = 'o';
const USER: char = 'u';
const TRADE: char = 't';
const TRANSFER: char = 'p';
/// More than there are numbers in the original market.
const NUMBERS: u64 = 1_000_000;

/// What SQLite's triggers would have written, in its order.
const TIMELINES: &str = "\
    DELETE FROM timelines; \
    INSERT INTO timelines SELECT user_id, created_at, id, 0 FROM orders \
    UNION ALL SELECT market_id, created_at, id, 2 FROM trades UNION ALL SELECT taker_id, created_at, id, 1 FROM trades \
    UNION ALL SELECT maker_id, created_at, id, 1 FROM trades WHERE maker_id <> taker_id \
    UNION ALL SELECT from_account, created_at, id, 3 FROM transfers \
    UNION ALL SELECT to_account, created_at, id, 4 FROM transfers ORDER BY 1, 2, 3, 4;\n";

/// Bytes as ids are written.
fn uuid(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut text = String::new();
    for (place, letter) in hex.chars().enumerate() {
        if [8, 12, 16, 20].contains(&place) {
            text.push('-');
        }
        text.push(letter);
    }
    text
}

/// How much a whole exchange has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) markets: u64,
    pub(super) users: u64,
    /// How often each trade of the original is in a copy.
    pub(super) times: u64,
}

impl Store {
    /// A market so often, with its open orders and positions; `reader` gets a position in some of the first.
    pub(super) fn markets(&self, original: &Original, count: u64, (reader, positions): (&str, u64)) -> Vec<Copied> {
        let [market, holder, reader] = [&original.market, &original.holder, reader].map(|id| self.literal(id));
        let mut all = self.market_and_parts(&market, count);
        let id = self.id(MARKET, "i");
        let of = format!("c.market_id = {market}");
        let order_id = self.id(ORDER, &format!("i * {NUMBERS} + c.sequence"));
        all.push(Copied {
            table: "orders",
            of: format!("{of} AND c.status = 'open'"),
            differs: vec![("id", order_id), ("market_id", id.clone())],
            count,
        });
        let table = "positions";
        all.push(Copied { table, of: of.clone(), differs: vec![("market_id", id.clone())], count });
        all.push(Copied {
            table,
            of: format!("{of} AND c.user_id = {holder}"),
            differs: vec![("market_id", id), ("user_id", reader)],
            count: positions,
        });
        all
    }

    /// A whole exchange: a market so often, so that it can be traded in, with all that was ever done in it, by others.
    pub(super) fn exchange(&self, original: &Original, sizes: Sizes) -> Vec<Copied> {
        let Sizes { markets, users, times } = sizes;
        let [market, holder] = [&original.market, &original.holder].map(|id| self.literal(id));
        let (market_id, user_id) = (self.id(MARKET, "i"), self.id(USER, "i"));
        let name = "'copy-' || i".to_owned();
        let email = "'copy-' || i || '@example.com'".to_owned();
        let of = format!("c.market_id = {market}");
        let differs =
            vec![("id", user_id.clone()), ("email", email.clone()), ("email_key", email), ("display_name", name)];
        let account = |owner: &str, id: &str, count| Copied {
            table: "accounts",
            of: format!("c.id = {owner}"),
            differs: vec![("id", id.to_owned()), ("owner_id", id.to_owned())],
            count,
        };
        let mut all = vec![
            Copied { table: "users", of: format!("c.id = {holder}"), differs, count: users },
            account(&holder, &user_id, users),
            account(&market, &market_id, markets),
        ];
        all.extend(self.market_and_parts(&market, markets));
        let anybody = |offset: u64| self.id(USER, &format!("1 + (i * 7919 + c.sequence + {offset}) % {users}"));
        let id = self.id(ORDER, &format!("i * {NUMBERS} + c.sequence"));
        let differs = vec![("id", id), ("market_id", market_id.clone()), ("user_id", anybody(0))];
        all.push(Copied { table: "orders", of: of.clone(), differs, count: markets });
        let differs = vec![("market_id", market_id.clone())];
        all.push(Copied { table: "positions", of: of.clone(), differs, count: markets });
        // These are copied more often than the market: so many each into one.
        let place = |times: u64| format!("(1 + (i - 1) / {times})");
        let order = |column: &str| {
            let sequence = format!("(SELECT o.sequence FROM orders AS o WHERE o.id = c.{column})");
            self.id(ORDER, &format!("{} * {NUMBERS} + {sequence}", place(times)))
        };
        let trades = vec![
            ("id", self.id(TRADE, &format!("i * {NUMBERS} + c.sequence"))),
            ("market_id", self.id(MARKET, &place(times))),
            ("sequence", format!("c.sequence + (i % {times}) * {NUMBERS}")),
            ("taker_order", order("taker_order")),
            ("taker_id", anybody(1)),
            ("maker_order", order("maker_order")),
            ("maker_id", anybody(2)),
        ];
        all.push(Copied { table: "trades", of: of.clone(), differs: trades, count: markets * times });
        // Each trade of the original came with two transfers.
        let (half, number) = ((times / 2).max(1), "row_number() OVER ()");
        let into = self.id(MARKET, &place(half));
        let transfers = vec![
            ("id", self.id(TRANSFER, number)),
            ("from_account", self.id(USER, &format!("1 + (i * 7919 + c.paid_number) % {users}"))),
            ("to_account", into.clone()),
            ("market_id", into),
            // Each account has its own numbers; these are all different.
            ("paid_number", format!("{NUMBERS} + {number}")),
        ];
        all.push(Copied { table: "transfers", of, differs: transfers, count: markets * half });
        all
    }

    fn market_and_parts(&self, market: &str, count: u64) -> Vec<Copied> {
        let (id, of) = (self.id(MARKET, "i"), format!("c.market_id = {market}"));
        let differs = vec![
            ("id", id.clone()),
            ("slug", "'copy-' || i".to_owned()),
            ("created_at", self.earlier("c.created_at", "i")),
            ("closes_at", self.earlier("c.closes_at", &format!("(i * 7919) % {count}"))),
        ];
        let volume = format!("(i * 104729) % {count} * 1000");
        let counters = vec![("market_id", id.clone()), ("volume", volume)];
        let mut all = vec![
            Copied { table: "markets", of: format!("c.id = {market}"), differs, count },
            Copied { table: "market_counters", of: of.clone(), differs: counters, count },
        ];
        for table in ["outcomes", "market_tags"] {
            all.push(Copied { table, of: of.clone(), differs: vec![("market_id", id.clone())], count });
        }
        all
    }

    /// Makes all copies.
    pub(super) async fn fill(&self, all: &[Copied], interrupts: &Interrupts) -> anyhow::Result<()> {
        let (without_indexes, with_indexes) = self.indexes(interrupts).await?;
        let mut script = format!("{}{without_indexes}", self.prologue());
        for copied in all {
            let columns = self.columns(copied.table, interrupts).await?;
            if !columns.is_empty() {
                script.push_str(&self.statement(copied, &columns));
            }
        }
        if !self.columns("timelines", interrupts).await?.is_empty() {
            script.push_str(TIMELINES);
        }
        script.push_str(&with_indexes);
        script.push_str(self.epilogue());
        self.run(&script, interrupts).await.map(drop)
    }

    /// What takes all indexes away but those of keys, and what gives them back: built at the end, from sorted rows,
    /// they take a fraction of the time.
    async fn indexes(&self, interrupts: &Interrupts) -> anyhow::Result<(String, String)> {
        let asked = match self {
            Self::Postgres(_) => {
                "SELECT pg_get_indexdef(i.indexrelid) FROM pg_index AS i \
                 WHERE i.indrelid IN (SELECT relid FROM pg_stat_user_tables WHERE schemaname = 'public') \
                 AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = i.indexrelid);"
            }
            // Each on a line of its own, and what writes timelines as well.
            Self::Sqlite(_) => {
                "SELECT replace(sql, char(10), ' ') FROM sqlite_master \
                 WHERE sql IS NOT NULL AND (type = 'index' OR name LIKE '%\\_into\\_timelines' ESCAPE '\\');"
            }
        };
        let made = self.run(asked, interrupts).await?;
        let (mut without, mut with) = (String::new(), String::new());
        for made in made.lines().filter(|line| !line.is_empty()) {
            let kind = if made.starts_with("CREATE TRIGGER ") { "TRIGGER" } else { "INDEX" };
            let name = made.split(&format!(" {kind} ")).nth(1).and_then(|rest| rest.split(' ').next());
            without.push_str(&format!("DROP {kind} {};\n", name.context("an index has no name")?));
            with.push_str(&format!("{made};\n"));
        }
        Ok((without, with))
    }

    fn statement(&self, copied: &Copied, columns: &[String]) -> String {
        let values: Vec<String> = columns
            .iter()
            .map(|column| match copied.differs.iter().find(|(name, _)| name == column) {
                Some((_, value)) => value.clone(),
                None => format!("c.{column}"),
            })
            .collect();
        format!(
            "INSERT INTO {table} ({}) SELECT {} FROM {table} AS c, {} WHERE {};\n",
            columns.join(", "),
            values.join(", "),
            self.numbers(copied.count),
            copied.of,
            table = copied.table,
        )
    }

    /// The columns of a table; none where there is no such table.
    async fn columns(&self, table: &str, interrupts: &Interrupts) -> anyhow::Result<Vec<String>> {
        let sql = match self {
            Self::Postgres(_) => format!(
                "SELECT column_name FROM information_schema.columns JOIN information_schema.tables \
                 USING (table_schema, table_name) \
                 WHERE table_name = '{table}' AND table_type = 'BASE TABLE' ORDER BY ordinal_position;"
            ),
            Self::Sqlite(_) => format!("SELECT name FROM pragma_table_info('{table}');"),
        };
        let text = self.run(&sql, interrupts).await?;
        Ok(text.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }

    fn literal(&self, id: &str) -> String {
        match self {
            Self::Postgres(_) => format!("'{id}'::uuid"),
            Self::Sqlite(_) => format!("X'{}'", id.replace('-', "")),
        }
    }

    fn id(&self, kind: char, number: &str) -> String {
        match self {
            Self::Postgres(_) => {
                format!("encode(convert_to('{kind}' || lpad(to_hex({number}), 15, '0'), 'UTF8'), 'hex')::uuid")
            }
            Self::Sqlite(_) => format!("CAST(printf('{kind}%015x', {number}) AS BLOB)"),
        }
    }

    /// So many seconds before.
    fn earlier(&self, time: &str, seconds: &str) -> String {
        match self {
            Self::Postgres(_) => format!("{time} - ({seconds}) * interval '1 second'"),
            Self::Sqlite(_) => format!("{time} - ({seconds}) * 1000000"),
        }
    }

    fn numbers(&self, count: u64) -> String {
        match self {
            Self::Postgres(_) => format!("generate_series(1::bigint, {count}) AS n (i)"),
            Self::Sqlite(_) => format!(
                "(WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) SELECT i FROM n) AS n"
            ),
        }
    }

    /// References are as they should be, and asking for each of them takes longer than all the rest.
    const fn prologue(&self) -> &'static str {
        match self {
            Self::Postgres(_) => {
                "SET session_replication_role = replica; SET synchronous_commit = off; \
                 SET maintenance_work_mem = '256MB';\n"
            }
            Self::Sqlite(_) => "PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -262144;\n",
        }
    }

    /// As a server that has run for a while would leave it.
    const fn epilogue(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "VACUUM ANALYZE;\nCHECKPOINT;\n",
            // With everything on the disk: what the system writes later it would write beside what is measured.
            Self::Sqlite(_) => "PRAGMA synchronous = FULL;\nPRAGMA wal_checkpoint(TRUNCATE);\n",
        }
    }

    async fn run(&self, sql: &str, interrupts: &Interrupts) -> anyhow::Result<String> {
        match self {
            Self::Postgres(database) => {
                let file = tempfile::NamedTempFile::new().context("cannot make a file")?;
                tokio::fs::write(file.path(), sql).await.context("cannot write SQL")?;
                database.run_file(file.path(), interrupts).await
            }
            Self::Sqlite(file) => {
                let program = process::find_in_path("sqlite3");
                let mut command = Command::new(program.context("sqlite3 is not there: apt-get install sqlite3")?);
                command.args(["-batch", "-bail"]).arg(file);
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
                let mut child = command.spawn().context("cannot start sqlite3")?;
                let mut stdin = child.stdin.take().context("sqlite3 has no input")?;
                let work = async {
                    stdin.write_all(sql.as_bytes()).await?;
                    drop(stdin);
                    Ok(child.wait_with_output().await?)
                };
                let output = interrupts.or(work).await?;
                anyhow::ensure!(output.status.success(), "sqlite3 failed ({})", output.status);
                String::from_utf8(output.stdout).context("sqlite3 answered something that is not text")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_copies_are_sixteen_letters() {
        assert_eq!(market_id(1), "6d303030-3030-3030-3030-303030303031");
        assert_eq!(market_id(0xabc).len(), 36);
    }

    #[test]
    fn what_is_not_said_is_as_it_was() {
        let store = Store::Sqlite(PathBuf::new());
        let differs = vec![("id", "i".to_owned())];
        let copied = Copied { table: "outcomes", of: "c.x = 1".to_owned(), differs, count: 7 };
        let sql = store.statement(&copied, &["id".to_owned(), "name".to_owned()]);
        assert!(sql.starts_with("INSERT INTO outcomes (id, name) SELECT i, c.name FROM outcomes AS c, "), "{sql}");
        assert!(sql.contains("i < 7") && sql.ends_with("WHERE c.x = 1;\n"), "{sql}");
    }
}
