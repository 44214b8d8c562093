//! Is one running plugin process: its socket, the calls that wait for answers, and its end.

use std::collections::HashMap;
use std::io;
use std::process::Child;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use plugin_api::code;
use prost::Message;
use proto::pinion::plugin::v1::{Frame, FrameKind, Hello, LogLevel, Status, Welcome};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::end::{End, reap};
use super::output::Output;
use super::{PROTOCOL, Plan, spawn};
use crate::fault::Fault;
use crate::link::{Receiver, Sender, link};
use crate::services::Upstream;

type Reply = Result<Vec<u8>, Vec<u8>>;

/// One running plugin process. Dropping it kills the process.
pub(super) struct Connection {
    shared: Arc<Shared>,
    cancel_grace: Duration,
    /// Reader, flusher, output and service calls; they end with the connection.
    _tasks: JoinSet<()>,
}

struct Shared {
    group: Pid,
    sender: Sender,
    next_id: AtomicU64,
    /// None once the process is gone.
    waiting: Mutex<Option<HashMap<u64, oneshot::Sender<Reply>>>>,
    end: OnceLock<End>,
    upstream: Arc<dyn Upstream>,
}

impl Connection {
    /// Starts a process and waits for its Hello.
    pub(super) async fn open(plan: &Plan) -> Result<Self, Fault> {
        let failed = |error: io::Error| Fault::Crashed {
            signal: None,
            reason: format!("cannot start {}: {error}", plan.recipe.executable.display()),
        };
        let mut started = spawn::start(plan.recipe.clone()).await.map_err(failed)?;
        let (sender, mut receiver) = link(started.socket, plan.message_limit).map_err(failed)?;
        let group = Pid::from_raw(i32::try_from(started.child.id()).unwrap_or(0));
        let shared = Arc::new(Shared {
            group,
            sender,
            next_id: AtomicU64::new(1),
            waiting: Mutex::new(Some(HashMap::new())),
            end: OnceLock::new(),
            upstream: Arc::clone(&plan.upstream),
        });
        let mut tasks = JoinSet::new();
        let output =
            [started.child.stdout.take().map(Output::Out), started.child.stderr.take().map(Output::Err)];
        for output in output.into_iter().flatten() {
            let upstream = Arc::clone(&plan.upstream);
            tasks.spawn_on(async move { output.log(&*upstream).await }, &plan.runtime);
        }
        let hello = timeout(plan.start_timeout, receiver.receive()).await;
        let guilty = match hello {
            Ok(Ok(Some(frame))) => check_hello(&frame, plan).err(),
            Ok(Ok(None)) => Some("it ended before it said hello".to_owned()),
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("it did not say hello within {:?}", plan.start_timeout)),
        };
        if let Some(reason) = guilty {
            let end = reap(started.child, group).await;
            return Err(Fault::Crashed { signal: end.signal, reason: format!("{reason}; {}", end.reason) });
        }
        let welcome = Welcome {
            protocol: PROTOCOL,
            host_version: env!("CARGO_PKG_VERSION").into(),
            log_level: level_of(&*plan.upstream).into(),
        };
        shared.send(FrameKind::Welcome, 0, 0, welcome.encode_to_vec());
        let flusher = shared.sender.clone();
        tasks.spawn_on(async move { flusher.flush_for_ever().await }, &plan.runtime);
        let serving = Arc::clone(&shared);
        tasks.spawn_on(async move { serving.serve(receiver, started.child).await }, &plan.runtime);
        Ok(Self { shared, cancel_grace: plan.cancel_grace, _tasks: tasks })
    }

    /// How the process ended, if it did.
    pub(super) fn ended(&self) -> Option<&End> {
        self.shared.end.get()
    }

    /// Calls a method and waits for the answer, at most for `limit`.
    pub(super) async fn call(&self, method: u32, body: Vec<u8>, limit: Duration) -> Result<Reply, Fault> {
        let mut call = self.shared.start(method, body, limit)?;
        match timeout(limit, &mut call.answer).await {
            Ok(Ok(reply)) => {
                call.ended = true;
                Ok(reply)
            }
            Ok(Err(_)) => Err(self.shared.end().into()),
            Err(_) => {
                self.cancel(call);
                Err(Fault::Timeout(limit))
            }
        }
    }

    /// Cancels a call; a process that does not answer that in time is killed.
    fn cancel(&self, mut call: Call) {
        call.cancel();
        call.ended = true;
        let (shared, grace) = (Arc::clone(&self.shared), self.cancel_grace);
        // Ends by itself after the grace; it must outlive the caller, who may be gone by then.
        tokio::spawn(async move {
            if timeout(grace, &mut call.answer).await.is_err() {
                shared.kill("a call hung in it past its deadline, so it was killed");
            }
        });
    }

    pub(super) fn kill(&self) {
        self.shared.kill("the host ended it");
    }

    /// Waits for an answer of the process itself; no code of the plugin is needed for it.
    pub(super) async fn ping(&self, limit: Duration) -> Result<(), Fault> {
        let mut call = self.shared.wait()?;
        call.ended = true;
        self.shared.send(FrameKind::Ping, call.id, 0, Vec::new());
        match timeout(limit, &mut call.answer).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(self.shared.end().into()),
            Err(_) => Err(Fault::Timeout(limit)),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Shared {
    fn start(self: &Arc<Self>, method: u32, body: Vec<u8>, limit: Duration) -> Result<Call, Fault> {
        let call = self.wait()?;
        let deadline_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1);
        let kind = FrameKind::Call.into();
        self.sender.send(&Frame { id: call.id, kind, method, body, deadline_ms, status: 0 });
        Ok(call)
    }

    /// Makes a place for an answer.
    fn wait(self: &Arc<Self>) -> Result<Call, Fault> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        match self.lock().as_mut() {
            Some(waiting) => waiting.insert(id, sender),
            None => return Err(self.end().into()),
        };
        Ok(Call { shared: Arc::clone(self), id, answer, ended: false })
    }

    fn send(&self, kind: FrameKind, id: u64, method: u32, body: Vec<u8>) {
        self.sender.send(&Frame { id, kind: kind.into(), method, body, ..Frame::default() });
    }

    /// Reads frames until the process is gone, then fails what waits.
    async fn serve(self: Arc<Self>, mut receiver: Receiver, child: Child) {
        let mut services = JoinSet::new();
        let mut problem = None;
        loop {
            match receiver.receive().await {
                Ok(Some(frame)) => self.take(frame, &mut services),
                Ok(None) => break,
                Err(error) => {
                    problem = Some(error.to_string());
                    break;
                }
            }
            while services.try_join_next().is_some() {}
        }
        let mut end = reap(child, self.group).await;
        if let Some(problem) = problem {
            end.reason = format!("it broke the protocol: {problem}");
        }
        let _ = self.end.set(end);
        // Dropping the senders wakes every caller.
        self.lock().take();
    }

    fn take(self: &Arc<Self>, frame: Frame, services: &mut JoinSet<()>) {
        match frame.kind() {
            FrameKind::Reply | FrameKind::Pong => {
                let waiting = self.lock().as_mut().and_then(|waiting| waiting.remove(&frame.id));
                if let Some(waiting) = waiting {
                    let _ = waiting.send(if frame.status == 0 { Ok(frame.body) } else { Err(frame.body) });
                }
            }
            FrameKind::Call => {
                let shared = Arc::clone(self);
                services.spawn(async move {
                    let reply = shared.upstream.call(frame.method, frame.body).await;
                    shared.sender.send(&reply_frame(frame.id, reply));
                });
            }
            FrameKind::Emit => self.upstream.emit(frame.method, &frame.body),
            _ => {}
        }
    }

    /// Ends the process. Its calls fail at once, and nobody starts another one on it.
    fn kill(&self, reason: &str) {
        let end = End { signal: Some(Signal::SIGKILL as i32), reason: reason.to_owned() };
        if self.end.set(end).is_ok() {
            // The process leads its own session, so this also ends what the plugin started.
            let _ = killpg(self.group, Signal::SIGKILL);
            self.lock().take();
        }
    }

    fn end(&self) -> End {
        let unknown = || End { signal: None, reason: "its socket closed".into() };
        self.end.get().cloned().unwrap_or_else(unknown)
    }

    fn lock(&self) -> MutexGuard<'_, Option<HashMap<u64, oneshot::Sender<Reply>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that waits; dropping it cancels.
struct Call {
    shared: Arc<Shared>,
    id: u64,
    answer: oneshot::Receiver<Reply>,
    ended: bool,
}

impl Call {
    fn cancel(&self) {
        self.shared.send(FrameKind::Cancel, self.id, 0, Vec::new());
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.ended {
            self.cancel();
        }
        if let Some(waiting) = self.shared.lock().as_mut() {
            waiting.remove(&self.id);
        }
    }
}

/// The answer to a call with this id.
pub(crate) fn reply_frame(id: u64, reply: Reply) -> Frame {
    let (status, body) = match reply {
        Ok(body) => (0, body),
        Err(body) => {
            (Status::decode(body.as_slice()).map_or(code::INTERNAL, |status| status.code.max(1)), body)
        }
    };
    Frame { id, kind: FrameKind::Reply.into(), status, body, ..Frame::default() }
}

fn check_hello(frame: &Frame, plan: &Plan) -> Result<(), String> {
    if frame.kind() != FrameKind::Hello {
        return Err(format!("its first frame is {:?} instead of a hello", frame.kind()));
    }
    if frame.status != 0 {
        let status = Status::decode(frame.body.as_slice()).unwrap_or_default();
        return Err(status.message);
    }
    let hello = Hello::decode(frame.body.as_slice()).map_err(|error| error.to_string())?;
    if hello.protocol != PROTOCOL {
        return Err(format!("it speaks protocol {}, this host {PROTOCOL}", hello.protocol));
    }
    let metadata: serde_json::Value = serde_json::from_str(&hello.metadata_json).unwrap_or_default();
    if metadata != plan.metadata_json {
        return Err("it loaded another plugin than the one that was checked".into());
    }
    Ok(())
}

/// The most verbose level that is wanted.
fn level_of(upstream: &dyn Upstream) -> LogLevel {
    [LogLevel::Trace, LogLevel::Debug, LogLevel::Info, LogLevel::Warn, LogLevel::Error]
        .into_iter()
        .find(|level| upstream.enabled(*level as u32))
        .unwrap_or(LogLevel::Unspecified)
}
