//! Each transition is told once and in order, however the rows come and wherever a life ends.

use blob::DataReference;
use model::{EntityKind, ExecutionId};
use proto::flyteidl::core::ExecutionError;
use proto::flyteidl::event::{
    NodeExecutionEvent, TaskExecutionEvent, WorkflowExecutionEvent, node_execution_event,
    task_execution_event, workflow_execution_event,
};
use store::EventKind;
use store::row::{ExecutionKey, NodeFlags};

use super::*;
use crate::config::Config;

const ALL: EventWish =
    EventWish { workflows: true, nodes: true, tasks: true, ends: true, notified_ends: true };

fn entity(kind: EntityKind, name: &str) -> EntityId {
    EntityId { kind, project: "p".into(), domain: "d".into(), name: name.into(), version: "v".into() }
}

fn execution(spec: &ExecutionSpec) -> ExecutionRow {
    ExecutionRow {
        key: ExecutionKey(7),
        id: ExecutionId::new("p", "d", "x"),
        launch_plan: None,
        task: None,
        workflow: entity(EntityKind::Workflow, "wf"),
        phase: 0,
        mode: 0,
        principal: String::new(),
        cluster: String::new(),
        nesting: 0,
        source: None,
        parent_node: None,
        spec: spec.encode_to_vec(),
        inputs_uri: String::new(),
        user_inputs_uri: String::new(),
        outputs_uri: String::new(),
        error: Vec::new(),
        error_kind: String::new(),
        error_code: String::new(),
        abort_cause: String::new(),
        aborted_by: None,
        state: 0,
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
        started_at: None,
        duration: None,
        live: true,
        abort_forced: false,
        settings: Vec::new(),
    }
}

fn info() -> Info {
    let place = || DataReference::parse("s3://b/m").unwrap();
    Info::read(&execution(&ExecutionSpec::default()), &Config::default(), place(), place()).unwrap()
}

fn update(phase: Workflow, at: i64) -> ExecutionUpdate {
    let is_end = matches!(phase, Workflow::Succeeded | Workflow::Failed | Workflow::Aborted);
    ExecutionUpdate {
        key: ExecutionKey(7),
        phase: phase as i32,
        outputs_uri: if phase == Workflow::Succeeded { "s3://b/out".into() } else { String::new() },
        error: Vec::new(),
        error_kind: String::new(),
        error_code: String::new(),
        updated_at: Timestamp(at),
        started_at: (phase != Workflow::Queued).then_some(Timestamp(10)),
        duration: is_end.then_some(at - 10),
        live: !is_end,
    }
}

/// A node that was queued, started and ended at these times, as far as it has come.
fn node(id: &str, phase: Node, [queued, started, ended]: [i64; 3]) -> NodeExecutionRow {
    let has = |time: i64| (time > 0).then_some(Timestamp(time));
    NodeExecutionRow {
        execution: ExecutionKey(7),
        node_id: id.into(),
        spec_node_id: id.into(),
        node_name: format!("name of {id}"),
        parent_id: String::new(),
        retry_group: "0".into(),
        phase: phase as i32,
        engine_phase: 0,
        attempt: 0,
        system_failures: 0,
        input_uri: "s3://b/in".into(),
        output_uri: "s3://b/out".into(),
        deck_uri: String::new(),
        error: Vec::new(),
        extra: Vec::new(),
        flags: 0,
        detail: 0,
        created_at: Timestamp(queued),
        updated_at: Timestamp(ended.max(started).max(queued)),
        queued_at: has(queued),
        started_at: has(started),
        attempt_started_at: has(started),
        duration: (ended > 0).then(|| ended - started),
    }
}

fn task(id: &str, attempt: i32, phase: Task, version: i32, at: i64) -> TaskExecutionRow {
    let is_end = matches!(phase, Task::Succeeded | Task::Failed | Task::Aborted);
    // Lives begin at multiples of 20.
    let created = (at / 20 * 20).max(5);
    TaskExecutionRow {
        execution: ExecutionKey(7),
        node_id: id.into(),
        attempt,
        task: entity(EntityKind::Task, "t"),
        task_type: "python-task".into(),
        phase: phase as i32,
        phase_version: version,
        plugin_phase: 0,
        closure: Vec::new(),
        output_uri: if phase == Task::Succeeded { "s3://b/task".into() } else { String::new() },
        reason: "because".into(),
        plugin: String::new(),
        plugin_state: Vec::new(),
        state_version: 0,
        intent: Vec::new(),
        objects: Vec::new(),
        open: !is_end,
        wake_at: None,
        created_at: Timestamp(created),
        updated_at: Timestamp(at),
        started_at: (phase == Task::Running || is_end).then_some(Timestamp(created + 1)),
        duration: is_end.then_some(at - created - 1),
    }
}

/// What the events say, without the name of the execution.
fn said(events: &[OutboxRow]) -> Vec<String> {
    events.iter().map(|event| event.id.replace("p/d/x", "").trim_start_matches('/').to_owned()).collect()
}

fn fresh(wish: EventWish) -> Events {
    Events::restored(wish, &execution(&ExecutionSpec::default()), &[], &[])
}

#[test]
fn a_node_that_ran_between_two_commits_is_told_whole() {
    let mut events = fresh(ALL);
    let batch = Batch {
        executions: vec![update(Workflow::Running, 10)],
        nodes: vec![node("n0", Node::Succeeded, [11, 12, 15])],
        tasks: vec![task("n0", 0, Task::Succeeded, 0, 14)],
        ..Batch::default()
    };
    let told = events.of_batch(&info(), &batch);
    let want = [
        ":RUNNING@10",
        "n0/0:QUEUED.0@5",
        "n0/0:RUNNING.0@6",
        "n0:QUEUED@11",
        "n0:RUNNING@12",
        "n0/0:SUCCEEDED.0@14",
        "n0:SUCCEEDED@15",
    ];
    assert_eq!(said(&told), want);
    // The same rows again say nothing.
    assert_eq!(said(&events.of_batch(&info(), &batch)), [""; 0]);
}

#[test]
fn a_node_and_its_attempts_take_turns() {
    let mut events = fresh(ALL);
    let mut said_by = |phase: Node, times, tasks: Vec<TaskExecutionRow>| {
        let batch = Batch { nodes: vec![node("n0", phase, times)], tasks, ..Batch::default() };
        said(&events.of_batch(&info(), &batch))
    };
    assert_eq!(
        said_by(Node::Queued, [5, 0, 0], vec![task("n0", 0, Task::Queued, 0, 5)]),
        ["n0:QUEUED@5", "n0/0:QUEUED.0@5"]
    );
    assert_eq!(
        said_by(Node::Running, [5, 6, 0], vec![task("n0", 0, Task::Running, 0, 6)]),
        ["n0/0:RUNNING.0@6", "n0:RUNNING@6"]
    );
    // A new version of a phase is told, the same one is not.
    assert_eq!(
        said_by(Node::Running, [5, 6, 0], vec![task("n0", 0, Task::Running, 1, 7)]),
        ["n0/0:RUNNING.1@7"]
    );
    assert_eq!(said_by(Node::Running, [5, 6, 0], vec![task("n0", 0, Task::Running, 1, 8)]), [""; 0]);
    // A retry: the first attempt ends, the second begins; then the first is cleaned up.
    let two = vec![task("n0", 1, Task::Queued, 0, 9), task("n0", 0, Task::Failed, 1, 8)];
    assert_eq!(said_by(Node::Running, [5, 6, 0], two), ["n0/0:FAILED.1@8", "n0/1:QUEUED.0@5"]);
    let closed = TaskExecutionRow { open: false, ..task("n0", 0, Task::Failed, 1, 12) };
    assert_eq!(said_by(Node::Running, [5, 6, 0], vec![closed]), [""; 0]);
    assert_eq!(
        said_by(Node::Failed, [5, 6, 20], vec![task("n0", 1, Task::Failed, 0, 19)]),
        ["n0/1:FAILED.0@19", "n0:FAILED@20"]
    );
}

#[test]
fn causes_come_before_effects_and_children_end_before_parents() {
    let mut events = fresh(ALL);
    let child = |phase, times| NodeExecutionRow { parent_id: "n0".into(), ..node("n0-0-c", phase, times) };
    let first = Batch {
        nodes: vec![node("n0", Node::Running, [1, 2, 0]), child(Node::Running, [2, 3, 0])],
        ..Batch::default()
    };
    events.of_batch(&info(), &first);
    let second = Batch {
        executions: vec![update(Workflow::Failing, 30)],
        nodes: vec![
            node("n1", Node::Queued, [20, 0, 0]),
            node("n0", Node::Succeeded, [1, 2, 20]),
            child(Node::Succeeded, [2, 3, 20]),
        ],
        ..Batch::default()
    };
    let told = said(&events.of_batch(&info(), &second));
    assert_eq!(
        told,
        [":RUNNING@10", "n0-0-c:SUCCEEDED@20", "n0:SUCCEEDED@20", "n1:QUEUED@20", ":FAILING@30"]
    );
}

#[test]
fn an_execution_is_told_from_running_on_and_aborts_are_told_by_who_asks() {
    let mut events = fresh(ALL);
    let mut said_by = |phase, at| {
        let batch = Batch { executions: vec![update(phase, at)], ..Batch::default() };
        said(&events.of_batch(&info(), &batch))
    };
    assert_eq!(said_by(Workflow::Queued, 9), [""; 0]);
    assert_eq!(said_by(Workflow::Running, 12), [":RUNNING@10"]);
    assert_eq!(said_by(Workflow::Running, 13), [""; 0]);
    assert_eq!(said_by(Workflow::Aborting, 14), [""; 0]);
    assert_eq!(said_by(Workflow::Aborted, 20), [":ABORTED@20"]);
    // One that was aborted before it began never ran.
    let batch = Batch { executions: vec![update(Workflow::Aborted, 20)], ..Batch::default() };
    assert_eq!(said(&fresh(ALL).of_batch(&info(), &batch)), [":ABORTED@20"]);
}

#[test]
fn ends_alone_are_told_when_only_they_are_asked_for() {
    let asking = ExecutionSpec {
        notification_overrides: Some(NotificationOverrides::Notifications(
            proto::flyteidl::admin::NotificationList { notifications: vec![Default::default()] },
        )),
        ..ExecutionSpec::default()
    };
    let silent = ExecutionSpec {
        notification_overrides: Some(NotificationOverrides::DisableAll(true)),
        ..ExecutionSpec::default()
    };
    let ends = EventWish { ends: true, ..EventWish::default() };
    let notified = EventWish { notified_ends: true, ..EventWish::default() };
    for (wish, spec, want) in [
        (ends, &silent, vec![":FAILED@20"]),
        (notified, &asking, vec![":FAILED@20"]),
        (notified, &silent, vec![]),
        (EventWish::default(), &asking, vec![]),
    ] {
        let mut events = Events::restored(wish, &execution(spec), &[], &[]);
        let mut told = Vec::new();
        for update in [update(Workflow::Running, 10), update(Workflow::Failed, 20)] {
            let nodes = vec![node("n0", Node::Failed, [1, 2, 3])];
            let batch = Batch { executions: vec![update], nodes, ..Batch::default() };
            told.extend(events.of_batch(&info(), &batch));
        }
        assert_eq!(said(&told), want, "{wish:?}");
    }
    let told = Events::of_stillborn(ends, &execution(&silent), &update(Workflow::Failed, 20));
    assert_eq!(said(&told), [":FAILED@20"]);
}

#[test]
fn messages_say_what_the_rows_say() {
    let mut events = fresh(ALL);
    let error = ExecutionError { code: "E".into(), message: "ä".repeat(100_000), ..Default::default() };
    let row = NodeExecutionRow {
        parent_id: "n0".into(),
        retry_group: "2".into(),
        flags: NodeFlags::IS_DYNAMIC | NodeFlags::IS_PARENT,
        deck_uri: "s3://b/deck".into(),
        error: error.encode_to_vec(),
        ..node("n0-2-n1", Node::Failed, [1, 2, 9])
    };
    let closure = proto::flyteidl::admin::TaskExecutionClosure {
        output_result: Some(proto::flyteidl::admin::task_execution_closure::OutputResult::Error(
            error.clone(),
        )),
        logs: vec![proto::flyteidl::core::TaskLog { uri: "http://log".into(), ..Default::default() }],
        reasons: vec![proto::flyteidl::admin::Reason { message: "last".into(), ..Default::default() }],
        ..Default::default()
    };
    let attempt =
        TaskExecutionRow { closure: closure.encode_to_vec(), ..task("n0-2-n1", 3, Task::Failed, 4, 8) };
    let batch = Batch {
        executions: vec![ExecutionUpdate { error: error.encode_to_vec(), ..update(Workflow::Failed, 10) }],
        nodes: vec![row],
        tasks: vec![attempt],
        ..Batch::default()
    };
    let told = events.of_batch(&info(), &batch);
    let find = |id: &str| told.iter().find(|event| event.id.contains(id)).unwrap();

    let event = find("n0-2-n1:FAILED");
    let message = NodeExecutionEvent::decode(event.message.as_slice()).unwrap();
    assert_eq!((event.kind, event.occurred_at), (EventKind::Node, Timestamp(9)));
    assert_eq!(message.id.as_ref().unwrap().node_id, "n0-2-n1");
    assert_eq!(
        (message.phase(), message.event_version, message.producer_id.as_str()),
        (Node::Failed, 1, "pinion")
    );
    assert_eq!(message.parent_node_metadata.unwrap().node_id, "n0");
    assert_eq!((message.retry_group.as_str(), message.spec_node_id.as_str()), ("2", "n0-2-n1"));
    assert_eq!((message.is_parent, message.is_dynamic, message.is_array), (true, true, false));
    assert_eq!(message.target_entity.unwrap().name, "t");
    assert_eq!(message.deck_uri, "s3://b/deck");
    let Some(node_execution_event::OutputResult::Error(error)) = message.output_result else { panic!() };
    assert!(error.message.len() <= 100 * 1024 && error.message.ends_with('ä'));

    let queued = NodeExecutionEvent::decode(find("n0-2-n1:QUEUED").message.as_slice()).unwrap();
    assert_eq!(queued.output_result, None, "a phase that is over has no result");

    let message = TaskExecutionEvent::decode(find("3:FAILED.4").message.as_slice()).unwrap();
    assert_eq!((message.retry_attempt, message.phase_version, message.phase()), (3, 4, Task::Failed));
    assert_eq!((message.logs[0].uri.as_str(), message.reasons[0].reason.as_str()), ("http://log", "last"));
    assert!(
        matches!(message.input_value, Some(task_execution_event::InputValue::InputUri(uri)) if uri == "s3://b/in")
    );

    let message = WorkflowExecutionEvent::decode(find(":FAILED@10").message.as_slice()).unwrap();
    assert!(matches!(message.output_result, Some(workflow_execution_event::OutputResult::Error(_))));
    let done = Batch { executions: vec![update(Workflow::Succeeded, 12)], ..Batch::default() };
    let told = fresh(ALL).of_batch(&info(), &done);
    let message = WorkflowExecutionEvent::decode(told[1].message.as_slice()).unwrap();
    assert!(matches!(
        message.output_result,
        Some(workflow_execution_event::OutputResult::OutputUri(uri)) if uri == "s3://b/out"
    ));
}

/// The life of three nodes, one commit per entry.
fn life() -> Vec<Batch> {
    let mut batches = vec![Batch { executions: vec![update(Workflow::Running, 10)], ..Batch::default() }];
    for (n, id) in ["a", "b", "c"].into_iter().enumerate() {
        let at = 20 + 20 * n as i64;
        let times = |n: usize| [[at, 0, 0], [at, at + 1, 0], [at, at + 1, at + 9]][n];
        for (phase, step, tasks) in [
            (Node::Queued, 0, vec![task(id, 0, Task::Queued, 0, at)]),
            (Node::Running, 1, vec![task(id, 0, Task::Running, 0, at + 2)]),
            (Node::Running, 1, vec![task(id, 0, Task::Running, 1, at + 3)]),
            (
                Node::Running,
                1,
                vec![task(id, 0, Task::Failed, 1, at + 4), task(id, 1, Task::Queued, 0, at + 4)],
            ),
            (
                Node::Running,
                1,
                vec![task(id, 0, Task::Failed, 1, at + 5), task(id, 1, Task::Running, 0, at + 5)],
            ),
            (Node::Succeeded, 2, vec![task(id, 1, Task::Succeeded, 0, at + 9)]),
            (Node::Succeeded, 2, vec![task(id, 1, Task::Succeeded, 0, at + 9)]),
        ] {
            batches.push(Batch { nodes: vec![node(id, phase, times(step))], tasks, ..Batch::default() });
        }
    }
    batches.push(Batch { executions: vec![update(Workflow::Succeeded, 99)], ..Batch::default() });
    batches
}

#[test]
fn a_crash_after_any_commit_repeats_and_loses_nothing() {
    let batches = life();
    let whole = {
        let mut events = fresh(ALL);
        batches.iter().flat_map(|batch| events.of_batch(&info(), batch)).collect::<Vec<_>>()
    };
    assert_eq!(whole.len(), 2 + 3 * (3 + 7));
    for crash in 0..=batches.len() {
        let (before, after) = batches.split_at(crash);
        let mut events = fresh(ALL);
        let mut told: Vec<_> = before.iter().flat_map(|batch| events.of_batch(&info(), batch)).collect();
        // The rows as the database has them.
        let mut row = execution(&ExecutionSpec::default());
        let mut nodes = std::collections::BTreeMap::new();
        let mut tasks = std::collections::BTreeMap::new();
        for batch in before {
            batch.executions.iter().for_each(|update| row.phase = update.phase);
            nodes.extend(batch.nodes.iter().map(|node| (node.node_id.clone(), node.clone())));
            tasks.extend(batch.tasks.iter().map(|task| ((task.node_id.clone(), task.attempt), task.clone())));
        }
        let (nodes, tasks): (Vec<_>, Vec<_>) = (nodes.into_values().collect(), tasks.into_values().collect());
        let mut events = Events::restored(ALL, &row, &nodes, &tasks);
        told.extend(after.iter().flat_map(|batch| events.of_batch(&info(), batch)));
        assert_eq!(said(&told), said(&whole), "crash after commit {crash}");
    }
}

#[test]
fn commits_that_are_put_together_tell_the_same_transitions_of_nodes() {
    let batches = life();
    let ids = |sizes: &[usize]| {
        let mut events = fresh(ALL);
        let mut rest = batches.as_slice();
        let mut told = Vec::new();
        for size in sizes.iter().cycle() {
            let (some, behind) = rest.split_at((*size).min(rest.len()));
            // As the driver does: the rows as they are when they are written.
            let mut together = Batch::default();
            for batch in some {
                together.append(&mut batch.clone());
            }
            let nodes = std::mem::take(&mut together.nodes);
            for node in nodes {
                together.nodes.retain(|other| other.node_id != node.node_id);
                together.nodes.push(node);
            }
            let tasks = std::mem::take(&mut together.tasks);
            for task in tasks {
                together
                    .tasks
                    .retain(|other| (&other.node_id, other.attempt) != (&task.node_id, task.attempt));
                together.tasks.push(task);
            }
            told.extend(events.of_batch(&info(), &together));
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        let of_nodes = told.iter().filter(|event| event.kind == EventKind::Node);
        said(&of_nodes.cloned().collect::<Vec<_>>())
    };
    let one_by_one = ids(&[1]);
    for sizes in [&[2][..], &[3], &[7], &[100], &[1, 4, 2]] {
        assert_eq!(ids(sizes), one_by_one, "{sizes:?}");
    }
}
