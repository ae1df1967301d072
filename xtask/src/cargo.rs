//! Calls to Cargo, and where this workspace lies.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use serde::Deserialize;
use tokio::process::Command;

use crate::interrupts::Interrupts;
use crate::process;

/// The root folder of this workspace.
pub(crate) fn workspace_root() -> PathBuf {
    // `cargo run` says where it is now; where we were compiled may be gone, because checkouts move
    // and may share one target folder.
    let here =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.parent().map_or_else(|| here.clone(), Path::to_owned)
}

/// A `cargo` command in the workspace's root, by the same Cargo that runs us.
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(workspace_root());
    command
}

/// Whether `cargo nextest` is installed.
pub(crate) fn has_nextest() -> bool {
    process::find_in_path("cargo-nextest").is_some()
        || std::env::home_dir().is_some_and(|home| home.join(".cargo/bin/cargo-nextest").is_file())
}

/// The name of the platform that the compiler runs on, such as `x86_64-unknown-linux-gnu`.
pub(crate) async fn host(interrupts: &Interrupts) -> anyhow::Result<String> {
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.arg("-vV").current_dir(workspace_root());
    let text = String::from_utf8(process::read(command, interrupts).await?)?;
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("`rustc -vV` does not say what the host is")
}

/// Builds the `bellwether` binary and returns its path.
///
/// # Errors
/// When it does not build; the compiler's messages have been shown then.
pub(crate) async fn build_server(release: bool, interrupts: &Interrupts) -> anyhow::Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--package", "bellwether", "--bin", "bellwether"]);
    if release {
        command.arg("--release");
    }
    command.arg("--message-format=json-render-diagnostics");
    let messages = process::read(command, interrupts)
        .await
        .context("the `bellwether` binary does not build; the messages above say why")?;
    executable(&messages, "bellwether").context("cargo built `bellwether` but did not say where the binary is")
}

/// Builds the web server that answers with constant bytes, optimised, and returns its path.
///
/// # Errors
/// When it does not build; the compiler's messages have been shown then.
pub(crate) async fn build_constant(interrupts: &Interrupts) -> anyhow::Result<PathBuf> {
    let mut command = cargo();
    // With the server, so that both are built of the same libraries with the same features.
    command.args(["build", "--release", "--package", "bellwether", "--bin", "bellwether", "--example", "constant"]);
    command.arg("--message-format=json-render-diagnostics");
    let messages = process::read(command, interrupts)
        .await
        .context("the example `constant` does not build; the messages above say why")?;
    executable(&messages, "constant").context("cargo built `constant` but did not say where it is")
}

/// Runs this program once more, with the same arguments, built with the release profile.
pub(crate) async fn run_optimised(interrupts: &Interrupts) -> anyhow::Result<ExitCode> {
    let mut command = cargo();
    command.args(["run", "--quiet", "--release", "--package", "xtask", "--"]).args(std::env::args_os().skip(1));
    Ok(process::exit_code(process::run(command, interrupts).await?))
}

/// The path of the program of that name in Cargo's messages, one JSON object on each line.
fn executable(messages: &[u8], name: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
        target: Option<Target>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    messages
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Message>(line).ok())
        .filter(|message| message.target.as_ref().is_some_and(|t| t.name == name))
        .filter_map(|message| message.executable)
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::executable;

    #[test]
    fn finds_the_binary_among_cargos_messages() {
        let messages = br#"{"reason":"compiler-artifact","target":{"name":"serde"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"bellwether"},"executable":"/t/debug/bellwether"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(executable(messages, "bellwether"), Some("/t/debug/bellwether".into()));
    }

    #[test]
    fn finds_nothing_when_nothing_was_built() {
        assert_eq!(executable(b"{\"reason\":\"build-finished\",\"success\":false}\n", "bellwether"), None);
    }
}
