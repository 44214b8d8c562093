//! What a launch plan expects, and which version is active.

use proto::flyteidl::admin::*;
use proto::flyteidl::core::{ResourceType, parameter::Behavior, *};
use tonic::Code;

use super::world::*;

fn spec(request: &mut LaunchPlanCreateRequest) -> &mut LaunchPlanSpec {
    request.spec.as_mut().unwrap()
}

fn parameter(ty: SimpleType, behavior: Option<Behavior>) -> Parameter {
    let var = Variable { r#type: Some(simple(ty)), ..Variable::default() };
    Parameter { var: Some(var), behavior }
}

fn defaults(name: &str, parameter: Parameter) -> Option<ParameterMap> {
    Some(ParameterMap { parameters: [(name.to_owned(), parameter)].into() })
}

async fn get(world: &World, name: &str, version: &str) -> LaunchPlan {
    let request = ObjectGetRequest { id: Some(id(ResourceType::LaunchPlan, name, version)) };
    world.admin.clone().get_launch_plan(request).await.unwrap().into_inner()
}

async fn set_state(
    world: &World,
    name: &str,
    version: &str,
    state: LaunchPlanState,
) -> Result<(), tonic::Status> {
    let request = LaunchPlanUpdateRequest {
        id: Some(id(ResourceType::LaunchPlan, name, version)),
        state: state as i32,
    };
    world.admin.clone().update_launch_plan(request).await.map(drop)
}

#[tokio::test]
async fn expected_inputs_stand_in_spec_and_closure() {
    let world = world().await;
    world.register("v1").await;
    let mut request = plan_request("plan", "v1");
    let default = Some(Behavior::Default(integer(7)));
    spec(&mut request).default_inputs = defaults("a", parameter(SimpleType::Integer, default.clone()));
    spec(&mut request).fixed_inputs = Some(literals(&[("b", text("fixed"))]));
    world.admin.clone().create_launch_plan(request).await.unwrap();
    let plan = get(&world, "plan", "v1").await;
    let (spec, closure) = (plan.spec.unwrap(), plan.closure.unwrap());
    let expected = closure.expected_inputs.unwrap();
    assert_eq!(spec.default_inputs.as_ref(), Some(&expected));
    assert_eq!(expected.parameters.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(expected.parameters["a"].behavior, default);
    assert_eq!(closure.expected_outputs.unwrap().variables.len(), 1);
    assert_eq!(closure.state, LaunchPlanState::Inactive as i32);
    assert!(closure.created_at.is_some() && closure.updated_at.is_some());

    let free = get(&world, "wf", "v1").await.closure.unwrap().expected_inputs.unwrap();
    assert!(free.parameters.values().all(|found| found.behavior == Some(Behavior::Required(true))));
}

#[tokio::test]
async fn inputs_that_do_not_fit_are_refused() {
    let world = world().await;
    world.register("v1").await;
    let refused = async |change: fn(&mut LaunchPlanSpec)| {
        let mut request = plan_request("plan", "v1");
        change(spec(&mut request));
        code(world.admin.clone().create_launch_plan(request).await)
    };
    let cases: [fn(&mut LaunchPlanSpec); 7] = [
        |spec| spec.fixed_inputs = Some(literals(&[("z", integer(1))])),
        |spec| spec.fixed_inputs = Some(literals(&[("a", text("x"))])),
        |spec| {
            spec.default_inputs =
                defaults("z", parameter(SimpleType::Integer, Some(Behavior::Required(true))))
        },
        |spec| {
            spec.default_inputs = defaults("a", parameter(SimpleType::String, Some(Behavior::Required(true))))
        },
        |spec| {
            spec.default_inputs =
                defaults("a", parameter(SimpleType::Integer, Some(Behavior::Default(text("x")))));
        },
        |spec| spec.default_inputs = defaults("a", parameter(SimpleType::Integer, None)),
        |spec| spec.workflow_id = None,
    ];
    for (idx, change) in cases.into_iter().enumerate() {
        assert_eq!(refused(change).await, Code::InvalidArgument, "case {idx}");
    }
    let missing = |spec: &mut LaunchPlanSpec| spec.workflow_id.as_mut().unwrap().name = "none".to_owned();
    assert_eq!(refused(missing).await, Code::NotFound);
}

#[tokio::test]
async fn one_version_of_a_name_is_active() {
    let world = world().await;
    world.register("v1").await;
    world.register("v2").await;
    let active = async || {
        let request = ActiveLaunchPlanRequest { id: Some(named("wf")) };
        let found = world.admin.clone().get_active_launch_plan(request).await;
        found.map(|plan| plan.into_inner().id.unwrap().version).map_err(|status| status.code())
    };
    assert_eq!(active().await, Err(Code::NotFound));
    set_state(&world, "wf", "v1", LaunchPlanState::Active).await.unwrap();
    set_state(&world, "wf", "v1", LaunchPlanState::Active).await.unwrap();
    assert_eq!(active().await.as_deref(), Ok("v1"));
    set_state(&world, "wf", "v2", LaunchPlanState::Active).await.unwrap();
    assert_eq!(active().await.as_deref(), Ok("v2"));
    assert_eq!(get(&world, "wf", "v1").await.closure.unwrap().state, 0);
    let request = ActiveLaunchPlanListRequest {
        project: PROJECT.to_owned(),
        domain: DOMAIN.to_owned(),
        limit: 10,
        ..ActiveLaunchPlanListRequest::default()
    };
    let list = world.admin.clone().list_active_launch_plans(request).await.unwrap().into_inner();
    assert_eq!(list.launch_plans.len(), 1);
    set_state(&world, "wf", "v2", LaunchPlanState::Inactive).await.unwrap();
    assert_eq!(active().await, Err(Code::NotFound));
    let unknown = set_state(&world, "none", "v1", LaunchPlanState::Active).await;
    assert_eq!(code(unknown), Code::NotFound);
}

/// A launch plan with a cron expression.
fn scheduled(name: &str, version: &str, expression: &str, fixed: LiteralMap) -> LaunchPlanCreateRequest {
    let cron = CronSchedule { schedule: expression.to_owned(), offset: String::new() };
    let schedule = Schedule {
        schedule_expression: Some(schedule::ScheduleExpression::CronSchedule(cron)),
        ..Schedule::default()
    };
    let mut request = plan_request(name, version);
    spec(&mut request).fixed_inputs = Some(fixed);
    spec(&mut request).entity_metadata =
        Some(LaunchPlanMetadata { schedule: Some(schedule), ..LaunchPlanMetadata::default() });
    request
}

fn all_inputs() -> LiteralMap {
    literals(&[("a", integer(1)), ("b", text("x"))])
}

#[tokio::test]
async fn schedules_that_can_not_be_run_are_refused() {
    let world = world().await;
    world.register("v1").await;
    let mut admin = world.admin.clone();
    for expression in ["61 * * * *", "0 0 30 2 *", "CRON_TZ=Mars/Base 0 8 * * *"] {
        let request = scheduled("nightly", "v1", expression, all_inputs());
        assert_eq!(code(admin.create_launch_plan(request).await), Code::InvalidArgument, "{expression}");
    }
    let open = scheduled("nightly", "v1", "@daily", LiteralMap::default());
    assert_eq!(code(admin.create_launch_plan(open).await), Code::InvalidArgument);
    let mut odd = scheduled("nightly", "v1", "@daily", all_inputs());
    let values = [("pinion.dev/catch-up".to_owned(), "some".to_owned())].into();
    spec(&mut odd).annotations = Some(Annotations { values });
    assert_eq!(code(admin.create_launch_plan(odd).await), Code::InvalidArgument);
}

#[tokio::test]
async fn the_schedule_of_the_active_version_is_the_one_that_runs() {
    let world = world().await;
    world.register("v1").await;
    world.register("v2").await;
    let mut admin = world.admin.clone();
    for (version, expression) in [("v1", "@daily"), ("v2", "CRON_TZ=Europe/Berlin 0 8 * * *")] {
        admin.create_launch_plan(scheduled("nightly", version, expression, all_inputs())).await.unwrap();
    }
    let row = async || world.store.schedule_get(PROJECT, DOMAIN, "nightly").await.unwrap();
    let running = async || row().await.map(|row| (row.plan.version, row.timing.expression));
    assert_eq!(running().await, None);
    set_state(&world, "nightly", "v1", LaunchPlanState::Active).await.unwrap();
    assert_eq!(running().await, Some(("v1".to_owned(), "@daily".to_owned())));
    let before = row().await;
    set_state(&world, "nightly", "v1", LaunchPlanState::Active).await.unwrap();
    assert_eq!(row().await.map(|row| row.anchor), before.map(|row| row.anchor), "a repeat shifts nothing");
    set_state(&world, "nightly", "v2", LaunchPlanState::Active).await.unwrap();
    let berlin = "CRON_TZ=Europe/Berlin 0 8 * * *".to_owned();
    assert_eq!(running().await, Some(("v2".to_owned(), berlin)));
    set_state(&world, "nightly", "v1", LaunchPlanState::Inactive).await.unwrap();
    assert!(running().await.is_some(), "another version's state is none of its business");
    set_state(&world, "nightly", "v2", LaunchPlanState::Inactive).await.unwrap();
    assert_eq!(running().await, None);
    let request = ResourceListRequest {
        id: Some(named("nightly")),
        limit: 9,
        filters: "eq(schedule_type,CRON)".to_owned(),
        ..ResourceListRequest::default()
    };
    assert_eq!(admin.list_launch_plans(request).await.unwrap().into_inner().launch_plans.len(), 2);
}
