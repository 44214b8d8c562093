//! Makes rows whose every field differs from its default.

use std::collections::BTreeMap;

use model::{EntityId, EntityKind, ExecutionId, Timestamp};
use prost::Message as _;
use proto::flyteidl::{admin, core};
use store::{
    EntityRow, ExecutionKey, ExecutionRow, ExecutionUpdate, LaunchPlanRow, NodeExecutionRow, ProjectRow,
    TaskExecutionRow,
};

pub const NOW: Timestamp = Timestamp(1_700_000_000_123_456);

/// Texts that break out of badly built SQL, JSON, patterns or arrays.
pub const HOSTILE: [&str; 12] = [
    "'; drop table execution; --",
    "\" or 1=1 --",
    "x' or 'x'='x",
    "$1",
    "?1",
    "%",
    "_",
    "\\",
    "{a,\"b\",NULL}",
    "[1,2]",
    "null\u{1}\u{7f}\u{202e}",
    "名前 🙂 e\u{301}",
];

pub fn id(kind: EntityKind, name: &str, version: &str) -> EntityId {
    EntityId {
        kind,
        project: "p".to_owned(),
        domain: "d".to_owned(),
        name: name.to_owned(),
        version: version.to_owned(),
    }
}

pub fn project(id: &str) -> ProjectRow {
    ProjectRow {
        id: id.to_owned(),
        name: format!("Project {id}"),
        description: "about it".to_owned(),
        labels: vec![0, 1, 255],
        state: 1,
        created_at: NOW,
    }
}

pub fn task(name: &str, version: &str) -> EntityRow {
    EntityRow {
        id: id(EntityKind::Task, name, version),
        digest: vec![7; 32],
        task_type: "python-task".to_owned(),
        short_description: "does it".to_owned(),
        closure: vec![1, 0, 2],
        interface: vec![3, 0],
        created_at: NOW,
    }
}

pub fn workflow(name: &str, version: &str) -> EntityRow {
    EntityRow { id: id(EntityKind::Workflow, name, version), task_type: String::new(), ..task(name, version) }
}

pub fn launch_plan(name: &str, version: &str, state: i32) -> LaunchPlanRow {
    LaunchPlanRow {
        id: id(EntityKind::LaunchPlan, name, version),
        workflow: id(EntityKind::Workflow, &format!("{name}.wf"), version),
        digest: vec![9; 32],
        spec: vec![0, 5],
        closure: vec![6, 0],
        state,
        schedule_type: "CRON".to_owned(),
        created_at: NOW,
        updated_at: NOW.plus(1),
    }
}

pub fn spec(labels: &[(&str, &str)], tags: &[&str]) -> Vec<u8> {
    let values: BTreeMap<String, String> =
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    #[allow(deprecated, reason = "older clients send tags in this field only")]
    let spec = admin::ExecutionSpec {
        labels: Some(admin::Labels { values: values.into_iter().collect() }),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        max_parallelism: 5,
        ..Default::default()
    };
    spec.encode_to_vec()
}

/// A live, queued execution.
pub fn execution(name: &str) -> ExecutionRow {
    ExecutionRow {
        key: ExecutionKey(0),
        id: ExecutionId::new("p", "d", name),
        launch_plan: Some(id(EntityKind::LaunchPlan, "lp", "v1")),
        task: None,
        workflow: id(EntityKind::Workflow, "wf", "v1"),
        phase: 1,
        mode: 0,
        principal: String::new(),
        cluster: String::new(),
        nesting: 0,
        source: None,
        parent_node: None,
        spec: spec(&[], &[]),
        inputs_uri: String::new(),
        user_inputs_uri: String::new(),
        outputs_uri: String::new(),
        error: Vec::new(),
        error_kind: String::new(),
        error_code: String::new(),
        abort_cause: String::new(),
        aborted_by: None,
        state: 0,
        created_at: NOW,
        updated_at: NOW,
        started_at: None,
        duration: None,
        live: true,
        abort_forced: false,
        settings: Vec::new(),
    }
}

/// An execution in which every field is set.
pub fn full_execution(name: &str) -> ExecutionRow {
    ExecutionRow {
        task: Some(id(EntityKind::Task, "t", "v2")),
        phase: 6,
        mode: 2,
        principal: "ann".to_owned(),
        cluster: "blue".to_owned(),
        nesting: 3,
        source: Some(ExecutionId::new("p2", "d2", "earlier")),
        parent_node: Some((ExecutionKey(77), "n0-0-n1".to_owned())),
        spec: spec(&[("env", "prod")], &["nightly"]),
        inputs_uri: "s3://b/in".to_owned(),
        user_inputs_uri: "s3://b/user".to_owned(),
        outputs_uri: "s3://b/out".to_owned(),
        error: vec![0, 1],
        error_kind: "USER".to_owned(),
        error_code: "E7".to_owned(),
        abort_cause: "because".to_owned(),
        aborted_by: Some("bob".to_owned()),
        state: 1,
        updated_at: NOW.plus(5),
        started_at: Some(NOW.plus(2)),
        duration: Some(3),
        live: false,
        abort_forced: true,
        settings: vec![0, 7],
        ..execution(name)
    }
}

pub fn update(key: ExecutionKey, phase: i32) -> ExecutionUpdate {
    ExecutionUpdate {
        key,
        phase,
        outputs_uri: "s3://b/o".to_owned(),
        error: vec![0, 9],
        error_kind: "SYSTEM".to_owned(),
        error_code: "E1".to_owned(),
        updated_at: NOW.plus(10),
        started_at: Some(NOW.plus(3)),
        duration: Some(7),
        live: !matches!(phase, 4 | 6 | 7 | 8),
    }
}

pub fn node(execution: ExecutionKey, node_id: &str) -> NodeExecutionRow {
    let error = core::ExecutionError {
        code: "Bad".to_owned(),
        kind: core::execution_error::ErrorKind::User as i32,
        ..Default::default()
    };
    let extra = admin::NodeExecutionClosure {
        target_metadata: Some(admin::node_execution_closure::TargetMetadata::TaskNodeMetadata(
            admin::TaskNodeMetadata {
                cache_status: core::CatalogCacheStatus::CacheHit as i32,
                ..Default::default()
            },
        )),
        ..Default::default()
    };
    NodeExecutionRow {
        execution,
        node_id: node_id.to_owned(),
        spec_node_id: "n0".to_owned(),
        node_name: "my node".to_owned(),
        parent_id: String::new(),
        retry_group: "1".to_owned(),
        phase: 3,
        engine_phase: 12,
        attempt: 2,
        system_failures: 1,
        input_uri: "s3://b/i".to_owned(),
        output_uri: "s3://b/o".to_owned(),
        deck_uri: "s3://b/d".to_owned(),
        error: error.encode_to_vec(),
        extra: extra.encode_to_vec(),
        flags: 5,
        detail: 3,
        created_at: NOW,
        updated_at: NOW.plus(1),
        queued_at: Some(NOW.plus(2)),
        started_at: Some(NOW.plus(3)),
        attempt_started_at: Some(NOW.plus(4)),
        duration: Some(5),
    }
}

pub fn attempt(execution: ExecutionKey, node_id: &str, attempt: i32) -> TaskExecutionRow {
    TaskExecutionRow {
        execution,
        node_id: node_id.to_owned(),
        attempt,
        task: id(EntityKind::Task, "t", "v1"),
        task_type: "python-task".to_owned(),
        phase: 2,
        phase_version: 4,
        plugin_phase: 9,
        closure: vec![0, 1, 2],
        output_uri: "s3://b/o".to_owned(),
        reason: "it's running".to_owned(),
        plugin: "pod@1.0.0".to_owned(),
        plugin_state: (0..=255).collect(),
        state_version: 3,
        intent: vec![4, 0],
        objects: vec![0],
        open: true,
        wake_at: Some(NOW.plus(8)),
        created_at: NOW,
        updated_at: NOW.plus(1),
        started_at: Some(NOW.plus(2)),
        duration: Some(3),
    }
}
