//! Starts plugin processes: own session, no inherited files, dead with the host.
#![allow(unsafe_code, reason = "preparing a process between fork and exec")]

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{OnceLock, mpsc};

use tokio::sync::oneshot;

/// Argument of a plugin process that is followed by the number of its socket.
pub(crate) const SOCKET_ARGUMENT: &str = "--socket";
/// Environment variables every plugin process gets.
const ENVIRONMENT: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "RUST_BACKTRACE"];

/// What to start.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    pub(crate) executable: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<String>,
    /// Bytes of address space; 0 is no limit.
    pub(crate) memory_limit: u64,
}

/// A started process and our end of its socket.
pub(crate) struct Started {
    pub(crate) child: Child,
    pub(crate) socket: UnixStream,
}

type Order = (Recipe, oneshot::Sender<io::Result<Started>>);

/// Starts a process. All are started by one thread that never ends, because "dead with the host" is "dead with the
/// thread that started it" to the kernel.
pub(crate) async fn start(recipe: Recipe) -> io::Result<Started> {
    static STARTER: OnceLock<Option<mpsc::Sender<Order>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        let work = move || {
            for (recipe, answer) in orders {
                let _ = answer.send(start_here(&recipe));
            }
        };
        std::thread::Builder::new().name("plugin-starter".into()).spawn(work).ok().map(|_| sender)
    });
    let gone = || io::Error::other("the thread that starts processes is gone");
    let (sender, answer) = oneshot::channel();
    starter.as_ref().ok_or_else(gone)?.send((recipe, sender)).map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
}

fn start_here(recipe: &Recipe) -> io::Result<Started> {
    let (socket, theirs) = UnixStream::pair()?;
    let mut command = Command::new(&recipe.executable);
    command.args(&recipe.arguments).arg(SOCKET_ARGUMENT).arg(theirs.as_raw_fd().to_string()).env_clear();
    let names = ENVIRONMENT.iter().copied().chain(recipe.environment.iter().map(String::as_str));
    command.envs(names.filter_map(|name| std::env::var_os(name).map(|value| (name, value))));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (descriptor, host, memory_limit) = (theirs.as_raw_fd(), nix::unistd::getpid(), recipe.memory_limit);
    // SAFETY: the closure only makes system calls, which are allowed between fork and exec.
    unsafe { command.pre_exec(move || prepare(descriptor, host, memory_limit)) };
    let child = command.spawn()?;
    Ok(Started { child, socket })
}

/// Runs in the new process before it becomes the executable.
fn prepare(descriptor: RawFd, host: nix::unistd::Pid, memory_limit: u64) -> io::Result<()> {
    nix::unistd::setsid()?;
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    if nix::unistd::getppid() != host {
        return Err(io::Error::other("the host ended meanwhile"));
    }
    nix::sys::prctl::set_no_new_privs()?;
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0)?;
    if memory_limit > 0 {
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_AS, memory_limit, memory_limit)?;
    }
    keep_only(descriptor)
}

/// Closes everything at exec but the socket.
fn keep_only(descriptor: RawFd) -> io::Result<()> {
    const FIRST: libc::c_uint = 3;
    // SAFETY: a plain system call; kernels before 5.11 answer with an error, and Rust opens everything close-on-exec.
    unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    // SAFETY: a plain system call on our own descriptor.
    if unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
