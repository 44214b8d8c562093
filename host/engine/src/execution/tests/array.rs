//! Arrays: as many elements as fit, as many successes as are asked for.

use proto::flyteidl::core;
use proto::flyteidl::core::array_node::{DataMode, ParallelismOption::Parallelism, SuccessCriteria};
use proto::flyteidl::core::execution_error::ErrorKind;

use crate::testing::kinds::{array, in_container, launch_plan, sub, with_subs};
use crate::testing::{Driver, boom, closure, node, task_metadata, workflow};
use crate::{ArrayParallelism, Detail, NodePhase, Observation, Phase, Settings, Step};

fn map(change: impl FnOnce(&mut core::ArrayNode)) -> core::CompiledWorkflowClosure {
    in_container(closure(vec![array(node("of", &[]), "m", &[], change), node("y", &["m"])]))
}

/// A map of this many elements, which are started as far as they may be.
fn mapping(closure: &core::CompiledWorkflowClosure, size: u32) -> Driver {
    let mut d = Driver::started(closure);
    d.decide("m", Detail::Size(size));
    d
}

fn elements(d: &Driver, phase: NodePhase) -> Vec<u32> {
    let all = d.run.elements(d.idx("m")).unwrap();
    all.filter(|node| d.run.node(*node).phase == phase).map(|n| d.run.element(n).unwrap()).collect()
}

#[test]
fn elements_that_read_its_inputs_start_at_once() {
    let mut d = Driver::started(&map(|_| {}));
    d.plan();
    let m = d.idx("m");
    let changes = d.decided(m, Detail::Size(3));
    assert_eq!((changes.nodes.len(), changes.attempts.len()), (4, 3), "rows of all in one change");
    assert_eq!((d.state("m").phase, d.state("m").detail), (NodePhase::Running, 4));
    assert_eq!(&*d.state("m-0-n1").input_uri, "in/m");
    assert_eq!(d.run.elements(m), Some(m + 2..m + 5));
    assert_eq!((d.run.parent(m + 3), d.run.element(m + 3), d.run.element(m)), (Some(m), Some(1), None));
    assert_eq!(d.plan().len(), 3);
    d = d.reborn();
    for i in 0..3 {
        assert_eq!(d.state("m").phase, NodePhase::Running);
        d.succeeded(&format!("m-0-n{i}"));
    }
    assert_eq!(d.state("m").phase, NodePhase::Succeeding);
    assert_eq!(d.state("m").wire_phase(), core::node_execution::Phase::Running as i32);
    let m = d.idx("m");
    assert!(d.plan().contains(&Step::GatherOutputs { node: m }));
    let mut later = d.reborn();
    assert!(later.plan().contains(&Step::GatherOutputs { node: later.idx("m") }), "asked for again");
    d.gathered("m");
    assert_eq!((d.state("m").phase, &*d.state("m").output_uri), (NodePhase::Succeeded, "gathered/m"));
    assert_eq!(d.resolving(), ["y"], "clean-up of the elements runs behind");
}

#[test]
fn own_inputs_are_asked_for_where_they_are_needed() {
    let plain = closure(vec![array(node("of", &[]), "m", &[], |_| {})]);
    let asked = map(|array| array.data_mode = DataMode::IndividualInputFiles as i32);
    let mut cached = map(|_| {});
    task_metadata(&mut cached).discoverable = true;
    let plans = in_container(closure(vec![array(launch_plan("of", &[]), "m", &[], |_| {})]));
    for closure in [plain, asked, cached, plans] {
        let mut d = mapping(&closure, 2);
        assert_eq!(d.resolving(), ["m-0-n0", "m-0-n1"]);
        d.run_up_to(&["m-0-n0"]);
        assert_eq!(&*d.state("m-0-n0").input_uri, "in/m-0-n0");
    }
}

#[test]
fn no_more_are_in_flight_than_allowed() {
    let cases = [
        (Some(2), ArrayParallelism::Workflow, 5_000, 2),
        (Some(0), ArrayParallelism::Unlimited, 5_000, 6),
        (None, ArrayParallelism::Unlimited, 5_000, 6),
        (Some(0), ArrayParallelism::Workflow, 5_000, 3),
        (None, ArrayParallelism::Workflow, 5_000, 3),
        (Some(0), ArrayParallelism::Hybrid, 5_000, 6),
        (None, ArrayParallelism::Hybrid, 5_000, 3),
        (None, ArrayParallelism::Unlimited, 4, 4),
        (Some(5), ArrayParallelism::Unlimited, 4, 4),
        (Some(5), ArrayParallelism::Unlimited, 0, 1),
    ];
    for (parallelism, array_parallelism, max_elements_in_flight, expected) in cases {
        let closure = map(|array| array.parallelism_option = parallelism.map(Parallelism));
        let settings =
            Settings { max_parallelism: 3, array_parallelism, max_elements_in_flight, ..Settings::default() };
        let mut d = Driver::new(&closure, settings);
        d.apply(Observation::Start);
        d.decide("m", Detail::Size(6));
        assert_eq!(elements(&d, NodePhase::Queued).len(), expected, "{parallelism:?} {array_parallelism:?}");
        let mut d = d.reborn();
        d.succeeded("m-0-n0");
        assert_eq!(elements(&d, NodePhase::Queued).len(), expected.min(5), "its place is free again");
    }
}

#[test]
fn it_takes_one_place_whatever_it_holds() {
    let closure = in_container(closure(vec![
        array(sub("inner", "of", &[]), "m", &[], |_| {}),
        node("y", &[]),
        node("z", &[]),
    ]));
    let closure = with_subs(closure, vec![("inner", workflow(&[("a", &[])]))]);
    let mut d = Driver::new(&closure, Settings { max_parallelism: 2, ..Settings::default() });
    d.apply(Observation::Start);
    assert_eq!(d.resolving(), ["m", "y"]);
    d.decide("m", Detail::Size(4));
    d.plan();
    for id in ["m-0-n0", "m-0-n1", "m-0-n2", "m-0-n3"] {
        d.resolved(id);
    }
    assert_eq!(d.resolving(), ["m-0-n0-0-a", "m-0-n1-0-a", "m-0-n2-0-a", "m-0-n3-0-a"]);
}

#[test]
fn failure_beyond_what_is_forgiven_stops_the_rest() {
    let mut d = mapping(&map(|array| array.parallelism_option = Some(Parallelism(2))), 4);
    d.plan();
    d.failed("m-0-n1", ErrorKind::User, false);
    assert_eq!(d.phases(["m", "m-0-n0"]), [NodePhase::Failing, NodePhase::Aborting]);
    assert_eq!(elements(&d, NodePhase::NotYetStarted), [2, 3], "what did not start never does");
    assert_eq!(d.state("m").error.as_ref().unwrap().message, "[1]: it broke\n");
    let mut later = d.reborn();
    for d in [&mut d, &mut later] {
        d.plan();
        d.cleaned("m-0-n0");
        d.cleaned("m-0-n1");
        assert_eq!((d.state("m").phase, d.run.phase()), (NodePhase::Failed, Phase::Failed));
        assert_eq!(d.run.error().unwrap().code, "Boom");
    }
}

#[test]
fn enough_successes_are_enough_once_all_have_ended() {
    let ratio = |array: &mut core::ArrayNode| {
        array.success_criteria = Some(SuccessCriteria::MinSuccessRatio(0.5));
    };
    let mut d = mapping(&map(ratio), 4);
    d.plan();
    for id in ["m-0-n0", "m-0-n1"] {
        d.succeeded(id);
    }
    d.failed("m-0-n2", ErrorKind::User, false);
    assert_eq!(d.state("m").phase, NodePhase::Running, "one still runs");
    d.failed("m-0-n3", ErrorKind::User, false);
    assert_eq!(d.state("m").phase, NodePhase::Succeeding);
    let mut d = mapping(&map(ratio), 4);
    d.plan();
    for id in ["m-0-n0", "m-0-n1", "m-0-n2"] {
        assert_eq!(d.state("m").phase, NodePhase::Running);
        d.failed(id, ErrorKind::User, false);
    }
    assert_eq!(d.state("m").phase, NodePhase::Failing);
}

#[test]
fn all_run_when_told_so() {
    let mut d = mapping(&map(|array| array.run_all_sub_nodes = true), 3);
    d.plan();
    d.failed("m-0-n0", ErrorKind::User, false);
    d.failed("m-0-n1", ErrorKind::System, false);
    assert_eq!(d.state("m").phase, NodePhase::Running);
    d.succeeded("m-0-n2");
    assert_eq!(d.state("m").phase, NodePhase::Failing);
    let error = d.state("m").error.as_ref().unwrap();
    assert_eq!((error.message.as_str(), error.code.as_str()), ("[0-1]: it broke\n", "ArrayNodeFailing"));
}

#[test]
fn elements_have_budgets_of_their_own() {
    let mut closure = map(|_| {});
    task_metadata(&mut closure).retries = Some(core::RetryStrategy { retries: 1 });
    let mut d = mapping(&closure, 2);
    d.plan();
    d.failed("m-0-n0", ErrorKind::User, true);
    assert_eq!(d.state("m-0-n0").phase, NodePhase::RetryableFailure);
    d.plan();
    d.cleaned("m-0-n0");
    d.plan();
    assert_eq!((d.state("m-0-n0").attempt, d.state("m-0-n1").attempt), (1, 0));
    d.failed("m-0-n1", ErrorKind::User, true);
    d.succeeded("m-0-n0");
    assert_eq!(d.phases(["m", "m-0-n1"]), [NodePhase::Running, NodePhase::RetryableFailure]);
    d.failed("m-0-n0", ErrorKind::User, true);
    assert_eq!(d.state("m-0-n0").phase, NodePhase::Succeeded, "that attempt was the last word");
}

#[test]
fn empty_array_succeeds_with_empty_outputs() {
    let mut d = mapping(&map(|_| {}), 0);
    assert_eq!(d.state("m").phase, NodePhase::Succeeding);
    let m = d.idx("m");
    assert_eq!(d.plan(), [Step::GatherOutputs { node: m }]);
    d = d.reborn();
    d.gathered("m");
    assert_eq!(d.state("m").phase, NodePhase::Succeeded);
}

#[test]
fn impossible_demand_fails_and_says_so() {
    let five = |array: &mut core::ArrayNode| {
        array.success_criteria = Some(SuccessCriteria::MinSuccesses(5));
    };
    let d = mapping(&map(five), 3);
    let error = d.state("m").error.as_deref().unwrap();
    assert_eq!(error.message, "5 elements are to succeed, but there are only 3");
    assert_eq!((d.state("m").phase, d.run.phase()), (NodePhase::Failed, Phase::Failed));
    assert!(d.run.is_done());
}

#[test]
fn outputs_that_cannot_be_gathered_fail_it() {
    let mut d = mapping(&map(|_| {}), 1);
    d.plan();
    d.succeeded("m-0-n0");
    let (m, error) = (d.idx("m"), boom(ErrorKind::System));
    d.apply(Observation::OutputsWritten { node: m, result: Err(error.clone()) });
    assert_eq!(d.state("m").phase, NodePhase::Failing, "an element is not cleaned up");
    d.plan();
    d.cleaned("m-0-n0");
    assert_eq!((d.state("m").phase, d.run.error()), (NodePhase::Failed, Some(&error)));
}
