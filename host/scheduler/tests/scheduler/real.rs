//! What an execution of a tick looks like, in the end.

use model::ExecutionId;
use prost::Message as _;
use proto::flyteidl::admin::{ExecutionSpec, LaunchPlanClosure, LaunchPlanSpec};
use proto::flyteidl::core::{
    Literal, LiteralMap, LiteralType, Parameter, ParameterMap, Primitive, Scalar, SimpleType, Variable,
    literal, literal_type, parameter::Behavior, primitive, scalar,
};
use store::{NewSchedule, Timing};

use crate::clock::{HOUR, START};
use crate::world::{DOMAIN, timing, world};

fn datetime_input(name: &str) -> LaunchPlanClosure {
    let ty = LiteralType {
        r#type: Some(literal_type::Type::Simple(SimpleType::Datetime as i32)),
        ..LiteralType::default()
    };
    let var = Some(Variable { r#type: Some(ty), ..Variable::default() });
    let parameter = Parameter { var, behavior: Some(Behavior::Required(true)) };
    let expected_inputs = Some(ParameterMap { parameters: [(name.to_owned(), parameter)].into() });
    LaunchPlanClosure { expected_inputs, ..LaunchPlanClosure::default() }
}

#[tokio::test]
async fn an_execution_says_when_it_was_due_and_gets_the_time_as_input() {
    let world = world().await;
    let host = world.host("h");
    let id = world.register_with("lp", "v1", LaunchPlanSpec::default(), datetime_input("when")).await;
    let new = NewSchedule {
        timing: Timing { kickoff: "when".to_owned(), ..timing("0 * * * *") },
        ..NewSchedule::default()
    };
    world.store.launch_plan_activate(&id, Some(&new), world.now()).await.unwrap();
    world.settle().await;
    // Fired a little late: the tick's own time counts.
    world.advance(HOUR + 7_000_000).await;
    let tick = START.plus(HOUR);
    let row = world.store.execution_get(&ExecutionId::new("p", DOMAIN, &scheduler::of_tick(&id, tick))).await;
    let row = row.unwrap().unwrap();
    assert_eq!((row.mode, row.principal.as_str()), (1, ""));
    assert_eq!(row.launch_plan.as_ref(), Some(&id));
    let metadata = ExecutionSpec::decode(row.spec.as_slice()).unwrap().metadata.unwrap();
    assert_eq!((metadata.mode, metadata.scheduled_at), (1, Some(tick.to_proto())));
    let inputs = std::fs::read(world.object(&row.inputs_uri)).unwrap();
    let datetime = Primitive { value: Some(primitive::Value::Datetime(tick.to_proto())) };
    let scalar = Scalar { value: Some(scalar::Value::Primitive(datetime)) };
    let literal = Literal { value: Some(literal::Value::Scalar(Box::new(scalar))), ..Literal::default() };
    let want = LiteralMap { literals: [("when".to_owned(), literal)].into() };
    assert_eq!(LiteralMap::decode(inputs.as_slice()).unwrap(), want);
    host.stop().await;
}

#[tokio::test]
async fn a_plan_that_lacks_an_input_fails_each_tick_with_the_reason() {
    let world = world().await;
    let host = world.host("h");
    let id = world.register_with("lp", "v1", LaunchPlanSpec::default(), datetime_input("when")).await;
    let new = NewSchedule { timing: timing("0 * * * *"), ..NewSchedule::default() };
    world.store.launch_plan_activate(&id, Some(&new), world.now()).await.unwrap();
    world.settle().await;
    world.advance(HOUR).await;
    let row = world.row("lp").await;
    assert_eq!((row.n_failed, row.next_at), (1, Some(START.plus(2 * HOUR))));
    assert!(row.error.contains("when"), "{}", row.error);
    host.stop().await;
}
