//! Plays plugins: one whose behaviour is chosen by task type, with a record of every call.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use blob::{Blob, DataReference};
use prost::Message;
use proto::flyteidl::core::{
    DynamicJobSpec, ExecutionError, Literal, LiteralMap, TaskTemplate, execution_error::ErrorKind, literal,
};
use proto::pinion::plugin::v1::{
    AbortRequest, AbortResponse, AcquireToken, Action, ApplyObject, DeleteObject, FinalizeRequest,
    FinalizeResponse, HandleRequest, HandleResponse, ObjectRef, OutputFiles, Outputs, Phase, PhaseInfo,
    PluginState, ReleaseToken, Status, TaskExecutionContext, WakeHint, WakeReason, action,
    observed_object::Observed, outputs,
};
use serde_json::json;
use tokio::sync::watch;
use worker::{Fault, Plugin, PluginSource, Unavailable};

use crate::flow;

/// Tasks of a type that begins so are those of the rest of its name, by a plugin that only describes.
pub const DESCRIBED: &str = "described-";

/// One call as it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub verb: &'static str,
    pub name: String,
    pub why: String,
}

/// All that is remembered of calls; shared by every life of the worker.
#[derive(Default)]
pub struct Journal {
    /// Remember nothing.
    pub quiet: AtomicBool,
    /// How often plugins were asked.
    pub n_handled: AtomicUsize,
    pub calls: Mutex<Vec<Call>>,
    in_flight: Mutex<HashSet<String>>,
    pub overlaps: Mutex<Vec<String>>,
    /// Context of the last `handle` by name.
    pub contexts: Mutex<BTreeMap<String, TaskExecutionContext>>,
}

impl Journal {
    fn enter(self: &Arc<Self>, verb: &'static str, context: &TaskExecutionContext, why: &str) -> Visit {
        let name = context.generated_name.clone();
        self.n_handled.fetch_add(usize::from(verb == "handle"), Ordering::SeqCst);
        if self.quiet.load(Ordering::SeqCst) {
            return Visit { journal: Arc::clone(self), name };
        }
        self.calls.lock().unwrap().push(Call { verb, name: name.clone(), why: why.to_owned() });
        if verb == "handle" {
            self.contexts.lock().unwrap().insert(name.clone(), context.clone());
        }
        if !self.in_flight.lock().unwrap().insert(name.clone()) {
            self.overlaps.lock().unwrap().push(name.clone());
        }
        Visit { journal: Arc::clone(self), name }
    }

    pub fn count(&self, verb: &str, name: &str) -> usize {
        let calls = self.calls.lock().unwrap();
        calls.iter().filter(|call| call.verb == verb && call.name.ends_with(name)).count()
    }

    pub fn reasons(&self, name: &str) -> Vec<String> {
        let calls = self.calls.lock().unwrap();
        let handled = calls.iter().filter(|call| call.verb == "handle" && call.name.ends_with(name));
        handled.map(|call| call.why.clone()).collect()
    }
}

/// A call that ends when this is dropped, whether it was answered or cut off.
struct Visit {
    journal: Arc<Journal>,
    name: String,
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.journal.in_flight.lock().unwrap().remove(&self.name);
    }
}

/// The source of fake plugins.
pub struct FakePlugins {
    pub journal: Arc<Journal>,
    /// Where tasks that make workflows write them.
    blob: Blob,
    /// Whether tasks fail that do so now and then.
    flaky: Arc<AtomicBool>,
    /// Task types without a plugin now, with the reason; `gone:` in front of it means for ever.
    pub missing: Mutex<HashMap<String, String>>,
    changes: watch::Sender<u64>,
}

impl FakePlugins {
    pub fn new(blob: Blob) -> Self {
        Self {
            journal: Arc::default(),
            blob,
            flaky: Arc::default(),
            missing: Mutex::default(),
            changes: watch::channel(0).0,
        }
    }

    /// Says whether tasks of type `flaky` fail from now on.
    pub fn break_flaky(&self, broken: bool) {
        self.flaky.store(broken, Ordering::SeqCst);
    }

    pub fn lose(&self, task_type: &str, reason: &str) {
        self.missing.lock().unwrap().insert(task_type.to_owned(), reason.to_owned());
        self.changes.send_modify(|n| *n += 1);
    }

    pub fn find(&self, task_type: &str) {
        self.missing.lock().unwrap().remove(task_type);
        self.changes.send_modify(|n| *n += 1);
    }
}

impl PluginSource for FakePlugins {
    fn resolve(&self, task_type: &str, _: &str) -> Result<Arc<dyn Plugin>, Unavailable> {
        if let Some(reason) = self.missing.lock().unwrap().get(task_type) {
            let gone = reason.strip_prefix("gone:");
            let reason = gone.unwrap_or(reason).to_owned();
            return Err(Unavailable { reason, gone: gone.is_some(), again_in: None });
        }
        Ok(Arc::new(FakePlugin {
            describes: task_type.starts_with(DESCRIBED),
            journal: Arc::clone(&self.journal),
            blob: self.blob.clone(),
            flaky: Arc::clone(&self.flaky),
        }))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

struct FakePlugin {
    /// Whether it may be asked before the commit.
    describes: bool,
    journal: Arc<Journal>,
    blob: Blob,
    flaky: Arc<AtomicBool>,
}

fn report(phase: Phase, reason: &str) -> PhaseInfo {
    PhaseInfo { phase: phase.into(), reason: reason.into(), ..PhaseInfo::default() }
}

fn answer(phase: PhaseInfo) -> HandleResponse {
    HandleResponse { phase: Some(phase), ..HandleResponse::default() }
}

fn failure(phase: Phase, kind: ErrorKind, code: &str) -> HandleResponse {
    let error = ExecutionError {
        code: code.into(),
        message: format!("{code} happened"),
        kind: kind.into(),
        ..ExecutionError::default()
    };
    answer(PhaseInfo { error: Some(error), ..report(phase, "failed") })
}

fn act(action: action::Action) -> Action {
    Action { action: Some(action) }
}

/// The sum of all inputs; of lists, the item of this element.
fn sum(request: &HandleRequest) -> i64 {
    let inputs = LiteralMap::decode(request.inputs.clone().unwrap_or_default().as_slice()).unwrap();
    let index = request.context.as_ref().unwrap().array_element.map(|element| element.index as usize);
    let value = |literal: &Literal| match (&literal.value, index) {
        (Some(literal::Value::Collection(list)), Some(index)) => flow::read_integer(&list.literals[index]),
        _ => flow::read_integer(literal),
    };
    inputs.literals.values().filter_map(value).sum()
}

/// The sum of all inputs and one.
fn echo(request: &HandleRequest) -> HandleResponse {
    let inline = flow::map(&[("o0", sum(request) + 1)]).encode_to_vec();
    let outputs = Outputs { value: Some(outputs::Value::Inline(inline)) };
    HandleResponse { outputs: Some(outputs), ..answer(report(Phase::Succeeded, "done")) }
}

fn pod_ref(context: &TaskExecutionContext) -> ObjectRef {
    ObjectRef {
        api_version: "v1".into(),
        kind: "Pod".into(),
        namespace: context.namespace.clone(),
        name: context.generated_name.clone(),
        cluster: String::new(),
    }
}

/// Applies an object and follows it.
fn pod(request: &HandleRequest) -> HandleResponse {
    let context = request.context.as_ref().unwrap();
    if request.state.is_none() {
        let json = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "annotations": { "output": context.output_prefix } },
        });
        let apply = ApplyObject {
            object: Some(pod_ref(context)),
            json: json.to_string().into_bytes(),
            unmanaged: false,
        };
        return HandleResponse {
            state: Some(PluginState { data: b"applied".to_vec(), version: 1 }),
            actions: vec![act(action::Action::Apply(apply))],
            ..answer(report(Phase::Queued, "submitted"))
        };
    }
    match request.observed.first().and_then(|object| object.observed.as_ref()) {
        None => answer(report(Phase::Queued, "submitted")),
        Some(Observed::Gone(_)) => {
            failure(Phase::RetryableFailure, ErrorKind::System, "ResourceDeletedExternally")
        }
        Some(Observed::Error(error)) if error.backing_off => {
            answer(report(Phase::WaitingForResources, &error.message))
        }
        Some(Observed::Error(error)) => failure(Phase::PermanentFailure, ErrorKind::User, &error.reason),
        Some(Observed::Json(json)) => {
            let object: serde_json::Value = serde_json::from_slice(json).unwrap();
            match object.pointer("/status/phase").and_then(|phase| phase.as_str()) {
                Some("Running") => answer(report(Phase::Running, "runs")),
                Some("Succeeded") => HandleResponse {
                    outputs: Some(Outputs { value: Some(outputs::Value::Files(OutputFiles {})) }),
                    ..answer(report(Phase::Succeeded, "completed"))
                },
                Some("Failed") => failure(Phase::RetryableFailure, ErrorKind::User, "ContainerFailed"),
                _ => answer(report(Phase::Queued, "submitted")),
            }
        }
    }
}

/// Asks for a token, then is done.
fn token(request: &HandleRequest) -> HandleResponse {
    if request.tokens.iter().any(|token| token.granted) {
        return echo(request);
    }
    let name = request.context.as_ref().unwrap().generated_name.clone();
    let acquire = AcquireToken { resource_namespace: "pool".into(), token: name, constraints: None };
    HandleResponse {
        actions: vec![act(action::Action::Acquire(acquire))],
        ..answer(report(Phase::WaitingForResources, "wants a place"))
    }
}

/// Asks to be called again every second, three times.
fn poll(request: &HandleRequest) -> HandleResponse {
    let n = request.state.as_ref().map_or(0, |state| state.data[0]);
    if n == 3 {
        return echo(request);
    }
    let asked = request.wake_reason == WakeReason::Timer as i32 || n == 0;
    HandleResponse {
        state: Some(PluginState { data: vec![if asked { n + 1 } else { n }], version: 1 }),
        wake: Some(WakeHint { after_ms: 1000 }),
        ..answer(report(Phase::Running, "polls"))
    }
}

/// Whether the task fails now and then.
fn is_flaky(request: &HandleRequest) -> bool {
    match task_type(request.context.as_ref().unwrap()).as_str() {
        "flaky" => true,
        "odd-flaky" => sum(request) % 2 == 0,
        _ => false,
    }
}

/// Makes a chain of `n` tasks of a type, the first with the sum of the inputs.
async fn make(request: &HandleRequest, blob: &Blob, n: usize, task_type: &str) -> HandleResponse {
    write(request, blob, &flow::made(n, task_type, sum(request))).await
}

/// Writes a workflow as a task does.
async fn write(request: &HandleRequest, blob: &Blob, made: &DynamicJobSpec) -> HandleResponse {
    let prefix = &request.context.as_ref().unwrap().output_prefix;
    let uri = DataReference::parse(format!("{prefix}/futures.pb")).unwrap();
    blob.put(&uri, made.encode_to_vec().into()).await.unwrap();
    HandleResponse {
        outputs: Some(Outputs { value: Some(outputs::Value::Files(OutputFiles {})) }),
        ..answer(report(Phase::Succeeded, "made"))
    }
}

async fn behave(request: &HandleRequest, blob: &Blob) -> Result<HandleResponse, Fault> {
    let context = request.context.as_ref().unwrap();
    let template = TaskTemplate::decode(context.task_template.as_slice()).unwrap();
    let task_type = template.r#type.trim_start_matches(DESCRIBED);
    let (kind, number) = task_type.split_once(':').unwrap_or((task_type, "0"));
    let below = context.attempt < number.parse::<u32>().unwrap();
    match kind {
        "user" if below => Ok(failure(Phase::RetryableFailure, ErrorKind::User, "Oops")),
        "system" if below => Ok(failure(Phase::RetryableFailure, ErrorKind::System, "Hiccup")),
        "messy" if below => {
            let mut failed = failure(Phase::RetryableFailure, ErrorKind::User, "Mess");
            failed.phase.as_mut().unwrap().cleanup_on_failure = true;
            Ok(failed)
        }
        "broken" if below => {
            Err(Fault::Broken { code: "PluginPanicked".into(), message: "it panicked".into() })
        }
        "panic" if below => panic!("a plugin panics in a test"),
        "status" if below => Err(Fault::Status(Status {
            error_code: "Away".into(),
            message: "the service is away".into(),
            retryable: true,
            ..Status::default()
        })),
        "greedy" if below => Ok(HandleResponse {
            state: Some(PluginState { data: vec![0; 70_000], version: 1 }),
            ..answer(report(Phase::Running, "hoards"))
        }),
        "newer" if below => Err(Fault::Status(Status {
            code: 9,
            error_code: "UnknownStateVersion".into(),
            message: "state has version 9".into(),
            ..Status::default()
        })),
        "dynamic" => Ok(make(request, blob, number.parse().unwrap(), "echo").await),
        "deep" => {
            let left = number.parse::<usize>().unwrap();
            let inner = if left == 0 { "echo".to_owned() } else { format!("deep:{}", left - 1) };
            Ok(make(request, blob, 1, &inner).await)
        }
        "make-flaky" => {
            let mut made = flow::made(2, "echo", sum(request));
            made.tasks[1].r#type = "flaky".into();
            Ok(write(request, blob, &made).await)
        }
        "doomed" => Ok(make(request, blob, 2, "permanent").await),
        "odd" if sum(request) % 2 == 0 => Ok(failure(Phase::PermanentFailure, ErrorKind::User, "Even")),
        "permanent" => Ok(failure(Phase::PermanentFailure, ErrorKind::User, "Never")),
        "hang" => std::future::pending().await,
        "forever" | "stubborn" => Ok(answer(report(Phase::Running, "runs"))),
        "pod" | "stuck-pod" => Ok(pod(request)),
        "token" => Ok(token(request)),
        "poll" => Ok(poll(request)),
        "wrong" => Ok(HandleResponse {
            outputs: Some(Outputs {
                value: Some(outputs::Value::Inline(flow::map(&[("other", 1)]).encode_to_vec())),
            }),
            ..answer(report(Phase::Succeeded, "done"))
        }),
        "files" => Ok(HandleResponse {
            outputs: Some(Outputs { value: Some(outputs::Value::Files(OutputFiles {})) }),
            ..answer(report(Phase::Succeeded, "done"))
        }),
        _ => Ok(echo(request)),
    }
}

fn delete(context: &TaskExecutionContext) -> Vec<Action> {
    let delete = DeleteObject { object: Some(pod_ref(context)), grace_period_seconds: None };
    vec![act(action::Action::Delete(delete))]
}

fn task_type(context: &TaskExecutionContext) -> String {
    TaskTemplate::decode(context.task_template.as_slice()).unwrap().r#type
}

#[async_trait]
impl Plugin for FakePlugin {
    fn id(&self) -> &str {
        "fake"
    }

    fn identity(&self) -> &str {
        "fake 1.0.0 0000"
    }

    fn inputs_inline(&self) -> bool {
        true
    }

    fn describes_only(&self) -> bool {
        self.describes
    }

    async fn handle(&self, request: HandleRequest) -> Result<HandleResponse, Fault> {
        let why = request.wake_reason().as_str_name().trim_start_matches("WAKE_REASON_");
        let _visit = self.journal.enter("handle", request.context.as_ref().unwrap(), why);
        tokio::task::yield_now().await;
        if self.flaky.load(Ordering::SeqCst) && is_flaky(&request) {
            return Ok(failure(Phase::PermanentFailure, ErrorKind::User, "Flaky"));
        }
        behave(&request, &self.blob).await
    }

    async fn abort(&self, request: AbortRequest) -> Result<AbortResponse, Fault> {
        let context = request.context.unwrap();
        let _visit = self.journal.enter("abort", &context, &request.reason);
        tokio::task::yield_now().await;
        if task_type(&context).starts_with("stu") {
            return Err(Fault::Broken { code: "PluginPanicked".into(), message: "it will not".into() });
        }
        Ok(AbortResponse { actions: delete(&context), phase: None })
    }

    async fn finalize(&self, request: FinalizeRequest) -> Result<FinalizeResponse, Fault> {
        let context = request.context.unwrap();
        let _visit = self.journal.enter("finalize", &context, "");
        tokio::task::yield_now().await;
        let mut actions = delete(&context);
        if task_type(&context) == "token" {
            let token = context.generated_name.clone();
            let release = ReleaseToken { resource_namespace: "pool".into(), token };
            actions.push(act(action::Action::Release(release)));
        }
        Ok(FinalizeResponse { actions })
    }

    async fn migrate_state(&self, state: PluginState) -> Result<PluginState, Fault> {
        Ok(state)
    }
}
