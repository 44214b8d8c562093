//! Branches: one arm runs, and its outcome is the branch's.

use proto::flyteidl::core;
use proto::flyteidl::core::execution_error::ErrorKind;

use crate::testing::kinds::{branch, sub, with_subs};
use crate::testing::{Driver, boom, closure, node, workflow};
use crate::{Detail, NodePhase, Phase};

fn choosing() -> Driver {
    let arms = vec![node("c-t", &[]), node("c-e", &[])];
    let mut d = Driver::started(&closure(vec![branch(arms, "c", &[]), node("y", &["c"])]));
    d.plan();
    d
}

#[test]
fn chosen_arm_runs_and_gives_the_outputs() {
    let mut d = choosing();
    let c = d.idx("c");
    let changes = d.decided(c, Detail::Arm(1));
    assert_eq!(changes.nodes, [c]);
    assert_eq!((d.state("c").phase, d.state("c").detail), (NodePhase::Running, 2));
    assert_eq!(d.resolving(), ["c-0-c-e"]);
    d.run_up_to(&["c-0-c-e"]);
    let mut later = d.reborn();
    for d in [&mut d, &mut later] {
        d.succeeded("c-0-c-e");
        assert_eq!((d.state("c").phase, &*d.state("c").output_uri), (NodePhase::Succeeded, "out/c-0-c-e"));
        assert_eq!(d.resolving(), ["y"]);
    }
}

#[test]
fn crash_before_the_arm_starts_starts_it() {
    let mut d = choosing();
    let c = d.idx("c");
    d.decided(c, Detail::Arm(0));
    assert_eq!(d.reborn().resolving(), ["c-0-c-t"]);
}

#[test]
fn failure_of_the_arm_is_the_branchs() {
    let mut d = choosing();
    d.decide("c", Detail::Arm(0));
    d.run_up_to(&["c-0-c-t"]);
    d.failed("c-0-c-t", ErrorKind::User, false);
    assert_eq!(d.state("c").phase, NodePhase::Failing);
    assert_eq!(d.run.phase(), Phase::Running, "decided once the arm is cleaned up");
    d.plan();
    d.cleaned("c-0-c-t");
    assert_eq!((d.state("c").phase, d.run.phase()), (NodePhase::Failed, Phase::Failed));
    assert_eq!(d.run.error(), Some(&boom(ErrorKind::User)));
}

#[test]
fn arm_that_does_not_exist_fails_the_branch() {
    for detail in [Detail::Arm(2), Detail::Plain, Detail::Size(1)] {
        let mut d = choosing();
        d.decide("c", detail);
        let error = d.state("c").error.as_deref().unwrap();
        assert_eq!(error.code, "BadSpecificationError", "{error:?}");
        assert_eq!(d.run.phase(), Phase::Failed);
    }
}

#[test]
fn branches_nest_and_hold_anything() {
    let inner = branch(vec![sub("inner", "c-b-then", &[]), node("c-b-e", &[])], "c-b", &[]);
    let outer = closure(vec![branch(vec![inner, node("c-e", &[])], "c", &[])]);
    let mut d = Driver::started(&with_subs(outer, vec![("inner", workflow(&[("a", &[])]))]));
    d.decide("c", Detail::Arm(0));
    d.decide("c-0-c-b", Detail::Arm(0));
    d.run_up_to(&["c-0-c-b-0-c-b-then"]);
    let mut d = d.reborn();
    let hashed = d.run.unique_id(d.run.len() as u32 - 1).to_string();
    assert!(hashed.starts_with('f') && hashed.len() == 14, "{hashed}");
    assert_eq!(d.resolving(), [hashed.as_str()]);
    d.pass(&hashed);
    let end = d.run.end_of(d.idx("c-0-c-b-0-c-b-then")).unwrap();
    d.plan();
    d.decided(end, Detail::Plain);
    assert_eq!(d.phases(["c", "c-0-c-b", "c-0-c-b-0-c-b-then"]), [NodePhase::Succeeded; 3]);
    assert_eq!(d.state("c").output_uri, d.run.node(end).output_uri);
    assert_eq!(d.resolving(), ["end-node"]);
}

#[test]
fn it_waits_for_what_its_arms_need() {
    let promise = core::OutputReference { node_id: "x".into(), var: "o".into(), ..Default::default() };
    let value = Some(core::binding_data::Value::Promise(promise));
    let binding = core::BindingData { value, ..Default::default() };
    let mut arm = node("c-t", &[]);
    arm.inputs = vec![core::Binding { var: "v".into(), binding: Some(binding) }];
    let nodes = vec![node("x", &[]), branch(vec![arm, node("c-e", &[])], "c", &[])];
    let mut d = Driver::started(&closure(nodes));
    assert_eq!(d.resolving(), ["x"]);
    d.pass("x");
    d.decide("c", Detail::Arm(0));
    let arm = d.idx("c-0-c-t");
    assert_eq!(d.run.needed_nodes(arm), [d.idx("x")]);
    assert_eq!(d.run.lookup(arm, "c-e"), Some(d.idx("c")), "what is inside is named by the branch");
    assert_eq!(d.run.lookup(arm, "gone"), None);
}
