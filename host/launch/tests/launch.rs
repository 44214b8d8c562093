//! Starts executions on a real store and a real object directory, and looks at what is left behind.
#![allow(clippy::unwrap_used, reason = "a test that can't go on says so by panicking")]

use std::collections::BTreeMap;

use blob::{Blob, DataReference};
use launch::{Config, Error, Launcher, Parent, Request, single_task_workflow_id};
use model::{EntityId, EntityKind, ExecutionId, NodeExecutionId, Timestamp, layout};
use prost::Message;
use proto::flyteidl::admin::{WorkflowClosure, *};
use proto::flyteidl::core::*;
use store::{EntityRow, ExecutionRow, LaunchPlanRow, ListQuery, ProjectRow, Store};
use tempfile::TempDir;

struct World {
    store: Store,
    blob: Blob,
    launcher: Launcher,
    _dir: TempDir,
}

async fn world() -> World {
    world_with(Config::default()).await
}

async fn world_with(config: Config) -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&store::Config::sqlite(dir.path().join("pinion.db"))).await.unwrap();
    let blob = Blob::new(blob::Config::local(dir.path().join("objects"))).unwrap();
    let launcher = Launcher::new(config, store.clone(), blob.clone());
    let world = World { store, blob, launcher, _dir: dir };
    world.project("p", 0).await;
    world.task().await;
    world.plan("lp", LaunchPlanSpec::default()).await;
    world
}

fn entity(kind: EntityKind, name: &str) -> EntityId {
    EntityId {
        kind,
        project: "p".to_owned(),
        domain: "development".to_owned(),
        name: name.to_owned(),
        version: "v1".to_owned(),
    }
}

fn interface() -> TypedInterface {
    let integer = LiteralType {
        r#type: Some(literal_type::Type::Simple(SimpleType::Integer as i32)),
        ..LiteralType::default()
    };
    let variable = Variable { r#type: Some(integer), ..Variable::default() };
    let inputs = VariableMap { variables: BTreeMap::from([("a".to_owned(), variable)]) };
    TypedInterface { inputs: Some(inputs), outputs: None }
}

fn integer(value: i64) -> Literal {
    let primitive = Primitive { value: Some(primitive::Value::Integer(value)) };
    let scalar = Scalar { value: Some(scalar::Value::Primitive(primitive)) };
    Literal { value: Some(literal::Value::Scalar(Box::new(scalar))), ..Literal::default() }
}

fn inputs(value: i64) -> LiteralMap {
    LiteralMap { literals: BTreeMap::from([("a".to_owned(), integer(value))]) }
}

fn request(name: &str, target: &EntityId, inputs: LiteralMap) -> Request {
    let proto = ExecutionCreateRequest {
        project: "p".to_owned(),
        domain: "development".to_owned(),
        name: name.to_owned(),
        spec: Some(ExecutionSpec { launch_plan: Some(target.to_proto()), ..ExecutionSpec::default() }),
        inputs: Some(inputs),
        ..ExecutionCreateRequest::default()
    };
    Request::from_proto(proto, "me").unwrap()
}

impl World {
    async fn project(&self, id: &str, state: i32) {
        let row = ProjectRow {
            id: id.to_owned(),
            name: id.to_owned(),
            description: String::new(),
            labels: Vec::new(),
            state,
            created_at: Timestamp::now(),
        };
        self.store.project_insert(&row).await.unwrap();
    }

    async fn task(&self) {
        let id = entity(EntityKind::Task, "my.task");
        let template = TaskTemplate {
            id: Some(id.to_proto()),
            r#type: "python-task".to_owned(),
            metadata: Some(TaskMetadata::default()),
            interface: Some(interface()),
            ..TaskTemplate::default()
        };
        let compiled_task = Some(CompiledTask { template: Some(template) });
        let closure = TaskClosure { compiled_task, created_at: None };
        let row = EntityRow {
            id,
            digest: vec![1],
            task_type: "python-task".to_owned(),
            short_description: String::new(),
            closure: closure.encode_to_vec(),
            interface: interface().encode_to_vec(),
            created_at: Timestamp::now(),
        };
        self.store.entity_insert(&row, None).await.unwrap();
    }

    async fn plan(&self, name: &str, spec: LaunchPlanSpec) {
        let inputs = interface().inputs.unwrap();
        let expected_inputs = Some(launch::inputs::all_required(&inputs));
        let closure = LaunchPlanClosure { expected_inputs, ..LaunchPlanClosure::default() };
        let row = LaunchPlanRow {
            id: entity(EntityKind::LaunchPlan, name),
            workflow: entity(EntityKind::Workflow, "wf"),
            digest: vec![1],
            spec: spec.encode_to_vec(),
            closure: closure.encode_to_vec(),
            state: 0,
            schedule_type: "NONE".to_owned(),
            created_at: Timestamp::now(),
            updated_at: Timestamp::now(),
        };
        self.store.launch_plan_insert(&row).await.unwrap();
    }

    async fn create(&self, name: &str, value: i64) -> Result<ExecutionId, Error> {
        self.launcher.create(request(name, &entity(EntityKind::LaunchPlan, "lp"), inputs(value))).await
    }

    async fn row(&self, id: &ExecutionId) -> ExecutionRow {
        self.store.execution_get(id).await.unwrap().unwrap()
    }

    async fn n_rows(&self) -> usize {
        self.store.execution_list("", "", &ListQuery::default()).await.unwrap().len()
    }

    async fn literals(&self, uri: &str) -> LiteralMap {
        let bytes = self.blob.get(&DataReference::parse(uri).unwrap()).await.unwrap();
        LiteralMap::decode(bytes).unwrap()
    }
}

#[tokio::test]
async fn one_row_and_both_inputs_are_left() {
    let world = world().await;
    let id = world.create("", 1).await.unwrap();
    assert!(id.name.len() == 20 && id.name.chars().all(char::is_alphanumeric), "{id}");
    let row = world.row(&id).await;
    let root = world.blob.metadata_root();
    assert_eq!(row.inputs_uri, root.join(&layout::workflow_inputs(&id)).as_str());
    assert_eq!(row.user_inputs_uri, row.inputs_uri);
    assert_eq!(world.literals(&row.inputs_uri).await, inputs(1));
    assert_eq!(world.literals(&row.user_inputs_uri).await, inputs(1));
    assert_eq!(row.launch_plan, Some(entity(EntityKind::LaunchPlan, "lp")));
    assert_eq!((row.task, row.workflow), (None, entity(EntityKind::Workflow, "wf")));
    assert_eq!((row.phase, row.principal.as_str(), row.live), (0, "me", true));
    assert!(row.created_at == row.updated_at && row.created_at > Timestamp(0));
}

#[tokio::test]
async fn what_the_plan_adds_is_kept_apart() {
    let world = world().await;
    let fixed_inputs = Some(LiteralMap { literals: BTreeMap::from([("f".to_owned(), integer(9))]) });
    world.plan("fixed", LaunchPlanSpec { fixed_inputs, ..LaunchPlanSpec::default() }).await;
    let plan = entity(EntityKind::LaunchPlan, "fixed");
    let id = world.launcher.create(request("", &plan, inputs(1))).await.unwrap();
    let row = world.row(&id).await;
    let root = world.blob.metadata_root();
    assert_eq!(row.user_inputs_uri, root.join(&layout::user_inputs(&id)).as_str());
    assert_eq!(world.literals(&row.user_inputs_uri).await, inputs(1));
    assert_eq!(world.literals(&row.inputs_uri).await.literals.len(), 2);
}

#[tokio::test]
async fn taken_name_leaves_the_first_inputs_alone() {
    let world = world().await;
    let id = world.create("mine", 1).await.unwrap();
    let again = world.create("Mine", 2).await;
    assert!(matches!(again, Err(Error::Exists(found)) if found == id));
    assert_eq!(world.literals(&world.row(&id).await.inputs_uri).await, inputs(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_creations_of_one_name_give_one_execution() {
    let world = world().await;
    let tries = (0..16).map(|value| {
        let launcher = world.launcher.clone();
        tokio::spawn(async move {
            let plan = entity(EntityKind::LaunchPlan, "lp");
            launcher.create(request("race", &plan, inputs(value))).await.map(|_| value)
        })
    });
    let mut won = Vec::new();
    for one in tries.collect::<Vec<_>>() {
        match one.await.unwrap() {
            Ok(value) => won.push(value),
            Err(error) => assert!(matches!(error, Error::Exists(_)), "{error}"),
        }
    }
    assert_eq!(won.len(), 1);
    let row = world.row(&ExecutionId::new("p", "development", "race")).await;
    assert_eq!(world.literals(&row.inputs_uri).await, inputs(won[0]));
}

#[tokio::test]
async fn refusals_leave_no_row() {
    let world = world().await;
    world.project("old", 1).await;
    let plan = entity(EntityKind::LaunchPlan, "lp");
    let base = || request("", &plan, inputs(1));
    let mut unlabelled = base();
    unlabelled.spec.labels = Some(Labels { values: BTreeMap::from([("a b".to_owned(), String::new())]) });
    let missing = request("", &plan, LiteralMap::default());
    let nowhere = request("", &entity(EntityKind::LaunchPlan, "none"), inputs(1));
    let no_task = request("", &entity(EntityKind::Task, "none"), inputs(1));
    for (request, want) in [
        (Request { project: "none".to_owned(), ..base() }, "project `none` is unknown"),
        (Request { project: "old".to_owned(), ..base() }, "project `old` is not active"),
        (Request { domain: "none".to_owned(), ..base() }, "domain `none` is unknown"),
        (unlabelled, "invalid spec.labels"),
        (missing, "required input `a` of type integer is missing"),
        (nowhere, "launch plan p:development:none@v1 is not registered"),
        (no_task, "task p:development:none@v1 is not registered"),
    ] {
        let error = world.launcher.create(request).await.unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
    assert_eq!(world.n_rows().await, 0);
}

#[tokio::test]
async fn large_inputs_say_actual_and_allowed() {
    let config = Config { max_inputs_size: config::Size::from_bytes(4), ..Config::default() };
    let world = world_with(config).await;
    let error = world.create("", 1_000_000).await.unwrap_err();
    assert!(matches!(error, Error::InputsTooLarge { allowed: 4, actual } if actual > 4), "{error}");
}

#[tokio::test]
async fn single_task_registers_its_workflow_once() {
    let world = world().await;
    let task = entity(EntityKind::Task, "my.task");
    let first = world.launcher.create(request("", &task, inputs(1))).await.unwrap();
    let second = world.launcher.create(request("", &task, inputs(2))).await.unwrap();
    let row = world.row(&first).await;
    assert_eq!((row.task.as_ref(), row.launch_plan.as_ref()), (Some(&task), None));
    assert_eq!(row.workflow, single_task_workflow_id(&task));
    assert_eq!(row.workflow.name, ".flytegen.my.task");
    assert_eq!(world.row(&second).await.workflow, row.workflow);

    let workflow = world.store.entity_get(&row.workflow).await.unwrap().unwrap();
    let closure = WorkflowClosure::decode(workflow.closure.as_slice()).unwrap();
    let template = closure.compiled_workflow.unwrap().primary.unwrap().template.unwrap();
    assert_eq!(template.id, Some(row.workflow.to_proto()));
    let ids: Vec<_> = template.nodes.iter().map(|node| node.id.as_str()).collect();
    assert_eq!(ids, ["start-node", "end-node", "mytask"]);
    let retries = template.nodes[2].metadata.as_ref().unwrap().retries.unwrap().retries;
    assert_eq!(retries, 3);

    let plan = EntityId { kind: EntityKind::LaunchPlan, ..row.workflow.clone() };
    assert!(world.store.launch_plan_get(&plan).await.unwrap().is_some());
    for kind in [2, 3] {
        let named = world.store.named_entity_get(kind, "p", "development", ".flytegen.my.task").await;
        assert_eq!(named.unwrap().unwrap().state, NamedEntityState::SystemGenerated as i32);
    }
    let spec = ExecutionSpec::decode(row.spec.as_slice()).unwrap();
    assert_eq!(spec.launch_plan.unwrap().resource_type, ResourceType::Task as i32);
}

#[tokio::test]
async fn relaunch_repeats_what_the_caller_gave() {
    let world = world().await;
    let first = world.create("first", 5).await.unwrap();
    let again = world.launcher.relaunch(&first, "again".to_owned(), true, "you").await.unwrap();
    let row = world.row(&again).await;
    assert_eq!(row.mode, execution_metadata::ExecutionMode::Relaunch as i32);
    assert_eq!(row.source, Some(first.clone()));
    assert_eq!(row.principal, "you");
    let spec = ExecutionSpec::decode(row.spec.as_slice()).unwrap();
    assert!(spec.overwrite_cache);
    assert_eq!(spec.metadata.unwrap().reference_execution, Some(first.to_proto()));
    assert_eq!(world.literals(&row.user_inputs_uri).await, inputs(5));
    let nobody = ExecutionId::new("p", "development", "nobody");
    let error = world.launcher.relaunch(&nobody, String::new(), false, "").await.unwrap_err();
    assert!(matches!(error, Error::UnknownExecution(_)));
}

#[tokio::test]
async fn child_knows_its_parent_and_depth() {
    let world = world_with(Config { max_nesting: 1, ..Config::default() }).await;
    let id = world.create("parent", 1).await.unwrap();
    let parent = world.row(&id).await;
    let node = NodeExecutionId { execution: id.clone(), node: "n0".into() };
    let child = |nesting| {
        let parent = Parent { execution: parent.key, node: node.clone(), nesting };
        let plan = entity(EntityKind::LaunchPlan, "lp");
        Request::child(parent, &ExecutionSpec::default(), plan, format!("child{nesting}"), inputs(1)).unwrap()
    };
    let row = world.row(&world.launcher.create(child(0)).await.unwrap()).await;
    assert_eq!(row.nesting, 1);
    assert_eq!(row.parent_node, Some((parent.key, "n0".to_owned())));
    let metadata = ExecutionSpec::decode(row.spec.as_slice()).unwrap().metadata.unwrap();
    assert_eq!(metadata.nesting, 1);
    assert_eq!(metadata.mode, execution_metadata::ExecutionMode::ChildWorkflow as i32);
    assert_eq!(metadata.parent_node_execution, Some(node.to_proto()));
    let too_deep = world.launcher.create(child(1)).await.unwrap_err();
    assert!(matches!(too_deep, Error::TooDeep { depth: 2, allowed: 1 }), "{too_deep}");
}

#[tokio::test]
async fn concurrency_policy_counts_open_executions() {
    let world = world().await;
    let policy = Some(ConcurrencyPolicy { max: 2, behavior: ConcurrencyLimitBehavior::Skip as i32 });
    world.plan("limited", LaunchPlanSpec { concurrency_policy: policy, ..LaunchPlanSpec::default() }).await;
    let plan = entity(EntityKind::LaunchPlan, "limited");
    let tries = (0..5).map(|_| {
        let (launcher, plan) = (world.launcher.clone(), plan.clone());
        tokio::spawn(async move { launcher.create(request("", &plan, inputs(1))).await.is_ok() })
    });
    let mut n_started = 0;
    for one in tries.collect::<Vec<_>>() {
        n_started += usize::from(one.await.unwrap());
    }
    assert_eq!(n_started, 2);
    let error = world.launcher.create(request("", &plan, inputs(1))).await.unwrap_err();
    assert!(matches!(error, Error::AtLimit { limit: 2, skip: true, .. }), "{error}");
    assert!(world.create("", 1).await.is_ok());
}

#[tokio::test]
async fn an_execution_that_is_there_already_is_told_from_one_beyond_the_limit() {
    let world = world().await;
    let policy = Some(ConcurrencyPolicy { max: 1, behavior: ConcurrencyLimitBehavior::Unspecified as i32 });
    world.plan("one", LaunchPlanSpec { concurrency_policy: policy, ..LaunchPlanSpec::default() }).await;
    let plan = entity(EntityKind::LaunchPlan, "one");
    world.launcher.create(request("first", &plan, inputs(1))).await.unwrap();
    let again = world.launcher.create(request("first", &plan, inputs(1))).await.unwrap_err();
    assert!(matches!(again, Error::Exists(_)), "{again}");
    let second = world.launcher.create(request("second", &plan, inputs(1))).await.unwrap_err();
    assert!(matches!(second, Error::AtLimit { limit: 1, skip: false, .. }), "{second}");
}

#[tokio::test]
async fn recovery_repeats_what_the_caller_gave_and_names_the_original() {
    let world = world().await;
    let first = world.create("first", 5).await.unwrap();
    let parent = NodeExecutionIdentifier { node_id: "n0".to_owned(), execution_id: Some(first.to_proto()) };
    let again = world.launcher.recover(&first, "again".to_owned(), None, "you").await.unwrap();
    let row = world.row(&again).await;
    assert_eq!(row.mode, execution_metadata::ExecutionMode::Recovered as i32);
    assert_eq!((row.source.clone(), row.parent_node.clone()), (Some(first.clone()), None));
    let spec = ExecutionSpec::decode(row.spec.as_slice()).unwrap();
    assert_eq!(spec.metadata.unwrap().reference_execution, Some(first.to_proto()));
    assert_eq!(world.literals(&row.user_inputs_uri).await, inputs(5));
    // The identity is that of whoever starts it.
    assert_eq!(spec.security_context.unwrap().run_as.unwrap().execution_identity, "you");

    let metadata = ExecutionMetadata { parent_node_execution: Some(parent), ..ExecutionMetadata::default() };
    let unknown = world.launcher.recover(&first, String::new(), Some(&metadata), "").await.unwrap_err();
    assert!(matches!(unknown, Error::UnknownNode { .. }), "{unknown}");
    let nobody = ExecutionId::new("p", "development", "nobody");
    let error = world.launcher.recover(&nobody, String::new(), None, "").await.unwrap_err();
    assert!(matches!(error, Error::UnknownExecution(_)));

    let node = NodeExecutionId { execution: again.clone(), node: "n7".into() };
    let parent = Parent { execution: row.key, node, nesting: row.nesting };
    let child = world.launcher.recover_child(&first, "child".to_owned(), parent, "me").await.unwrap();
    let child = world.row(&child).await;
    assert_eq!((child.nesting, child.parent_node), (1, Some((row.key, "n7".to_owned()))));
    assert_eq!(child.source, Some(first));
}

#[tokio::test]
async fn attributes_reach_the_spec_and_the_settings() {
    use proto::flyteidl::admin::matching_attributes::Target;
    let config = Config {
        cluster_labels: [("far".to_owned(), [("elsewhere".to_owned(), 1)].into())].into(),
        external_clusters: vec!["elsewhere".to_owned()],
        ..Config::default()
    };
    let world = world_with(config).await;
    let put = async |workflow: &str, target: Target| {
        let attributes = MatchingAttributes { target: Some(target) };
        let row = store::AttributeRow {
            place: store::AttributePlace {
                project: "p".to_owned(),
                domain: "development".to_owned(),
                workflow: workflow.to_owned(),
            },
            kind: launch::attributes::kind(&attributes).unwrap() as i32,
            attributes: attributes.encode_to_vec(),
            updated_at: Timestamp(0),
        };
        world.store.attribute_put(row, launch::attributes::merge).await.unwrap();
    };
    let before = world.row(&world.create("", 1).await.unwrap()).await;
    assert_eq!((before.live, before.settings.len()), (true, 0));

    let parallelism = WorkflowExecutionConfig { max_parallelism: 9, ..WorkflowExecutionConfig::default() };
    put("", Target::WorkflowExecutionConfig(parallelism.clone())).await;
    put(
        "other",
        Target::WorkflowExecutionConfig(WorkflowExecutionConfig { max_parallelism: 1, ..parallelism }),
    )
    .await;
    put("wf", Target::ExecutionClusterLabel(ExecutionClusterLabel { value: "far".to_owned() })).await;
    let one = PluginOverride { task_type: "a".to_owned(), ..PluginOverride::default() };
    put("wf", Target::PluginOverrides(PluginOverrides { overrides: vec![one] })).await;
    let row = world.row(&world.create("", 1).await.unwrap()).await;
    let spec = ExecutionSpec::decode(row.spec.as_slice()).unwrap();
    assert_eq!(spec.max_parallelism, 9);
    let settings = model::LaunchSettings::decode(row.settings.as_slice()).unwrap();
    assert!(settings.plugin_override("a").is_some());
    // Another engine drives what runs there.
    assert_eq!((row.cluster.as_str(), row.live), ("elsewhere", false));
    assert_eq!(spec.metadata.unwrap().system_metadata.unwrap().execution_cluster, "elsewhere");
}

#[tokio::test]
async fn a_client_that_names_a_parent_inherits_from_it() {
    let world = world().await;
    let id = world.create("parent", 1).await.unwrap();
    let parent = world.row(&id).await;
    let lease =
        world.store.lease_acquire("h", std::time::Duration::from_secs(9), Timestamp(0)).await.unwrap();
    let mut nodes = vec![node_row(parent.key, "n0")];
    nodes[0].phase = 2;
    world.store.commit(&lease, &store::Batch { nodes, ..store::Batch::default() }).await.unwrap();
    let mut child = request("child", &entity(EntityKind::LaunchPlan, "lp"), inputs(1));
    child.principal = "node".to_owned();
    child.spec.metadata = Some(ExecutionMetadata {
        parent_node_execution: Some(NodeExecutionIdentifier {
            node_id: "n0".to_owned(),
            execution_id: Some(id.to_proto()),
        }),
        ..ExecutionMetadata::default()
    });
    let row = world.row(&world.launcher.create(child).await.unwrap()).await;
    assert_eq!((row.principal.as_str(), row.nesting), ("me", 1));
    assert_eq!(row.parent_node, Some((parent.key, "n0".to_owned())));
}

fn node_row(execution: store::ExecutionKey, node_id: &str) -> store::NodeExecutionRow {
    store::NodeExecutionRow {
        execution,
        node_id: node_id.to_owned(),
        spec_node_id: node_id.to_owned(),
        node_name: String::new(),
        parent_id: String::new(),
        retry_group: String::new(),
        phase: 0,
        engine_phase: 0,
        attempt: 0,
        system_failures: 0,
        input_uri: String::new(),
        output_uri: String::new(),
        deck_uri: String::new(),
        error: Vec::new(),
        extra: Vec::new(),
        flags: 0,
        detail: 0,
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
        queued_at: None,
        started_at: None,
        attempt_started_at: None,
        duration: None,
    }
}

#[tokio::test]
async fn a_place_for_data_must_be_a_uri() {
    let world = world().await;
    for (prefix, fits) in [("s3://bucket/here/", true), ("", true), ("/tmp/x", false), ("s3://", false)] {
        let mut request = request("", &entity(EntityKind::LaunchPlan, "lp"), inputs(1));
        request.spec.raw_output_data_config =
            Some(RawOutputDataConfig { output_location_prefix: prefix.to_owned() });
        let outcome = world.launcher.create(request).await;
        match outcome {
            Ok(_) => assert!(fits, "{prefix}"),
            Err(error) => assert!(!fits && matches!(error, Error::Prefix { .. }), "{prefix}: {error}"),
        }
    }
}
