//! Reads the process table in `/proc` to find who descends from whom.

use std::{
    collections::{HashMap, HashSet},
    fs,
};

/// A row of the process table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub pid: i32,
    pub parent: i32,
    pub group: i32,
    pub session: i32,
    pub zombie: bool,
}

/// Reads all processes of this machine. One that ends meanwhile is left out.
pub(super) fn table() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)).collect()
}

/// Reads `/proc/<pid>/stat`. The name in parentheses can hold anything, so fields count from the last of them.
fn parse_stat(stat: &str) -> Option<Process> {
    let (pid, _) = stat.split_once(' ')?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let zombie = matches!(fields.next()?, "Z" | "X");
    let mut number = || fields.next()?.parse::<i32>().ok();
    Some(Process { pid: pid.parse().ok()?, parent: number()?, group: number()?, session: number()?, zombie })
}

/// All living processes below `root`, and those in its session or group, without `root` itself.
pub(super) fn descendants(table: &[Process], root: i32) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for process in table {
        children.entry(process.parent).or_default().push(process.pid);
    }
    let mut found = HashSet::from([root]);
    let related = table.iter().filter(|p| p.session == root || p.group == root).map(|p| p.pid);
    let mut open: Vec<i32> = related.chain([root]).collect();
    while let Some(pid) = open.pop() {
        found.insert(pid);
        open.extend(children.get(&pid).into_iter().flatten().filter(|child| !found.contains(child)));
    }
    table.iter().filter(|p| p.pid != root && !p.zombie && found.contains(&p.pid)).map(|p| p.pid).collect()
}

/// The direct children of this (single-threaded) process, zombies included.
pub(super) fn own_children() -> Vec<i32> {
    let own = std::process::id().cast_signed();
    match fs::read_to_string(format!("/proc/self/task/{own}/children")) {
        Ok(list) => list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect(),
        // A kernel built without that file; the whole table knows too.
        Err(_) => table().into_iter().filter(|p| p.parent == own).map(|p| p.pid).collect(),
    }
}

/// Living processes that carry `NAME=value` in the environment they were started with.
pub(super) fn marked(marker: &str) -> Vec<i32> {
    let carries = |pid: i32| {
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environ| environ.split(|&byte| byte == 0).any(|entry| entry == marker.as_bytes()))
    };
    table().into_iter().filter(|p| !p.zombie && carries(p.pid)).map(|p| p.pid).collect()
}

/// Resident memory in bytes of the given processes together. Where that is over `limit`, pages shared among
/// processes are counted by share, which is right for forks of a warm parent but too slow to do each time.
pub(super) fn memory(pids: &[i32], limit: u64) -> u64 {
    let resident = |pid: &i32| -> Option<u64> {
        let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
        statm.split(' ').nth(1)?.parse::<u64>().ok().map(|pages| pages * 4096)
    };
    let total: u64 = pids.iter().filter_map(resident).sum();
    if total <= limit {
        return total;
    }
    let share = |pid: &i32| -> Option<u64> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
    };
    pids.iter().filter_map(|pid| share(pid).or_else(|| resident(pid))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_shift_fields() {
        let found = parse_stat("12 (a) R (b) S 3 4 5 0 -1").unwrap();
        assert_eq!(found, Process { pid: 12, parent: 3, group: 4, session: 5, zombie: false });
    }

    #[test]
    fn descendants_follow_parents_and_sessions() {
        let row = |pid, parent, session| Process { pid, parent, group: session, session, zombie: false };
        let table = [
            row(1, 0, 1),
            row(10, 1, 10),
            row(11, 10, 10),
            row(12, 11, 12),
            row(13, 1, 10),
            row(14, 13, 14),
            row(20, 1, 20),
        ];
        let mut found = descendants(&table, 10);
        found.sort_unstable();
        assert_eq!(found, [11, 12, 13, 14]);
    }

    #[test]
    fn this_process_is_in_the_table() {
        let own = std::process::id().cast_signed();
        assert!(table().iter().any(|p| p.pid == own && !p.zombie));
        assert!(memory(&[own], u64::MAX) > 0);
        assert!(memory(&[own], 0) > 0);
    }
}
