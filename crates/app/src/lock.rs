//! Keeps a second server from working on the same SQLite file.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::config::{Config, Database};
use crate::wiring::make_private_folder;

/// Locks the file's folder for as long as the returned file is kept; the system frees it when the
/// process ends, however it ends. PostgreSQL needs none: several servers may share a database.
/// Other commands, such as `audit`, do not ask for it: they may run beside a server.
pub(crate) fn take(config: &Config) -> anyhow::Result<Option<File>> {
    let Some(path) = lock_file(config) else { return Ok(None) };
    if let Some(folder) = path.parent() {
        make_private_folder(folder)?;
    }
    let file = open(&path).with_context(|| format!("opening {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {
            bail!(
                "another server is using the database {}; stop it, or choose another folder with --data-dir",
                config.database
            )
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {}", path.display())),
    }
}

/// Whether a server is at work on the same file.
pub(crate) fn is_taken(config: &Config) -> bool {
    let file = lock_file(config).filter(|path| path.exists()).and_then(|path| open(&path).ok());
    file.is_some_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Beside the database, wherever that is: by default in the data folder.
fn lock_file(config: &Config) -> Option<PathBuf> {
    match &config.database {
        Database::Sqlite(path) => {
            Some(path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new(".")).join("lock"))
        }
        Database::Postgres(_) => None,
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::of_flags;

    #[test]
    fn a_second_server_is_refused_however_it_names_the_database() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let config = of_flags(&["--data-dir", data.to_str().unwrap()]);
        let url = format!("sqlite://{}", data.join("bellwether.db").display());
        let other = of_flags(&["--data-dir", folder.path().to_str().unwrap(), "--database-url", &url]);
        assert!(!is_taken(&config) && !data.exists(), "asking makes nothing");

        let first = take(&config).unwrap();
        for second in [&config, &other] {
            let error = take(second).unwrap_err().to_string();
            assert!(error.contains("another server") && is_taken(second), "{error}");
        }
        drop(first);
        assert!(!is_taken(&config));
        take(&other).unwrap();
    }

    #[test]
    fn servers_may_share_a_postgresql_database() {
        let config = of_flags(&["--database-url", "postgres://db/x"]);
        assert!(take(&config).unwrap().is_none() && !is_taken(&config));
    }
}
