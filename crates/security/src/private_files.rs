//! Files that hold secrets: readable by their owner alone, and on disk whole or not at all.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;

use crate::keys::KeyError;

/// The longest file that is read, in bytes.
const MAX_LENGTH: u64 = 16 * 1024;
/// The number of the user who may do everything.
const ROOT: u32 = 0;

/// Reads a file whole; refuses one that others may read too.
pub(crate) fn read(mut file: File, path: &Path) -> Result<String, KeyError> {
    let io = |source| KeyError::Io { path: path.to_owned(), source };
    if file.metadata().map_err(io)?.permissions().mode() & 0o077 != 0 {
        return Err(KeyError::Exposed { path: path.to_owned() });
    }
    let mut text = String::new();
    Read::by_ref(&mut file).take(MAX_LENGTH).read_to_string(&mut text).map_err(io)?;
    Ok(text)
}

/// Puts a file in place and never replaces one. Of several processes that try, one wins. Made by root, it belongs to
/// whom its folder belongs to: a command that is run as root must not keep a server out that is not.
pub(crate) fn create(path: &Path, text: &str) -> io::Result<()> {
    let folder = fs::metadata(folder_of(path))?;
    let draft = draft(path, text, |made| (made.uid() == ROOT).then_some(&folder))?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    linked?;
    sync_folder(path)
}

/// Replaces a file: whoever reads sees the old text or the new one. It belongs to whom the old one belongs to.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let old = fs::metadata(path)?;
    let draft = draft(path, text, |_| Some(&old))?;
    fs::rename(&draft, path).inspect_err(|_| drop(fs::remove_file(&draft)))?;
    sync_folder(path)
}

/// The folder that a file is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes the text under a name of its own first, so neither a crash nor another process ever sees half of it. It then
/// belongs to whom `owner` says, told what was made.
fn draft<'a>(path: &Path, text: &str, owner: impl FnOnce(&Metadata) -> Option<&'a Metadata>) -> io::Result<PathBuf> {
    // Not the process's number: in a container that is always the same, and a draft that a crash
    // left would be in the way for ever.
    let mut unique = [0; 8];
    rand::fill(&mut unique).map_err(|_| io::Error::other("the system gives no random numbers"))?;
    let draft = path.with_extension(format!("{}.draft", to_hex(&unique)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = writeln!(file, "{text}")
        .and_then(|()| file.metadata())
        .and_then(|made| owner(&made).map_or(Ok(()), |owner| give(&file, &made, owner)))
        .and_then(|()| file.sync_all());
    written.inspect_err(|_| drop(fs::remove_file(&draft)))?;
    Ok(draft)
}

/// Gives a file to the owner of another. A group may do nothing with it, so it is of no account.
fn give(file: &File, made: &Metadata, owner: &Metadata) -> io::Result<()> {
    if made.uid() == owner.uid() {
        return Ok(());
    }
    fchown(file, Some(owner.uid()), Some(owner.gid())).map_err(|error| {
        let (maker, owner) = (made.uid(), owner.uid());
        let what = format!("what user {maker} makes could not be given to user {owner}, who must be able to read it");
        io::Error::new(error.kind(), format!("{what} ({error}); run this as user {owner}"))
    })
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

/// Bytes as hexadecimal digits.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// 32 bytes from 64 hexadecimal digits.
pub(crate) fn from_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;

    /// Whoever runs the server, where that is not root.
    const SERVICE: u32 = 12_345;

    #[test]
    fn what_root_makes_belongs_to_whom_the_folder_or_the_file_before_it_belongs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing-keys.json");
        let owner =
            |path: &Path| fs::metadata(path).map(|found| (found.uid(), found.gid(), found.mode() & 0o777)).unwrap();
        if chown(folder.path(), Some(SERVICE), Some(SERVICE)).is_err() {
            eprintln!("skipped: only root can give files to others");
            return;
        }
        create(&path, "one").unwrap();
        assert_eq!(owner(&path), (SERVICE, SERVICE, 0o600));
        // Though the folder is somebody else's by now.
        chown(folder.path(), Some(ROOT), Some(ROOT)).unwrap();
        replace(&path, "two").unwrap();
        assert_eq!(owner(&path), (SERVICE, SERVICE, 0o600));
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
    }
}
