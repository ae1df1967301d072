//! Keeps a second server from working on the same SQLite file.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::config::{Config, Database};
use crate::wiring::make_private_folder;

/// What older versions lock, for themselves alone, in the folder of the database.
const OF_OLDER_VERSIONS: &str = "lock";

/// Locks that are held for as long as this is kept; the system frees them when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _held: Vec<File>,
}

/// Locks the database, wherever its file really is. What older versions lock is shared, so that they and this one keep
/// each other out, and servers on several databases in one folder do not. PostgreSQL needs none: several servers may
/// share a database. Other commands, such as `audit`, do not ask for it: they may run beside a server.
pub(crate) fn take(config: &Config) -> anyhow::Result<Option<Lock>> {
    let Database::Sqlite(database) = &config.database else { return Ok(None) };
    make_private_folder(folder_of(database))?;
    let path = lock_file(database).with_context(|| format!("looking for the database {}", config.database))?;
    let Some(own) = hold(&path, File::try_lock)? else {
        bail!(
            "another server is using the database {}; stop it, or choose another with --data-dir or --database-url",
            config.database
        )
    };
    let mut held = vec![own];
    for path in of_older_versions(database, &path) {
        let Some(shared) = hold(&path, File::try_lock_shared)? else {
            bail!(
                "another server, of an older version, is using the folder of the database {}; stop it, or choose another \
                 folder with --data-dir or --database-url",
                config.database
            )
        };
        held.push(shared);
    }
    Ok(Some(Lock { _held: held }))
}

/// Whether a server is at work on the same file, or one of an older version on any in its folder. Makes nothing.
pub(crate) fn is_taken(config: &Config) -> bool {
    let Database::Sqlite(database) = &config.database else { return false };
    let is_held = |path: &Path, lock: fn(&File) -> Result<(), TryLockError>| {
        path.exists() && matches!(hold(path, lock), Ok(None))
    };
    let Ok(path) = lock_file(database) else { return false };
    is_held(&path, File::try_lock)
        || of_older_versions(database, &path).iter().any(|path| is_held(path, File::try_lock_shared))
}

/// What an older version locks that is at work on the database, by the name that it has here or by the file's own.
fn of_older_versions(database: &Path, lock_file: &Path) -> [PathBuf; 2] {
    [database, lock_file].map(|path| folder_of(path).join(OF_OLDER_VERSIONS))
}

/// Beside the file that the database is, whatever links lead to it.
fn lock_file(database: &Path) -> io::Result<PathBuf> {
    let mut path = OsString::from(real_path(database)?);
    path.push(".lock");
    Ok(path.into())
}

/// Where a file is, or will be where it is made.
fn real_path(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    // Links that lead in a circle are another error, so this comes to an end.
    if let Ok(target) = path.read_link() {
        return real_path(&folder_of(path).join(target));
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(folder_of(path).canonicalize()?.join(name))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file that is locked from now on; none where somebody else holds it.
fn hold(path: &Path, lock: fn(&File) -> Result<(), TryLockError>) -> anyhow::Result<Option<File>> {
    // Over NFS, only what is open for reading can be shared, and only what is open for writing had for oneself.
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))?;
    match lock(&file) {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::of_flags;

    fn on(database: &Path) -> Config {
        of_flags(&["--database-url", &format!("sqlite://{}", database.display())])
    }

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
    fn a_link_is_the_database_that_it_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let [there, here] = ["there", "here"].map(|name| folder.path().join(name));
        std::fs::create_dir(&there).unwrap();
        std::fs::create_dir(&here).unwrap();
        let [database, link] = [there.join("x.db"), here.join("y.db")];
        std::os::unix::fs::symlink("../there/x.db", &link).unwrap();
        // Before there is a database, and then.
        for is_there in [false, true] {
            if is_there {
                std::fs::write(&database, "").unwrap();
            }
            for (first, second) in [(&database, &link), (&link, &database)] {
                let _first = take(&on(first)).unwrap();
                let error = take(&on(second)).unwrap_err().to_string();
                assert!(error.contains("another server") && error.contains(second.to_str().unwrap()), "{error}");
                assert!(is_taken(&on(second)));
            }
        }
    }

    #[test]
    fn servers_on_two_databases_in_one_folder_do_not_keep_each_other_out() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["a.db", "b.db"].map(|name| on(&folder.path().join(name)));
        let _first = take(&one).unwrap();
        assert!(is_taken(&one) && !is_taken(&two));
        let _second = take(&two).unwrap();
        assert!(take(&one).is_err() && take(&two).is_err());
    }

    #[test]
    fn a_server_of_an_older_version_and_this_one_keep_each_other_out() {
        let folder = tempfile::tempdir().unwrap();
        let config = on(&folder.path().join("a.db"));
        let old = || hold(&folder.path().join("lock"), File::try_lock).unwrap();
        let held = old();
        let error = take(&config).unwrap_err().to_string();
        assert!(error.contains("older version") && error.contains("a.db") && is_taken(&config), "{error}");
        drop(held);
        let held = take(&config).unwrap();
        assert!(old().is_none());
        drop(held);
        assert!(old().is_some());
        // The older one is beside the file, and this one follows a link to it.
        let elsewhere = tempfile::tempdir().unwrap();
        let link = elsewhere.path().join("b.db");
        std::os::unix::fs::symlink(folder.path().join("a.db"), &link).unwrap();
        let _held = old();
        assert!(take(&on(&link)).is_err() && is_taken(&on(&link)));
    }

    #[test]
    fn servers_may_share_a_postgresql_database() {
        let config = of_flags(&["--database-url", "postgres://db/x"]);
        assert!(take(&config).unwrap().is_none() && !is_taken(&config));
    }
}
