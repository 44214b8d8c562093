//! A store, a clock, schedules, and hosts that run them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use blob::Blob;
use launch::Launcher;
use model::{EntityId, EntityKind, ExecutionId, Timestamp};
use prost::Message as _;
use proto::flyteidl::admin::{ExecutionSpec, LaunchPlanClosure, LaunchPlanSpec};
use scheduler::{Clock as _, Config, Deps, Error, Fate, Launch, NoSeam, Scheduler, Seam, Step};
use store::{ExecutionRow, LaunchPlanRow, ListQuery, NewSchedule, ProjectRow, ScheduleRow, Store, Timing};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::ManualClock;

/// Domain of everything here.
pub const DOMAIN: &str = "development";

/// How long a test waits for what must happen at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// An execution that was started.
#[derive(Clone, Debug, PartialEq)]
pub struct Started {
    pub plan: EntityId,
    pub name: String,
    pub tick: Timestamp,
    pub tags: Vec<String>,
}

/// Starts executions as every host does, unless it is told to fail.
pub struct Ledger {
    launcher: Launcher,
    /// Answers instead of a start, for the launch plan of this name.
    faults: Mutex<BTreeMap<String, VecDeque<launch::Error>>>,
    /// Most starts under way at once so far, and how many are now.
    under_way: Mutex<(usize, usize)>,
}

#[async_trait]
impl Launch for Ledger {
    async fn create(&self, request: launch::Request) -> Result<ExecutionId, launch::Error> {
        let now_under_way = |change: i64| {
            let mut counts = self.under_way.lock().unwrap();
            counts.1 = usize::try_from(counts.1 as i64 + change).unwrap();
            counts.0 = counts.0.max(counts.1);
        };
        now_under_way(1);
        let done = self.start(request).await;
        now_under_way(-1);
        done
    }
}

impl Ledger {
    async fn start(&self, request: launch::Request) -> Result<ExecutionId, launch::Error> {
        let plan = request.target.id().name.clone();
        let fault = self.faults.lock().unwrap().get_mut(&plan).and_then(VecDeque::pop_front);
        match fault {
            Some(fault) => Err(fault),
            None => Launch::create(&self.launcher, request).await,
        }
    }

    /// The next starts of this launch plan fail so.
    pub fn fail(&self, plan: &str, faults: impl IntoIterator<Item = launch::Error>) {
        self.faults.lock().unwrap().entry(plan.to_owned()).or_default().extend(faults);
    }

    pub fn forget_faults(&self) {
        self.faults.lock().unwrap().clear();
    }

    pub fn most_at_once(&self) -> usize {
        self.under_way.lock().unwrap().0
    }
}

/// Crashes at one step; counts them all.
pub struct CrashAt(AtomicI64);

#[async_trait]
impl Seam for CrashAt {
    async fn reached(&self, _: Step) -> Fate {
        if self.0.fetch_sub(1, Ordering::SeqCst) == 0 { Fate::Crash } else { Fate::Live }
    }
}

/// A scheduler at work.
pub struct Host {
    pub scheduler: Scheduler,
    stop: CancellationToken,
    running: JoinHandle<Result<(), Error>>,
}

impl Host {
    /// Stops as a host does that is told to.
    pub async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap().unwrap();
    }

    /// Stops as a host does that is killed.
    pub async fn kill(self) {
        self.running.abort();
        let _ = self.running.await;
    }

    pub fn has_crashed(&self) -> bool {
        self.running.is_finished()
    }
}

pub struct World {
    pub store: Store,
    store_config: store::Config,
    pub clock: Arc<ManualClock>,
    pub ledger: Arc<Ledger>,
    pub config: Config,
    dir: tempfile::TempDir,
}

/// A world on SQLite.
pub async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let mut config = store::Config::sqlite(dir.path().join("pinion.db"));
    config.synchronous = store::Synchronous::Normal;
    world_on(config, dir).await
}

/// Runs a claim on SQLite, and on a new database of the Postgres server there may be. There each host has a store of
/// its own, as hosts do.
pub async fn on_each(claim: impl AsyncFn(World)) {
    println!("on SQLite");
    claim(world().await).await;
    let Ok(server) = std::env::var("PINION_TEST_POSTGRES_URL") else { return };
    println!("on Postgres");
    let database = format!("pinion_{}", uuid::Uuid::new_v4().simple());
    administer(&server, &format!("create database {database}")).await;
    let (before, _) = server.rsplit_once('/').expect("the url names a database");
    let config = store::Config { url: format!("{before}/{database}").into(), ..store::Config::default() };
    claim(world_on(config, tempfile::tempdir().unwrap()).await).await;
    administer(&server, &format!("drop database {database} with (force)")).await;
}

async fn administer(server: &str, statement: &str) {
    use sqlx::{Connection as _, Executor as _};
    let mut conn = sqlx::PgConnection::connect(server).await.expect("reaches the Postgres server");
    conn.execute(sqlx::AssertSqlSafe(statement)).await.expect("administers databases");
    conn.close().await.expect("closes");
}

async fn world_on(store_config: store::Config, dir: tempfile::TempDir) -> World {
    let store = Store::open(&store_config).await.unwrap();
    let project = ProjectRow {
        id: "p".to_owned(),
        name: "p".to_owned(),
        description: String::new(),
        labels: Vec::new(),
        state: 0,
        created_at: Timestamp(0),
    };
    store.project_insert(&project).await.unwrap();
    let blob = Blob::new(blob::Config::local(dir.path().join("objects"))).unwrap();
    let ledger = Ledger {
        launcher: Launcher::new(launch::Config::default(), store.clone(), blob),
        faults: Mutex::default(),
        under_way: Mutex::default(),
    };
    World {
        store,
        store_config,
        clock: Arc::new(ManualClock::new()),
        ledger: Arc::new(ledger),
        config: Config::default(),
        dir,
    }
}

pub fn plan_id(name: &str, version: &str) -> EntityId {
    EntityId {
        kind: EntityKind::LaunchPlan,
        project: "p".to_owned(),
        domain: DOMAIN.to_owned(),
        name: name.to_owned(),
        version: version.to_owned(),
    }
}

pub fn timing(expression: &str) -> Timing {
    Timing { expression: expression.to_owned(), ..Timing::default() }
}

impl World {
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn start(&self, name: &str, seam: Arc<dyn Seam>) -> Host {
        self.start_on(self.store.clone(), name, seam)
    }

    fn start_on(&self, store: Store, name: &str, seam: Arc<dyn Seam>) -> Host {
        let scheduler = Scheduler::new(
            self.config.clone(),
            Deps {
                host: name.to_owned(),
                store,
                launch: Arc::clone(&self.ledger) as Arc<dyn Launch>,
                clock: Arc::clone(&self.clock) as Arc<dyn scheduler::Clock>,
                heartbeat: Arc::new(|| {}),
                seam,
            },
        );
        let stop = CancellationToken::new();
        let (runs, token) = (scheduler.clone(), stop.clone());
        let running = tokio::spawn(async move { runs.run(token).await });
        Host { scheduler, stop, running }
    }

    pub fn host(&self, name: &str) -> Host {
        self.start(name, Arc::new(NoSeam))
    }

    /// A host with a store of its own, where the database allows it.
    pub async fn far_host(&self, name: &str) -> Host {
        let is_shared = self.store_config.url.expose().starts_with("sqlite:");
        let store =
            if is_shared { self.store.clone() } else { Store::open(&self.store_config).await.unwrap() };
        self.start_on(store, name, Arc::new(NoSeam))
    }

    /// A host that crashes at its `n`th step.
    pub fn doomed_host(&self, name: &str, n: i64) -> Host {
        self.start(name, Arc::new(CrashAt(AtomicI64::new(n))))
    }

    pub async fn register(&self, name: &str, version: &str) -> EntityId {
        self.register_with(name, version, LaunchPlanSpec::default(), LaunchPlanClosure::default()).await
    }

    pub async fn register_with(
        &self,
        name: &str,
        version: &str,
        spec: LaunchPlanSpec,
        closure: LaunchPlanClosure,
    ) -> EntityId {
        let id = plan_id(name, version);
        let row = LaunchPlanRow {
            id: id.clone(),
            workflow: EntityId { kind: EntityKind::Workflow, ..id.clone() },
            digest: vec![1],
            spec: spec.encode_to_vec(),
            closure: closure.encode_to_vec(),
            state: 0,
            schedule_type: "CRON".to_owned(),
            created_at: self.now(),
            updated_at: self.now(),
        };
        self.store.launch_plan_insert(&row).await.unwrap();
        id
    }

    /// Registers and activates a launch plan with this schedule.
    pub async fn activate(&self, name: &str, version: &str, new: NewSchedule) {
        let id = self.register(name, version).await;
        self.store.launch_plan_activate(&id, Some(&new), self.now()).await.unwrap();
    }

    pub async fn schedule(&self, name: &str, expression: &str) {
        let new = NewSchedule { timing: timing(expression), ..NewSchedule::default() };
        self.activate(name, "v1", new).await;
    }

    pub async fn row(&self, name: &str) -> ScheduleRow {
        self.store.schedule_get("p", DOMAIN, name).await.unwrap().unwrap()
    }

    /// Waits until nothing is due.
    pub async fn settle(&self) {
        self.until("nothing is due", async || {
            self.store.schedules_due(self.now(), 1).await.unwrap().is_empty()
        })
        .await;
    }

    /// Moves the clock on and waits until nothing is due.
    pub async fn advance(&self, micros: i64) {
        self.clock.advance(micros);
        self.settle().await;
    }

    pub async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let start = Instant::now();
        while !holds().await {
            assert!(start.elapsed() < PATIENCE, "{what} did not come about");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// All executions there are, the earliest first.
    #[allow(deprecated, reason = "there is no other field for tags")]
    pub async fn started(&self) -> Vec<Started> {
        let query = ListQuery { limit: 1_000_000, ..ListQuery::default() };
        let mut rows = self.store.execution_list("", "", &query).await.unwrap();
        rows.sort_unstable_by_key(|row| row.key);
        let read = |row: ExecutionRow| {
            let spec = ExecutionSpec::decode(row.spec.as_slice()).unwrap();
            let metadata = spec.metadata.unwrap();
            assert_eq!(metadata.mode, 1, "SCHEDULED");
            Started {
                plan: row.launch_plan.unwrap(),
                name: row.id.name.to_string(),
                tick: Timestamp::from_proto(&metadata.scheduled_at.unwrap()),
                tags: spec.tags,
            }
        };
        rows.into_iter().map(read).collect()
    }

    /// Ticks of a launch plan that were fired, in the order of their times.
    pub async fn ticks(&self, name: &str) -> Vec<Timestamp> {
        let started = self.started().await;
        let mut out: Vec<Timestamp> =
            started.iter().filter(|started| started.plan.name == name).map(|started| started.tick).collect();
        out.sort_unstable();
        out
    }

    /// The file of an object.
    pub fn object(&self, uri: &str) -> std::path::PathBuf {
        self.dir.path().join("objects").join(uri.trim_start_matches("s3://"))
    }

    /// Ends an execution.
    pub async fn end(&self, execution: &str, phase: i32) {
        let id = ExecutionId::new("p", DOMAIN, execution);
        let row = self.store.execution_get(&id).await.unwrap().unwrap();
        let ttl = Duration::from_secs(60);
        let lease = self.store.lease_acquire("test", ttl, Timestamp::now()).await.unwrap();
        let update = store::ExecutionUpdate {
            key: row.key,
            phase,
            outputs_uri: String::new(),
            error: Vec::new(),
            error_kind: String::new(),
            error_code: if phase == 6 { "Boom".to_owned() } else { String::new() },
            updated_at: self.now(),
            started_at: None,
            duration: None,
            live: false,
        };
        let batch = store::row::Batch { executions: vec![update], ..Default::default() };
        self.store.commit(&lease, &batch).await.unwrap();
    }
}
