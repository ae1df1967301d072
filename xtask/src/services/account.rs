//! The user account that servers run under.
//!
//! PostgreSQL refuses to run as root, so root hands its servers to an account without privileges;
//! everybody else runs them as themselves.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use nix::unistd::{User, geteuid};

/// Accounts to run servers under, best first. The first comes with PostgreSQL's packages.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// Whom servers run as.
#[derive(Clone, Copy, Debug)]
pub(super) enum Account {
    /// The user who started us.
    Ourselves,
    /// Another user, because we are root.
    Other { uid: u32, gid: u32 },
}

impl Account {
    /// The account that fits the user who started us.
    pub(super) fn for_servers() -> anyhow::Result<Self> {
        if !geteuid().is_root() {
            return Ok(Self::Ourselves);
        }
        for name in UNPRIVILEGED {
            let user = User::from_name(name).with_context(|| format!("cannot look up the user `{name}`"))?;
            if let Some(user) = user {
                return Ok(Self::Other { uid: user.uid.as_raw(), gid: user.gid.as_raw() });
            }
        }
        anyhow::bail!(
            "PostgreSQL refuses to run as root, and there is neither a user `postgres` nor `nobody` \
             to run it as. Run this command as an ordinary user, or add one: \
             useradd --system --no-create-home postgres"
        )
    }

    /// Makes `command` run as this account.
    pub(super) fn run_as(self, command: &mut Command) {
        if let Self::Other { uid, gid } = self {
            // With the user changed, the standard library drops root's other groups as well.
            command.uid(uid).gid(gid);
        }
    }

    /// Makes the folder `path`, which this account alone can read and write.
    pub(super) fn create_folder(self, path: &Path) -> anyhow::Result<()> {
        fs::DirBuilder::new().mode(0o700).create(path).with_context(|| format!("cannot create {}", path.display()))?;
        self.own(path)
    }

    /// Writes the file `path`, which this account alone can read and write.
    pub(super) fn create_file(self, path: &Path, text: &str) -> anyhow::Result<()> {
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))
            .with_context(|| format!("cannot protect {}", path.display()))?;
        self.own(path)
    }

    fn own(self, path: &Path) -> anyhow::Result<()> {
        if let Self::Other { uid, gid } = self {
            chown(path, Some(uid), Some(gid))
                .with_context(|| format!("cannot hand {} to user {uid}", path.display()))?;
        }
        Ok(())
    }

    /// The folder for temporary files, one that this account can enter.
    pub(super) fn temporary_folder(self) -> PathBuf {
        let given = std::env::temp_dir();
        match self {
            Self::Ourselves => given,
            // Root's TMPDIR may lie below a folder that is root's alone.
            Self::Other { .. } => [given.clone(), "/tmp".into(), "/var/tmp".into()]
                .into_iter()
                .find(|folder| open_to_everybody(folder))
                .unwrap_or(given),
        }
    }
}

/// Whether every user may enter `folder`.
fn open_to_everybody(folder: &Path) -> bool {
    let Ok(folder) = folder.canonicalize() else {
        return false;
    };
    folder
        .ancestors()
        .all(|ancestor| fs::metadata(ancestor).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0))
}
