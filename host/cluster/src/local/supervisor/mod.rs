//! Runs the supervisor: the one process that starts, signals and reaps everything this cluster runs.
//!
//! It is the same binary as the host, re-executed, with one thread and one loop. Everything that runs descends from
//! it, and stays so: it is a child subreaper, and so is the first process of every container, so that orphans of a
//! container end up with the container's first process and only after the end of that one with the supervisor.
//! Hence the rule that makes the clean-up exact: *a child of the supervisor that it does not know is a leftover of
//! a container that ended, and is killed*.
//!
//! Invariant: when the socket to the host closes, for whatever reason, nothing that descends from here survives, and
//! only then the lock is let go, which is what the next host waits for.

mod channel;
mod children;

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::exit,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd,
};

use self::{channel::Channel, children::Children};
use super::{
    MARKER, processes,
    protocol::{FromSupervisor, ToSupervisor},
};

/// First argument that makes the binary call [`supervisor_main`].
pub const SUPERVISOR_COMMAND: &str = "local-supervisor";

/// Runs the supervisor and never returns. The binary must call this first thing, before it starts any thread, when
/// its first argument is [`SUPERVISOR_COMMAND`]. The socket to the host is standard input; the second argument is
/// the directory of the local cluster.
pub fn supervisor_main() -> ! {
    let Some(root) = std::env::args_os().nth(2).map(PathBuf::from) else {
        eprintln!("{SUPERVISOR_COMMAND} is started by the host, not by hand");
        exit(2);
    };
    match run(&root) {
        Ok(()) => exit(0),
        Err(error) => {
            eprintln!("supervisor: {error}");
            exit(1);
        }
    }
}

/// Longest wait for the end of killed leftovers.
const LEFTOVER_PATIENCE: Duration = Duration::from_secs(5);

fn run(root: &Path) -> io::Result<()> {
    let (host, signals, null) = detach()?;
    let mut host = Channel::new(host)?;
    let lock = lock(&root.join("supervisor.lock"))?;
    end_leftovers(&format!("{MARKER}={}", root.display()));
    let mut children = Children::new(null);
    host.send(&FromSupervisor::Ready { pid: std::process::id().cast_signed() });
    host.flush();
    while !host.is_closed() {
        serve(&mut host, &mut children, &signals)?;
    }
    children.end_all();
    drop(lock);
    Ok(())
}

/// Ends what a host and a supervisor that were both killed left running, for the kernel does not tie it to them.
///
/// Waits until it is gone: a task that is started next may be the same one again. A process that can't be killed (it
/// hangs in the kernel) is waited for only so long.
fn end_leftovers(mark: &str) {
    let until = Instant::now() + LEFTOVER_PATIENCE;
    loop {
        let left = processes::marked(mark);
        if left.is_empty() || Instant::now() > until {
            return;
        }
        for pid in left {
            children::send_signal(pid, Signal::SIGKILL as i32);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Leaves the terminal and its signals, and takes the socket off standard input.
fn detach() -> io::Result<(UnixStream, SignalFd, File)> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    unistd::dup2_stdin(&null)?;
    // Already leading a session is fine.
    let _ = unistd::setsid();
    let mut blocked = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGCHLD] {
        blocked.add(signal);
    }
    blocked.thread_block()?;
    let mut ended = SigSet::empty();
    ended.add(Signal::SIGCHLD);
    let signals = SignalFd::with_flags(&ended, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    prctl::set_child_subreaper(true)?;
    Ok((socket, signals, null))
}

/// Waits until no other supervisor works in this directory.
fn lock(path: &Path) -> io::Result<Flock<File>> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    loop {
        match Flock::lock(file, FlockArg::LockExclusive) {
            Ok(lock) => {
                lock.set_len(0)?;
                (&*lock).write_all(std::process::id().to_string().as_bytes())?;
                return Ok(lock);
            }
            Err((again, Errno::EINTR)) => file = again,
            Err((_, errno)) => return Err(errno.into()),
        }
    }
}

/// Waits for the next thing to happen and deals with it.
fn serve(host: &mut Channel, children: &mut Children, signals: &SignalFd) -> io::Result<()> {
    let parents = children.parent_ids();
    let revents = {
        let mut fds =
            vec![PollFd::new(host.fd(), host.interest()), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        let channels = parents.iter().filter_map(|id| children.parent_channel(*id));
        fds.extend(channels.map(|channel| PollFd::new(channel.fd(), channel.interest())));
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
        fds.iter().map(|fd| fd.any().unwrap_or(true)).collect::<Vec<bool>>()
    };
    children.forget_process_table();
    for (id, _) in parents.iter().zip(&revents[2..]).filter(|(_, ready)| **ready) {
        children.hear_parent(*id, host);
    }
    if revents[1] {
        while signals.read_signal()?.is_some() {}
        children.reap(host);
    }
    if revents[0] {
        for order in host.receive::<ToSupervisor>() {
            match order {
                ToSupervisor::Spawn(launch) => children.spawn(&launch, host),
                ToSupervisor::Parent(launch) => children.spawn_parent(&launch, host),
                ToSupervisor::Fork { parent, launch } => children.fork(parent, launch, host),
                ToSupervisor::Kill { id, signal } => children.kill(id, signal),
                ToSupervisor::Retire { parent } => children.retire(parent),
            }
            // A long batch of spawns must not keep the first ones waiting for their answer.
            host.flush();
        }
    }
    host.flush();
    children.flush();
    Ok(())
}
