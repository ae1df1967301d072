//! What Linux says of a process: its memory, what it wrote, and the time that it used.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::bench::psql::Database;

/// Linux counts processor time in hundredths of a second, on every architecture.
const TICK: Duration = Duration::from_millis(10);

/// A process by its id.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process(u32);

impl Process {
    /// This process.
    pub(super) fn this() -> Self {
        Self(std::process::id())
    }

    /// The process that was started with these words, next to each other, on its command line.
    ///
    /// # Errors
    /// When none was.
    pub(super) fn started_with(words: &[&str]) -> anyhow::Result<Self> {
        // Arguments end with a zero byte each.
        let wanted: Vec<u8> = words.iter().flat_map(|word| word.bytes().chain([0])).collect();
        for entry in fs::read_dir("/proc").context("cannot list the processes")?.flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A process may end while we look.
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if line.windows(wanted.len()).any(|window| window == wanted) {
                return Ok(Self(id));
            }
        }
        anyhow::bail!("no process was started with `{}`", words.join(" "))
    }

    /// The PostgreSQL server of a database, which started all of its processes.
    pub(super) fn of_server(database: &Database) -> anyhow::Result<Self> {
        let url = reqwest::Url::parse(&database.url).context("the URL of the database is not valid")?;
        let port = url.port().context("the URL of the database has no port")?;
        Self::started_with(&["-p", &port.to_string()])
    }

    /// Resident memory in bytes.
    pub(super) fn resident_bytes(self) -> anyhow::Result<u64> {
        let kilobytes = self.number("status", "VmRSS:")?;
        Ok(kilobytes * 1024)
    }

    /// Bytes that the process has caused to be written to disks so far.
    pub(super) fn written_bytes(self) -> anyhow::Result<u64> {
        self.number("io", "write_bytes:")
    }

    /// Processor time used so far, of all threads.
    pub(super) fn processor_time(self) -> anyhow::Result<Duration> {
        let text = self.file("stat")?;
        processor_time(&text).with_context(|| format!("/proc/{}/stat is not as expected", self.0))
    }

    /// Processor time used so far by this process and those that it started, of which some may have ended.
    pub(super) fn processor_time_of_family(self) -> anyhow::Result<Duration> {
        let mut all = Duration::ZERO;
        for entry in fs::read_dir("/proc").context("cannot list the processes")?.flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A process may end while we look.
            let Ok(stat) = Self(id).file("stat") else { continue };
            if id == self.0 {
                all += of_ended_children(&stat).unwrap_or_default();
            }
            if id == self.0 || parent(&stat) == Some(self.0) {
                all += processor_time(&stat).unwrap_or_default();
            }
        }
        Ok(all)
    }

    fn file(self, name: &str) -> anyhow::Result<String> {
        let path = format!("/proc/{}/{name}", self.0);
        fs::read_to_string(Path::new(&path)).with_context(|| format!("cannot read {path}"))
    }

    fn number(self, file: &str, label: &str) -> anyhow::Result<u64> {
        labelled(&self.file(file)?, label).with_context(|| format!("/proc/{}/{file} has no `{label}`", self.0))
    }
}

/// The number that follows a label at the start of a line.
fn labelled(text: &str, label: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(label))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The sum of the 14th and the 15th field.
fn processor_time(stat: &str) -> Option<Duration> {
    ticks(stat, 14)
}

/// The sum of the 16th and the 17th field.
fn of_ended_children(stat: &str) -> Option<Duration> {
    ticks(stat, 16)
}

/// The fourth field.
fn parent(stat: &str) -> Option<u32> {
    fields_after_name(stat)?.nth(1)?.parse().ok()
}

/// The sum of a field and the next, both of them ticks. The first field has the number one.
fn ticks(stat: &str, field: usize) -> Option<Duration> {
    let mut fields = fields_after_name(stat)?.skip(field.checked_sub(3)?);
    let ticks: u32 = fields.next()?.parse::<u32>().ok()?.checked_add(fields.next()?.parse().ok()?)?;
    TICK.checked_mul(ticks)
}

/// The fields from the third on: the second is the program's name, which may have blanks.
fn fields_after_name(stat: &str) -> Option<impl Iterator<Item = &str>> {
    Some(stat.rsplit_once(')')?.1.split_whitespace())
}

/// How many processors this process may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The share of the machine's processors that is used during the next moment, by whomever.
pub(super) async fn busy_share(moment: Duration) -> anyhow::Result<f64> {
    let before = Ticks::read()?;
    tokio::time::sleep(moment).await;
    Ok(Ticks::read()?.busy_share_since(before))
}

/// Time of all processors since the machine was started, in ticks.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ticks {
    idle: u64,
    all: u64,
}

impl Ticks {
    fn read() -> anyhow::Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("cannot read what the processors did")?;
        Self::of(&text).context("/proc/stat is not as expected")
    }

    /// The first line: user, nice, system, idle, waiting for disks, interrupts of two kinds, stolen by the host.
    fn of(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = line.split_whitespace().take(8).filter_map(|ticks| ticks.parse().ok()).collect();
        let idle = ticks.get(3)? + ticks.get(4)?;
        Some(Self { idle, all: ticks.iter().sum() })
    }

    fn busy_share_since(self, before: Self) -> f64 {
        let number = |ticks| f64::from(u32::try_from(ticks).unwrap_or(u32::MAX));
        let all = self.all.saturating_sub(before.all);
        1.0 - number(self.idle.saturating_sub(before.idle)) / number(all.max(1))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn reads_labelled_numbers() {
        let status = "Name:\tbellwether\nVmHWM:\t   30000 kB\nVmRSS:\t   24912 kB\n";
        assert_eq!(labelled(status, "VmRSS:"), Some(24_912));
        assert_eq!(labelled(status, "VmSwap:"), None);
    }

    #[test]
    fn adds_time_in_user_and_kernel_mode_whatever_the_programs_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 4 0 1 2 3";
        assert_eq!(processor_time(stat), Some(Duration::from_secs(3)));
        assert_eq!(processor_time("7 (x) S 1"), None);
        assert_eq!((parent(stat), of_ended_children(stat)), (Some(1), Some(Duration::ZERO)));
    }

    #[test]
    fn finds_a_process_by_its_command_line_and_reads_its_figures() {
        // Says that it runs, and ends with its standard input, whatever becomes of this test.
        let mut child = Command::new("/bin/sh")
            .args(["-c", "echo here; read line", "bench-test", "the words"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
        let process = Process::started_with(&["bench-test", "the words"]).unwrap();
        assert_eq!(process.0, child.id());
        assert!(process.resident_bytes().unwrap() > 0);
        assert!(Process::this().processor_time().is_ok() && Process::this().written_bytes().is_ok());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(Process::started_with(&["no process", "has this"]).is_err());
    }

    #[test]
    fn a_processor_that_waits_for_a_disk_is_not_busy() {
        let before = Ticks::of("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 1 1 1\n").unwrap();
        assert_eq!(before, Ticks { idle: 850, all: 1000 });
        let after = Ticks::of("cpu  120 0 55 870 53 0 0 2 0 0\n").unwrap();
        assert!((after.busy_share_since(before) - 0.27).abs() < 1e-9);
        assert_eq!(Ticks::of("cpu  1 2"), None);
    }
}
