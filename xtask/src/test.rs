//! `cargo xtask test`: every test of the workspace, with the servers that the tests need.
//!
//! The black-box tests start the real binary, so that is built first and its path handed on in
//! `BELLWETHER_BIN`; the stores' tests find their servers by `DATABASE_URL`, and the others by
//! `REDIS_URL` and `REDIS_CLUSTER_URL`.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::interrupts::Interrupts;
use crate::services::{Needs, Services, install, memory};
use crate::{cargo, process};

/// Runs the tests; the exit code is that of the first command that failed.
pub(crate) async fn run(args: &[OsString], interrupts: &Interrupts) -> anyhow::Result<ExitCode> {
    // Before the servers start: a build that fails should fail quickly.
    let server = cargo::build_server(false, interrupts).await?;
    let memory = memory::folder();
    let services = Services::start_in(memory.as_deref(), Needs::ALL, interrupts).await?;
    install::tracer(interrupts).await?;

    let nextest = cargo::has_nextest();
    let ci = std::env::var_os("CI").is_some();
    let mut command = cargo::cargo();
    if nextest {
        command.args(["nextest", "run", "--workspace"]);
        if ci {
            command.args(["--profile", "ci"]);
        }
    } else {
        eprintln!("xtask: cargo-nextest is not installed; using `cargo test`, which is slower");
        command.args(["test", "--workspace"]);
        if ci {
            command.arg("--no-fail-fast");
        }
    }
    command.args(args).envs(services.env()).env("BELLWETHER_BIN", &server);
    if let Some(memory) = &memory {
        command.env("TMPDIR", memory);
    }
    let status = process::run(command, interrupts).await?;
    if !status.success() {
        return Ok(process::exit_code(status));
    }

    // `cargo test` has run the doc tests already, and who filters wants no more than the filtered.
    if !nextest || !args.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let packages = packages_with_doc_tests(&cargo::workspace_root().join("crates"))?;
    if packages.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let mut command = cargo::cargo();
    command.args(["test", "--doc"]);
    for package in &packages {
        command.args(["--package", package]);
    }
    command.envs(services.env());
    Ok(process::exit_code(process::run(command, interrupts).await?))
}

/// The packages under `crates` whose docs hold a code block. Only those are handed to rustdoc:
/// starting it on each crate, to find nothing, takes longer than most of the tests.
fn packages_with_doc_tests(crates: &Path) -> anyhow::Result<Vec<String>> {
    let mut packages = Vec::new();
    for entry in fs::read_dir(crates).with_context(|| format!("cannot read {}", crates.display()))? {
        let folder = entry?.path();
        if folder.join("src/lib.rs").is_file()
            && has_doc_test(&folder.join("src"))?
            && let Some(name) = folder.file_name()
        {
            packages.push(format!("bellwether-{}", name.to_string_lossy()));
        }
    }
    packages.sort();
    Ok(packages)
}

fn has_doc_test(folder: &Path) -> anyhow::Result<bool> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let found = if path.is_dir() {
            has_doc_test(&path)?
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            holds_code_block(&source)
        } else {
            false
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the docs in `source` have a fenced block that rustdoc would compile.
fn holds_code_block(source: &str) -> bool {
    let fences = source.lines().map(str::trim_start).filter_map(|line| {
        let text = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"))?;
        text.trim_start().strip_prefix("```")
    });
    // Every other fence closes a block.
    fences.step_by(2).any(|language| {
        language.is_empty()
            || ["rust", "no_run", "should_panic", "compile_fail"].iter().any(|compiled| language.starts_with(compiled))
    })
}

#[cfg(test)]
mod tests {
    use super::holds_code_block;

    #[test]
    fn sees_a_code_block_in_the_docs_only() {
        assert!(holds_code_block("    /// ```\n    /// f();\n    /// ```"));
        assert!(holds_code_block("//! ```rust\n"));
        assert!(!holds_code_block("// ```\nlet x = \"```\";"));
        assert!(!holds_code_block("/// ```text\n/// a drawing\n/// ```"));
    }
}
