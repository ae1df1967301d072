//! Whether tests can keep their files in memory.
//!
//! What they wait for most is the disk: thousands of short lives of databases, each of whose commits waits for a sync,
//! and on a disk that others use for seconds. No test can see the difference: those that cut the power do it to a record
//! of what was written and what was synced.

use std::fs;
use std::path::PathBuf;

use nix::sys::statvfs::statvfs;

/// Where Linux has files in memory.
const FOLDER: &str = "/dev/shm";
/// What tests write at a time, three times over.
const ROOM: u64 = 8 << 30;

/// A folder in memory, where the machine has one with enough room and nobody has chosen another by `TMPDIR`.
pub(crate) fn folder() -> Option<PathBuf> {
    let folder = PathBuf::from(FOLDER);
    let stat = statvfs(&folder).ok()?;
    let free = stat.blocks_available().saturating_mul(stat.fragment_size());
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let has_room = free >= ROOM && available(&meminfo)? >= ROOM;
    (has_room && std::env::var_os("TMPDIR").is_none()).then_some(folder)
}

/// How many bytes of memory are to be had.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::available;

    #[test]
    fn reads_how_much_memory_is_to_be_had() {
        assert_eq!(available("MemTotal:       24 kB\nMemAvailable:   17 kB\n"), Some(17 * 1024));
        assert_eq!(available("MemTotal:       24 kB\n"), None);
    }
}
