//! Is a plugin process: loads one library and answers the host over the socket it was born with.
//!
//! The same executable is host and plugin process, so there is one artifact. Frames are read on one thread of the
//! runtime, plugin code runs inline on the other one or on threads of its own; a hang never stops the answers to pings.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::fd::FromRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::exit;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use plugin_api::code;
use prost::Message;
use proto::pinion::plugin::v1::{Frame, FrameKind, Hello, LogLevel, Welcome};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::config::{Interface, Limits};
use crate::fault::Fault;
use crate::guard::Guard;
use crate::lanes::Lanes;
use crate::link::{Receiver, Sender, link};
use crate::process::{PROTOCOL, SOCKET_ARGUMENT};
use crate::services::{Upstream, status};
use crate::transport::{InProcess, Reply, Transport};
use crate::watchdog::Watchdog;
use crate::{file, inspect, library};

/// Calls without a limit of their own get this one.
const LONGEST_CALL: Duration = Duration::from_secs(3600);

pub(crate) const PATH_ARGUMENT: &str = "--path";
pub(crate) const INTERFACE_ARGUMENT: &str = "--interface";
pub(crate) const MESSAGE_LIMIT_ARGUMENT: &str = "--message-limit";

/// Runs a plugin process and never returns. `arguments` are those after the ones in `runner.arguments`.
///
/// The binary calls this first thing when it is started as a plugin process: before a runtime, logging or configuration.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ! {
    let arguments = match Arguments::parse(arguments) {
        Ok(arguments) => arguments,
        Err(problem) => give_up(&problem),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("plugin-runner")
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let served = runtime.block_on(async { tokio::spawn(serve(arguments)).await });
            exit(if matches!(served, Ok(Ok(()))) { 0 } else { 1 })
        }
        Err(error) => give_up(&error.to_string()),
    }
}

fn give_up(problem: &str) -> ! {
    use std::io::Write;
    // The host logs what is written here.
    let _ = writeln!(std::io::stderr(), "a plugin process is started by the host, not by hand: {problem}");
    exit(2)
}

struct Arguments {
    path: PathBuf,
    interface: Option<Interface>,
    message_limit: usize,
    socket: UnixStream,
}

impl Arguments {
    fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, String> {
        let mut found: HashMap<String, OsString> = HashMap::new();
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{} needs a value", name.display()))?;
            found.insert(name.to_string_lossy().into_owned(), value);
        }
        let text = |name: &str| found.get(name).map(|value| value.to_string_lossy().into_owned());
        let path = found.get(PATH_ARGUMENT).map(PathBuf::from).ok_or("no --path")?;
        let interface = match text(INTERFACE_ARGUMENT).as_deref() {
            None => None,
            Some("abi-stable") => Some(Interface::AbiStable),
            Some("c") => Some(Interface::C),
            Some(other) => return Err(format!("unknown interface {other}")),
        };
        let message_limit = text(MESSAGE_LIMIT_ARGUMENT).and_then(|limit| limit.parse().ok());
        let socket = text(SOCKET_ARGUMENT).and_then(|number| number.parse().ok()).ok_or("no --socket")?;
        Ok(Self {
            path,
            interface,
            message_limit: message_limit.unwrap_or(64 << 20),
            socket: take_socket(socket)?,
        })
    }
}

#[allow(unsafe_code, reason = "a descriptor arrives as a number")]
fn take_socket(number: i32) -> Result<UnixStream, String> {
    if number < 3 {
        return Err(format!("{number} is no socket"));
    }
    // SAFETY: the host opened this descriptor for us, and nothing else in this process knows its number.
    Ok(unsafe { UnixStream::from_raw_fd(number) })
}

async fn serve(arguments: Arguments) -> Result<(), String> {
    let (sender, mut receiver) =
        link(arguments.socket, arguments.message_limit).map_err(|error| error.to_string())?;
    let mut tasks = JoinSet::new();
    let flusher = sender.clone();
    tasks.spawn(async move { flusher.flush_for_ever().await });
    let limits = Limits::default();
    let lanes = Lanes::new("plugin".into(), usize::try_from(limits.threads).unwrap_or(4));
    let host = Arc::new(Host::new(sender.clone(), lanes.clone()));
    let loaded = load(arguments.path, arguments.interface, Arc::clone(&host));
    let (plugin, metadata_json) = match loaded {
        Ok(loaded) => loaded,
        Err(problem) => {
            let body = status(code::FAILED_PRECONDITION, "LoadFailed", problem.clone()).encode_to_vec();
            let status = code::FAILED_PRECONDITION;
            sender.send(&Frame { kind: FrameKind::Hello.into(), status, body, ..Frame::default() });
            return Err(problem);
        }
    };
    let runtime = Handle::current();
    let watchdog = Watchdog::of(&runtime);
    let guard = Guard::new(runtime, lanes, &watchdog, limits.poll_budget.get());
    let plugin = Arc::new(InProcess::new(plugin, guard, usize::MAX));
    let hello = Hello { protocol: PROTOCOL, metadata_json, pid: std::process::id() }.encode_to_vec();
    sender.send(&Frame { kind: FrameKind::Hello.into(), body: hello, ..Frame::default() });
    Process { plugin, host, sender, calls: Arc::default() }.serve(&mut receiver).await
}

/// Opens the library. Blocking is fine: nothing else happens in this process yet.
fn load(
    path: PathBuf,
    interface: Option<Interface>,
    host: Arc<Host>,
) -> Result<(Arc<dyn library::Library>, String), String> {
    let bytes = file::read(&path).map_err(|refusal| refusal.to_string())?;
    let metadata = inspect::metadata(&bytes).map_err(|refusal| refusal.to_string())?;
    drop(bytes);
    let library = library::open(&path, &metadata, interface, host).map_err(|refusal| refusal.to_string())?;
    let json = serde_json::to_string(&metadata).map_err(|error| error.to_string())?;
    Ok((library, json))
}

struct Process {
    plugin: Arc<InProcess>,
    host: Arc<Host>,
    sender: Sender,
    calls: Arc<Mutex<HashMap<u64, oneshot::Sender<()>>>>,
}

impl Process {
    async fn serve(self, receiver: &mut Receiver) -> Result<(), String> {
        let mut tasks = JoinSet::new();
        while let Some(frame) = receiver.receive().await.map_err(|error| error.to_string())? {
            match frame.kind() {
                FrameKind::Welcome => {
                    let welcome =
                        Welcome::decode(frame.body.as_slice()).map_err(|error| error.to_string())?;
                    self.host.level.store(welcome.log_level, Ordering::Relaxed);
                }
                FrameKind::LogLevel => {
                    self.host.level.store(i32::try_from(frame.method).unwrap_or(0), Ordering::Relaxed);
                }
                FrameKind::Call => self.start(frame, &mut tasks),
                // Dropping the sender is the signal.
                FrameKind::Cancel => drop(lock(&self.calls).remove(&frame.id)),
                FrameKind::Reply => self.host.answered(frame),
                FrameKind::Ping => {
                    self.sender.send(&Frame {
                        id: frame.id,
                        kind: FrameKind::Pong.into(),
                        ..Frame::default()
                    });
                }
                _ => {}
            }
            while tasks.try_join_next().is_some() {}
        }
        Ok(())
    }

    fn start(&self, frame: Frame, tasks: &mut JoinSet<()>) {
        let (plugin, sender, calls) =
            (Arc::clone(&self.plugin), self.sender.clone(), Arc::clone(&self.calls));
        let (cancel, cancelled) = oneshot::channel();
        lock(&self.calls).insert(frame.id, cancel);
        tasks.spawn(async move {
            // The host cuts at the deadline; here a call only must not stay for ever.
            let limit = Duration::from_millis(frame.deadline_ms).saturating_mul(2).min(LONGEST_CALL);
            let limit = if limit.is_zero() { LONGEST_CALL } else { limit };
            let reply = tokio::select! {
                reply = plugin.call(frame.method, frame.body, limit) => Some(reply),
                _ = cancelled => None,
            };
            lock(&calls).remove(&frame.id);
            let reply = match reply {
                Some(Ok(reply)) => reply,
                Some(Err(fault)) => Err(status_of(&fault)),
                // No answer to a cancel means "a thread hangs in the plugin": the host then ends this process.
                None if plugin.lost() > 0 => return,
                None => Err(status(code::CANCELLED, "Cancelled", "the host no longer waits").encode_to_vec()),
            };
            sender.send(&crate::process::reply_frame(frame.id, reply));
        });
    }
}

fn status_of(fault: &Fault) -> Vec<u8> {
    let code = if matches!(fault, Fault::Timeout(_)) { code::DEADLINE_EXCEEDED } else { code::INTERNAL };
    status(code, fault.code(), fault.to_string()).encode_to_vec()
}

/// The host as the plugin of this process reaches it: over the socket.
struct Host {
    sender: Sender,
    lanes: Lanes,
    level: AtomicI32,
    next_id: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Reply>>>,
}

impl Host {
    fn new(sender: Sender, lanes: Lanes) -> Self {
        Self {
            sender,
            lanes,
            level: AtomicI32::new(LogLevel::Info.into()),
            next_id: AtomicU64::new(1),
            waiting: Mutex::default(),
        }
    }

    fn answered(&self, frame: Frame) {
        let waiting = lock(&self.waiting).remove(&frame.id);
        if let Some(waiting) = waiting {
            let _ = waiting.send(if frame.status == 0 { Ok(frame.body) } else { Err(frame.body) });
        }
    }
}

impl Upstream for Host {
    fn enabled(&self, level: u32) -> bool {
        i64::from(level) <= i64::from(self.level.load(Ordering::Relaxed))
    }

    fn emit(&self, kind: u32, payload: &[u8]) {
        let body = payload.to_vec();
        self.sender.send(&Frame { kind: FrameKind::Emit.into(), method: kind, body, ..Frame::default() });
    }

    fn call(&self, method: u32, request: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, Vec<u8>>> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        lock(&self.waiting).insert(id, sender);
        self.sender.send(&Frame {
            id,
            kind: FrameKind::Call.into(),
            method,
            body: request,
            ..Frame::default()
        });
        Box::pin(async move {
            answer.await.unwrap_or_else(|_| {
                Err(status(code::UNAVAILABLE, "HostGone", "the host is gone").encode_to_vec())
            })
        })
    }

    fn spawn(&self, work: BoxFuture<'static, ()>) {
        self.lanes.detach(work);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
