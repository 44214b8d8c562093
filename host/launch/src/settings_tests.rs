//! Checks the order in which settings win.

use model::{EntityId, EntityKind};
use proto::flyteidl::admin::{
    Annotations, ClusterAssignment, EmailNotification, Envs, LaunchPlanMetadata, Notification,
    NotificationList, RawOutputDataConfig, notification,
};
use proto::flyteidl::core::KeyValuePair;

use super::*;

fn target() -> Target {
    Target::LaunchPlan(EntityId {
        kind: EntityKind::LaunchPlan,
        project: "p".to_owned(),
        domain: "d".to_owned(),
        name: "lp".to_owned(),
        version: "v".to_owned(),
    })
}

fn map(key: &str, value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(key.to_owned(), value.to_owned())])
}

fn envs(key: &str) -> Option<Envs> {
    Some(Envs { values: vec![KeyValuePair { key: key.to_owned(), value: "v".to_owned() }] })
}

fn run_as(account: &str) -> Option<SecurityContext> {
    let run_as = Identity { k8s_service_account: account.to_owned(), ..Identity::default() };
    Some(SecurityContext { run_as: Some(run_as), ..SecurityContext::default() })
}

fn raw(prefix: &str) -> Option<RawOutputDataConfig> {
    Some(RawOutputDataConfig { output_location_prefix: prefix.to_owned() })
}

fn plan() -> LaunchPlanSpec {
    LaunchPlanSpec {
        labels: Some(Labels { values: map("from", "plan") }),
        annotations: Some(Annotations { values: map("from", "plan") }),
        envs: envs("PLAN"),
        security_context: run_as("plan"),
        raw_output_data_config: raw("s3://plan"),
        max_parallelism: 7,
        interruptible: Some(true),
        overwrite_cache: true,
        cluster_assignment: Some(ClusterAssignment { cluster_pool_name: "plan".to_owned() }),
        ..LaunchPlanSpec::default()
    }
}

/// Settings from nowhere but the request.
fn nothing() -> Sources<'static> {
    static ATTRIBUTES: std::sync::LazyLock<Attributes> = std::sync::LazyLock::new(Attributes::default);
    static LABELS: BTreeMap<String, String> = BTreeMap::new();
    Sources {
        plan: None,
        workflow_quality: None,
        attributes: &ATTRIBUTES,
        project_labels: &LABELS,
        place: ("p", "d"),
        name: "e1",
        principal: "",
    }
}

fn resolved(spec: ExecutionSpec, plan: Option<&LaunchPlanSpec>) -> ExecutionSpec {
    resolve(spec, &target(), &Sources { plan, ..nothing() }, &Config::default()).unwrap().spec
}

#[test]
fn request_is_echoed_as_it_came() {
    let request = ExecutionSpec {
        labels: Some(Labels { values: map("from", "request") }),
        annotations: Some(Annotations { values: map("from", "request") }),
        envs: envs("REQUEST"),
        security_context: run_as("request"),
        raw_output_data_config: raw("s3://request"),
        max_parallelism: 3,
        interruptible: Some(false),
        cluster_assignment: Some(ClusterAssignment { cluster_pool_name: "gpu".to_owned() }),
        ..ExecutionSpec::default()
    };
    let found = resolved(request.clone(), Some(&plan()));
    let want =
        ExecutionSpec { launch_plan: Some(target().id().to_proto()), overwrite_cache: true, ..request };
    assert_eq!(found, want);
}

#[test]
fn plan_fills_what_the_request_leaves_open() {
    let found = resolved(ExecutionSpec::default(), Some(&plan()));
    assert_eq!(found.labels, plan().labels);
    assert_eq!(found.annotations, plan().annotations);
    assert_eq!(found.envs, plan().envs);
    assert_eq!(found.security_context, plan().security_context);
    assert_eq!(found.raw_output_data_config, plan().raw_output_data_config);
    assert_eq!(found.cluster_assignment, plan().cluster_assignment);
    assert_eq!((found.max_parallelism, found.interruptible, found.overwrite_cache), (7, Some(true), true));
}

#[test]
fn configuration_comes_last() {
    let found = resolved(ExecutionSpec::default(), Some(&LaunchPlanSpec::default()));
    assert_eq!(found.max_parallelism, 25);
    assert_eq!(found.interruptible, None);
    // A single task has no parallelism to limit; its spec stays as it came.
    assert_eq!(resolved(ExecutionSpec::default(), None).max_parallelism, 0);
}

#[test]
fn project_labels_stand_under_all_others() {
    let request =
        ExecutionSpec { labels: Some(Labels { values: map("team", "mine") }), ..ExecutionSpec::default() };
    let project = BTreeMap::from([("team".to_owned(), "p".to_owned()), ("cost".to_owned(), "1".to_owned())]);
    let sources = Sources { project_labels: &project, ..nothing() };
    let found = resolve(request, &target(), &sources, &Config::default()).unwrap();
    let labels = found.spec.labels.unwrap().values;
    assert_eq!(
        labels,
        BTreeMap::from([("team".to_owned(), "mine".to_owned()), ("cost".to_owned(), "1".to_owned())])
    );
}

#[test]
fn request_secrets_keep_beside_the_plans_identity() {
    let secrets = vec![proto::flyteidl::core::Secret { group: "g".to_owned(), ..Default::default() }];
    let context = SecurityContext { secrets: secrets.clone(), ..SecurityContext::default() };
    let request = ExecutionSpec { security_context: Some(context), ..ExecutionSpec::default() };
    let found = resolved(request, Some(&plan())).security_context.unwrap();
    assert_eq!(found.secrets, secrets);
    assert_eq!(found.run_as, plan().security_context.unwrap().run_as);
}

#[test]
#[allow(deprecated, reason = "old clients still send the role")]
fn deprecated_role_becomes_an_identity() {
    let role = AuthRole { kubernetes_service_account: "old".to_owned(), ..AuthRole::default() };
    let request = ExecutionSpec { auth_role: Some(role), ..ExecutionSpec::default() };
    assert_eq!(resolved(request, None).security_context, run_as("old"));
    let empty = ExecutionSpec { auth_role: Some(AuthRole::default()), ..ExecutionSpec::default() };
    assert_eq!(resolved(empty, None).security_context, None);
}

#[test]
fn notifications_come_from_the_plan_unless_overridden() {
    let email =
        EmailNotification { recipients_email: vec!["a@b".to_owned()], ..EmailNotification::default() };
    let notification = Notification { phases: vec![4], r#type: Some(notification::Type::Email(email)) };
    let metadata =
        LaunchPlanMetadata { notifications: vec![notification.clone()], ..LaunchPlanMetadata::default() };
    let plan = LaunchPlanSpec { entity_metadata: Some(metadata), ..LaunchPlanSpec::default() };
    let list = NotificationList { notifications: vec![notification] };
    let open = resolved(ExecutionSpec::default(), Some(&plan));
    assert_eq!(open.notification_overrides, Some(NotificationOverrides::Notifications(list)));
    let off = Some(NotificationOverrides::DisableAll(true));
    let request = ExecutionSpec { notification_overrides: off.clone(), ..ExecutionSpec::default() };
    assert_eq!(resolved(request, Some(&plan)).notification_overrides, off);
}

#[test]
fn platform_writes_principal_and_place() {
    let given = ExecutionMetadata { principal: "placeholder".to_owned(), ..ExecutionMetadata::default() };
    let found = metadata(Some(given), "me", "c1", ("p", "d"));
    assert_eq!(found.principal, "me");
    let system = found.system_metadata.unwrap();
    assert_eq!((system.execution_cluster.as_str(), system.namespace.as_str()), ("c1", "p-d"));
}

#[test]
fn unusable_settings_are_refused() {
    let config = Config::default();
    let negative = ExecutionSpec { max_parallelism: -1, ..ExecutionSpec::default() };
    assert!(matches!(check(&negative, &config), Err(Error::OutOfRange { .. })));
    let bad = ExecutionSpec { labels: Some(Labels { values: map("a b", "c") }), ..ExecutionSpec::default() };
    assert!(matches!(check(&bad, &config), Err(Error::Labels { field: "spec.labels", .. })));
    let bad = ExecutionSpec {
        annotations: Some(Annotations { values: map("a b", "c") }),
        ..ExecutionSpec::default()
    };
    assert!(matches!(check(&bad, &config), Err(Error::Labels { field: "spec.annotations", .. })));
    let list = NotificationList { notifications: vec![Notification::default()] };
    let overrides = Some(NotificationOverrides::Notifications(list));
    let bad = ExecutionSpec { notification_overrides: overrides, ..ExecutionSpec::default() };
    assert!(matches!(check(&bad, &config), Err(Error::Notifications(_))));
}
