//! Runs echo tasks against a fake host.
#![allow(clippy::unwrap_used, reason = "a test")]

use futures::executor::block_on;
use plugin_api::flyteidl::core::{
    Literal, LiteralMap, LiteralType, Primitive, Scalar, SimpleType, TaskTemplate, TypedInterface, Variable,
    VariableMap, literal, literal_type, primitive, scalar,
};
use plugin_api::testing::{Direct, FakeHost, Sample, conformance};
use plugin_api::wire::{HandleRequest, HandleResponse, Outputs, TaskExecutionContext, outputs};
use plugin_api::{Phase, TaskPlugin, json};
use plugin_echo::{Config, Echo};
use prost::Message;

fn integer(value: i64) -> Literal {
    let primitive = Primitive { value: Some(primitive::Value::Integer(value)) };
    let scalar = Scalar { value: Some(scalar::Value::Primitive(primitive)) };
    Literal { value: Some(literal::Value::Scalar(Box::new(scalar))), ..Default::default() }
}

fn literals(name: &str) -> LiteralMap {
    LiteralMap { literals: [(name.to_owned(), integer(7))].into() }
}

fn variables(name: &str) -> Option<VariableMap> {
    let simple = literal_type::Type::Simple(SimpleType::Integer.into());
    let r#type = Some(LiteralType { r#type: Some(simple), ..Default::default() });
    Some(VariableMap { variables: [(name.to_owned(), Variable { r#type, ..Default::default() })].into() })
}

fn request(custom: serde_json::Value) -> HandleRequest {
    let template = TaskTemplate {
        r#type: "echo".into(),
        interface: Some(TypedInterface { inputs: variables("a"), outputs: variables("o0") }),
        custom: Some(json::to_struct(&custom)),
        ..Default::default()
    };
    let context = TaskExecutionContext { task_template: template.encode_to_vec(), ..Default::default() };
    HandleRequest {
        context: Some(context),
        inputs: Some(literals("a").encode_to_vec()),
        now: Some(prost_types::Timestamp { seconds: 100, nanos: 0 }),
        ..Default::default()
    }
}

fn handle(request: HandleRequest) -> HandleResponse {
    block_on(async {
        let host = FakeHost::new();
        host.set_inputs(&literals("a"));
        let echo = Echo::new(Config::default(), host.host()).await.unwrap();
        echo.handle(request).await.unwrap()
    })
}

fn phase(response: &HandleResponse) -> Phase {
    response.phase.as_ref().unwrap().phase()
}

#[test]
fn first_round_completes() {
    let response = handle(request(serde_json::json!({})));
    assert_eq!(phase(&response), Phase::Succeeded);
    let copied = outputs::Value::Inline(literals("o0").encode_to_vec());
    assert_eq!(response.outputs, Some(Outputs { value: Some(copied) }));
}

#[test]
fn missing_inline_inputs_are_fetched() {
    let request = HandleRequest { inputs: None, ..request(serde_json::json!({})) };
    assert_eq!(phase(&handle(request)), Phase::Succeeded);
}

#[test]
fn sleep_is_a_wake_hint() {
    let start = request(serde_json::json!({"sleep-ms": 1500}));
    let asleep = handle(start.clone());
    assert_eq!((phase(&asleep), asleep.wake.unwrap().after_ms), (Phase::Running, 1500));
    let at = |seconds| HandleRequest {
        state: asleep.state.clone(),
        now: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        ..start.clone()
    };
    assert_eq!(handle(at(101)).wake.unwrap().after_ms, 500);
    assert_eq!(phase(&handle(at(102))), Phase::Succeeded);
}

#[test]
fn echo_conforms() {
    let host = FakeHost::new();
    let sample = Sample { config_json: Vec::new(), start: request(serde_json::json!({"sleep-ms": 5})) };
    let violations = block_on(conformance(&mut Direct::new::<Echo>(&host), &sample));
    assert_eq!(violations, []);
}
