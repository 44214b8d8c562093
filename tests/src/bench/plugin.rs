//! Measures one call of a plugin through the plugin room, in this process and in one of its own, against the same work
//! without any wall.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use async_trait::async_trait;
use bytes::Bytes;
use plugin_api::testing::{Direct, FakeHost, Transport};
use plugins::{Config, Host, HostServices, Isolation, PluginConfig, RunnerConfig};
use prost::Message;
use proto::flyteidl::core::{
    Literal, LiteralMap, LiteralType, Primitive, Scalar, SimpleType, TaskTemplate, TypedInterface, Variable,
    VariableMap, literal, literal_type, primitive, scalar,
};
use proto::pinion::plugin::v1::{
    HandleRequest, HandleResponse, InitRequest, PluginMethod, Status, TaskExecutionContext,
};

use super::Scope;
use super::report::{Report, Sample, Target, Unit};

/// Calls of one round; the first tenth is not counted.
const N: usize = 5_000;
/// Size of the request.
const REQUEST: usize = 2_048;

/// Runs the section.
pub async fn run(scope: &Scope, report: &mut Report) -> Result<()> {
    let library = library()?;
    let inside = load(scope, &library, Isolation::InProcess).await?;
    let outside = load(scope, &library, Isolation::Process).await?;
    let request = request();
    let (mut work, mut here, mut there) = (Quantiles::default(), Quantiles::default(), Quantiles::default());
    let bare = init(Direct::new::<plugin_echo::Echo>(&FakeHost::new())).await?;
    let mut bare = bare;
    for round in 0..scope.rounds {
        report.progress(&format!("round {} of {}", round + 1, scope.rounds));
        let mut times = Vec::with_capacity(N);
        for _ in 0..N {
            let request = request.clone();
            let start = Instant::now();
            let bytes = request.encode_to_vec();
            let answer = bare.call(PluginMethod::Handle as u32, bytes).await.map_err(refused)?;
            HandleResponse::decode(answer.as_slice())?;
            times.push(start.elapsed().as_secs_f64());
        }
        work.add(times);
        here.add(calls(&inside, &request).await?);
        there.add(calls(&outside, &request).await?);
    }
    for (name, seen, limit) in [("in-process", &here, 1e-6), ("isolated", &there, 50e-6)] {
        let size = request.encoded_len();
        report.ratio(
            "P13",
            format!("{name} call of {size} bytes, p50"),
            &seen.p50,
            ("the work itself", &work.p50),
            None,
        );
        let beyond =
            Sample::of(Unit::Seconds, (0..scope.rounds).map(|round| seen.p50.at(round) - work.p50.at(round)));
        report.figure("P13", format!("{name}, p50 beyond the work"), beyond, Some(Target::AtMost(limit)));
        report.figure("P13", format!("{name}, p99"), seen.p99.clone(), None);
    }
    inside.drain().await;
    outside.drain().await;
    Ok(())
}

struct Quantiles {
    p50: Sample,
    p99: Sample,
}

impl Default for Quantiles {
    fn default() -> Self {
        Self { p50: Sample::new(Unit::Seconds), p99: Sample::new(Unit::Seconds) }
    }
}

impl Quantiles {
    fn add(&mut self, times: Vec<f64>) {
        let counted = Sample::of(Unit::Seconds, times.into_iter().skip(N / 10));
        self.p50.push(counted.median());
        self.p99.push(counted.quantile(0.99));
    }
}

async fn calls(host: &Arc<Host>, request: &HandleRequest) -> Result<Vec<f64>> {
    let (host, request) = (Arc::clone(host), request.clone());
    // On a worker of the runtime, where the engine calls from.
    let task = tokio::spawn(async move {
        let plugin = host.resolve("echo").map_err(|error| anyhow!("{error}"))?;
        let mut times = Vec::with_capacity(N);
        for _ in 0..N {
            let request = request.clone();
            let start = Instant::now();
            plugin.handle(request).await.map_err(|fault| anyhow!("{fault}"))?;
            times.push(start.elapsed().as_secs_f64());
        }
        Ok(times)
    });
    task.await.context("the calling task panicked")?
}

async fn init(mut direct: Direct) -> Result<Direct> {
    let request = InitRequest { config_json: b"{}".to_vec(), ..InitRequest::default() };
    direct.call(PluginMethod::Init as u32, request.encode_to_vec()).await.map_err(refused)?;
    Ok(direct)
}

fn refused(status: Status) -> anyhow::Error {
    anyhow!("{}: {}", status.error_code, status.message)
}

async fn load(scope: &Scope, library: &Path, isolation: Isolation) -> Result<Arc<Host>> {
    let dir = scope.dir().join(isolation.to_string());
    std::fs::create_dir_all(&dir)?;
    std::fs::copy(library, dir.join("echo.so")).context("cannot copy the echo plugin")?;
    let runner =
        RunnerConfig { executable: Some(tests::bin_dir().join("pinion")), ..RunnerConfig::default() };
    let settings = PluginConfig { isolation: Some(isolation), ..PluginConfig::default() };
    let config = Config {
        dirs: vec![dir.clone()],
        trusted_dirs: vec![dir.clone()],
        cache_dir: dir.join("cache"),
        plugins: BTreeMap::from([("echo".to_owned(), settings)]),
        runner,
        ..Config::default()
    };
    let host = Host::load(config, Arc::new(NoServices)).await;
    if host.resolve("echo").is_err() {
        return Err(anyhow!("the echo plugin is not served: {:?}", host.report()));
    }
    Ok(Arc::new(host))
}

/// A host that has nothing; the inputs are within the request.
struct NoServices;

#[async_trait]
impl HostServices for NoServices {
    async fn call(&self, _plugin_id: &str, method: u32, _request: Bytes) -> Result<Vec<u8>, Status> {
        Err(plugins::unimplemented(method))
    }
}

/// The echo library of the build.
fn library() -> Result<PathBuf> {
    let bin = tests::bin_dir();
    let places = [bin.join("plugins"), bin.clone(), bin.join("../lib/pinion/plugins")];
    let path = places.iter().map(|dir| dir.join("libplugin_echo.so")).find(|path| path.exists());
    path.with_context(|| format!("there is no libplugin_echo.so in or beside {}", bin.display()))
}

/// A request as the worker sends it, filled up to its size.
fn request() -> HandleRequest {
    let context = |filler: usize| TaskExecutionContext {
        task_template: template().encode_to_vec(),
        generated_name: "bench-n0-0".to_owned(),
        namespace: "flytesnacks-development".to_owned(),
        input_uri: "s3://bucket/metadata/flytesnacks-development-bench/n0/data/inputs.pb".to_owned(),
        labels: BTreeMap::from([("filler".to_owned(), "x".repeat(filler))]),
        ..TaskExecutionContext::default()
    };
    let whole = |filler: usize| HandleRequest {
        context: Some(context(filler)),
        inputs: Some(LiteralMap { literals: BTreeMap::from([("x".to_owned(), integer())]) }.encode_to_vec()),
        now: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 0 }),
        ..HandleRequest::default()
    };
    whole(REQUEST.saturating_sub(whole(0).encoded_len()))
}

fn template() -> TaskTemplate {
    let simple = literal_type::Type::Simple(SimpleType::Integer.into());
    let integer = LiteralType { r#type: Some(simple), ..LiteralType::default() };
    let map = |name: &str| {
        let variable = Variable { r#type: Some(integer.clone()), ..Variable::default() };
        Some(VariableMap { variables: BTreeMap::from([(name.to_owned(), variable)]) })
    };
    TaskTemplate {
        r#type: "echo".to_owned(),
        interface: Some(TypedInterface { inputs: map("x"), outputs: map("o0") }),
        ..TaskTemplate::default()
    }
}

fn integer() -> Literal {
    let primitive = Primitive { value: Some(primitive::Value::Integer(7)) };
    let scalar = Scalar { value: Some(scalar::Value::Primitive(primitive)) };
    Literal { value: Some(literal::Value::Scalar(Box::new(scalar))), ..Literal::default() }
}
