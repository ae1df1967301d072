//! What would be on a disk that loses power: the writes of a traced process, of which only those
//! that it has synced are certain to be there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The options of strace whose output [`Disk`] reads.
pub const TRACED: [&str; 7] =
    ["-y", "-xx", "-s", "1000000", "-e", "trace=pwrite64,ftruncate,fsync,fdatasync,sendto,writev", "--seccomp-bpf"];
/// `HTTP/1.1 201` as strace writes it.
const CREATED: &str = r"\x48\x54\x54\x50\x2f\x31\x2e\x31\x20\x32\x30\x31";

/// A call of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Bytes were handed to the kernel for a place in a file.
    Write {
        /// The file.
        file: PathBuf,
        /// Where they belong.
        offset: usize,
        /// What they are.
        bytes: Vec<u8>,
    },
    /// A file was made longer or shorter.
    Truncate {
        /// The file.
        file: PathBuf,
        /// How long it is now.
        length: usize,
    },
    /// A sync of a file begins.
    Syncing {
        /// Who asks for it.
        thread: String,
        /// The file.
        file: PathBuf,
    },
    /// It has ended: everything that was written to the file before it began is on the disk.
    Synced {
        /// Who asked for it.
        thread: String,
    },
    /// A client was told that something was done.
    Acknowledged,
}

/// Reads what strace wrote.
///
/// # Panics
/// When a line is not as strace writes it.
#[must_use]
pub fn events(trace: &str) -> Vec<Event> {
    trace.lines().flat_map(events_of).collect()
}

/// The events of a line. A sync may return on a later line than it began.
fn events_of(line: &str) -> Vec<Event> {
    let Some((thread, call)) = line.split_once(' ') else { return Vec::new() };
    let (thread, call) = (thread.to_owned(), call.trim_start());
    let synced = || call.ends_with("= 0").then(|| Event::Synced { thread: thread.clone() });
    if call.starts_with("<... fsync resumed>") || call.starts_with("<... fdatasync resumed>") {
        return synced().into_iter().collect();
    }
    let Some((name, arguments)) = call.split_once('(') else { return Vec::new() };
    if name == "fsync" || name == "fdatasync" {
        let begins = Event::Syncing { thread: thread.clone(), file: file_of(arguments) };
        return [Some(begins), synced()].into_iter().flatten().collect();
    }
    event(name, arguments).into_iter().collect()
}

fn event(name: &str, arguments: &str) -> Option<Event> {
    match name {
        "sendto" | "writev" => arguments.contains(CREATED).then_some(Event::Acknowledged),
        "ftruncate" => {
            Some(Event::Truncate { file: file_of(arguments), length: number(arguments.split(", ").nth(1)?) })
        }
        "pwrite64" => {
            let (before, after) = arguments.rsplit_once('"').expect("what is written stands in quotes");
            let (_, hex) = before.split_once('"').expect("what is written stands in quotes");
            let offset = number(after.split(", ").nth(2)?);
            Some(Event::Write { file: file_of(arguments), offset, bytes: bytes(hex) })
        }
        _ => None,
    }
}

/// `/f` of `7</f>, …` and of `7<\x2f\x66>, …`: versions of strace differ.
fn file_of(arguments: &str) -> PathBuf {
    let (_, rest) = arguments.split_once('<').expect("a file is named");
    let (path, _) = rest.split_once('>').expect("a file is named");
    if path.starts_with(r"\x") {
        return PathBuf::from(String::from_utf8(bytes(path)).expect("a path in UTF-8"));
    }
    PathBuf::from(path)
}

/// The number at the beginning of a text.
fn number(text: &str) -> usize {
    let digits = text.split(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).expect("a number")
}

/// The bytes of `\x61\x62`.
fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.split(r"\x").skip(1);
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("two hexadecimal digits")).collect()
}

/// Files on a disk, and what waits in the kernel for its turn to be written.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// With their numbers.
    unsynced: Vec<(usize, Event)>,
    /// How many events there were.
    applied: usize,
    /// The syncs that run, by who asked: of which file, and how many events there were before.
    syncing: BTreeMap<String, (PathBuf, usize)>,
}

impl Disk {
    /// A disk with the files of a folder; folders within it are left out.
    ///
    /// # Panics
    /// When they cannot be read.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        let entries = std::fs::read_dir(folder).expect("the folder can be listed");
        let paths = entries.map(|entry| entry.expect("the folder can be listed").path()).filter(|path| path.is_file());
        let files = paths.map(|path| (path.clone(), std::fs::read(path).expect("a file can be read"))).collect();
        Self { files, ..Self::default() }
    }

    /// Has something happen.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Write { .. } | Event::Truncate { .. } => self.unsynced.push((self.applied, event.clone())),
            Event::Syncing { thread, file } => {
                self.syncing.insert(thread.clone(), (file.clone(), self.applied));
            }
            Event::Synced { thread } => {
                let (of, before) = self.syncing.remove(thread).expect("a sync that returns has begun");
                let unsynced = std::mem::take(&mut self.unsynced).into_iter();
                let (synced, unsynced) = unsynced.partition(|(number, event)| *number < before && is_of(event, &of));
                self.unsynced = unsynced;
                self.keep(synced);
            }
            Event::Acknowledged => {}
        }
        self.applied += 1;
    }

    /// The disk after a loss of power that spared those unsynced writes for which `spared` says so.
    #[must_use]
    pub fn without_power(&self, mut spared: impl FnMut() -> bool) -> Self {
        let mut disk = self.clone();
        let kept = std::mem::take(&mut disk.unsynced).into_iter().filter(|_| spared()).collect();
        disk.keep(kept);
        disk
    }

    fn keep(&mut self, events: Vec<(usize, Event)>) {
        for (_, event) in events {
            match event {
                Event::Write { file, offset, bytes } => {
                    let content = self.files.entry(file).or_default();
                    let end = offset + bytes.len();
                    content.resize(content.len().max(end), 0);
                    content[offset..end].copy_from_slice(&bytes);
                }
                Event::Truncate { file, length } => self.files.entry(file).or_default().resize(length, 0),
                Event::Syncing { .. } | Event::Synced { .. } | Event::Acknowledged => {}
            }
        }
    }

    /// Puts the files that `wanted` names into a folder, in the place of those that are there.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn write(&self, folder: &Path, wanted: &[&str]) {
        for name in wanted {
            let path = folder.join(name);
            match self.files.iter().find(|(file, _)| file.file_name().is_some_and(|n| n == *name)) {
                Some((_, content)) => std::fs::write(path, content).expect("a file can be written"),
                None if path.exists() => std::fs::remove_file(path).expect("a file can be removed"),
                None => {}
            }
        }
    }
}

fn is_of(event: &Event, of: &Path) -> bool {
    match event {
        Event::Write { file, .. } | Event::Truncate { file, .. } => file == of,
        Event::Syncing { .. } | Event::Synced { .. } | Event::Acknowledged => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_synced_is_lost_with_the_power() {
        let trace = "1 pwrite64(7</d/a>, \"\\x61\\x62\", 2, 1) = 2\n\
                     2 fsync(7</d/a> <unfinished ...>\n\
                     1 pwrite64(8<\\x2f\\x64\\x2f\\x62>, \"\\x63\", 1, 0 <unfinished ...>\n\
                     1 <... pwrite64 resumed>) = 1\n\
                     1 pwrite64(7</d/a>, \"\\x7a\", 1, 0) = 1\n\
                     2 <... fsync resumed>) = 0\n\
                     1 ftruncate(7</d/a>, 1) = 0\n\
                     3 fdatasync(8</d/b>) = -1 EIO (Input/output error)\n\
                     1 sendto(9<socket:[1]>, \"\\x48\\x54\\x54\\x50\\x2f\\x31\\x2e\\x31\\x20\\x32\\x30\\x31\", 12) = 12\n";
        let events = events(trace);
        assert_eq!(events.last(), Some(&Event::Acknowledged));
        assert_eq!(events.len(), 8);
        let mut disk = Disk::default();
        for event in &events {
            disk.apply(event);
        }
        let lost = disk.without_power(|| false);
        // What was written while the sync ran, it may have missed.
        assert_eq!(lost.files, BTreeMap::from([(PathBuf::from("/d/a"), b"\0ab".to_vec())]));
        let spared = disk.without_power(|| true);
        assert_eq!(spared.files[Path::new("/d/a")], b"z");
        assert_eq!(spared.files[Path::new("/d/b")], b"c");
    }
}
