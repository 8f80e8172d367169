//! What a figure was measured on.

use std::{fs, path::Path, thread};

use serde::Serialize;

/// The machine: what is not known is left out.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    cpu: Option<String>,
    cores: usize,
    memory_bytes: Option<u64>,
    kernel: Option<String>,
    /// Of the folder of the hub's data; of one that was there already nothing is known.
    filesystem: Option<String>,
}

impl Machine {
    /// Looks at this machine, and at the filesystem of this folder.
    pub(super) fn look(data: Option<&Path>) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let cpu = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
        let cpu = cpu.map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned());
        let meminfo = read("/proc/meminfo");
        let kib = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kib = kib.and_then(|kib| kib.trim().trim_end_matches(" kB").parse::<u64>().ok());
        let kernel = read("/proc/sys/kernel/osrelease").trim().to_owned();
        Self {
            cpu,
            cores: thread::available_parallelism().map_or(1, Into::into),
            memory_bytes: kib.map(|kib| kib * 1_024),
            kernel: Some(kernel).filter(|kernel| !kernel.is_empty()),
            filesystem: data
                .and_then(|data| data.canonicalize().ok())
                .and_then(|data| filesystem(&read("/proc/self/mounts"), &data)),
        }
    }

    /// Returns all of it on one line.
    pub(super) fn line(&self) -> String {
        let mut parts: Vec<String> = self.cpu.iter().cloned().collect();
        parts.push(super::super::text::count(u64::try_from(self.cores).unwrap_or(0), "core"));
        parts.extend(self.memory_bytes.map(|bytes| format!("{} MiB", bytes / 1_048_576)));
        parts.extend(self.kernel.as_ref().map(|kernel| format!("kernel {kernel}")));
        parts.extend(self.filesystem.as_ref().map(|filesystem| format!("data on {filesystem}")));
        parts.join(", ")
    }
}

/// Returns the type of the filesystem of a folder: that of the longest mount point above it, the last of its name.
fn filesystem(mounts: &str, folder: &Path) -> Option<String> {
    let mount = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let above = mount.filter(|(point, _)| folder.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str =
        "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp/disk xfs rw 0 0\n";

    #[test]
    fn the_nearest_mount_point_says_which_filesystem() {
        let of = |folder: &str| filesystem(MOUNTS, Path::new(folder)).unwrap();
        assert_eq!(of("/tmp/a"), "tmpfs");
        assert_eq!(of("/tmp/disk/a"), "xfs");
        assert_eq!(of("/tmpa"), "ext4");
    }
}
