//! What the catalog has is not run, and what another execution makes is waited for.

use proto::flyteidl::core::execution_error::ErrorKind;

use crate::testing::{Driver, boom, workflow};
use crate::{Changes, Detail, NodePhase, Observation, Phase, Resolved, Step};

const TWO: &[(&str, &[&str])] = &[("a", &[]), ("b", &["a"])];

fn hit() -> Detail {
    Detail::CacheHit { output_uri: "cached".into() }
}

#[test]
fn hit_succeeds_without_an_attempt() {
    let mut d = Driver::started(&workflow(TWO));
    let changes = d.decide("a", hit());
    assert!(changes.attempts.is_empty() && changes.nodes == [d.idx("a")]);
    let state = d.state("a");
    assert_eq!(
        (state.phase, &*state.output_uri, &*state.input_uri),
        (NodePhase::Succeeded, "cached", "in/a")
    );
    assert!(state.queued_at.is_some() && state.started_at == state.ended_at);
    assert_eq!(d.resolving(), ["b"]);
}

fn waiting() -> Driver {
    let mut d = Driver::started(&workflow(TWO));
    let changes = d.decide("a", Detail::CacheWait);
    assert!(changes.attempts.is_empty());
    assert_eq!(d.state("a").phase, NodePhase::Queued);
    assert!(d.plan().is_empty());
    d
}

#[test]
fn waiting_node_runs_or_takes_what_was_made() {
    for (detail, phase) in [(Detail::Plain, NodePhase::Queued), (hit(), NodePhase::Succeeded)] {
        let mut d = waiting();
        let queued_at = d.state("a").queued_at;
        d.decided(d.idx("a"), Detail::CacheWait);
        d.decided(d.idx("a"), detail.clone());
        assert_eq!((d.state("a").phase, d.state("a").queued_at), (phase, queued_at));
        assert_eq!(d.state("a").open, detail == Detail::Plain);
        assert_eq!(d.decided(d.idx("a"), Detail::CacheWait), Changes::default(), "too late");
    }
}

#[test]
fn waiting_node_looks_again_after_a_crash() {
    let mut d = waiting().reborn();
    let node = d.idx("a");
    assert_eq!(d.plan(), [Step::ResolveInputs { node }]);
    d.resolved("a");
    assert_eq!(d.plan(), [Step::StartAttempt { node, attempt: 0, recovered: false }]);
}

#[test]
fn waiting_node_ends_without_a_step() {
    let mut d = waiting();
    d.abort();
    assert_eq!(
        (d.state("a").phase, d.run.phase(), d.run.is_done()),
        (NodePhase::Aborted, Phase::Aborted, true)
    );
    assert_eq!(d.resolved("a"), Changes::default());
    let mut d = waiting();
    let (node, error) = (d.idx("a"), boom(ErrorKind::System));
    d.apply(Observation::InputsResolved { node, result: Err(error.clone()) });
    assert_eq!((d.state("a").phase, d.run.error()), (NodePhase::Failed, Some(&error)));
}

#[test]
fn waiting_node_times_out() {
    let mut closure = workflow(TWO);
    crate::testing::task_metadata(&mut closure).timeout = Some(model::time::duration_to_proto(1_000_000));
    let mut d = Driver::started(&closure);
    d.decide("a", Detail::CacheWait);
    d.now = d.now.plus(5_000_000);
    d.apply(Observation::DeadlinePassed);
    assert_eq!((d.state("a").phase, d.run.phase()), (NodePhase::TimedOut, Phase::Failed));
    assert_eq!(d.run.next_deadline(), None);
}

#[test]
fn only_tasks_are_found_in_the_catalog() {
    let mut d = Driver::started(&workflow(&[]));
    d.plan();
    let end = d.idx("end-node");
    let resolved = Resolved { uri: String::new(), detail: hit() };
    d.apply(Observation::InputsResolved { node: end, result: Ok(resolved) });
    assert_eq!(d.run.error().unwrap().code, "BadSpecificationError");
}
