//! stub
use crate::interrupts::Interrupts;
use clap::Args;
use std::process::ExitCode;
/// stub
#[derive(Debug, Args)]
pub(crate) struct Options {}
pub(crate) async fn run(_options: Options, _interrupts: &Interrupts) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
