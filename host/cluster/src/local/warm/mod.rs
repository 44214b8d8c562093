//! Keeps warm parents: processes that have imported what Python tasks need, and fork one child per attempt.
//!
//! What comes in is a command line that is about to be started; what goes out is either a process that a parent has
//! forked for it, or nothing, which means a cold start. A parent serves one environment: an interpreter, and the
//! values of all variables that were read while it imported. It never imports anything after its first fork. What
//! tasks import beyond that is learned, and the next generation of the parent imports it ahead, beside the old one,
//! which goes on until its successor is ready.
//!
//! Invariant: a command line is started once. If a parent has been asked to fork and does not answer, it is killed
//! first, and the supervisor confirms that the fork has not happened.

mod command;
mod forked;
mod learned;
mod parent;

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use nix::errno::Errno;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::forked::Forked;
use self::{
    command::{Command, Interpreter, Scripts},
    learned::{ByInterpreter, Learned},
    parent::{Parent, Readiness},
};
use super::{
    config::Config,
    files::Files,
    link::{Link, Process},
    protocol::Launch,
    runner::{StartError, started},
};
use crate::Error;

/// The scripts of the parents, which lie beside each other where they run.
const SCRIPTS: [(&str, &str); 4] = [
    (parent::SCRIPT, include_str!("parent.py")),
    ("child.py", include_str!("child.py")),
    ("unpack.py", include_str!("unpack.py")),
    ("embedded_s3.py", include_str!("embedded_s3.py")),
];

/// A parent that does not fork within this time hangs.
const FORK_PATIENCE: Duration = Duration::from_secs(10);

/// An environment that can not be warm is not tried again for so long.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// Least age of a parent that makes room for one which knows more.
const GENERATION: Duration = Duration::from_secs(15);

/// A parent that was not used for so long gets no successor.
const RECENTLY: Duration = Duration::from_secs(60);

/// How long to wait for more to learn when a task has ended.
const SETTLE: Duration = Duration::from_millis(500);

/// Time between two looks for parents to retire and things to learn.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The keeper of all parents.
#[derive(Clone)]
pub(crate) struct Keeper {
    shared: Arc<Shared>,
}

struct Shared {
    config: Arc<Config>,
    directory: PathBuf,
    scripts: Scripts,
    state: Mutex<State>,
    /// A task has ended and may have taught something.
    ended: Notify,
    serial: AtomicUsize,
    /// Follows each parent until its end.
    followers: TaskTracker,
}

#[derive(Default)]
struct State {
    parents: Vec<Arc<Parent>>,
    learned: ByInterpreter,
    /// Environments without a parent, and since when.
    hopeless: Vec<(Interpreter, Instant)>,
    /// Tasks that died in a way that may be due to the fork.
    cold_tasks: HashSet<String>,
}

impl Keeper {
    /// Writes the scripts down. Starts no parent: the first task does.
    pub(crate) fn new(config: Arc<Config>, files: &Files) -> Result<Keeper, Error> {
        let directory = files.warm();
        for (name, text) in SCRIPTS {
            let path = directory.join(name);
            fs::write(&path, text).map_err(|error| Error::io("write", &path, error))?;
        }
        let temporary = directory.join(parent::TEMPORARY);
        fs::create_dir_all(&temporary).map_err(|error| Error::io("create", &temporary, error))?;
        let shared = Shared {
            config,
            directory,
            scripts: Scripts::default(),
            state: Mutex::default(),
            ended: Notify::new(),
            serial: AtomicUsize::new(0),
            followers: TaskTracker::new(),
        };
        Ok(Keeper { shared: Arc::new(shared) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a warm parent fork the process, starting a parent if there is none yet. `None` if it has to start cold.
    pub(crate) async fn fork(
        &self,
        link: &Link,
        launch: &Launch,
    ) -> Result<Option<(Process, i32, Forked)>, StartError> {
        if !self.shared.config.warm.enabled {
            return Ok(None);
        }
        let Some(command) = self.shared.scripts.recognise(launch) else { return Ok(None) };
        let outcome = self.fork_command(link, launch, &command).await;
        match &outcome {
            Ok(Ok(_)) => metrics::counter!("pinion_local_warm_starts", "outcome" => "hit").increment(1),
            Ok(Err(reason)) => {
                metrics::counter!("pinion_local_warm_starts", "outcome" => "miss").increment(1);
                tracing::debug!(reason, program = %launch.program, "starting cold");
            }
            Err(_) => {}
        }
        outcome.map(Result::ok)
    }

    async fn fork_command(
        &self,
        link: &Link,
        launch: &Launch,
        command: &Command,
    ) -> Result<Result<(Process, i32, Forked), String>, StartError> {
        if self.state().cold_tasks.contains(&command.task) {
            return Ok(Err("an earlier attempt crashed in a warm child".to_owned()));
        }
        // Twice, because a parent can turn out to have read a variable that this task sets otherwise, or to be stale.
        for _ in 0..3 {
            let Some(parent) = self.parent_for(link, &command.interpreter, &launch.env) else {
                return Ok(Err("no parent can be kept for this environment".to_owned()));
            };
            let active =
                Forked { parent: Arc::clone(&parent), command: command.clone(), keeper: self.clone() };
            let patience =
                Duration::from_secs(self.shared.config.warm.wait).saturating_sub(parent.started.elapsed());
            match parent.ready(patience).await {
                Readiness::Ready if !parent.suits(&command.interpreter, &launch.env) => continue,
                Readiness::Ready => {}
                Readiness::NotYet => return Ok(Err("the parent still imports".to_owned())),
                Readiness::Never => return Ok(Err("the parent failed".to_owned())),
            }
            let mut process = link.fork(parent.id, launch.clone());
            let answer = match timeout(FORK_PATIENCE, started(&mut process)).await {
                Ok(answer) => answer,
                Err(_) => {
                    tracing::error!(parent = parent.id, "a warm parent does not answer; it is killed");
                    parent.leave();
                    link.kill(parent.id, libc::SIGKILL);
                    started(&mut process).await
                }
            };
            match answer {
                Ok(pid) => {
                    parent.used();
                    return Ok(Ok((process, pid, active)));
                }
                Err(StartError::Failed { reason, .. }) if reason == "stale" || reason == "retired" => {
                    tracing::info!(
                        "packages of {} changed; its warm parent is replaced",
                        command.interpreter.program.display()
                    );
                    self.dismiss(link, &parent);
                }
                // It died just now, and whatever it may have forked with its last breath was killed.
                Err(StartError::Failed { errno, .. }) if errno == Errno::ESRCH as i32 => parent.leave(),
                Err(StartError::Failed { reason, .. }) => return Ok(Err(reason)),
                Err(StartError::Lost) => return Err(StartError::Lost),
            }
        }
        Ok(Err("no parent suits this environment".to_owned()))
    }

    /// The best parent for an environment, started if need be.
    fn parent_for(
        &self,
        link: &Link,
        interpreter: &Interpreter,
        env: &BTreeMap<String, String>,
    ) -> Option<Arc<Parent>> {
        let mut state = self.state();
        let suiting =
            state.parents.iter().filter(|parent| parent.is_open() && parent.suits(interpreter, env));
        // A ready one before one that still imports, and the one that knows more before the others.
        let best = suiting.max_by_key(|parent| (parent.is_ready(), parent.preloads)).cloned();
        let parent = match best {
            Some(parent) => parent,
            None => {
                state.hopeless.retain(|(_, since)| since.elapsed() < RETRY_AFTER);
                if state.hopeless.iter().any(|(hopeless, _)| hopeless == interpreter) {
                    return None;
                }
                if !make_room(&mut state, link, self.shared.config.warm.max_parents) {
                    return None;
                }
                self.start(&mut state, link, interpreter, env, false)?
            }
        };
        parent.active.fetch_add(1, Ordering::Relaxed);
        Some(parent)
    }

    /// Starts a parent; the first generation imports only what all tasks need, so that it is ready soon.
    fn start(
        &self,
        state: &mut State,
        link: &Link,
        interpreter: &Interpreter,
        env: &BTreeMap<String, String>,
        with_learned: bool,
    ) -> Option<Arc<Parent>> {
        let config = &self.shared.config.warm;
        let learned = state
            .learned
            .entry(interpreter.clone())
            .or_insert_with(|| Learned::open(&self.shared.directory, interpreter, &config.deny));
        let mut preload: Vec<String> = Vec::new();
        if with_learned {
            preload.extend(config.preload.iter().chain(learned.modules()).cloned());
        }
        let directory = &self.shared.directory;
        let settings =
            directory.join(format!("settings-{}.json", self.shared.serial.fetch_add(1, Ordering::Relaxed)));
        let learned = config.learn.then(|| learned.path());
        let launch =
            parent::launch(directory, &settings, &self.shared.config, interpreter, env, &preload, learned);
        let launch = launch
            .inspect_err(
                |error| tracing::error!(error = %error, "cannot write the settings of a warm parent"),
            )
            .ok()?;
        let parent_env = launch.env.clone();
        let process = link.spawn_parent(launch);
        let parent = Arc::new(Parent::new(process.id, interpreter.clone(), parent_env, preload.len()));
        tracing::debug!(
            parent = parent.id,
            modules = preload.len(),
            "starting a warm parent of {}",
            interpreter.program.display()
        );
        state.parents.push(Arc::clone(&parent));
        self.shared.followers.spawn(self.clone().follow(link.clone(), process, Arc::clone(&parent)));
        Some(parent)
    }

    /// Stays with a parent until its end.
    async fn follow(self, link: Link, process: Process, parent: Arc<Parent>) {
        let verdict = parent.follow(&link, process, || self.grown_up(&link, &parent)).await;
        let mut state = self.state();
        state.parents.retain(|other| other.id != parent.id);
        if let Some(failure) = verdict {
            tracing::warn!(
                reason = failure.reason,
                culprit = failure.culprit,
                "a warm parent of {} failed",
                parent.interpreter.program.display()
            );
            match failure.culprit {
                Some(package) => {
                    if let Some(learned) = state.learned.get_mut(&parent.interpreter) {
                        learned.deny(&package);
                    }
                    drop(state);
                    self.shared.ended.notify_one();
                }
                None => state.hopeless.push((parent.interpreter.clone(), Instant::now())),
            }
        }
    }

    /// A parent has become ready: those that it succeeds are retired.
    fn grown_up(&self, link: &Link, parent: &Parent) {
        let older: Vec<Arc<Parent>> =
            self.state().parents.iter().filter(|older| parent.succeeds(older)).cloned().collect();
        older.iter().for_each(|older| self.dismiss(link, older));
        // What has been learned before is for the next generation.
        self.shared.ended.notify_one();
    }

    fn dismiss(&self, link: &Link, parent: &Parent) {
        parent.leave();
        link.retire(parent.id);
    }

    /// Learns from tasks, and retires parents that are idle, until `stop`.
    pub(crate) async fn run(self, link: Link, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                // Tasks come in groups, and what one has not imported the next may.
                () = self.shared.ended.notified() => sleep(SETTLE).await,
                () = sleep(LOOK_EVERY) => {}
            }
            if self.shared.config.warm.enabled {
                self.raise_successors(&link);
                self.retire_idle(&link);
            }
        }
        self.shared.followers.close();
    }

    /// Starts the next generation of parents that know less than has been learned.
    fn raise_successors(&self, link: &Link) {
        let mut state = self.state();
        let mut behind = Vec::new();
        for parent in state.parents.clone() {
            if !parent.is_open() || !parent.is_ready() || parent.idle_time() > RECENTLY {
                continue;
            }
            let config = &self.shared.config.warm;
            let Some(learned) = state.learned.get_mut(&parent.interpreter) else { continue };
            if config.learn {
                learned.refresh();
            }
            let wanted = config.preload.len() + learned.modules().len();
            let has_successor = state.parents.iter().any(|other| other.would_succeed(&parent));
            // One that has learned already does not make room for each further module at once.
            let settled = parent.preloads == 0 || parent.started.elapsed() > GENERATION;
            if wanted > parent.preloads && settled && !has_successor {
                behind.push(parent);
            }
        }
        for parent in behind {
            self.start(&mut state, link, &parent.interpreter, &parent.env, true);
        }
        metrics::gauge!("pinion_local_warm_parents").set(state.parents.len() as f64);
    }

    fn retire_idle(&self, link: &Link) {
        let idle = Duration::from_secs(self.shared.config.warm.idle_retire);
        let parents = self.state().parents.clone();
        for parent in parents.iter().filter(|parent| parent.is_open() && parent.is_idle_for(idle)) {
            tracing::debug!(parent = parent.id, "retiring an idle warm parent");
            self.dismiss(link, parent);
        }
    }
}

/// Retires the parent that was idle longest, if there are too many. False if all are busy.
fn make_room(state: &mut State, link: &Link, most: usize) -> bool {
    let open: Vec<&Arc<Parent>> = state.parents.iter().filter(|parent| parent.is_open()).collect();
    if open.len() < most {
        return true;
    }
    let idle = open.iter().filter(|parent| parent.is_idle_for(Duration::ZERO));
    let Some(longest) = idle.max_by_key(|parent| parent.idle_time()) else { return false };
    longest.leave();
    link.retire(longest.id);
    true
}
