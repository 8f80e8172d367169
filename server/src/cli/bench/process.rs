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

    /// Returns how much time of processors all its threads have used, to the nanosecond.
    #[cfg(target_os = "linux")]
    pub(super) fn cpu_time(self) -> Option<Duration> {
        use nix::{time::ClockId, unistd::Pid};
        let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(i32::try_from(self.0).ok()?)).ok()?;
        clock.now().ok().map(Duration::from)
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn cpu_time(self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_memory() {
        let own = Process::own();
        assert!(own.resident().unwrap() <= own.peak_resident().unwrap());
    }

    #[test]
    fn time_of_a_processor_is_told_in_less_than_milliseconds() {
        let times: Vec<_> = (0..1_000).filter_map(|_| Process::own().cpu_time()).collect();
        let steps = times.windows(2).map(|pair| pair[1] - pair[0]);
        let least = steps.filter(|step| !step.is_zero()).min().unwrap();
        assert!(least < Duration::from_millis(1), "{least:?}");
    }
}
