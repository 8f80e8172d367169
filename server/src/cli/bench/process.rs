//! What a process takes of its machine, as Linux tells it; nothing where it does not.

use std::{fs, time::Duration};

/// A process that runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process(u32);

impl Process {
    pub(super) const fn of(pid: u32) -> Self {
        Self(pid)
    }

    /// This process.
    pub(super) fn own() -> Self {
        Self(std::process::id())
    }

    /// Returns how much memory is resident, in bytes.
    pub(super) fn resident(self) -> Option<u64> {
        self.memory("VmRSS:")
    }

    /// Returns the most memory that was ever resident, in bytes.
    pub(super) fn peak_resident(self) -> Option<u64> {
        self.memory("VmHWM:")
    }

    fn memory(self, name: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).ok()?;
        let kib = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(kib.trim().trim_end_matches(" kB").parse::<u64>().ok()? * 1_024)
    }

    /// Returns how much time of processors it has used, to hundredths of a second.
    pub(super) fn cpu_time(self) -> Option<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).ok()?;
        let ticks = cpu_ticks(&stat)?;
        let per_second = rustix::param::clock_ticks_per_second();
        Duration::from_secs(ticks).checked_div(u32::try_from(per_second).ok()?)
    }
}

/// Reads the 14th and the 15th field: the name before them may have spaces and parentheses.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_read_whatever_the_name() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 3 4 20 0 9 0 1 2 3";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_takes_memory() {
        let own = Process::own();
        assert!(own.resident().unwrap() <= own.peak_resident().unwrap());
        assert!(own.cpu_time().is_some());
    }
}
