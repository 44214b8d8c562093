//! Checks which attributes hold where, and in what order settings win.

use std::collections::BTreeMap;

use model::{EntityId, EntityKind, Timestamp};
use proto::flyteidl::admin::{
    Annotations, ClusterResourceAttributes, Envs, ExecutionQueueAttributes, ExecutionSpec, Labels,
    LaunchPlanSpec, RawOutputDataConfig, TaskResourceSpec,
};
use proto::flyteidl::core::{Identity, KeyValuePair, SecurityContext, quality_of_service::Designation};
use store::AttributePlace;

use super::*;
use crate::{
    Config, Defaults, Target as Launched,
    settings::{Resolved, Sources, resolve},
};

const PROJECT: [&str; 3] = ["p", "", ""];
const DOMAIN: [&str; 3] = ["p", "d", ""];
const WORKFLOW: [&str; 3] = ["p", "d", "wf"];

fn row(place: [&str; 3], target: Target) -> AttributeRow {
    let [project, domain, workflow] = place.map(str::to_owned);
    let attributes = MatchingAttributes { target: Some(target) };
    AttributeRow {
        place: AttributePlace { project, domain, workflow },
        kind: kind(&attributes).unwrap() as i32,
        attributes: attributes.encode_to_vec(),
        updated_at: Timestamp(0),
    }
}

fn map(key: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(key.to_owned(), value.to_owned())])
}

/// Every field says where it comes from.
fn config(from: &str, max_parallelism: i32) -> WorkflowExecutionConfig {
    let run_as = Identity { k8s_service_account: from.to_owned(), ..Identity::default() };
    let pair = KeyValuePair { key: "FROM".to_owned(), value: from.to_owned() };
    WorkflowExecutionConfig {
        max_parallelism,
        security_context: Some(SecurityContext { run_as: Some(run_as), ..SecurityContext::default() }),
        raw_output_data_config: Some(RawOutputDataConfig {
            output_location_prefix: format!("s3://{from}/x"),
        }),
        labels: Some(Labels { values: map("from", from) }),
        annotations: Some(Annotations { values: map("from", from) }),
        interruptible: Some(from.len().is_multiple_of(2)),
        overwrite_cache: false,
        envs: Some(Envs { values: vec![pair] }),
        execution_env_assignments: Vec::new(),
    }
}

fn of_config(config: WorkflowExecutionConfig) -> Target {
    Target::WorkflowExecutionConfig(config)
}

fn application() -> Config {
    Config {
        max_parallelism: 5,
        defaults: Defaults {
            interruptible: true,
            raw_output_prefix: "s3://app/x".to_owned(),
            service_account: "app".to_owned(),
            labels: map("from", "app"),
            annotations: map("from", "app"),
            envs: map("FROM", "app"),
            ..Defaults::default()
        },
        ..Config::default()
    }
}

fn resolved(
    spec: ExecutionSpec,
    plan: &LaunchPlanSpec,
    rows: &[AttributeRow],
    config: &Config,
) -> Result<Resolved, Error> {
    let id = EntityId {
        kind: EntityKind::LaunchPlan,
        project: "p".to_owned(),
        domain: "d".to_owned(),
        name: "lp".to_owned(),
        version: "v".to_owned(),
    };
    let attributes = Attributes::read(rows).unwrap();
    let sources = Sources {
        plan: Some(plan),
        workflow_quality: None,
        attributes: &attributes,
        project_labels: &BTreeMap::new(),
        place: ("p", "d"),
        name: "e1",
        principal: "",
    };
    resolve(spec, &Launched::LaunchPlan(id), &sources, config)
}

#[allow(deprecated, reason = "the fields are all named here")]
fn as_config(spec: &ExecutionSpec) -> WorkflowExecutionConfig {
    WorkflowExecutionConfig {
        max_parallelism: spec.max_parallelism,
        security_context: spec.security_context.clone(),
        raw_output_data_config: spec.raw_output_data_config.clone(),
        labels: spec.labels.clone(),
        annotations: spec.annotations.clone(),
        interruptible: spec.interruptible,
        overwrite_cache: spec.overwrite_cache,
        envs: spec.envs.clone(),
        execution_env_assignments: spec.execution_env_assignments.clone(),
    }
}

#[test]
fn the_more_particular_wins_field_by_field() {
    let rows = [
        row(WORKFLOW, of_config(config("workflow", 13))),
        row(DOMAIN, of_config(config("domain", 12))),
        row(PROJECT, of_config(config("project", 11))),
    ];
    let found = |rows: &[AttributeRow]| {
        let found = resolved(ExecutionSpec::default(), &LaunchPlanSpec::default(), rows, &application());
        as_config(&found.unwrap().spec)
    };
    assert_eq!(found(&rows), config("workflow", 13));
    assert_eq!(found(&rows[1..]), config("domain", 12));
    assert_eq!(found(&rows[2..]), config("project", 11));
    let of_application = found(&[]);
    assert_eq!(of_application, application().execution_config());
    assert_eq!((of_application.max_parallelism, of_application.interruptible), (5, Some(true)));

    // What the particular leaves open comes from the project, past what lies between.
    let only_parallelism = WorkflowExecutionConfig { max_parallelism: 13, ..Default::default() };
    let rows = [row(WORKFLOW, of_config(only_parallelism)), rows[1].clone(), rows[2].clone()];
    assert_eq!(found(&rows), WorkflowExecutionConfig { max_parallelism: 13, ..config("project", 11) });
}

#[test]
fn request_and_launch_plan_come_before_attributes() {
    let rows = [row(WORKFLOW, of_config(config("workflow", 13)))];
    let theirs = config("plan", 7);
    let plan = LaunchPlanSpec {
        labels: theirs.labels.clone(),
        envs: theirs.envs.clone(),
        max_parallelism: 7,
        ..LaunchPlanSpec::default()
    };
    let request = ExecutionSpec { envs: config("request", 0).envs, ..ExecutionSpec::default() };
    let found = as_config(&resolved(request, &plan, &rows, &application()).unwrap().spec);
    let want = WorkflowExecutionConfig {
        max_parallelism: 7,
        labels: theirs.labels,
        envs: config("request", 0).envs,
        ..config("workflow", 13)
    };
    assert_eq!(found, want);
}

#[test]
fn other_kinds_are_taken_whole_from_the_most_particular() {
    let plugins = |task_type: &str| {
        let one = PluginOverride { task_type: task_type.to_owned(), ..PluginOverride::default() };
        Target::PluginOverrides(PluginOverrides { overrides: vec![one] })
    };
    let cpu = |cpu: &str| {
        let defaults = Some(TaskResourceSpec { cpu: cpu.to_owned(), ..TaskResourceSpec::default() });
        Target::TaskResourceAttributes(TaskResourceAttributes { defaults, limits: None })
    };
    let low = QualityOfService { designation: Some(Designation::Tier(3)) };
    let rows = [
        row(WORKFLOW, plugins("a")),
        row(WORKFLOW, Target::QualityOfService(low)),
        row(DOMAIN, plugins("b")),
        row(DOMAIN, cpu("2")),
        row(DOMAIN, Target::ClusterAssignment(ClusterAssignment { cluster_pool_name: "pool".to_owned() })),
        row(PROJECT, cpu("1")),
        row(PROJECT, Target::ExecutionClusterLabel(ExecutionClusterLabel { value: "gpu".to_owned() })),
        row(
            PROJECT,
            Target::ExecutionQueueAttributes(ExecutionQueueAttributes { tags: vec!["x".to_owned()] }),
        ),
        row(
            PROJECT,
            Target::ClusterResourceAttributes(ClusterResourceAttributes { attributes: map("quota", "9") }),
        ),
    ];
    let config = Config {
        queues: [("q".to_owned(), vec!["x".to_owned()])].into(),
        cluster_labels: [("gpu".to_owned(), [("west".to_owned(), 1)].into())].into(),
        queueing_budgets: [("LOW".to_owned(), config::Duration::from_secs(9))].into(),
        ..Config::default()
    };
    let plan = LaunchPlanSpec::default();
    let found = resolved(ExecutionSpec::default(), &plan, &rows, &config).unwrap();
    assert_eq!(found.settings.plugin_overrides.len(), 1);
    assert!(found.settings.plugin_override("a").is_some());
    assert_eq!(found.settings.task_resources.unwrap().defaults.unwrap().cpu, "2");
    assert_eq!(found.settings.queue, "q");
    assert_eq!(found.settings.cluster_resources, map("quota", "9"));
    assert_eq!(found.settings.queueing_budget.unwrap().seconds, 9);
    assert_eq!(found.spec.quality_of_service, Some(low));
    assert_eq!(found.spec.cluster_assignment.unwrap().cluster_pool_name, "pool");
    assert_eq!(found.spec.execution_cluster_label.unwrap().value, "gpu");
    assert_eq!(found.cluster, "west");

    let elsewhere = ClusterAssignment { cluster_pool_name: "other".to_owned() };
    let request = ExecutionSpec { cluster_assignment: Some(elsewhere), ..ExecutionSpec::default() };
    assert!(matches!(resolved(request, &plan, &rows, &config), Err(Error::ClusterPool { .. })));
}

#[test]
fn plugin_overrides_join_by_task_type_and_others_replace() {
    let plugins = |pairs: &[(&str, &str)]| {
        let overrides = pairs.iter().map(|(task_type, plugin)| PluginOverride {
            task_type: (*task_type).to_owned(),
            plugin_id: vec![(*plugin).to_owned()],
            missing_plugin_behavior: 0,
        });
        let target = Target::PluginOverrides(PluginOverrides { overrides: overrides.collect() });
        MatchingAttributes { target: Some(target) }.encode_to_vec()
    };
    let merged = merge(&plugins(&[("a", "1"), ("b", "1")]), plugins(&[("b", "2"), ("c", "2")]));
    assert_eq!(merged, plugins(&[("a", "1"), ("b", "2"), ("c", "2")]));
    let label = |value: &str| {
        let target = Target::ExecutionClusterLabel(ExecutionClusterLabel { value: value.to_owned() });
        MatchingAttributes { target: Some(target) }.encode_to_vec()
    };
    assert_eq!(merge(&label("old"), label("new")), label("new"));
}

#[test]
fn unusable_attributes_are_refused() {
    let check = |target| check(&MatchingAttributes { target: Some(target) }, 2);
    assert!(check(of_config(config("x", 1))).is_ok());
    assert!(matches!(check(of_config(config("x", -1))), Err(Error::OutOfRange { .. })));
    let labels = Some(Labels { values: map("a b", "c") });
    let bad = WorkflowExecutionConfig { labels, ..Default::default() };
    assert!(matches!(check(of_config(bad)), Err(Error::Labels { field: "labels", .. })));
    let prefix = RawOutputDataConfig { output_location_prefix: "/somewhere".to_owned() };
    let bad = WorkflowExecutionConfig { raw_output_data_config: Some(prefix), ..Default::default() };
    assert!(matches!(check(of_config(bad)), Err(Error::Prefix { .. })));
    let limits = Some(TaskResourceSpec { memory: "much".to_owned(), ..TaskResourceSpec::default() });
    let bad = Target::TaskResourceAttributes(TaskResourceAttributes { defaults: None, limits });
    assert!(matches!(check(bad), Err(Error::Quantity(_))));
}
