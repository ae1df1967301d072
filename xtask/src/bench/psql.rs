//! PostgreSQL's client programs: SQL through `psql`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokio::process::Command;

use crate::interrupts::Interrupts;
use crate::process;

/// So many files of the log, of 16 MB each, are there before anything is measured.
const LOG_FILES: usize = 120;

/// A database, and the programs to speak to it.
#[derive(Clone, Debug)]
pub(super) struct Database {
    pub(super) url: String,
    programs: PathBuf,
}

impl Database {
    /// The database of that URL.
    ///
    /// # Errors
    /// When PostgreSQL's client programs are not installed.
    pub(super) fn new(url: &str) -> anyhow::Result<Self> {
        Ok(Self { url: url.to_owned(), programs: programs()? })
    }

    /// Where a client program is, such as `pgbench`.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// Runs SQL and returns the rows of its last statement as bare text.
    pub(super) async fn run(&self, sql: &str, interrupts: &Interrupts) -> anyhow::Result<String> {
        let mut command = self.psql();
        command.args(["--command", sql]);
        self.output(command, interrupts).await
    }

    /// Runs a file of SQL and returns the rows of its statements as bare text.
    pub(super) async fn run_file(&self, file: &Path, interrupts: &Interrupts) -> anyhow::Result<String> {
        let mut command = self.psql();
        command.arg("--file").arg(file);
        self.output(command, interrupts).await
    }

    /// Makes a new database on the same server, in place of one of that name.
    pub(super) async fn fresh(&self, name: &str, interrupts: &Interrupts) -> anyhow::Result<Self> {
        self.remove(name, interrupts).await?;
        self.run(&format!("CREATE DATABASE {name}"), interrupts).await?;
        let mut url = reqwest::Url::parse(&self.url).context("the URL of the database is not valid")?;
        url.set_path(name);
        Ok(Self { url: url.to_string(), programs: self.programs.clone() })
    }

    /// Removes a database of the same server, if it is there.
    pub(super) async fn remove(&self, name: &str, interrupts: &Interrupts) -> anyhow::Result<()> {
        self.run(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"), interrupts).await.map(drop)
    }

    /// How many bytes the server has written to its log ahead of the data, all databases together.
    pub(super) async fn log_bytes(&self, interrupts: &Interrupts) -> anyhow::Result<u64> {
        let text = self.run("SELECT pg_current_wal_lsn() - '0/0'", interrupts).await?;
        text.trim().parse().with_context(|| format!("the position in the log is no number: {text}"))
    }

    /// Fills files of the log and has them kept to be used again, as they are on a server that has run for a
    /// while. Until then each new file is written full of zeros first, which stops every commit for as long
    /// as that takes, some 50 ms in each second of a heavy load.
    pub(super) async fn age_log(&self, interrupts: &Interrupts) -> anyhow::Result<()> {
        let fill = format!(
            "DO $$ BEGIN FOR n IN 1..{LOG_FILES} LOOP PERFORM pg_logical_emit_message(false, 'bench', 'fill'); \
             PERFORM pg_switch_wal(); END LOOP; END $$"
        );
        self.run(&fill, interrupts).await?;
        self.run("CHECKPOINT", interrupts).await.map(drop)
    }

    fn psql(&self) -> Command {
        let mut command = Command::new(self.program("psql"));
        command.args(["--quiet", "--no-psqlrc", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1"]);
        command.arg("--dbname").arg(&self.url);
        command.env("PGOPTIONS", "--client-min-messages=warning");
        command
    }

    async fn output(&self, command: Command, interrupts: &Interrupts) -> anyhow::Result<String> {
        let output = process::read(command, interrupts).await?;
        String::from_utf8(output).context("psql answered something that is not text")
    }
}

/// Where PostgreSQL's client programs are.
fn programs() -> anyhow::Result<PathBuf> {
    let in_path = process::find_in_path("pgbench").and_then(|program| program.parent().map(PathBuf::from));
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("pgbench").exists()).max();
    in_path.or(newest).context("pgbench is not there; it comes with PostgreSQL: apt-get install postgresql")
}
