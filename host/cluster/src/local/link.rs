//! Speaks with the supervisor process: starts it, sends it orders, hands its news to whoever waits for them, and
//! starts another if it dies.
//!
//! Orders are written by whoever gives them, not by a task of their own: with a busy machine each hop between tasks
//! costs as much as the start of a process.

use std::{
    collections::HashMap,
    fs::OpenOptions,
    io::{self, Write},
    os::{fd::OwnedFd, unix::net::UnixStream as StdStream},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    net::UnixStream,
    process::{Child, Command},
    sync::{Notify, mpsc},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    files::Files,
    protocol::{
        Exit, FromSupervisor, Launch, ParentReport, ProcessId, ToSupervisor, read_frame, write_frame,
    },
    supervisor::SUPERVISOR_COMMAND,
};
use crate::Error;

/// What there is to hear of a process.
#[derive(Debug)]
pub(crate) enum News {
    Started(i32),
    Failed {
        errno: i32,
        reason: String,
    },
    Exited(Exit),
    Report(ParentReport),
    /// The supervisor died, and with it everything that ran.
    Lost,
}

/// The host's end of the line to the supervisor.
#[derive(Clone)]
pub(crate) struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    orders: Mutex<Orders>,
    /// Tells the line that [`Orders::unsent`] is not empty.
    congested: Notify,
    listeners: Mutex<HashMap<ProcessId, mpsc::UnboundedSender<News>>>,
    next: AtomicU64,
}

/// The way to the supervisor.
#[derive(Default)]
struct Orders {
    /// `None` while there is no supervisor that takes orders.
    socket: Option<StdStream>,
    /// Orders for the next supervisor.
    waiting: Vec<ToSupervisor>,
    /// Framed orders that the socket did not take yet.
    unsent: Vec<u8>,
}

impl Orders {
    /// Writes what the socket takes. True if some is left.
    fn flush(&mut self) -> bool {
        let Some(socket) = &mut self.socket else { return false };
        let mut written = 0;
        while written < self.unsent.len() {
            match socket.write(&self.unsent[written..]) {
                Ok(n) => written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Whatever else is wrong with the socket, its reader will find out.
                Err(_) => break,
            }
        }
        self.unsent.drain(..written);
        !self.unsent.is_empty()
    }
}

impl Shared {
    fn listeners(&self) -> MutexGuard<'_, HashMap<ProcessId, mpsc::UnboundedSender<News>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process that was asked for.
pub(crate) struct Process {
    pub id: ProcessId,
    link: Link,
    news: mpsc::UnboundedReceiver<News>,
}

impl Process {
    /// The next thing that happens to the process. After an end of any kind there is nothing but `Lost`.
    pub(crate) async fn news(&mut self) -> News {
        self.news.recv().await.unwrap_or(News::Lost)
    }

    /// Signals the process, its group and all its descendants.
    pub(crate) fn kill(&self, signal: nix::sys::signal::Signal) {
        self.link.kill(self.id, signal as i32);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.link.shared.listeners().remove(&self.id);
    }
}

impl Link {
    /// A line that nobody serves yet: orders wait until the returned [`Line`] runs.
    pub(crate) fn new() -> (Link, Line) {
        let shared = Shared {
            orders: Mutex::default(),
            congested: Notify::new(),
            listeners: Mutex::default(),
            next: AtomicU64::new(1),
        };
        let link = Link { shared: Arc::new(shared) };
        (link.clone(), Line { link })
    }

    /// Starts a process; `Started` or `Failed` follows as news.
    pub(crate) fn spawn(&self, launch: Launch) -> Process {
        self.ask(launch, ToSupervisor::Spawn)
    }

    /// Starts a warm parent; a `Report` follows `Started`.
    pub(crate) fn spawn_parent(&self, launch: Launch) -> Process {
        self.ask(launch, ToSupervisor::Parent)
    }

    /// Has a warm parent fork a process; `Started` or `Failed` follows as news.
    pub(crate) fn fork(&self, parent: ProcessId, launch: Launch) -> Process {
        self.ask(launch, |launch| ToSupervisor::Fork { parent, launch })
    }

    /// Has a warm parent end once its children have.
    pub(crate) fn retire(&self, parent: ProcessId) {
        self.order(ToSupervisor::Retire { parent });
    }

    pub(crate) fn kill(&self, id: ProcessId, signal: i32) {
        self.order(ToSupervisor::Kill { id, signal });
    }

    fn ask(&self, mut launch: Launch, order: impl FnOnce(Launch) -> ToSupervisor) -> Process {
        let id = self.shared.next.fetch_add(1, Ordering::Relaxed);
        launch.id = id;
        let (sender, news) = mpsc::unbounded_channel();
        self.shared.listeners().insert(id, sender);
        self.order(order(launch));
        Process { id, link: self.clone(), news }
    }

    fn order(&self, order: ToSupervisor) {
        let mut orders = self.shared.orders();
        if orders.socket.is_none() {
            return orders.waiting.push(order);
        }
        write_frame(&mut orders.unsent, &order);
        if orders.flush() {
            self.shared.congested.notify_one();
        }
    }

    /// Opens the way to a supervisor that takes orders, for those that have waited first.
    fn open(&self, socket: StdStream) {
        let mut orders = self.shared.orders();
        orders.socket = Some(socket);
        let Orders { waiting, unsent, .. } = &mut *orders;
        for order in waiting.drain(..) {
            let start = match &order {
                ToSupervisor::Spawn(launch)
                | ToSupervisor::Parent(launch)
                | ToSupervisor::Fork { launch, .. } => Some(launch.id),
                ToSupervisor::Kill { .. } | ToSupervisor::Retire { .. } => None,
            };
            // Whoever has given up meanwhile would not hear of the process.
            if start.is_none_or(|id| self.shared.listeners().contains_key(&id)) {
                write_frame(unsent, &order);
            }
        }
        if orders.flush() {
            self.shared.congested.notify_one();
        }
    }

    /// Closes the way. What was ordered and not done is lost, and whoever waits for it is told so.
    fn close(&self) -> usize {
        *self.shared.orders() = Orders::default();
        let listeners = std::mem::take(&mut *self.shared.listeners());
        for listener in listeners.values() {
            let _ = listener.send(News::Lost);
        }
        listeners.len()
    }

    fn tell(&self, id: ProcessId, news: News) {
        if let Some(listener) = self.shared.listeners().get(&id) {
            let _ = listener.send(news);
        }
    }
}

/// The working side of a [`Link`].
pub(crate) struct Line {
    link: Link,
}

impl Line {
    /// Keeps a supervisor running until `stop`, and then waits until it has ended everything.
    pub(crate) async fn run(
        self,
        program: Option<PathBuf>,
        files: Files,
        first: Supervisor,
        stop: CancellationToken,
    ) {
        let mut next = Some(first);
        let mut pause = Duration::from_millis(50);
        while !stop.is_cancelled() {
            let supervisor = match next.take() {
                Some(supervisor) => Ok(supervisor),
                None => Supervisor::start(program.as_deref(), &files),
            };
            match supervisor {
                Ok(supervisor) => {
                    let mut child = self.serve(supervisor, &stop).await;
                    // It ends everything before it ends itself, which takes as long as the kernel needs.
                    let _ = timeout(Duration::from_secs(30), child.wait()).await;
                    let lost = self.link.close();
                    if !stop.is_cancelled() {
                        tracing::error!(lost, "the supervisor of the local cluster died; starting another");
                    }
                }
                Err(error) => {
                    tracing::error!(error = %error, "cannot start the supervisor of the local cluster")
                }
            }
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(Duration::from_secs(5)),
                () = stop.cancelled() => {}
            }
        }
        self.link.close();
    }

    /// Passes news until the supervisor is gone or the host stops. Returns with the socket closed.
    async fn serve(&self, supervisor: Supervisor, stop: &CancellationToken) -> Child {
        let Supervisor { child, mut stream, writer } = supervisor;
        let mut writer = Some(writer);
        let mut inbox = Vec::with_capacity(16 * 1024);
        let waiting = sleep(Duration::from_secs(3));
        tokio::pin!(waiting);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = &mut waiting, if writer.is_some() && !waiting.is_elapsed() => {
                    tracing::warn!("another supervisor still works in this directory; waiting for its end");
                }
                () = self.link.shared.congested.notified() => {
                    while self.link.shared.orders().flush() {
                        if stream.writable().await.is_err() {
                            break;
                        }
                    }
                }
                read = stream.read_buf(&mut inbox) => {
                    if !matches!(read, Ok(n) if n > 0) || !self.hear_all(&mut inbox, &mut writer) {
                        break;
                    }
                }
            }
        }
        // With both ends dropped the supervisor sees the end of the line.
        self.link.shared.orders().socket = None;
        child
    }

    /// Passes on the whole messages that have arrived. False if they make no sense.
    fn hear_all(&self, inbox: &mut Vec<u8>, writer: &mut Option<StdStream>) -> bool {
        loop {
            match read_frame::<FromSupervisor>(inbox) {
                Ok(Some(FromSupervisor::Ready { pid })) => {
                    tracing::debug!(pid, "the supervisor of the local cluster is ready");
                    if let Some(writer) = writer.take() {
                        self.link.open(writer);
                    }
                }
                Ok(Some(message)) => self.hear(message),
                Ok(None) => return true,
                Err(error) => {
                    tracing::error!(error = %error, "the supervisor cannot be understood");
                    return false;
                }
            }
        }
    }

    fn hear(&self, message: FromSupervisor) {
        match message {
            FromSupervisor::Ready { .. } => {}
            FromSupervisor::Started { id, pid } => self.link.tell(id, News::Started(pid)),
            FromSupervisor::Failed { id, errno, reason } => {
                self.link.tell(id, News::Failed { errno, reason })
            }
            FromSupervisor::Exited { id, exit } => self.link.tell(id, News::Exited(exit)),
            FromSupervisor::Report { parent, report } => self.link.tell(parent, News::Report(report)),
        }
    }
}

/// A supervisor process and the socket to it.
pub(crate) struct Supervisor {
    child: Child,
    stream: UnixStream,
    /// The same socket, for those who give orders.
    writer: StdStream,
}

impl Supervisor {
    /// Starts the executable as supervisor; the running one if none is named.
    pub(crate) fn start(program: Option<&Path>, files: &Files) -> Result<Supervisor, Error> {
        // Not the path of the running executable: after an upgrade in place that would be another version.
        let program = program.unwrap_or(Path::new("/proc/self/exe"));
        let start = || -> io::Result<Supervisor> {
            let (ours, theirs) = StdStream::pair()?;
            ours.set_nonblocking(true)?;
            let writer = ours.try_clone()?;
            let log = OpenOptions::new().append(true).create(true).open(files.supervisor_log())?;
            let child = Command::new(program)
                .arg0("pinion")
                .arg(SUPERVISOR_COMMAND)
                .arg(files.root())
                .stdin(Stdio::from(OwnedFd::from(theirs)))
                .stdout(Stdio::null())
                .stderr(Stdio::from(log))
                .current_dir(files.root())
                .spawn()?;
            Ok(Supervisor { child, stream: UnixStream::from_std(ours)?, writer })
        };
        start().map_err(|source| Error::Supervisor { program: program.display().to_string(), source })
    }
}
