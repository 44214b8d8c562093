//! Tells what this machine has to share out, and notices when its kernel had to kill for memory.

use std::{fs, thread};

use super::quantity::Resources;

/// Processors and memory of this machine, as far as this process may use them.
pub(crate) fn resources() -> Resources {
    let processors = thread::available_parallelism().map_or(1, |n| n.get());
    Resources { cpu_milli: processors as u64 * 1000, memory: memory().unwrap_or(4 << 30) }
}

fn memory() -> Option<u64> {
    let total = fs::read_to_string("/proc/meminfo").ok()?.lines().find_map(|line| {
        let kib = line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?;
        kib.trim().parse::<u64>().ok()
    })? * 1024;
    // Inside a container the limit of the control group counts.
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limit = limits.iter().find_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    Some(limit.map_or(total, |limit| limit.min(total)))
}

/// How many processes the kernel has killed for want of memory since it was booted.
pub(crate) fn oom_kills() -> u64 {
    let counters = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    counters.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
}
