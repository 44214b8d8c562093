//! Checks that parts sum to the whole, whatever the rows say.

use proptest::prelude::*;

use super::*;

const T: i64 = 1_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * T)
}

fn named(name: &str) -> NodeExecutionIdentifier {
    NodeExecutionIdentifier { node_id: name.to_owned(), execution_id: None }
}

/// Operation names with their seconds, and other spans with theirs in brackets.
fn shown(span: &Span) -> String {
    let seconds = micros(span.end_time.as_ref()) - micros(span.start_time.as_ref());
    let name = match &span.id {
        Some(Id::OperationId(name)) => name.clone(),
        Some(Id::NodeId(id)) => id.node_id.clone(),
        Some(Id::TaskId(id)) => format!("attempt {}", id.retry_attempt),
        Some(Id::WorkflowId(_)) => "wf".to_owned(),
        None => "?".to_owned(),
    };
    let parts: Vec<String> = span.spans.iter().map(shown).collect();
    let parts = if parts.is_empty() { String::new() } else { format!("({})", parts.join(" ")) };
    format!("{name}={}{parts}", seconds / T)
}

fn micros(time: Option<&prost_types::Timestamp>) -> i64 {
    time.map(|time| Timestamp::from_proto(time).0).unwrap_or_default()
}

fn attempt(n: u32, [created, started, ran_until, end]: [i64; 4]) -> TaskPart {
    TaskPart {
        id: TaskExecutionIdentifier { retry_attempt: n, ..TaskExecutionIdentifier::default() },
        created: at(created),
        started: Some(at(started)),
        ran_until: Some(at(ran_until)),
        end: at(end),
        with_parts: true,
    }
}

fn part(name: &str, created: i64, end: i64, upstream: &[usize], inside: Inside) -> NodePart {
    NodePart {
        id: named(name),
        upstream: upstream.to_vec(),
        created: at(created),
        started: Some(at(created)),
        end: at(end),
        inside: Some(inside),
    }
}

fn whole(created: i64, begin: i64, end: i64, nodes: Vec<NodePart>) -> Span {
    of_execution(ExecutionPart {
        created: at(created),
        end: at(end),
        scope: Some(Scope { begin: at(begin), nodes }),
        ..ExecutionPart::default()
    })
}

#[test]
fn a_chain_of_tasks_is_parted_as_clients_know_it() {
    let tasks = vec![attempt(0, [3, 4, 6, 7]), attempt(1, [9, 9, 12, 12])];
    let first = part("n0", 2, 13, &[], Inside { tasks, ..Inside::default() });
    let tasks = vec![attempt(0, [15, 15, 16, 16])];
    let second = part("n1", 14, 16, &[0], Inside { tasks, ..Inside::default() });
    let found = whole(0, 1, 18, vec![first, second]);
    assert_eq!(
        shown(&found),
        "wf=18(WORKFLOW_SETUP=1 \
         n0=12(NODE_TRANSITION=1 NODE_SETUP=1 attempt 0=4(TASK_SETUP=1 TASK_RUNTIME=2 TASK_TEARDOWN=1) \
         NODE_RESET=2 attempt 1=3(TASK_RUNTIME=3) NODE_TEARDOWN=1) \
         n1=3(NODE_TRANSITION=1 NODE_SETUP=1 attempt 0=1(TASK_RUNTIME=1)) \
         WORKFLOW_TEARDOWN=2)"
    );
}

#[test]
fn children_and_gates_stand_inside_their_node() {
    let child = ExecutionPart {
        created: at(3),
        end: at(5),
        scope: Some(Scope { begin: at(4), nodes: Vec::new() }),
        ..ExecutionPart::default()
    };
    let launched = part("lp", 2, 6, &[], Inside { execution: Some(Box::new(child)), ..Inside::default() });
    let inner = part("in", 9, 10, &[], Inside::default());
    let scope = Some(Scope { begin: at(8), nodes: vec![inner] });
    let tasks = vec![attempt(0, [6, 6, 7, 7])];
    let dynamic = part("dn", 6, 11, &[0], Inside { tasks, scope, ..Inside::default() });
    let mut gate = part("ok", 11, 15, &[1], Inside { is_gate: true, ..Inside::default() });
    gate.started = Some(at(12));
    let found = whole(0, 2, 15, vec![launched, dynamic, gate]);
    assert_eq!(
        shown(&found),
        "wf=15(WORKFLOW_SETUP=2 lp=4(NODE_SETUP=1 wf=2(WORKFLOW_SETUP=2) NODE_TEARDOWN=1) \
         dn=5(attempt 0=1(TASK_RUNTIME=1) NODE_RESET=1 in=2(NODE_TRANSITION=1 NODE_SETUP=1) NODE_TEARDOWN=1) \
         ok=4(NODE_SETUP=1 NODE_IDLE=3))"
    );
}

#[test]
fn a_long_chain_does_not_exhaust_the_stack() {
    let nodes: Vec<NodePart> = (0..200_000)
        .map(|n: i64| {
            let upstream: Vec<usize> = usize::try_from(n - 1).into_iter().collect();
            part("n", n, n + 1, &upstream, Inside::default())
        })
        .collect();
    assert_eq!(check(&whole(0, 0, 200_000, nodes)), Ok(()));
}

/// Whether the parts of each span lie within it and a chain of them covers it.
fn check(span: &Span) -> Result<(), String> {
    let bounds = |span: &Span| (micros(span.start_time.as_ref()), micros(span.end_time.as_ref()));
    let (start, end) = bounds(span);
    if start > end {
        return Err(format!("ends before it starts: {start} {end}"));
    }
    if span.spans.is_empty() {
        return Ok(());
    }
    let mut parts: Vec<(i64, i64)> = span.spans.iter().map(bounds).collect();
    if let Some(part) = parts.iter().find(|(from, to)| *from < start || *to > end) {
        return Err(format!("{part:?} lies outside of {start} to {end}"));
    }
    for part in &span.spans {
        check(part)?;
    }
    // From the back: a part that ends here, and then one that ends where that began.
    parts.sort_by_key(|(_, to)| *to);
    let mut reachable = std::collections::BTreeSet::from([end]);
    for (from, to) in parts.iter().rev() {
        if reachable.contains(to) {
            reachable.insert(*from);
        }
    }
    if reachable.contains(&start) { Ok(()) } else { Err(format!("no chain covers {start} to {end}")) }
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    (0_i64..40).prop_map(at)
}

fn any_task() -> impl Strategy<Value = TaskPart> {
    (
        any_time(),
        proptest::option::of(any_time()),
        proptest::option::of(any_time()),
        any_time(),
        any::<bool>(),
    )
        .prop_map(|(created, started, ran_until, end, with_parts)| TaskPart {
            created,
            started,
            ran_until,
            end,
            with_parts,
            ..TaskPart::default()
        })
}

fn any_scope(depth: u32) -> BoxedStrategy<Scope> {
    let node = (
        proptest::collection::vec(any::<proptest::sample::Index>(), 0..3),
        any_time(),
        proptest::option::of(any_time()),
        any_time(),
        proptest::option::weighted(0.9, any_inside(depth)),
    );
    (any_time(), proptest::collection::vec(node, 0..6))
        .prop_map(|(begin, nodes)| {
            let nodes =
                nodes.into_iter().enumerate().map(|(at, (upstream, created, started, end, inside))| {
                    let mut upstream: Vec<usize> = if at == 0 {
                        Vec::new()
                    } else {
                        upstream.iter().map(|index| index.index(at)).collect()
                    };
                    upstream.sort_unstable();
                    upstream.dedup();
                    NodePart { id: named("n"), upstream, created, started, end, inside }
                });
            Scope { begin, nodes: nodes.collect() }
        })
        .boxed()
}

fn any_inside(depth: u32) -> BoxedStrategy<Inside> {
    let tasks = proptest::collection::vec(any_task(), 0..3);
    if depth == 0 {
        return (any::<bool>(), tasks)
            .prop_map(|(is_gate, tasks)| Inside { is_gate, tasks, ..Inside::default() })
            .boxed();
    }
    let scope = proptest::option::of(any_scope(depth - 1));
    let execution = proptest::option::of(any_execution(depth - 1).prop_map(Box::new));
    (any::<bool>(), tasks, execution, scope)
        .prop_map(|(is_gate, tasks, execution, scope)| Inside { is_gate, tasks, execution, scope })
        .boxed()
}

fn any_execution(depth: u32) -> BoxedStrategy<ExecutionPart> {
    (any_time(), any_time(), proptest::option::weighted(0.9, any_scope(depth)))
        .prop_map(|(created, end, scope)| ExecutionPart { created, end, scope, ..ExecutionPart::default() })
        .boxed()
}

proptest! {
    #[test]
    fn parts_sum_to_the_wall_time(execution in any_execution(2)) {
        let (created, end) = (execution.created, execution.end.max(execution.created));
        let span = of_execution(execution);
        prop_assert_eq!(micros(span.start_time.as_ref()), created.0);
        prop_assert_eq!(micros(span.end_time.as_ref()), end.0);
        prop_assert_eq!(check(&span), Ok(()));
    }
}
