//! `cargo xtask ci`: the same stages as the continuous integration.
//!
//! The stages stand in `.ci/run` and nowhere else, so the two cannot drift apart.

use std::process::ExitCode;

use tokio::process::Command;

use crate::interrupts::Interrupts;
use crate::{cargo, process};

/// Runs `.ci/run`; its exit code becomes ours.
pub(crate) async fn run(interrupts: &Interrupts) -> anyhow::Result<ExitCode> {
    let mut command = Command::new(cargo::workspace_root().join(".ci/run"));
    command.current_dir(cargo::workspace_root());
    Ok(process::exit_code(process::run(command, interrupts).await?))
}
