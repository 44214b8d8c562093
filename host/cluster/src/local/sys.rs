//! Makes the few system calls that have no safe wrapper: starting a process and reaping one.
#![allow(
    unsafe_code,
    reason = "clone, exec and wait4 have no safe equivalent with the options a supervisor needs"
)]

use std::{
    ffi::{CString, c_char, c_int, c_void},
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

use nix::{errno::Errno, unistd::Pid};

use super::protocol::Exit;

/// Room for the child between `clone` and `exec`: it only makes system calls.
const STACK_BYTES: usize = 64 * 1024;

/// A process to be started.
pub(super) struct Exec<'a> {
    pub program: CString,
    pub argv: Vec<CString>,
    /// `NAME=value` each.
    pub env: Vec<CString>,
    pub cwd: CString,
    pub stdin: BorrowedFd<'a>,
    /// Becomes standard output and standard error.
    pub output: BorrowedFd<'a>,
    /// Becomes descriptor 3.
    pub channel: Option<BorrowedFd<'a>>,
    /// Whether the kernel kills it when the caller dies. Its orphans then become its own children, as below the
    /// first process of a container, so that they end up with the caller only after it ended.
    pub contained: bool,
}

/// What the child reads and writes; it shares the caller's memory until it execs.
struct Shared {
    program: *const c_char,
    argv: *const *const c_char,
    env: *const *const c_char,
    cwd: *const c_char,
    stdin: c_int,
    output: c_int,
    channel: c_int,
    contained: bool,
    caller: libc::pid_t,
    step: &'static str,
    errno: c_int,
}

/// Starts a process in a session of its own and waits (microseconds) until it has become the program.
///
/// Like `posix_spawn` it borrows the caller's memory instead of copying it, so its price does not grow with the
/// caller. The caller must be single-threaded: the kernel ties the parent-death signal to the calling thread.
pub(super) fn exec(request: &Exec<'_>) -> Result<Pid, (&'static str, Errno)> {
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
    };
    let (argv, env) = (pointers(&request.argv), pointers(&request.env));
    let mut shared = Shared {
        program: request.program.as_ptr(),
        argv: argv.as_ptr(),
        env: env.as_ptr(),
        cwd: request.cwd.as_ptr(),
        stdin: request.stdin.as_raw_fd(),
        output: request.output.as_raw_fd(),
        channel: request.channel.map_or(-1, |fd| fd.as_raw_fd()),
        contained: request.contained,
        caller: Pid::this().as_raw(),
        step: "",
        errno: 0,
    };
    let mut stack = vec![0u128; STACK_BYTES / 16];
    let argument: *mut Shared = &mut shared;
    // SAFETY: the stack is alive and aligned, and its end is one past the last element. CLONE_VFORK suspends this
    // thread until the child has called exec or _exit, so everything that `shared` points to outlives its use, and
    // the two never run at once on the shared memory.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(stack.len()).cast::<c_void>();
        libc::clone(child, top, libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD, argument.cast())
    };
    // SAFETY: the child wrote through the same pointer before this thread went on; see above.
    let (step, errno) = unsafe { ((*argument).step, (*argument).errno) };
    if pid < 0 {
        return Err(("clone", Errno::last()));
    }
    if errno != 0 {
        let failed = Errno::from_raw(errno);
        // The child is a zombie by now; nobody else knows it.
        let _ = nix::sys::wait::waitpid(Pid::from_raw(pid), None);
        return Err((step, failed));
    }
    Ok(Pid::from_raw(pid))
}

extern "C" fn child(argument: *mut c_void) -> c_int {
    // SAFETY: `exec` passes a valid `Shared` that lives until this function has left for the program or _exit, and
    // every pointer in it is a NUL-terminated string or a NULL-terminated array of such. Only system calls follow.
    unsafe {
        let shared = &mut *argument.cast::<Shared>();
        let step = prepare(shared);
        if step.is_empty() {
            libc::execve(shared.program, shared.argv, shared.env);
        }
        shared.step = if step.is_empty() { "exec" } else { step };
        shared.errno = match Errno::last_raw() {
            0 => libc::EINVAL,
            errno => errno,
        };
        libc::_exit(127)
    }
}

/// Turns the clone into a clean slate for the program. Returns the step that failed, or nothing.
///
/// # Safety
/// Must run in the child of [`exec`], with its `Shared`.
unsafe fn prepare(shared: &Shared) -> &'static str {
    // SAFETY: plain system calls on values and on strings that the caller vouches for.
    unsafe {
        if libc::setsid() < 0 {
            return "setsid";
        }
        if shared.contained {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
            if libc::getppid() != shared.caller {
                libc::_exit(127);
            }
        }
        // Exec resets handlers but keeps what is ignored, and Rust programs ignore SIGPIPE.
        for signal in [libc::SIGPIPE, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGHUP, libc::SIGCHLD]
        {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, ptr::null_mut());
        if libc::chdir(shared.cwd) < 0 {
            return "chdir";
        }
        // Descriptors 0 to 2 are never the source here: the supervisor keeps them on /dev/null or a log.
        if libc::dup2(shared.stdin, 0) < 0
            || libc::dup2(shared.output, 1) < 0
            || libc::dup2(shared.output, 2) < 0
        {
            return "dup2";
        }
        let mut first_to_close: libc::c_uint = 3;
        if shared.channel >= 0 {
            // dup2 onto itself would keep close-on-exec.
            if shared.channel == 3 {
                libc::fcntl(3, libc::F_SETFD, 0);
            } else if libc::dup2(shared.channel, 3) < 0 {
                return "dup2";
            }
            first_to_close = 4;
        }
        // Old kernels lack it; all descriptors of the supervisor are close-on-exec anyway.
        libc::syscall(libc::SYS_close_range, first_to_close, libc::c_uint::MAX, 0);
        ""
    }
}

/// Reaps one ended child, if there is one.
pub(super) fn reap() -> Result<Option<(Pid, Exit)>, Errno> {
    let mut status = 0;
    // SAFETY: an all-zero rusage is a valid value, and both out-pointers are to live locals.
    let (pid, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(-1, &mut status, libc::WNOHANG, &mut usage), usage)
    };
    match Errno::result(pid)? {
        0 => Ok(None),
        pid => {
            let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
            let cpu_seconds = seconds(usage.ru_utime) + seconds(usage.ru_stime);
            let max_rss = u64::try_from(usage.ru_maxrss).unwrap_or_default() * 1024;
            Ok(Some((Pid::from_raw(pid), Exit { cpu_seconds, max_rss, ..Exit::from_wait_status(status) })))
        }
    }
}

/// Makes a C string of text that may not contain NUL, naming it if it does.
pub(super) fn c_string(what: &'static str, text: &str) -> Result<CString, (&'static str, Errno)> {
    CString::new(text).map_err(|_| (what, Errno::EINVAL))
}
