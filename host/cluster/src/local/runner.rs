//! Runs one pod from its admission to its end: init containers, sidecars, containers, and what a kubelet says of them.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use jiff::Timestamp;
use nix::{errno::Errno, sys::signal::Signal};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    argv,
    environment::{environment, find_program},
    link::{News, Process},
    memory::Watch,
    pod::Container,
    protocol::{Exit, Launch},
    record::Record,
    room::Room,
    status::{ContainerState, Terminated},
};

/// What is kept of the log of a failed container as its termination message, as by a kubelet.
const MESSAGE_BYTES: u64 = 2048;

/// Exit code of a container whose command was not found, and of one that could not be started otherwise.
const NOT_FOUND: i32 = 127;
const NOT_STARTED: i32 = 128;

/// The host went away under the pod. Also found at the start of the next host.
pub(crate) const SHUTDOWN: (&str, &str) = ("Shutdown", "the host stopped while this pod was running");

/// Runs the pod to its end.
pub(crate) async fn run(room: &Arc<Room>, record: &Arc<Record>) {
    let run = Run { room, record, stop: record.end.child_token() };
    record.admitted(room);
    let all = run.containers();
    match record.pod.deadline {
        None => all.await,
        Some(deadline) => {
            tokio::pin!(all);
            if timeout(deadline, &mut all).await.is_err() {
                record.fail(
                    "DeadlineExceeded",
                    "the pod was active for longer than spec.activeDeadlineSeconds",
                );
                run.stop.cancel();
                all.await;
            }
        }
    }
    // Usually the end of the last container has settled it; a pod that was stopped half-way has not.
    record.update(room, |progress| progress.settle(&record.pod, true));
}

/// Removes the working directories of a pod that succeeded.
pub(crate) fn clean_up(room: &Room, record: &Record) {
    let pod = &record.pod;
    if record.phase() == "Failed" || room.config.keep_work {
        return;
    }
    for container in pod.all() {
        room.yard.return_work(&pod.namespace, &pod.name, &container.name);
    }
}

/// A pod on its way.
struct Run<'a> {
    room: &'a Arc<Room>,
    record: &'a Arc<Record>,
    /// Ends the pod: it was deleted, or its deadline has passed.
    stop: CancellationToken,
}

impl Run<'_> {
    async fn containers(&self) {
        let pod = &self.record.pod;
        let sidecars_stop = self.stop.child_token();
        let mut sidecars = Vec::new();
        for (idx, container) in pod.init.iter().enumerate() {
            if container.sidecar {
                match self.start(idx, container).await {
                    Some(running) => sidecars.push(running),
                    None => return self.wait_for_sidecars(sidecars, &sidecars_stop).await,
                }
            } else if !self.container(idx, container).await {
                return self.wait_for_sidecars(sidecars, &sidecars_stop).await;
            }
        }
        let first = pod.init.len();
        let mains =
            pod.containers.iter().enumerate().map(|(idx, container)| self.container(first + idx, container));
        let mains = async {
            join_all(mains).await;
            sidecars_stop.cancel();
        };
        let sidecars = join_all(sidecars.into_iter().map(|running| self.wait(running, &sidecars_stop)));
        tokio::join!(mains, sidecars);
    }

    async fn wait_for_sidecars(&self, sidecars: Vec<Running>, stop: &CancellationToken) {
        stop.cancel();
        join_all(sidecars.into_iter().map(|running| self.wait(running, stop))).await;
    }

    /// Runs a container to its end and tells whether it succeeded.
    async fn container(&self, idx: usize, container: &Container) -> bool {
        match self.start(idx, container).await {
            Some(running) => self.wait(running, &self.stop).await,
            None => false,
        }
    }

    /// Starts the process of a container. One that cannot start has ended.
    async fn start(&self, idx: usize, container: &Container) -> Option<Running> {
        if self.stop.is_cancelled() {
            return None;
        }
        let asked = Instant::now();
        let (launch, scratch) = match self.prepare(container) {
            Ok(prepared) => prepared,
            Err((code, message)) => {
                self.could_not_run(idx, code, message);
                return None;
            }
        };
        let program = launch.program.clone();
        match self.room.start(launch).await {
            Ok((process, pid, warm)) => {
                metrics::histogram!("pinion_local_start_seconds", "warm" => if warm.is_some() { "true" } else { "false" })
                    .record(asked.elapsed().as_secs_f64());
                let since = Timestamp::now();
                tracing::debug!(pod = %self.record.pod.name, container = %container.name, pid, warm = warm.is_some(), "started");
                self.record.update(self.room, |progress| {
                    progress.phase = "Running";
                    progress.states[idx] = ContainerState::Running { since };
                });
                let over_limit = Arc::new(AtomicBool::new(false));
                let watch = container
                    .memory_limit
                    .filter(|_| self.room.config.enforce_memory_limits)
                    .map(|limit| self.room.memory.watch(process.id, pid, limit, Arc::clone(&over_limit)));
                Some(Running { idx, process, since, scratch, over_limit, _watch: watch, warm })
            }
            Err(StartError::Lost) => {
                self.record.fail(SHUTDOWN.0, SHUTDOWN.1);
                self.stop.cancel();
                None
            }
            Err(StartError::Failed { errno, reason }) => {
                let code = if errno == Errno::ENOENT as i32 { NOT_FOUND } else { NOT_STARTED };
                self.could_not_run(idx, code, format!("cannot start {program}: {reason}"));
                None
            }
        }
    }

    /// Makes the directories of a container and works out its command line.
    fn prepare(&self, container: &Container) -> Result<(Launch, PathBuf), (i32, String)> {
        let (pod, room) = (&self.record.pod, self.room);
        let Some(name) = container.argv.first() else {
            let why = "the container has no command, and the local cluster does not know that of its image";
            return Err((NOT_FOUND, why.to_owned()));
        };
        let lent = room.yard.lend(&pod.namespace, &pod.name, &container.name);
        let places = lent.map_err(|error| (NOT_STARTED, format!("cannot make its directories: {error}")))?;
        let env = environment(&room.config, &room.common_env, pod, container, &places);
        let program = find_program(name, &env, &places.work, &container.image)
            .map_err(|message| (NOT_FOUND, message))?;
        let mut argv = container.argv.clone();
        argv::localize(&mut argv);
        let launch = Launch {
            id: 0,
            program: program.to_string_lossy().into_owned(),
            argv,
            env,
            cwd: places.work.to_string_lossy().into_owned(),
            log: room.files.log(&pod.namespace, &pod.name, &container.name).to_string_lossy().into_owned(),
        };
        Ok((launch, places.scratch))
    }

    fn could_not_run(&self, idx: usize, exit_code: i32, message: String) {
        let now = Timestamp::now();
        let reason = "ContainerCannotRun";
        let ended = Terminated { exit_code, signal: 0, reason, message, started: now, finished: now };
        self.ended(idx, ended);
    }

    /// Waits for the end of a process, bringing it about if `stop` asks for it. Tells whether it succeeded.
    async fn wait(&self, mut running: Running, stop: &CancellationToken) -> bool {
        let Some(exit) = self.exit(&mut running.process, stop).await else {
            self.record.fail(SHUTDOWN.0, SHUTDOWN.1);
            self.stop.cancel();
            return false;
        };
        let over_limit = running.over_limit.load(Ordering::Relaxed);
        let ours = over_limit || stop.is_cancelled();
        let exit = running.warm.take().map_or(exit, |warm| warm.ended(exit, ours));
        let machine_full =
            exit.signal == libc::SIGKILL && !stop.is_cancelled() && self.room.memory.kernel_killed();
        let reason = match exit.code {
            0 => "Completed",
            _ if over_limit || machine_full => "OOMKilled",
            _ => "Error",
        };
        let exit_code = if reason == "OOMKilled" { 137 } else { exit.code };
        let ended = Terminated {
            exit_code,
            signal: exit.signal,
            reason,
            message: self.message(running.idx, exit_code, over_limit),
            started: running.since,
            finished: Timestamp::now(),
        };
        self.ended(running.idx, ended);
        self.room.yard.return_scratch(running.scratch);
        exit_code == 0
    }

    /// `None` if the supervisor died, and the process with it.
    async fn exit(&self, process: &mut Process, stop: &CancellationToken) -> Option<Exit> {
        tokio::select! {
            biased;
            exit = last_news(process) => return exit,
            () = stop.cancelled() => {}
        }
        let grace = self.record.pod.grace.unwrap_or(self.room.config.grace()).min(self.room.longest_grace());
        if grace > Duration::ZERO {
            process.kill(Signal::SIGTERM);
            tokio::select! {
                exit = last_news(process) => return exit,
                () = sleep(grace) => {}
                () = self.room.out_of_patience() => {}
            }
        }
        process.kill(Signal::SIGKILL);
        last_news(process).await
    }

    fn message(&self, idx: usize, exit_code: i32, over_limit: bool) -> String {
        let (pod, Some(container)) = (&self.record.pod, self.record.pod.all().nth(idx)) else {
            return String::new();
        };
        if over_limit {
            let limit = container.memory_limit.unwrap_or_default() >> 20;
            return format!("the container used more memory than its limit of {limit} MiB");
        }
        if exit_code == 0 {
            return String::new();
        }
        self.room
            .files
            .log_tail(&self.room.files.log(&pod.namespace, &pod.name, &container.name), MESSAGE_BYTES)
    }

    fn ended(&self, idx: usize, ended: Terminated) {
        let pod = &self.record.pod;
        tracing::debug!(pod = %pod.name, exit_code = ended.exit_code, reason = ended.reason, "container ended");
        self.record.update(self.room, |progress| {
            progress.states[idx] = ContainerState::Terminated(ended);
            progress.settle(pod, false);
        });
    }
}

/// A container whose process runs.
struct Running {
    idx: usize,
    process: Process,
    since: Timestamp,
    scratch: PathBuf,
    over_limit: Arc<AtomicBool>,
    _watch: Option<Watch>,
    /// How it was started, if a warm parent did.
    warm: Option<super::warm::Forked>,
}

/// Why a process did not start.
#[derive(Debug)]
pub(crate) enum StartError {
    /// The supervisor died.
    Lost,
    /// The system refused.
    Failed { errno: i32, reason: String },
}

/// Waits until the process is known to run.
pub(crate) async fn started(process: &mut Process) -> Result<i32, StartError> {
    loop {
        match process.news().await {
            News::Started(pid) => return Ok(pid),
            News::Failed { errno, reason } => return Err(StartError::Failed { errno, reason }),
            News::Lost => return Err(StartError::Lost),
            News::Exited(_) | News::Report(_) => {}
        }
    }
}

async fn last_news(process: &mut Process) -> Option<Exit> {
    loop {
        match process.news().await {
            News::Exited(exit) => return Some(exit),
            News::Lost => return None,
            News::Started(_) | News::Failed { .. } | News::Report(_) => {}
        }
    }
}
