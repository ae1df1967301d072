//! Where the servers' programs are, and how to get them when they are not there.

use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nix::unistd::geteuid;
use tokio::process::Command;

use crate::interrupts::Interrupts;
use crate::process;
use crate::services::Needs;

/// Folders that hold one folder for each installed version of PostgreSQL: Debian and Ubuntu,
/// Fedora, Homebrew on both kinds of Mac.
const VERSIONED_FOLDERS: [&str; 4] = ["/usr/lib/postgresql", "/usr", "/opt/homebrew/opt", "/usr/local/opt"];

/// Valkey speaks the same protocol and is what newer distributions ship.
const REDIS_PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];

/// What was asked for and found.
#[derive(Debug)]
pub(super) struct Programs {
    /// The folder with `initdb` and `postgres`.
    pub(super) postgres: Option<PathBuf>,
    /// The Redis server.
    pub(super) redis: Option<PathBuf>,
}

/// Finds the programs that `needs` names; installs what is missing.
pub(super) async fn find_or_install(needs: Needs, interrupts: &Interrupts) -> anyhow::Result<Programs> {
    let mut programs = find(needs, interrupts).await?;
    let missing = missing_packages(needs, &programs);
    if !missing.is_empty() {
        install(&missing, interrupts).await.with_context(|| advice(&missing))?;
        programs = find(needs, interrupts).await?;
        let missing = missing_packages(needs, &programs);
        anyhow::ensure!(
            missing.is_empty(),
            "{} is installed, but its programs are in none of the known places. \
             Put the folder with `initdb` and `postgres` (or `redis-server`) into PATH.",
            missing.join(" and ")
        );
    }
    Ok(programs)
}

/// Sees that there is a tracer, by which tests kill the server at chosen moments and fail its disk.
/// Where it cannot be had those tests say that they are skipped, so that is no error.
pub(crate) async fn tracer(interrupts: &Interrupts) -> anyhow::Result<()> {
    if !cfg!(target_os = "linux") || process::find_in_path("strace").is_some() {
        return Ok(());
    }
    let installed = install(&["strace"], interrupts).await;
    interrupts.check()?;
    if let Err(error) = installed {
        eprintln!("xtask: no strace: the tests that need it are skipped ({error:#})");
    }
    Ok(())
}

async fn find(needs: Needs, interrupts: &Interrupts) -> anyhow::Result<Programs> {
    let postgres = if needs.postgres { newest_postgres(interrupts).await? } else { None };
    let redis = if needs.redis_program() {
        REDIS_PROGRAMS.into_iter().find_map(process::find_in_path).or_else(|| {
            // Debian's ordinary users need not have /usr/sbin in PATH, nor cron's jobs /usr/local.
            ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/opt/homebrew/bin"]
                .iter()
                .map(|folder| Path::new(folder).join("redis-server"))
                .find(|program| program.is_file())
        })
    } else {
        None
    };
    Ok(Programs { postgres, redis })
}

/// The packages, by their Debian names, of what is needed and was not found.
fn missing_packages(needs: Needs, programs: &Programs) -> Vec<&'static str> {
    let mut packages = Vec::new();
    if needs.postgres && programs.postgres.is_none() {
        packages.push("postgresql");
    }
    if needs.redis_program() && programs.redis.is_none() {
        packages.push("redis-server");
    }
    packages
}

/// The folder with the highest version of PostgreSQL's server programs.
async fn newest_postgres(interrupts: &Interrupts) -> anyhow::Result<Option<PathBuf>> {
    let mut found = Vec::new();
    for folder in postgres_folders() {
        let mut command = Command::new(folder.join("postgres"));
        command.arg("--version");
        // A program that cannot even tell its version is no candidate.
        if let Ok(output) = process::read(command, interrupts).await
            && let Some(version) = postgres_version(&String::from_utf8_lossy(&output))
        {
            found.push((version, folder));
        }
        interrupts.check()?;
    }
    // Stable: of equal versions the one in the versioned folder comes before the link in PATH.
    found.sort_by_key(|(version, _)| Reverse(*version));
    Ok(found.into_iter().next().map(|(_, folder)| folder))
}

/// The folders that hold both `initdb` and `postgres`.
fn postgres_folders() -> Vec<PathBuf> {
    let versioned = VERSIONED_FOLDERS
        .into_iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    versioned
        .chain(std::env::split_paths(&path))
        .filter(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
        .collect()
}

/// (15, 18) of `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`; a beta counts as its `.0`.
fn postgres_version(text: &str) -> Option<(u32, u32)> {
    let number = text.split_whitespace().nth(2)?;
    let mut parts = number.split(|c: char| !c.is_ascii_digit());
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    Some((major, minor))
}

async fn install(packages: &[&str], interrupts: &Interrupts) -> anyhow::Result<()> {
    let names = packages.join(" and ");
    anyhow::ensure!(
        process::find_in_path("apt-get").is_some(),
        "{names} not found, and this system has no apt-get to install from"
    );
    let root = geteuid().is_root();
    anyhow::ensure!(
        root || process::find_in_path("sudo").is_some(),
        "{names} not found, and only root can install packages"
    );
    eprintln!("xtask: {names} not found; installing by apt-get");
    // Without fresh lists, apt-get asks mirrors for versions that they no longer have. Lists that
    // cannot be had are not the end: the old ones may do.
    let updated = apt_get(root, &["update", "-q"], interrupts).await;
    interrupts.check()?;
    if updated.is_err() {
        eprintln!("xtask: the package lists could not be refreshed; trying with the old ones");
    }
    let mut args = vec!["install", "-q", "-y", "--no-install-recommends"];
    args.extend(packages);
    apt_get(root, &args, interrupts).await
}

async fn apt_get(root: bool, args: &[&str], interrupts: &Interrupts) -> anyhow::Result<()> {
    // `sudo` clears the environment, so the variable is set behind it. `-n`: never wait for a
    // password that nobody may be there to type.
    let mut command = Command::new(if root { "env" } else { "sudo" });
    if !root {
        command.args(["-n", "env"]);
    }
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300"]).args(args);
    let name = process::name(&command);
    let status = process::run(command, interrupts).await?;
    anyhow::ensure!(status.success(), "`{name}` failed ({status})");
    Ok(())
}

/// What to do by hand when an installation failed.
fn advice(packages: &[&str]) -> String {
    let list = packages.join(" ");
    let has = |program| process::find_in_path(program).is_some();
    let command = if has("dnf") {
        "sudo dnf install postgresql-server redis".to_owned()
    } else if has("pacman") {
        "sudo pacman -S postgresql redis".to_owned()
    } else if has("apk") {
        "sudo apk add postgresql redis".to_owned()
    } else if has("brew") {
        "brew install postgresql redis".to_owned()
    } else {
        format!("sudo apt-get update && sudo apt-get install -y {list}")
    };
    let variables = packages
        .iter()
        .map(|package| if *package == "postgresql" { "DATABASE_URL" } else { "REDIS_URL and REDIS_CLUSTER_URL" })
        .collect::<Vec<_>>()
        .join(" and ");
    format!(
        "cannot install {list}. Install by hand:\n    {command}\n\
         or set {variables} to servers that run already. The cause"
    )
}

#[cfg(test)]
mod tests {
    use super::{advice, postgres_version};

    #[test]
    fn reads_the_version_of_every_kind_of_build() {
        let debian = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";
        assert_eq!(postgres_version(debian), Some((15, 18)));
        assert_eq!(postgres_version("postgres (PostgreSQL) 9.6.24"), Some((9, 6)));
        assert_eq!(postgres_version("postgres (PostgreSQL) 19beta1"), Some((19, 0)));
        assert_eq!(postgres_version("garbage"), None);
    }

    #[test]
    fn names_the_variable_that_stands_in_for_a_missing_server() {
        let text = advice(&["redis-server"]);
        assert!(text.contains("REDIS_URL") && !text.contains("DATABASE_URL"), "{text}");
    }
}
