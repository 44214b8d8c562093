//! Knows one warm parent: which environment it serves, and how far it is.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    sync::watch,
    time::{sleep_until, timeout},
};

use super::{
    super::{
        config::Config,
        link::{Link, News, Process},
        protocol::{Launch, ParentReport, ProcessId},
    },
    command::{ENTRYPOINTS, Interpreter},
};

/// What the interpreter runs, and the directory for its own temporary files.
pub(crate) const SCRIPT: &str = "parent.py";
pub(crate) const TEMPORARY: &str = "tmp";

/// A parent that is not ready by then hangs.
const IMPORT_PATIENCE: Duration = Duration::from_secs(120);

/// Variables that the interpreter and libraries in C read, each of them and by prefix: children must agree with
/// their parent on them. Those that Python code reads are reported by the parent.
const SENSITIVE: [&str; 4] = ["HOME", "LANG", "LANGUAGE", "GLIBC_TUNABLES"];
const SENSITIVE_PREFIXES: [&str; 16] = [
    "PYTHON",
    "LD_",
    "LC_",
    "MALLOC_",
    "OMP_",
    "OPENBLAS_",
    "GOTO_",
    "MKL_",
    "KMP_",
    "BLIS_",
    "NUMEXPR_",
    "VECLIB_",
    "ARROW_",
    "JE_ARROW_",
    "GRPC_",
    "CUDA_",
];
/// What a parent imitates for each child.
const IMITATED: [&str; 2] = ["PYTHONPATH", "PYTHONUNBUFFERED"];

/// Variables that belong to an attempt and not to an environment.
const OF_ATTEMPT: [&str; 7] =
    ["FLYTE_INTERNAL_", "FLYTE_ATTEMPT_", "FLYTE_EXECUTION_", "FLYTE_K8S_", "POD_", "BATCH_JOB_", "HOSTNAME"];

/// Whether a parent can be asked to fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// It can.
    Ready,
    /// It still imports.
    NotYet,
    /// It can not, or no longer.
    Never,
}

/// Why a parent could not serve.
#[derive(Debug)]
pub(crate) struct Failure {
    pub reason: String,
    pub culprit: Option<String>,
}

/// A warm parent.
pub(crate) struct Parent {
    pub id: ProcessId,
    pub interpreter: Interpreter,
    /// The environment it was started with.
    pub env: BTreeMap<String, String>,
    /// How many modules it imports beyond the first generation.
    pub preloads: usize,
    pub started: Instant,
    /// Tasks that wait for it or were forked by it.
    pub active: AtomicUsize,
    readiness: watch::Sender<Readiness>,
    /// Names of variables that its children must agree on, once it is ready.
    env_read: Mutex<Vec<String>>,
    last_used: Mutex<Instant>,
    /// Whether it may be asked to fork; it may have to finish what it has.
    left: AtomicBool,
}

impl Parent {
    pub(crate) fn new(
        id: ProcessId,
        interpreter: Interpreter,
        env: BTreeMap<String, String>,
        preloads: usize,
    ) -> Parent {
        Parent {
            id,
            interpreter,
            env,
            preloads,
            started: Instant::now(),
            active: AtomicUsize::new(0),
            readiness: watch::Sender::new(Readiness::NotYet),
            env_read: Mutex::default(),
            last_used: Mutex::new(Instant::now()),
            left: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.left.load(Ordering::Relaxed) && *self.readiness.borrow() != Readiness::Never
    }

    pub(crate) fn is_ready(&self) -> bool {
        *self.readiness.borrow() == Readiness::Ready
    }

    /// Takes no more tasks.
    pub(crate) fn leave(&self) {
        self.left.store(true, Ordering::Relaxed);
    }

    pub(crate) fn used(&self) {
        *lock(&self.last_used) = Instant::now();
    }

    pub(crate) fn idle_time(&self) -> Duration {
        lock(&self.last_used).elapsed()
    }

    pub(crate) fn is_idle_for(&self, time: Duration) -> bool {
        self.active.load(Ordering::Relaxed) == 0 && self.is_ready() && self.idle_time() >= time
    }

    /// Waits until it is ready, for at most `patience`.
    pub(crate) async fn ready(&self, patience: Duration) -> Readiness {
        let mut readiness = self.readiness.subscribe();
        let settled = readiness.wait_for(|readiness| *readiness != Readiness::NotYet);
        match timeout(patience, settled).await {
            Ok(Ok(readiness)) => *readiness,
            Ok(Err(_)) => Readiness::Never,
            Err(_) => Readiness::NotYet,
        }
    }

    /// Whether a process with this environment could have been its child, as far as is known yet.
    pub(crate) fn suits(&self, interpreter: &Interpreter, env: &BTreeMap<String, String>) -> bool {
        let agrees = |name: &str| self.env.get(name) == env.get(name);
        let sensitive = |name: &&String| is_sensitive(name);
        self.interpreter == *interpreter
            && self.env.keys().chain(env.keys()).filter(sensitive).all(|name| agrees(name))
            && lock(&self.env_read).iter().all(|name| agrees(name))
    }

    /// Whether this parent takes the place of `older`.
    pub(crate) fn succeeds(&self, older: &Parent) -> bool {
        self.would_succeed(older) && older.is_ready()
    }

    /// Whether this parent will take the place of `older` when it is ready.
    pub(crate) fn would_succeed(&self, older: &Parent) -> bool {
        self.id > older.id && self.is_open() && self.interpreter == older.interpreter && self.env == older.env
    }

    /// Hears what the process has to say until its end. `ready` is called when it has become ready.
    pub(crate) async fn follow(
        &self,
        link: &Link,
        mut process: Process,
        ready: impl Fn(),
    ) -> Option<Failure> {
        let deadline = tokio::time::Instant::now() + IMPORT_PATIENCE;
        let mut failure = Failure { reason: "it ended while it imported".to_owned(), culprit: None };
        loop {
            let news = tokio::select! {
                news = process.news() => news,
                () = sleep_until(deadline), if !self.is_ready() => {
                    "it did not come to an end with importing".clone_into(&mut failure.reason);
                    link.kill(self.id, libc::SIGKILL);
                    process.news().await
                }
            };
            match news {
                News::Started(_) => {}
                News::Report(ParentReport { ready: true, env_read, modules, seconds, .. }) => {
                    tracing::info!(
                        modules,
                        seconds,
                        "a warm parent of {} is ready",
                        self.interpreter.program.display()
                    );
                    *lock(&self.env_read) =
                        env_read.into_iter().filter(|name| !IMITATED.contains(&name.as_str())).collect();
                    self.readiness.send_replace(Readiness::Ready);
                    ready();
                }
                News::Report(report) if report.reason == "importing" => failure.culprit = report.culprit,
                News::Report(report) => {
                    failure = Failure { reason: report.reason, culprit: report.culprit };
                    self.readiness.send_replace(Readiness::Never);
                }
                News::Failed { reason, .. } => {
                    failure.reason = reason;
                    break;
                }
                News::Exited(_) => break,
                News::Lost => {
                    self.readiness.send_replace(Readiness::Never);
                    return None;
                }
            }
        }
        let was_ready = self.is_ready();
        self.readiness.send_replace(Readiness::Never);
        (!was_ready).then_some(failure)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_sensitive(name: &str) -> bool {
    !IMITATED.contains(&name)
        && (SENSITIVE.contains(&name) || SENSITIVE_PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}

/// The process of a parent that serves tasks with this environment and imports `preload` ahead. What it has to know
/// is written to `settings`, because it can be longer than an argument may be.
pub(crate) fn launch(
    directory: &Path,
    settings: &Path,
    config: &Config,
    interpreter: &Interpreter,
    env: &BTreeMap<String, String>,
    preload: &[String],
    learned: Option<&Path>,
) -> std::io::Result<Launch> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let scripts: BTreeMap<&str, PathBuf> = ENTRYPOINTS
        .into_iter()
        .map(|name| (name, interpreter.scripts.join(name)))
        .filter(|(_, path)| path.is_file())
        .collect();
    let (s3, spare) = (&config.s3, config.warm.spare);
    let embedded = (!s3.bucket_dirs.is_empty() && !s3.endpoint.is_empty())
        .then(|| json!({"endpoint": s3.endpoint, "bucket-dirs": s3.bucket_dirs, "temp-dir": s3.temp_dir}));
    let content = json!({
        "flags": interpreter.flags, "scripts": scripts, "preload": preload, "learned": learned, "s3": embedded,
        "spare": spare,
    });
    let program = text(&interpreter.program);
    let mut argv = vec![program.clone()];
    argv.extend(interpreter.flags.iter().cloned());
    argv.extend([text(&directory.join(SCRIPT)), text(settings)]);
    std::fs::write(settings, content.to_string())?;
    let mut env = own_environment(env);
    env.insert("TMPDIR".to_owned(), text(&directory.join(TEMPORARY)));
    let log = text(&directory.join("parents.log"));
    Ok(Launch { id: 0, program, argv, env, cwd: text(directory), log })
}

/// The environment for a parent that is to serve tasks like this one.
fn own_environment(env: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let of_environment =
        |name: &str| !IMITATED.contains(&name) && !OF_ATTEMPT.iter().any(|prefix| name.starts_with(prefix));
    env.iter()
        .filter(|(name, _)| of_environment(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_agree_on_what_was_read() {
        let env = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
        };
        let interpreter = Interpreter { program: "/p".into(), flags: Vec::new(), scripts: "/".into() };
        let own =
            own_environment(&env(&[("A", "1"), ("LC_ALL", "C"), ("POD_NAME", "x"), ("PYTHONPATH", "/y")]));
        assert_eq!(own, env(&[("A", "1"), ("LC_ALL", "C")]));
        let parent = Parent::new(1, interpreter.clone(), own, 0);
        let suits = |pairs: &[(&str, &str)]| parent.suits(&interpreter, &env(pairs));
        assert!(suits(&[("A", "2"), ("LC_ALL", "C"), ("PYTHONPATH", "/z")]));
        assert!(!suits(&[("A", "1")]), "LC_ALL is not set");
        assert!(!suits(&[("LC_ALL", "C"), ("PYTHONHASHSEED", "0")]));
        *lock(&parent.env_read) = vec!["A".to_owned(), "B".to_owned()];
        assert!(suits(&[("A", "1"), ("LC_ALL", "C")]));
        assert!(!suits(&[("A", "2"), ("LC_ALL", "C")]));
        assert!(!suits(&[("A", "1"), ("B", "1"), ("LC_ALL", "C")]));
    }
}
