//! Holds what the parts of a running local cluster share, and admits pods to the machine.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::{broadcast, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    config::Config,
    environment,
    files::Files,
    journal::Journal,
    link::{Link, Process},
    memory::Memory,
    places::Yard,
    pod::Pod,
    protocol::Launch,
    quantity::Resources,
    queue::{Admission, Queue},
    record::Record,
    runner::{self, StartError, started},
    warm::{Forked, Keeper},
};
use crate::{Event, Object, ObjectRef};

/// Namespace and name.
pub(crate) type Key = (String, String);

/// Ended pods whose objects stay in memory; those of others are read from disk.
const ENDED_IN_MEMORY: usize = 1000;

/// A running local cluster.
pub(crate) struct Room {
    pub config: Arc<Config>,
    pub files: Files,
    pub journal: Journal,
    pub yard: Yard,
    pub link: Link,
    pub memory: Memory,
    pub warm: Keeper,
    /// What the environments of all containers have in common.
    pub common_env: BTreeMap<String, String>,
    pub tasks: TaskTracker,
    /// Cancelled when no more pods are taken.
    pub draining: CancellationToken,
    events: broadcast::Sender<Arc<Event>>,
    pods: Mutex<Pods>,
    queue: Mutex<Queue<Arc<Record>>>,
    version: AtomicU64,
    /// How long a container may take to end; shortened when the host shuts down.
    patience: watch::Sender<Duration>,
}

#[derive(Default)]
struct Pods {
    by_key: HashMap<Key, Arc<Record>>,
    ended: VecDeque<Key>,
}

impl Room {
    pub(crate) fn new(
        config: Arc<Config>,
        files: Files,
        journal: Journal,
        link: Link,
        warm: Keeper,
        queue: Queue<Arc<Record>>,
        events: broadcast::Sender<Arc<Event>>,
    ) -> Room {
        // Versions only have to grow, across restarts too.
        let version = jiff::Timestamp::now().as_microsecond().unsigned_abs();
        let host_env = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let common_env = environment::common(&config, files.root(), &host_env);
        Room {
            config,
            yard: Yard::new(files.clone(), version),
            files,
            journal,
            link,
            memory: Memory::new(),
            warm,
            common_env,
            tasks: TaskTracker::new(),
            draining: CancellationToken::new(),
            events,
            pods: Mutex::default(),
            queue: Mutex::new(queue),
            version: AtomicU64::new(version),
            patience: watch::Sender::new(Duration::MAX),
        }
    }

    fn pods(&self) -> MutexGuard<'_, Pods> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue<Arc<Record>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn find(&self, object_ref: &ObjectRef) -> Option<Arc<Record>> {
        self.pods().by_key.get(&key(object_ref)).cloned()
    }

    /// Whether a pod of that name is on its way. One that ended is dropped from memory, as it will be from disk.
    pub(crate) fn knows_unfinished(&self, namespace: &str, name: &str) -> bool {
        let mut pods = self.pods();
        let key = (namespace.to_owned(), name.to_owned());
        match pods.by_key.get(&key).map(|record| record.has_ended()) {
            Some(true) => pods.by_key.remove(&key).is_none(),
            Some(false) => true,
            None => false,
        }
    }

    pub(crate) fn capacity(&self) -> Resources {
        self.queue().capacity()
    }

    /// Takes in a pod unless one of that name is there.
    pub(crate) fn insert(&self, record: &Arc<Record>) -> bool {
        let mut pods = self.pods();
        let vacant = !pods.by_key.contains_key(&key(&record.object_ref));
        if vacant {
            pods.by_key.insert(key(&record.object_ref), Arc::clone(record));
        }
        vacant
    }

    pub(crate) fn remove(&self, record: &Record) {
        self.pods().by_key.remove(&key(&record.object_ref));
    }

    /// All pods of this host's life that have not ended.
    pub(crate) fn unfinished(&self) -> Vec<Arc<Record>> {
        self.pods().by_key.values().filter(|record| !record.has_ended()).cloned().collect()
    }

    /// Objects of the pods that have not ended.
    pub(crate) fn unfinished_objects(&self) -> Vec<Arc<Object>> {
        self.unfinished().iter().map(|record| record.object()).collect()
    }

    pub(crate) fn next_version(&self) -> u64 {
        self.version.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn tell(&self, event: Event) {
        // Nobody listening is fine.
        let _ = self.events.send(Arc::new(event));
    }

    /// Writes down how a pod ended. An error goes to the log: a pod must not fail because of its record.
    pub(crate) fn store(&self, pod: &Pod, object: &Object) {
        if let Err(error) = self.files.write_pod(&pod.namespace, &pod.name, object) {
            tracing::error!(error = %error, pod = %pod.name, "cannot write the record of a pod");
        }
    }

    /// Starts the pod, now or when the machine has room for it.
    pub(crate) fn admit(self: &Arc<Self>, record: &Arc<Record>) {
        let mut queue = self.queue();
        let admission = queue.offer(record.pod.ask, || Arc::clone(record));
        if let Admission::Waits(ticket, why) = admission {
            record.set_ticket(Some(ticket));
            // Told before the line can move, or the pod would seem to wait after it was started.
            record.update(self, |progress| progress.unscheduled = why);
        } else {
            self.launch(Arc::clone(record));
        }
        gauge(&queue);
    }

    /// Takes the pod out of the line. False if it runs.
    pub(crate) fn withdraw(self: &Arc<Self>, record: &Record) -> bool {
        let Some(ticket) = record.take_ticket() else { return false };
        let mut queue = self.queue();
        let Some(admitted) = queue.withdraw(ticket) else { return false };
        gauge(&queue);
        drop(queue);
        admitted.into_iter().for_each(|record| self.launch(record));
        true
    }

    /// Empties the line, so that nothing starts any more.
    pub(crate) fn close_queue(&self) -> Vec<Arc<Record>> {
        self.queue().clear()
    }

    fn launch(self: &Arc<Self>, record: Arc<Record>) {
        record.set_ticket(None);
        let room = Arc::clone(self);
        self.tasks.spawn(async move {
            runner::run(&room, &record).await;
            let admitted = {
                let mut queue = room.queue();
                let admitted = queue.release(record.pod.ask);
                gauge(&queue);
                admitted
            };
            admitted.into_iter().for_each(|record| room.launch(record));
            room.ended(&record);
            runner::clean_up(&room, &record);
        });
    }

    /// Settles what is due when a pod has ended.
    fn ended(&self, record: &Arc<Record>) {
        if record.is_deleted() {
            return self.disappear(record);
        }
        let evicted = {
            let mut pods = self.pods();
            pods.ended.push_back(key(&record.object_ref));
            let over = pods.ended.len() > ENDED_IN_MEMORY;
            over.then(|| pods.ended.pop_front()).flatten().and_then(|key| pods.by_key.get(&key).cloned())
        };
        if let Some(evicted) = evicted.filter(|evicted| evicted.has_ended()) {
            self.remove(&evicted);
        }
    }

    /// Forgets a pod and says so. Its logs stay until they are collected.
    pub(crate) fn disappear(&self, record: &Record) {
        self.remove(record);
        self.forget(&record.pod.namespace, &record.pod.name);
        self.tell(Event { object_ref: record.object_ref.clone(), object: record.object(), deleted: true });
    }

    /// Forgets a pod for good, but for its logs.
    pub(crate) fn forget(&self, namespace: &str, name: &str) {
        self.files.forget_pod(namespace, name);
        if let Err(error) = self.journal.deleted(namespace, name) {
            tracing::error!(error = %error, pod = name, "cannot note that a pod was deleted");
        }
    }

    /// Starts a process: forked from a warm parent where one fits, else from its executable.
    pub(crate) async fn start(&self, launch: Launch) -> Result<(Process, i32, Option<Forked>), StartError> {
        if let Some((process, pid, forked)) = self.warm.fork(&self.link, &launch).await? {
            return Ok((process, pid, Some(forked)));
        }
        let mut process = self.link.spawn(launch);
        let pid = started(&mut process).await?;
        Ok((process, pid, None))
    }

    /// The longest that a container may take to end.
    pub(crate) fn longest_grace(&self) -> Duration {
        *self.patience.borrow()
    }

    /// Shortens [`Room::longest_grace`]; zero ends all waiting at once.
    pub(crate) fn set_patience(&self, grace: Duration) {
        self.patience.send_replace(grace);
    }

    /// Returns when nothing is waited for any more.
    pub(crate) async fn out_of_patience(&self) {
        // The sender lives in this room, so that waiting can not fail.
        let _ = self.patience.subscribe().wait_for(Duration::is_zero).await;
    }
}

fn key(object_ref: &ObjectRef) -> Key {
    (object_ref.namespace.clone(), object_ref.name.clone())
}

fn gauge(queue: &Queue<Arc<Record>>) {
    metrics::gauge!("pinion_local_pods_running").set(queue.running() as f64);
    metrics::gauge!("pinion_local_pods_queued").set(queue.waiting() as f64);
}
