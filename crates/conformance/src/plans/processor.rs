//! Processor time that reads take. What else a machine does makes a read wait, but leaves this as it is, so this is what
//! is judged where it can be known: on Linux, where the store works on this machine.

use std::fs;
use std::time::Duration;

/// Linux counts processor time in hundredths of a second, on every architecture.
const TICK: Duration = Duration::from_millis(10);

/// Whose processor time is that of a store.
#[derive(Debug, Clone)]
pub enum Workers {
    /// This process, of which the store is a part.
    ThisProcess,
    /// The processes of a server's, which have the name of the database in their title.
    OfDatabase(String),
}

impl Workers {
    /// What they have used so far, to a hundredth of a second. None where it cannot be known.
    #[must_use]
    pub fn used(&self) -> Option<Duration> {
        match self {
            Self::ThisProcess => used(&fs::read_to_string("/proc/self/stat").ok()?),
            Self::OfDatabase(name) => {
                let titled = fs::read_dir("/proc").ok()?.flatten().filter(|process| {
                    let title = fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
                    title.split_whitespace().any(|word| word == name)
                });
                let stats = titled.filter_map(|process| fs::read_to_string(process.path().join("stat")).ok());
                stats.filter_map(|stat| used(&stat)).reduce(|all, one| all.saturating_add(one))
            }
        }
    }
}

/// How long a read took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Took {
    /// From its call to its answer.
    pub time: Duration,
    /// Of a processor, where that can be known.
    pub processor: Option<Duration>,
}

impl Took {
    /// What does not depend on the machine's other work, where that can be known.
    #[must_use]
    pub fn judged(self) -> Duration {
        self.processor.unwrap_or(self.time)
    }
}

impl std::fmt::Display for Took {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.processor {
            Some(processor) => write!(f, "{} ms of a processor, in {}", processor.as_millis(), self.time.as_millis()),
            None => write!(f, "{}", self.time.as_millis()),
        }?;
        f.write_str(" ms")
    }
}

/// The sum of the 14th and the 15th field of what Linux says of a process. The second field is the program's name, which
/// may have blanks.
fn used(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u32>().ok()?.checked_add(fields.next()?.parse().ok()?)?;
    TICK.checked_mul(ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_after_the_name() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 100 0 0 0 7 5 0 0 20 0 4 0 100";
        assert_eq!(used(stat), Some(Duration::from_millis(120)));
        assert_eq!(used("42 (a"), None);
    }

    #[test]
    fn what_the_machine_did_besides_is_not_judged() {
        let (time, processor) = (Duration::from_millis(300), Duration::from_millis(20));
        let took = Took { time, processor: Some(processor) };
        assert_eq!((took.judged(), took.to_string()), (processor, "20 ms of a processor, in 300 ms".to_owned()));
        let took = Took { time, processor: None };
        assert_eq!((took.judged(), took.to_string()), (time, "300 ms".to_owned()));
    }
}
