//! Reads from `/proc` what a process used and how busy the machine is.

use std::collections::HashMap;
use std::fs::read_to_string;

/// Processors and load, for the heading.
pub fn describe() -> String {
    let n_cpus = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{n_cpus} processors, load {}", load())
}

/// The load average of the last minute.
pub fn load() -> String {
    let text = read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_owned()
}

/// Seconds of processor time a process used, all threads together.
pub fn cpu_seconds(pid: i32) -> f64 {
    let clock = nix::time::clock_getcpuclockid(nix::unistd::Pid::from_raw(pid));
    clock.and_then(|clock| clock.now()).map_or(f64::NAN, |time| std::time::Duration::from(time).as_secs_f64())
}

/// Bytes a process has in memory.
pub fn rss(pid: i32) -> f64 {
    kib(&format!("/proc/{pid}/status"), "VmRSS:")
}

/// The most bytes a process had in memory since [`reset_peak`].
pub fn peak(pid: i32) -> f64 {
    kib(&format!("/proc/{pid}/status"), "VmHWM:")
}

/// Lets the peak be counted from now on.
pub fn reset_peak(pid: i32) {
    // Where the kernel refuses, the peak is that of the process' whole life.
    let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

/// Bytes of memory a process and all its descendants account for, shared pages divided among their users.
pub fn tree_pss(pid: i32) -> f64 {
    let children = children();
    let mut total = 0.0;
    let mut left = vec![pid];
    while let Some(pid) = left.pop() {
        total += kib(&format!("/proc/{pid}/smaps_rollup"), "Pss:");
        left.extend(children.get(&pid).into_iter().flatten());
    }
    total
}

fn kib(path: &str, key: &str) -> f64 {
    let text = read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) * 1024.0
}

/// Children by parent.
fn children() -> HashMap<i32, Vec<i32>> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    let Ok(entries) = std::fs::read_dir("/proc") else { return children };
    for pid in entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok()) {
        let stat = read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        if let Some(parent) = rest.split_whitespace().nth(1).and_then(|text| text.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    children
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory() {
        let pid = i32::try_from(std::process::id()).unwrap();
        assert!(rss(pid) > 100_000.0);
        assert!(tree_pss(pid) > 100_000.0);
        assert!(cpu_seconds(pid) >= 0.0);
    }
}
