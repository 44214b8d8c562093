//! Runs the containers of Pod objects as processes of this machine: the cluster that needs nothing installed.
//!
//! What comes in is a Pod as JSON. It waits in line until its requests fit the machine (`queue`), then each of its
//! containers becomes a process with its own session, working directory, environment and log (`runner`), and what
//! a kubelet would report of it becomes the status of the object (`status`). All processes are started by one
//! small supervisor process (`supervisor`), which ends them when the host goes away, however it does.
//!
//! Design notes. Containers are not isolated from each other or from the machine: an image only chooses the
//! environment of the process, by configuration. Volumes are not mounted and the network is the machine's. A pod
//! is run once: whoever wants another attempt applies another pod, as Flyte does with `restartPolicy: Never`.
//! The host does not start processes itself, because a process of many threads is slow to fork and can not tie the
//! life of children to its own: the kernel ties them to the thread that forked.

mod argv;
mod config;
mod environment;
mod files;
mod journal;
mod link;
mod machine;
mod memory;
mod places;
mod pod;
mod processes;
mod protocol;
mod quantity;
mod queue;
mod record;
mod room;
mod runner;
mod status;
mod supervisor;
mod sys;
mod warm;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::json;
use tokio::{
    sync::broadcast,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{
    config::{Config, Environment, ImageRule, S3, Warm},
    supervisor::{SUPERVISOR_COMMAND, supervisor_main},
};
use self::{
    files::{Files, LOG_CHUNK},
    journal::Journal,
    link::{Link, Supervisor},
    pod::Pod,
    queue::Queue,
    record::Record,
    room::Room,
    runner::SHUTDOWN,
    status::Progress,
    warm::Keeper,
};
use crate::{ApplyOutcome, Cluster, Error, Event, LogChunk, Object, ObjectRef};

/// In the environment of every container, with the root directory as value: by it a new supervisor recognises what
/// a host and a supervisor that were both killed left running.
const MARKER: &str = "PINION_LOCAL_CLUSTER";

/// A receiver that is this many changes behind has to read its objects anew.
const EVENTS_KEPT: usize = 8192;

/// Time between two looks for what can be thrown away, and how many such turns between looks for old records.
const TIDY_EVERY: Duration = Duration::from_secs(3);
const GARBAGE_EVERY: u64 = 200;

/// How long a process that was sent SIGKILL may take to go away at shutdown.
const LAST_GRACE: Duration = Duration::from_secs(5);

/// The cluster that is this machine.
pub struct LocalCluster {
    config: Arc<Config>,
    events: broadcast::Sender<Arc<Event>>,
    room: OnceLock<Arc<Room>>,
    /// Everything that runs besides the pods.
    background: TaskTracker,
    stop: CancellationToken,
}

impl LocalCluster {
    /// Checks the settings. Opens and starts nothing: [`LocalCluster::start`] does.
    pub fn new(config: Config) -> Result<LocalCluster, Error> {
        config.validate()?;
        Ok(LocalCluster {
            config: Arc::new(config),
            events: broadcast::Sender::new(EVENTS_KEPT),
            room: OnceLock::new(),
            background: TaskTracker::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Starts the supervisor and takes up the records of the previous host: its pods that had not ended have failed.
    /// Must be called once, within a tokio runtime. Does not wait for the previous supervisor, pods do.
    pub async fn start(&self) -> Result<(), Error> {
        let files = Files::open(&self.config.root)?;
        let (journal, applied) = Journal::open(files.journal())?;
        for object in applied {
            fail_left_over(&files, object);
        }
        journal.compact(Vec::new)?;
        let machine = machine::resources();
        let capacity = self.config.capacity(machine)?;
        let pods = self.config.pods.unwrap_or((capacity.cpu_milli as usize * 16 / 1000).max(32));
        let (link, line) = Link::new();
        let keeper = Keeper::new(Arc::clone(&self.config), &files)?;
        let supervisor = Supervisor::start(self.config.supervisor.as_deref(), &files)?;
        let events = self.events.clone();
        let queue = Queue::new(capacity, pods);
        let room = Arc::new(Room::new(
            Arc::clone(&self.config),
            files.clone(),
            journal,
            link.clone(),
            keeper,
            queue,
            events,
        ));
        let program = self.config.supervisor.clone();
        self.background.spawn(line.run(program, files, supervisor, self.stop.clone()));
        self.background.spawn(room.memory.clone().run(link.clone(), self.stop.clone()));
        self.background.spawn(room.warm.clone().run(link, self.stop.clone()));
        self.background.spawn(tidy(Arc::clone(&room), self.stop.clone()));
        tracing::info!(root = %room.files.root().display(), %capacity, pods, "the local cluster is up");
        self.room.set(room).map_err(|_| self.not_running())
    }

    fn room(&self) -> Result<&Arc<Room>, Error> {
        self.room.get().filter(|room| !room.draining.is_cancelled()).ok_or_else(|| self.not_running())
    }

    fn not_running(&self) -> Error {
        Error::NotRunning { cluster: self.config.name.clone() }
    }
}

#[async_trait]
impl Cluster for LocalCluster {
    fn name(&self) -> &str {
        &self.config.name
    }

    async fn apply(&self, mut object: Object) -> Result<ApplyOutcome, Error> {
        let room = self.room()?;
        let object_ref = ObjectRef::of(&self.config.name, &object)?;
        if (object_ref.api_version.as_str(), object_ref.kind.as_str()) != ("v1", "Pod") {
            let ObjectRef { cluster, api_version, kind, .. } = object_ref;
            return Err(Error::UnsupportedKind { cluster, api_version, kind, takes: "v1 Pod" });
        }
        let (namespace, name) = (object_ref.namespace.clone(), object_ref.name.clone());
        if room.find(&object_ref).is_some() || room.files.has_pod(&namespace, &name) {
            return Ok(ApplyOutcome::Existed);
        }
        let uid = uuid::Uuid::new_v4().to_string();
        let mut pod = Pod::read(&object, &uid, self.config.default_request()?)?;
        let note = clamp(room, &mut pod);
        let progress = Progress { note, ..Progress::new(&pod, Timestamp::now()) };
        status::write(&mut object, &pod, &progress, &uid, room.next_version());
        let record = Arc::new(Record::new(object_ref, pod, uid, progress, object));
        if !room.insert(&record) {
            return Ok(ApplyOutcome::Existed);
        }
        let stored =
            room.files.create_pod(&namespace, &name).and_then(|()| room.journal.applied(&record.object()));
        if let Err(error) = stored {
            room.remove(&record);
            return Err(error);
        }
        room.admit(&record);
        Ok(ApplyOutcome::Created)
    }

    async fn get(&self, object_ref: &ObjectRef) -> Result<Option<Object>, Error> {
        let room = self.room.get().ok_or_else(|| self.not_running())?;
        if let Some(record) = room.find(object_ref) {
            return Ok(Some(Object::clone(&record.object())));
        }
        if !object_ref.is_valid() || object_ref.kind != "Pod" {
            return Ok(None);
        }
        Ok(room.files.read_pod(&object_ref.namespace, &object_ref.name))
    }

    async fn delete(&self, object_ref: &ObjectRef) -> Result<(), Error> {
        let room = self.room.get().ok_or_else(|| self.not_running())?;
        if let Some(record) = room.find(object_ref) {
            if !record.mark_deleted() {
                return Ok(());
            }
            if room.withdraw(&record) || record.has_ended() {
                room.disappear(&record);
            } else {
                record.end.cancel();
            }
            return Ok(());
        }
        if object_ref.is_valid()
            && object_ref.kind == "Pod"
            && let Some(object) = room.files.read_pod(&object_ref.namespace, &object_ref.name)
        {
            room.forget(&object_ref.namespace, &object_ref.name);
            room.tell(Event { object_ref: object_ref.clone(), object: Arc::new(object), deleted: true });
        }
        Ok(())
    }

    fn watch(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribe()
    }

    async fn logs(&self, object_ref: &ObjectRef, container: &str, from: u64) -> Result<LogChunk, Error> {
        let room = self.room.get().ok_or_else(|| self.not_running())?;
        let no_container =
            || Error::NoContainer { object_ref: object_ref.clone(), container: container.to_owned() };
        if !object_ref.is_valid() {
            return Err(Error::NotFound(object_ref.clone()));
        }
        if container.is_empty() || container.contains(['/', '\0']) {
            return Err(no_container());
        }
        let path = room.files.log(&object_ref.namespace, &object_ref.name, container);
        // Asked before the log is read, or the last words could be missed.
        let over = match room.find(object_ref) {
            Some(record) => record.container_ended(container).ok_or_else(no_container)?,
            None if path.exists() => true,
            None if room.files.has_pod(&object_ref.namespace, &object_ref.name) => return Err(no_container()),
            None => return Err(Error::NotFound(object_ref.clone())),
        };
        let data = room.files.read_log(&path, from)?;
        let ended = over && data.len() < LOG_CHUNK;
        Ok(LogChunk { next: from + data.len() as u64, data, ended })
    }

    async fn shutdown(&self, grace: Duration) {
        let Some(room) = self.room.get() else { return };
        room.draining.cancel();
        room.set_patience(grace);
        for record in room.close_queue() {
            record.set_ticket(None);
            record.fail(SHUTDOWN.0, SHUTDOWN.1);
            record.update(room, |progress| progress.settle(&record.pod, true));
        }
        for record in room.unfinished() {
            record.fail(SHUTDOWN.0, SHUTDOWN.1);
            record.end.cancel();
        }
        room.tasks.close();
        if timeout(grace, room.tasks.wait()).await.is_err() {
            room.set_patience(Duration::ZERO);
            if timeout(LAST_GRACE, room.tasks.wait()).await.is_err() {
                tracing::warn!("some processes of the local cluster did not end in time");
            }
        }
        // The supervisor kills whatever is left when its socket closes, and the line waits for that.
        self.stop.cancel();
        self.background.close();
        self.background.wait().await;
        room.files.remove_scratch();
    }
}

/// Lets a pod ask for no more than there is: on a laptop, requests are written with a larger machine in mind.
fn clamp(room: &Room, pod: &mut Pod) -> String {
    let capacity = room.capacity();
    if pod.ask.fits(capacity) {
        return String::new();
    }
    let note = format!("asks for {}, runs with all there is: {capacity}", pod.ask);
    tracing::info!(pod = %pod.name, "{note}");
    pod.ask = pod.ask.at_most(capacity);
    note
}

/// Concludes a pod that was not over when the previous host went away.
fn fail_left_over(files: &Files, mut object: Object) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    let (namespace, name) = (text("namespace"), text("name"));
    if files.has_pod(&namespace, &name) || !files.pod(&namespace, &name).is_dir() {
        return;
    }
    object["status"]["phase"] = json!("Failed");
    object["status"]["reason"] = json!(SHUTDOWN.0);
    object["status"]["message"] = json!(SHUTDOWN.1);
    if let Err(error) = files.write_pod(&namespace, &name, &object) {
        tracing::error!(error = %error, pod = name, "cannot write the record of a pod");
    }
}

/// Removes old records, logs and temporary files, and keeps the journal short, until `stop`.
async fn tidy(room: Arc<Room>, stop: CancellationToken) {
    let age = Duration::from_secs(room.config.keep_finished);
    for turn in 0u64.. {
        let working = Arc::clone(&room);
        let work = tokio::task::spawn_blocking(move || {
            if turn % GARBAGE_EVERY == 0 {
                let removed = working
                    .files
                    .collect_garbage(age, |namespace, name| working.knows_unfinished(namespace, name));
                if removed > 0 {
                    tracing::info!(removed, "removed pods that ended long ago");
                }
            }
            working.yard.empty_trash();
            if working.journal.is_long()
                && let Err(error) = working.journal.compact(|| working.unfinished_objects())
            {
                tracing::error!(error = %error, "cannot shorten the journal of pods");
            }
        });
        if let Err(error) = work.await {
            tracing::error!(error = %error, "tidying up after pods failed");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(TIDY_EVERY) => {}
        }
    }
}
