//! Walks a resource plugin through the life of an object.

use futures::executor::block_on;

use super::*;
use crate::testing::FakeHost;
use crate::wire::{ObjectGone, TaskExecutionContext, WakeReason};

struct Job;

impl ResourcePlugin for Job {
    type Config = serde_json::Value;

    fn new(_: Self::Config, _: Host) -> Result<Self, PluginError> {
        Ok(Self)
    }

    fn watched_kinds(&self) -> Vec<WatchedKind> {
        vec![WatchedKind { api_version: "batch/v1".into(), kind: "Job".into() }]
    }

    fn build(&self, cx: &TaskContext) -> Result<Object, PluginError> {
        if cx.env.contains_key("BROKEN") {
            return Err(PluginError::user("BadTaskSpecification", "no image"));
        }
        let _ = cx.task_template_uri();
        Ok(Object::new("batch/v1", "Job"))
    }

    fn phase(&self, _: &TaskContext, object: &Object) -> Result<PhaseInfo, PluginError> {
        Ok(match object.text("/status/phase") {
            "Done" => phase::succeeded("done"),
            "Busy" => phase::running("busy"),
            other => phase::queued(other),
        })
    }
}

fn context() -> TaskExecutionContext {
    TaskExecutionContext {
        generated_name: "n0-0".into(),
        namespace: "ns".into(),
        labels: [("team".to_owned(), "a".to_owned())].into(),
        ..Default::default()
    }
}

fn plugin() -> Resource<Job> {
    block_on(Resource::new(serde_json::Value::Null, FakeHost::new().host())).unwrap()
}

fn first_round() -> HandleResponse {
    let request = HandleRequest {
        context: Some(context()),
        wake_reason: WakeReason::Start.into(),
        ..Default::default()
    };
    block_on(plugin().handle(request)).unwrap()
}

fn round(last: PhaseInfo, observed: Observed) -> HandleResponse {
    let started = first_round();
    let object = State::decode_from(started.state.as_ref().unwrap()).unwrap().object;
    let request = HandleRequest {
        context: Some(context()),
        last: Some(last),
        state: started.state,
        observed: vec![ObservedObject { object, observed: Some(observed), events: Vec::new() }],
        ..Default::default()
    };
    block_on(plugin().handle(request)).unwrap()
}

fn json(phase: &str) -> Observed {
    Observed::Json(serde_json::json!({"kind": "Job", "status": {"phase": phase}}).to_string().into_bytes())
}

fn code(response: &HandleResponse) -> (Phase, String) {
    let report = response.phase.clone().unwrap();
    (report.phase(), report.error.unwrap_or_default().code)
}

#[test]
fn first_round_asks_for_upload_then_apply() {
    let response = first_round();
    let [upload, apply] = response.actions.as_slice() else { panic!("{:?}", response.actions) };
    assert_eq!(upload, &response::upload_task_template());
    let Some(wire::action::Action::Apply(apply)) = &apply.action else { panic!("{apply:?}") };
    let object = Object::from_slice(&apply.json).unwrap();
    assert_eq!(
        (object.name(), object.namespace(), object.text("/metadata/labels/team")),
        ("n0-0", "ns", "a")
    );
}

#[test]
fn build_error_fails_for_good() {
    let mut context = context();
    context.env.insert("BROKEN".into(), String::new());
    let request = HandleRequest { context: Some(context), ..Default::default() };
    let response = block_on(plugin().handle(request)).unwrap();
    assert_eq!(code(&response), (Phase::PermanentFailure, "BadTaskSpecification".into()));
    assert!(response.actions.is_empty());
}

#[test]
fn missing_object_is_a_system_failure() {
    let response = round(phase::queued("x"), Observed::Gone(ObjectGone {}));
    assert_eq!(code(&response), (Phase::RetryableFailure, "ResourceDeletedExternally".into()));
}

#[test]
fn success_reads_output_files() {
    let response = round(phase::running("busy"), json("Done"));
    assert_eq!(response.outputs, Some(response::output_files()));
}

#[test]
fn changed_reason_raises_the_version() {
    let response = round(phase::queued("pulling").with_version(3), json("scheduling"));
    assert_eq!(response.phase.unwrap().version, 4);
    let response = round(phase::queued("pulling").with_version(3), json("pulling"));
    assert_eq!(response.phase.unwrap().version, 3);
}

#[test]
fn deletion_by_others_is_noticed() {
    let object = serde_json::json!({"kind": "Job", "metadata": {"deletionTimestamp": "now"}, "status": {"phase": "Busy"}});
    let response = round(phase::queued("x"), Observed::Json(object.to_string().into_bytes()));
    assert_eq!(code(&response), (Phase::RetryableFailure, "UnexpectedObjectDeletion".into()));
}

#[test]
fn refused_apply_becomes_the_phase_it_means() {
    let error = |code| Observed::Error(ObjectError { code, message: "no".into(), ..Default::default() });
    let table = [
        (403, Phase::RetryableFailure, "RuntimeFailure"),
        (422, Phase::PermanentFailure, "BadTaskFormat"),
        (413, Phase::PermanentFailure, "EntityTooLarge"),
        (429, Phase::WaitingForResources, ""),
        (500, Phase::Queued, ""),
    ];
    for (status, phase, name) in table {
        let response = round(phase::queued("x"), error(status));
        assert_eq!(code(&response), (phase, name.into()), "{status}");
    }
    let response = round(phase::queued("x"), error(429));
    assert_eq!(response.wake, Some(response::wake_after(Duration::from_secs(1))));
    assert!(!response.actions.is_empty(), "a refused apply is tried again");
}

#[test]
fn abort_deletes_what_was_applied() {
    let state = first_round().state;
    let request = AbortRequest { context: Some(context()), state, ..Default::default() };
    let response = block_on(plugin().abort(request)).unwrap();
    assert_eq!(response.actions.len(), 1);
}

#[test]
fn abort_before_handle_does_nothing() {
    let request = AbortRequest { context: Some(context()), ..Default::default() };
    assert!(block_on(plugin().abort(request)).unwrap().actions.is_empty());
}

#[test]
fn abort_works_without_a_readable_state() {
    let state = Some(PluginState { data: vec![1, 2, 3], version: 99 });
    let request = AbortRequest { context: Some(context()), state, ..Default::default() };
    let response = block_on(plugin().abort(request)).unwrap();
    let Some(wire::action::Action::Delete(delete)) = &response.actions[0].action else { panic!() };
    assert_eq!(delete.object.as_ref().unwrap().name, "n0-0");
}
