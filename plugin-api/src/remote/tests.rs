//! Walks a remote plugin through the life of a job.

use std::sync::Mutex;

use futures::executor::block_on;

use super::*;
use crate::testing::FakeHost;
use crate::wire::{Phase, TaskExecutionContext, TokenStatus};

#[derive(Default)]
struct Service {
    deleted: Mutex<Vec<String>>,
}

impl RemotePlugin for Service {
    type Config = serde_json::Value;
    type Meta = String;
    type Resource = String;

    fn new(_: Self::Config, _: Host) -> Result<Self, PluginError> {
        Ok(Self::default())
    }

    fn token(&self, cx: &TaskContext) -> Result<Option<TokenRequest>, PluginError> {
        let wanted = cx.env.contains_key("TOKEN");
        Ok(wanted.then(|| TokenRequest { resource_namespace: "pool".into(), constraints: None }))
    }

    async fn create(&self, cx: &TaskContext) -> Result<Created<String, String>, PluginError> {
        if cx.env.contains_key("BROKEN") {
            return Err(PluginError::user("BadQuery", "syntax error"));
        }
        Ok(Created { meta: cx.generated_name.clone(), resource: None })
    }

    async fn get(&self, cx: &TaskContext, meta: &String) -> Result<String, PluginError> {
        assert_eq!(meta, &cx.generated_name);
        cx.env.get("SERVICE").cloned().ok_or_else(|| PluginError::system("Down", "no answer"))
    }

    async fn delete(&self, _: &TaskContext, meta: &String, _: &str) -> Result<(), PluginError> {
        self.deleted.lock().unwrap().push(meta.clone());
        Ok(())
    }

    async fn status(&self, _: &TaskContext, resource: &String) -> Result<RemoteStatus, PluginError> {
        Ok(if resource == "done" { phase::succeeded("").into() } else { phase::running(resource).into() })
    }
}

fn request(env: &[(&str, &str)], state: Option<PluginState>) -> HandleRequest {
    let env = env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let context = TaskExecutionContext { generated_name: "n0-0".into(), env, ..Default::default() };
    HandleRequest { context: Some(context), state, ..Default::default() }
}

fn plugin() -> Remote<Service> {
    block_on(Remote::new(serde_json::Value::Null, FakeHost::new().host())).unwrap()
}

fn handle(request: HandleRequest) -> HandleResponse {
    block_on(plugin().handle(request)).unwrap()
}

fn phase_of(response: &HandleResponse) -> Phase {
    response.phase.as_ref().unwrap().phase()
}

#[test]
fn create_then_poll_until_done() {
    let created = handle(request(&[], None));
    assert_eq!(phase_of(&created), Phase::Queued);
    assert!(created.wake.is_some());
    let busy = handle(request(&[("SERVICE", "busy")], created.state.clone()));
    assert_eq!(phase_of(&busy), Phase::Running);
    assert_eq!(busy.state, None, "a poll that changes nothing writes no state");
    let done = handle(request(&[("SERVICE", "done")], created.state));
    assert_eq!((phase_of(&done), done.wake), (Phase::Succeeded, None));
    assert_eq!(done.outputs, Some(response::output_files()));
}

#[test]
fn create_waits_for_its_token() {
    let env = [("TOKEN", "")];
    let waiting = handle(request(&env, None));
    assert_eq!(phase_of(&waiting), Phase::WaitingForResources);
    assert_eq!(waiting.actions, [response::acquire_token("pool", "n0-0", None)]);
    let mut granted = request(&env, waiting.state.clone());
    granted.tokens =
        vec![TokenStatus { resource_namespace: "pool".into(), granted: true, ..Default::default() }];
    assert_eq!(phase_of(&handle(granted)), Phase::Queued);
    let finalize =
        FinalizeRequest { context: request(&env, None).context, state: waiting.state, ..Default::default() };
    let response = block_on(plugin().finalize(finalize)).unwrap();
    assert_eq!(response.actions, [response::release_token("pool", "n0-0")]);
}

#[test]
fn refused_create_fails_for_good() {
    assert_eq!(phase_of(&handle(request(&[("BROKEN", "")], None))), Phase::PermanentFailure);
}

#[test]
fn dead_service_fails_after_five_polls() {
    let mut state = handle(request(&[], None)).state;
    for _ in 0..5 {
        let response = handle(request(&[], state));
        assert_eq!(phase_of(&response), Phase::Queued);
        state = response.state;
    }
    assert_eq!(phase_of(&handle(request(&[], state))), Phase::PermanentFailure);
}

#[test]
fn abort_deletes_by_state_alone() {
    let state = handle(request(&[], None)).state;
    let plugin = plugin();
    let request = AbortRequest { context: request(&[], None).context, state, ..Default::default() };
    block_on(plugin.abort(request)).unwrap();
    assert_eq!(*plugin.plugin.deleted.lock().unwrap(), ["n0-0"]);
}
