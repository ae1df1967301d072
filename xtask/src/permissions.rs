//! `cargo xtask permissions`: who may do what, as Markdown, printed from the tables in the code.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::interrupts::Interrupts;
use crate::{cargo, process};

/// Where the printed tables are kept.
const PAGE: &str = "docs/permissions.md";

/// What to do with them, other than to print them.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Fail where docs/permissions.md says anything else.
    #[arg(long, conflicts_with = "write")]
    check: bool,
    /// Write them to docs/permissions.md.
    #[arg(long)]
    write: bool,
}

/// Prints, checks or writes; the exit code tells whether the check passed.
pub(crate) async fn run(options: Options, interrupts: &Interrupts) -> anyhow::Result<ExitCode> {
    let mut command = cargo::cargo();
    // An example of the crate that has the routes, since this program should not be built with the whole API.
    command.args(["run", "--quiet", "--package", "bellwether-http", "--example", "permissions"]);
    let printed = String::from_utf8(process::read(command, interrupts).await?)?;
    let page = cargo::workspace_root().join(PAGE);
    if options.write {
        std::fs::write(&page, printed).with_context(|| format!("cannot write {}", page.display()))?;
    } else if !options.check {
        std::io::stdout().write_all(printed.as_bytes())?;
    } else if std::fs::read_to_string(&page).with_context(|| format!("cannot read {}", page.display()))? != printed {
        eprintln!(
            "permissions: {PAGE} is not what the code says; run `cargo xtask permissions --write` and look at it"
        );
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
