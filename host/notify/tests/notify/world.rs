//! Makes a store with executions that come and go, and runs the room on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{EntityId, EntityKind, ExecutionId, Timestamp};
use notify::{Config, Deps, Error, NoSeam, Notify, Retry, Seam, Sink, SinkType};
use prost::Message as _;
use proto::flyteidl::admin::{
    EmailNotification, ExecutionSpec, Notification, NotificationList, PagerDutyNotification,
    SlackNotification, execution_spec::NotificationOverrides, notification,
};
use proto::flyteidl::core::workflow_execution::Phase;
use sqlx::{Connection as _, Executor as _};
use store::{
    Batch, DeliveryQuery, DeliveryRow, EventKind, ExecutionKey, ExecutionRow, ExecutionUpdate, OutboxRow,
    Store,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Names a Postgres server that tests may make databases in.
const POSTGRES: &str = "PINION_TEST_POSTGRES_URL";

/// A store, its settings, and what keeps its files.
pub struct World {
    pub store: Store,
    lease: store::Lease,
    _dir: tempfile::TempDir,
    _database: Option<Database>,
}

/// A database that is dropped at the end.
struct Database {
    server: String,
    name: String,
}

impl Database {
    async fn create(server: String) -> Self {
        let name = format!("pinion_notify_{}", uuid::Uuid::new_v4().simple());
        administer(&server, format!("create database {name}")).await;
        Self { server, name }
    }

    fn url(&self) -> String {
        let (before, _) = self.server.rsplit_once('/').unwrap();
        format!("{before}/{}", self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, statement) = (self.server.clone(), format!("drop database {} with (force)", self.name));
        // A runtime of its own: the test's may be ending.
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(administer(&server, statement));
        };
        let _ = std::thread::spawn(work).join();
    }
}

async fn administer(server: &str, statement: String) {
    let mut conn = sqlx::PgConnection::connect(server).await.unwrap();
    conn.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
    conn.close().await.unwrap();
}

/// A room at work. It ends with its handle.
pub struct Room {
    pub notify: Notify,
    pub health: telemetry::Health,
    drain: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Room {
    /// Asks it to stop and waits.
    pub async fn stop(self) -> Result<(), Error> {
        self.drain.cancel();
        self.task.await.unwrap()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.task.is_finished()
    }

    /// How it ended by itself.
    pub async fn ended(self) -> Result<(), Error> {
        self.task.await.unwrap()
    }

    /// Kills it: nothing more of it runs.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// What it says about itself.
    pub fn said(&self) -> String {
        self.health.report().1["components"]["notify"].to_string()
    }
}

/// Settings for receivers on this machine, with short pauses.
pub fn settings() -> Config {
    Config {
        source: "http://here".to_owned(),
        console_url: "http://here/console".to_owned(),
        allow_addresses: vec!["127.0.0.0/8".to_owned(), "::1".to_owned()],
        retry: Retry {
            initial: config::Duration::from_millis(10),
            max: config::Duration::from_millis(40),
            max_attempts: 5,
        },
        timeout: config::Duration::from_millis(500),
        lease_ttl: config::Duration::from_millis(600),
        ..Config::default()
    }
}

/// A sink that sends to this URL.
pub fn http_sink(url: &str) -> Sink {
    Sink { r#type: Some(SinkType::CloudeventsHttp), url: url.into(), ..Sink::default() }
}

/// Settings with these sinks.
pub fn with_sinks(sinks: &[(&str, Sink)]) -> Config {
    let sinks: BTreeMap<String, Sink> =
        sinks.iter().map(|(name, sink)| ((*name).to_owned(), sink.clone())).collect();
    Config { sinks, ..settings() }
}

impl World {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = store::Config::sqlite(dir.path().join("pinion.db"));
        Self::open(dir, config, None).await
    }

    /// One on SQLite, and one on Postgres if there is a server.
    pub async fn all() -> Vec<Self> {
        let mut all = vec![Self::new().await];
        if let Ok(server) = std::env::var(POSTGRES) {
            let database = Database::create(server).await;
            let config = store::Config { url: database.url().into(), ..store::Config::default() };
            all.push(Self::open(tempfile::tempdir().unwrap(), config, Some(database)).await);
        }
        all
    }

    async fn open(dir: tempfile::TempDir, config: store::Config, database: Option<Database>) -> Self {
        let store = Store::open(&config).await.unwrap();
        let lease = store.lease_acquire("engine", Duration::from_secs(3600), Timestamp::now()).await.unwrap();
        Self { store, lease, _dir: dir, _database: database }
    }

    pub fn room(&self, config: Config) -> Room {
        self.room_with(config, "h", Arc::new(NoSeam))
    }

    pub fn room_with(&self, config: Config, host: &str, seam: Arc<dyn Seam>) -> Room {
        let health = telemetry::Health::default();
        let deps = Deps {
            store: self.store.clone(),
            host: host.to_owned(),
            health: health.register("notify", Some(Duration::from_secs(5))),
            seam,
        };
        let notify = Notify::new(config, deps).unwrap();
        let drain = CancellationToken::new();
        let (running, stop) = (notify.clone(), drain.clone());
        let task = tokio::spawn(async move { running.run(stop).await });
        Room { notify, health, drain, task }
    }

    /// A new execution, told about as the settings of the room ask.
    pub async fn launch(&self, name: &str, notifications: Vec<Notification>) -> Execution<'_> {
        let row = row(name, notifications);
        let key = self.store.execution_insert(&row).await.unwrap();
        Execution { world: self, key, id: row.id }
    }

    pub async fn commit(&self, batch: Batch) {
        self.store.commit(&self.lease, &batch).await.unwrap();
    }

    /// All deliveries, oldest first.
    pub async fn deliveries(&self) -> Vec<DeliveryRow> {
        let query = DeliveryQuery { limit: 10_000, ..DeliveryQuery::default() };
        let mut rows = self.store.delivery_list(&query).await.unwrap();
        rows.reverse();
        rows
    }
}

/// An execution that the test drives.
pub struct Execution<'a> {
    world: &'a World,
    pub key: ExecutionKey,
    pub id: ExecutionId,
}

impl Execution<'_> {
    /// It enters phases, one commit each.
    pub async fn enters(&self, phases: &[Phase]) {
        for phase in phases {
            let error = proto::flyteidl::core::ExecutionError {
                code: "OutOfLuck".to_owned(),
                message: "the dice said <no>".to_owned(),
                ..Default::default()
            };
            let is_end = matches!(phase, Phase::Succeeded | Phase::Failed | Phase::Aborted);
            let now = Timestamp::now();
            let update = ExecutionUpdate {
                key: self.key,
                phase: *phase as i32,
                outputs_uri: String::new(),
                error: if *phase == Phase::Failed { error.encode_to_vec() } else { Vec::new() },
                error_kind: String::new(),
                error_code: String::new(),
                updated_at: now,
                started_at: Some(now.plus(-65_000_000)),
                duration: is_end.then_some(65_000_000),
                live: !is_end,
            };
            let event = OutboxRow::of_workflow(self.key, &self.id, *phase as i32, now, None);
            let batch = Batch { executions: vec![update], events: vec![event], ..Batch::default() };
            self.world.commit(batch).await;
        }
    }

    /// So many events of a node, in one commit.
    pub async fn bustles(&self, from: i64, n: i64) {
        let node = model::NodeExecutionId { execution: self.id.clone(), node: "n0".into() };
        let event = |n: i64| {
            let message = proto::flyteidl::event::NodeExecutionEvent {
                id: Some(node.to_proto()),
                phase: 2,
                ..Default::default()
            };
            OutboxRow {
                execution: self.key,
                kind: EventKind::Node,
                phase: 2,
                occurred_at: Timestamp::now(),
                id: format!("{}/n0:{n}", self.id),
                message: message.encode_to_vec(),
            }
        };
        let events = (from..from + n).map(event).collect();
        self.world.commit(Batch { events, ..Batch::default() }).await;
    }
}

fn row(name: &str, notifications: Vec<Notification>) -> ExecutionRow {
    let entity = |kind| EntityId {
        kind,
        project: "p".to_owned(),
        domain: "d".to_owned(),
        name: "flows.train".to_owned(),
        version: "v7".to_owned(),
    };
    let list = NotificationList { notifications };
    let spec = ExecutionSpec {
        notification_overrides: Some(NotificationOverrides::Notifications(list)),
        ..ExecutionSpec::default()
    };
    ExecutionRow {
        key: ExecutionKey(0),
        id: ExecutionId::new("p", "d", name),
        launch_plan: Some(entity(EntityKind::LaunchPlan)),
        task: None,
        workflow: entity(EntityKind::Workflow),
        phase: 0,
        mode: 0,
        principal: "ann".to_owned(),
        cluster: String::new(),
        nesting: 0,
        source: None,
        parent_node: None,
        spec: spec.encode_to_vec(),
        inputs_uri: String::new(),
        user_inputs_uri: String::new(),
        outputs_uri: String::new(),
        error: Vec::new(),
        error_kind: String::new(),
        error_code: String::new(),
        abort_cause: String::new(),
        aborted_by: None,
        state: 0,
        created_at: Timestamp::now(),
        updated_at: Timestamp::now(),
        started_at: None,
        duration: None,
        live: true,
        abort_forced: false,
        settings: Vec::new(),
    }
}

/// What a launch plan of the stock client asks for: the same people three ways.
pub fn asks(phases: &[Phase], kind: &str, address: &str) -> Notification {
    let to = vec![address.to_owned()];
    let r#type = match kind {
        "email" => {
            notification::Type::Email(EmailNotification { recipients_email: to, ..Default::default() })
        }
        "slack" => {
            notification::Type::Slack(SlackNotification { recipients_email: to, ..Default::default() })
        }
        _ => notification::Type::PagerDuty(PagerDutyNotification {
            recipients_email: to,
            ..Default::default()
        }),
    };
    Notification { phases: phases.iter().map(|phase| *phase as i32).collect(), r#type: Some(r#type) }
}

/// Waits until the condition holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let until = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < until, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
