//! Keeps the table of processes that the supervisor started: starts, signals, reaps and cleans up after them.

use std::{
    collections::{HashMap, HashSet},
    fs::{File, OpenOptions},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    super::{
        processes::{self, Process},
        protocol::{Exit, FromParent, FromSupervisor, Launch, ProcessId, ToParent},
        sys,
    },
    channel::Channel,
};

/// A process that can fork others.
struct Parent {
    channel: Channel,
    /// Forks that were asked for and not answered.
    pending: HashSet<ProcessId>,
    /// Forks that were answered; some may have ended since.
    forked: HashSet<ProcessId>,
}

/// All processes that the supervisor answers for.
pub(super) struct Children {
    null: File,
    by_pid: HashMap<i32, ProcessId>,
    by_id: HashMap<ProcessId, i32>,
    parents: HashMap<ProcessId, Parent>,
    /// Signals for forks that were not answered when they were to be signalled.
    doomed: HashMap<ProcessId, i32>,
    /// Read at most once per turn of the loop: ending a thousand processes must not read it a thousand times.
    table: Option<Vec<Process>>,
}

impl Children {
    pub(super) fn new(null: File) -> Children {
        Children {
            null,
            by_pid: HashMap::new(),
            by_id: HashMap::new(),
            parents: HashMap::new(),
            doomed: HashMap::new(),
            table: None,
        }
    }

    pub(super) fn parent_ids(&self) -> Vec<ProcessId> {
        self.parents.keys().copied().collect()
    }

    pub(super) fn parent_channel(&self, id: ProcessId) -> Option<&Channel> {
        self.parents.get(&id).map(|parent| &parent.channel)
    }

    pub(super) fn forget_process_table(&mut self) {
        self.table = None;
    }

    pub(super) fn flush(&mut self) {
        for parent in self.parents.values_mut() {
            parent.channel.flush();
        }
    }

    pub(super) fn spawn(&mut self, launch: &Launch, host: &mut Channel) {
        match self.start(launch, None) {
            Ok(pid) => self.started(launch.id, pid.as_raw(), host),
            Err((step, errno)) => fail(launch.id, step, errno, host),
        }
    }

    pub(super) fn spawn_parent(&mut self, launch: &Launch, host: &mut Channel) {
        let pair = UnixStream::pair().and_then(|(ours, theirs)| Ok((Channel::new(ours)?, theirs)));
        let (channel, theirs) = match pair {
            Ok(pair) => pair,
            Err(error) => {
                let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
                return fail(launch.id, "socketpair", errno, host);
            }
        };
        match self.start(launch, Some(theirs.as_fd())) {
            Ok(pid) => {
                self.parents
                    .insert(launch.id, Parent { channel, pending: HashSet::new(), forked: HashSet::new() });
                self.started(launch.id, pid.as_raw(), host);
            }
            Err((step, errno)) => fail(launch.id, step, errno, host),
        }
    }

    pub(super) fn fork(&mut self, parent: ProcessId, launch: Launch, host: &mut Channel) {
        match self.parents.get_mut(&parent) {
            Some(parent) => {
                parent.pending.insert(launch.id);
                parent.channel.send(&ToParent::Fork(launch));
            }
            None => fail(launch.id, "the warm parent is gone", Errno::ESRCH, host),
        }
    }

    pub(super) fn retire(&mut self, parent: ProcessId) {
        if let Some(parent) = self.parents.get_mut(&parent) {
            parent.channel.send(&ToParent::Retire);
        }
    }

    /// Signals a process, its group and session, and all its descendants; of a warm parent only itself.
    pub(super) fn kill(&mut self, id: ProcessId, signal: i32) {
        let Some(&pid) = self.by_id.get(&id) else {
            if self.parents.values().any(|parent| parent.pending.contains(&id)) {
                self.doomed.insert(id, signal);
            }
            return;
        };
        if self.parents.contains_key(&id) {
            // What it has forked goes on without it.
            return send_signal(pid, signal);
        }
        let table = self.table.get_or_insert_with(processes::table);
        let below = processes::descendants(table, pid);
        send_signal(pid, signal);
        for pid in below {
            send_signal(pid, signal);
        }
    }

    /// Deals with what a warm parent has to say.
    pub(super) fn hear_parent(&mut self, id: ProcessId, host: &mut Channel) {
        let Some(parent) = self.parents.get_mut(&id) else { return };
        for message in parent.channel.receive::<FromParent>() {
            match message {
                FromParent::Report(report) => host.send(&FromSupervisor::Report { parent: id, report }),
                FromParent::Refused { id: child, reason } => {
                    self.forget_pending(id, child);
                    self.doomed.remove(&child);
                    host.send(&FromSupervisor::Failed { id: child, errno: 0, reason });
                }
                FromParent::Started { id: child, pid } => {
                    self.forget_pending(id, child);
                    if let Some(parent) = self.parents.get_mut(&id) {
                        parent.forked.insert(child);
                    }
                    self.started(child, pid, host);
                    if let Some(signal) = self.doomed.remove(&child) {
                        self.forget_process_table();
                        self.kill(child, signal);
                    }
                }
                FromParent::Exited { id: child, status, cpu_seconds, max_rss } => {
                    let exit = Exit { cpu_seconds, max_rss, ..Exit::from_wait_status(status) };
                    if let Some(parent) = self.parents.get_mut(&id) {
                        parent.forked.remove(&child);
                    }
                    self.exited(child, exit, host);
                    self.sweep();
                }
            }
        }
    }

    /// Reaps all processes that ended, and kills what they left behind.
    pub(super) fn reap(&mut self, host: &mut Channel) {
        let mut ended = Vec::new();
        while let Ok(Some((pid, exit))) = sys::reap() {
            if let Some(&id) = self.by_pid.get(&pid.as_raw()) {
                // The last words of a warm parent name children that must not be taken for leftovers.
                self.hear_parent(id, host);
                ended.push((id, exit));
            }
        }
        // Leftovers are killed before the news goes out, so that whoever hears it finds the place clean. That is
        // needed too if only an unknown process ended: its own children have become ours.
        self.sweep();
        for (id, exit) in ended {
            if let Some(parent) = self.parents.remove(&id) {
                self.orphaned(parent, host);
            }
            self.exited(id, exit, host);
        }
    }

    /// Settles what a warm parent that ended leaves open. Its living children are ours by now and go on.
    fn orphaned(&mut self, parent: Parent, host: &mut Channel) {
        for id in parent.pending {
            fail(id, "the warm parent ended", Errno::ESRCH, host);
        }
        let ours: HashSet<i32> = processes::own_children().into_iter().collect();
        for id in parent.forked {
            // Reaped by the parent, which did not live to tell.
            if self.by_id.get(&id).is_some_and(|pid| !ours.contains(pid)) {
                self.exited(id, Exit { code: 137, signal: 9, ..Exit::default() }, host);
            }
        }
    }

    /// Kills everything and waits until it is gone.
    pub(super) fn end_all(&mut self) {
        let own = std::process::id().cast_signed();
        loop {
            for pid in processes::descendants(&processes::table(), own) {
                send_signal(pid, Signal::SIGKILL as i32);
            }
            loop {
                match sys::reap() {
                    Ok(Some(_)) | Err(Errno::EINTR) => {}
                    Ok(None) => break,
                    // No children: as their subreaper this process would have inherited every descendant.
                    Err(_) => return,
                }
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn start(&self, launch: &Launch, channel: Option<BorrowedFd<'_>>) -> Result<Pid, (&'static str, Errno)> {
        let log = OpenOptions::new().append(true).create(true).open(&launch.log).map_err(|error| {
            ("open the log", Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EINVAL as i32)))
        })?;
        let strings = |what, strings: &mut dyn Iterator<Item = String>| {
            strings.map(|text| sys::c_string(what, &text)).collect::<Result<Vec<_>, _>>()
        };
        sys::exec(&sys::Exec {
            program: sys::c_string("program", &launch.program)?,
            argv: strings("argument", &mut launch.argv.iter().cloned())?,
            env: strings(
                "environment",
                &mut launch.env.iter().map(|(name, value)| format!("{name}={value}")),
            )?,
            cwd: sys::c_string("cwd", &launch.cwd)?,
            stdin: self.null.as_fd(),
            output: log.as_fd(),
            channel,
            // A warm parent ends by itself when its socket closes, after it has killed its children.
            contained: channel.is_none(),
        })
    }

    fn started(&mut self, id: ProcessId, pid: i32, host: &mut Channel) {
        self.by_pid.insert(pid, id);
        self.by_id.insert(id, pid);
        host.send(&FromSupervisor::Started { id, pid });
    }

    fn exited(&mut self, id: ProcessId, exit: Exit, host: &mut Channel) {
        if let Some(pid) = self.by_id.remove(&id) {
            self.by_pid.remove(&pid);
            host.send(&FromSupervisor::Exited { id, exit });
        }
    }

    fn forget_pending(&mut self, parent: ProcessId, child: ProcessId) {
        if let Some(parent) = self.parents.get_mut(&parent) {
            parent.pending.remove(&child);
        }
    }

    /// Kills children that nobody asked for: leftovers of containers that ended.
    fn sweep(&self) {
        for pid in processes::own_children() {
            if !self.by_pid.contains_key(&pid) {
                send_signal(pid, Signal::SIGKILL as i32);
            }
        }
    }
}

fn fail(id: ProcessId, step: &str, errno: Errno, host: &mut Channel) {
    let reason = format!("{step}: {}", errno.desc());
    host.send(&FromSupervisor::Failed { id, errno: errno as i32, reason });
}

/// Sends a signal; one that finds nobody is fine.
pub(super) fn send_signal(pid: i32, signal: i32) {
    if let Ok(signal) = Signal::try_from(signal) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}
