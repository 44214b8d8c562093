//! Puts the rooms together: the one file that knows every room.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::Router;
use blob::Blob;
use catalog::Catalog;
use cluster::Cluster;
use cluster::local::LocalCluster;
use launch::Launcher;
use notify::Notify;
use plugins::pools::Pools;
use scheduler::Scheduler;
use store::Store;
use telemetry::{Health, State};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker::services::{ServiceDeps, Services};
use worker::{Clock, Clusters, Deps, Loaded, NoSeam, Registry, StoreTokens, SystemClock, Worker};

use crate::settings::{self, Options, Settings};
use crate::{banner, links, logs};

/// The loops of the worker that say when they turn.
const WORKER_LOOPS: [&str; 3] = ["worker.committer", "worker.lease", "worker.owner"];
/// Time between two looks at plugins, metrics and old temporary files.
const UPKEEP: Duration = Duration::from_secs(5);
/// How long task processes may take to end when the host stops.
const TASK_GRACE: Duration = Duration::from_secs(5);

/// Becomes the process that owns the task processes.
pub(crate) fn local_supervisor(_arguments: &[OsString]) -> ! {
    cluster::local::supervisor_main()
}

/// Becomes a process that runs an isolated plugin.
pub(crate) fn plugin_runner(arguments: &[OsString]) -> ! {
    plugins::runner::main(arguments.iter().cloned())
}

/// Runs a server until it is told to end.
pub(crate) fn run(options: &Options, is_dev: bool) -> Result<()> {
    let started = Instant::now();
    let mut loaded = settings::load(options, is_dev)?;
    settings::plugin_dirs(&mut loaded.value, options);
    let settings = loaded.value;
    telemetry::log::install(&settings.log)?;
    let metrics = telemetry::metric::install()?;
    telemetry::metric::describe(&blob::metric::METRICS);
    telemetry::metric::describe(&worker::metric::METRICS);
    telemetry::metric::describe(&catalog::metric::METRICS);
    telemetry::metric::describe(&notify::metric::METRICS);
    telemetry::metric::describe(&scheduler::metric::METRICS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("pinion")
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(serve(settings, metrics, started));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// Listening sockets, taken before anything else so that a busy port is said at once.
struct Listeners {
    api: TcpListener,
    s3: Option<TcpListener>,
}

impl Listeners {
    async fn bind(settings: &mut Settings) -> Result<Self> {
        let server = &settings.server;
        let api = bind(SocketAddr::new(server.bind, server.port), "the API", "--port").await?;
        let s3 = match &settings.blob.s3 {
            Some(_) => None,
            None => Some(
                bind(SocketAddr::new(server.bind, server.s3_port), "the S3 endpoint", "--s3-port").await?,
            ),
        };
        Ok(Self { api, s3 })
    }
}

async fn bind(address: SocketAddr, what: &str, flag: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("{what} cannot listen on {address}; if the port is in use, choose another with {flag}")
    })
}

async fn serve(mut settings: Settings, metrics: telemetry::metric::Metrics, started: Instant) -> Result<()> {
    let listeners = Listeners::bind(&mut settings).await?;
    let known =
        if settings.data_dir.join("pinion.db").exists() { "going on with what is there" } else { "new" };
    settings::make_data_dir(&settings.data_dir)?;
    let health = Health::default();
    let part = |name: &str, deadline| health.register(name, deadline);
    let (store_part, api_part) = (part("store", None), part("api", None));
    let (plugin_part, cluster_part) = (part("plugins", None), part("local-cluster", None));
    let executions_part = part("executions", None);
    executions_part.set(State::Ok);
    // A loop of the worker that is silent for two leases is wedged: it should turn three times in one.
    let deadline = settings.worker.lease_ttl.get() * 2;
    let loops = WORKER_LOOPS.map(|name| (name, part(name, Some(deadline))));
    loops.iter().for_each(|(_, part)| part.beat());
    let scheduler_part = part("scheduler", Some(settings.scheduler.lease_ttl.get() * 2));
    scheduler_part.beat();

    let notify_part = part("notify", Some(settings.notify.lease_ttl.get() * 2));

    let store = Store::open(&settings.store).await.context("cannot open the database")?;
    let projects: Vec<&str> = settings.server.projects.iter().map(String::as_str).collect();
    api::seed(&store, &projects).await.context("cannot make the first projects")?;
    store_part.set(State::Ok);
    let blob = Blob::new(settings.blob.clone()).context("cannot open the object store")?;

    let cluster = Arc::new(LocalCluster::new(settings.local_cluster.clone()).context("local-cluster")?);
    cluster.start().await.context("cannot start the local cluster")?;
    cluster_part.set(State::Ok);
    let cluster: Arc<dyn Cluster> = cluster;

    let registry = Registry::default();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let clusters = Clusters::new([Arc::clone(&cluster)]);
    let pools = Arc::new(Pools::new(Arc::new(StoreTokens::new(store.clone()))));
    let services = Services::new(ServiceDeps {
        pools: Arc::clone(&pools),
        blob: blob.clone(),
        clusters: clusters.clone(),
        registry: registry.clone(),
        clock: Arc::clone(&clock),
        secrets: settings.worker.secrets.clone(),
    });
    let host = Arc::new(plugins::Host::load(settings.plugin_host.clone(), Arc::new(services)).await);
    plugin_part.set(plugin_state(&host));

    let launcher = Launcher::new(settings.launch.clone(), store.clone(), blob.clone());
    let scheduler = Scheduler::new(
        settings.scheduler.clone(),
        scheduler::Deps {
            host: host_id(&settings)?,
            store: store.clone(),
            launch: Arc::new(launcher.clone()),
            clock: Arc::new(scheduler::SystemClock),
            heartbeat: Arc::new(move || scheduler_part.beat()),
            seam: Arc::new(scheduler::NoSeam),
        },
    );
    let notify_deps = notify::Deps {
        store: store.clone(),
        host: host_id(&settings)?,
        health: notify_part,
        seam: Arc::new(notify::NoSeam),
    };
    let notify = Notify::new(settings.notify.clone(), notify_deps).context("notify")?;
    let catalog = Catalog::with_config(settings.catalog.clone(), store.clone(), blob.clone());
    let version =
        api::VersionInfo { version: env!("CARGO_PKG_VERSION").to_owned(), ..api::VersionInfo::default() };
    let api = api::Api::new(
        settings.api.clone(),
        api::Deps {
            store: store.clone(),
            blob: blob.clone(),
            launcher: launcher.clone(),
            catalog: catalog.clone(),
            version,
        },
    );
    let worker = Worker::new(
        settings.worker.clone(),
        Deps {
            host: host_id(&settings)?,
            store: store.clone(),
            blob: blob.clone(),
            launcher,
            catalog: catalog.clone(),
            plugins: Arc::new(Loaded::new(Arc::clone(&host), &pools)),
            pools,
            clusters,
            registry,
            clock,
            heartbeat: Arc::new(move |turned| {
                for (name, part) in loops.iter().filter(|(name, _)| *name == turned) {
                    tracing::trace!(name, "a loop of the worker turned");
                    part.beat();
                }
            }),
            on_trouble: Arc::new(move |trouble: Option<&str>| {
                executions_part.set(trouble.map_or(State::Ok, |text| State::Degraded(text.to_owned())));
            }),
            seam: Arc::new(NoSeam),
        },
    );

    let drain = CancellationToken::new();
    let router = Router::new()
        .merge(api.routes())
        .merge(api.own_routes())
        .merge(blob.signed_routes())
        .merge(health.routes())
        .merge(metrics.routes())
        .merge(links::routes())
        .merge(catalog.routes())
        .merge(scheduler.routes())
        .merge(notify.routes())
        .merge(logs::routes(Arc::clone(&cluster)));
    let mut tasks = JoinSet::new();
    let names = &settings.api.hosts;
    let router = api::guarded(router, listeners.api.local_addr()?, names);
    let stop = drain.clone();
    tasks.spawn(async move {
        api::serve(listeners.api, router, stop.cancelled_owned()).await;
        Ok(())
    });
    if let Some(listener) = listeners.s3 {
        let routes = api::guarded(blob.s3_routes(), listener.local_addr()?, names);
        let stop = drain.clone();
        tasks.spawn(async move {
            api::serve(listener, routes, stop.cancelled_owned()).await;
            Ok(())
        });
    }
    let stop = drain.clone();
    tasks.spawn(async move { worker.run(stop).await.context("the worker stopped") });
    let stop = drain.clone();
    tasks.spawn(async move { scheduler.run(stop).await.context("the scheduler stopped") });
    let stop = drain.clone();
    tasks.spawn(async move { notify.run(stop).await.context("events and notifications stopped") });
    let stop = drain.clone();
    tasks.spawn(async move {
        stop.run_until_cancelled(catalog.run()).await;
        Ok(())
    });
    let (looked_at, stop) = (Arc::clone(&host), drain.clone());
    let sweeper = blob.clone();
    tasks.spawn(async move {
        upkeep(&looked_at, &plugin_part, &metrics, &sweeper, stop).await;
        Ok(())
    });
    api_part.set(State::Ok);
    print!("{}", banner::text(&settings, &host.report(), known));
    println!("  Ready     in {} ms; Ctrl-C ends it", started.elapsed().as_millis());

    let result = until_told(&mut tasks).await;
    tracing::info!("draining");
    drain.cancel();
    api.set_serving(false).await;
    let ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(settings.worker.drain_grace.get() + TASK_GRACE, ended).await.is_err() {
        tracing::warn!("some work did not end in time");
    }
    cluster.shutdown(TASK_GRACE).await;
    host.drain().await;
    tracing::info!("stopped");
    result
}

/// Waits for a signal, or for the end of a part that should not end.
async fn until_told(tasks: &mut JoinSet<Result<()>>) -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        Some(ended) = tasks.join_next() => match ended {
            Ok(Ok(())) => anyhow::bail!("a part of the host ended by itself"),
            Ok(Err(error)) => Err(error),
            Err(error) => Err(anyhow::Error::new(error).context("a part of the host panicked")),
        },
    }
}

/// Looks after plugins' health, metrics and leftovers.
async fn upkeep(
    host: &plugins::Host,
    part: &telemetry::Component,
    metrics: &telemetry::metric::Metrics,
    blob: &Blob,
    stop: CancellationToken,
) {
    if let Err(error) = blob.sweep().await {
        tracing::warn!(%error, "cannot remove old temporary files");
    }
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(UPKEEP) => {}
        }
        part.set(plugin_state(host));
        metrics.upkeep();
    }
}

/// Degraded, with the reason, when a plugin is quarantined or a task type has no clear owner.
fn plugin_state(host: &plugins::Host) -> State {
    let quarantined = host.report().into_iter().filter_map(|report| match report.state {
        plugins::PluginState::Quarantined(refusal) => {
            let name =
                report.id.or_else(|| report.file.map(|file| file.display().to_string())).unwrap_or_default();
            Some(format!("{name}: {refusal}"))
        }
        plugins::PluginState::Loaded | plugins::PluginState::Disabled => None,
    });
    let unclear = host.problems().into_iter().map(|problem| problem.to_string());
    let reasons: Vec<String> = quarantined.chain(unclear).collect();
    if reasons.is_empty() { State::Ok } else { State::Degraded(reasons.join("; ")) }
}

/// The id of this host: kept in the data directory, so that after a restart it takes its own executions up at once.
fn host_id(settings: &Settings) -> Result<String> {
    let path = settings.data_dir.join("host-id");
    if let Ok(id) = std::fs::read_to_string(&path)
        && !id.trim().is_empty()
    {
        return Ok(id.trim().to_owned());
    }
    let mut random = [0u8; 8];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut source| std::io::Read::read_exact(&mut source, &mut random))
        .context("cannot read random bytes for the host id")?;
    let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    std::fs::write(&path, &id).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(id)
}
