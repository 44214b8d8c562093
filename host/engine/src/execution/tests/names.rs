//! Unique ids, and what nodes are to each other.

use std::collections::HashSet;

use crate::testing::kinds::{array, in_container, sub, with_subs};
use crate::testing::{Driver, closure, node, workflow};
use crate::{Detail, NodeIdx};

#[test]
fn ids_carry_the_lineage_and_are_hashed_over_20_characters() {
    let deepest = workflow(&[("n0", &[])]);
    let middle = with_subs(closure(vec![sub("deepest", "n0", &[])]), vec![("deepest", deepest)]);
    let long = "a-node-with-a-name-over-20-characters";
    let outer = closure(vec![sub("middle", "n1", &[]), node(long, &[])]);
    let mut d = Driver::started(&with_subs(outer, vec![("middle", middle)]));
    d.run_up_to(&["n1"]);
    d.run_up_to(&["n1-0-n0"]);
    let n0 = d.idx("n1-0-n0-0-n0");
    assert_eq!(d.run.parent(n0), Some(d.idx("n1-0-n0")));
    let start = d.run.unique_id(n0 - 2).to_string();
    assert_eq!(
        start,
        model::name::fixed_length_unique_id("n1-0-n0-0-start-node", 20, model::name::HashWidth::Fnv64)
    );
    assert_eq!(start, "n1-0-n0-0-start-node", "20 are not too many");
    assert_eq!(&*d.run.unique_id(d.idx(long)), long, "ids of the workflow's own nodes are left alone");
}

#[test]
fn ids_of_elements_are_never_hashed_and_none_is_used_twice() {
    let inner = workflow(&[("first", &[]), ("second", &["first"])]);
    let map = array(sub("inner", "of", &[]), "an-array-with-a-long-name", &[], |_| {});
    let outer = with_subs(in_container(closure(vec![map])), vec![("inner", inner)]);
    let mut d = Driver::started(&outer);
    d.decide("an-array-with-a-long-name", Detail::Size(5_000));
    d.plan();
    let elements = d.run.elements(d.idx("an-array-with-a-long-name")).unwrap();
    for element in elements {
        d.decided(element, Detail::Plain);
    }
    let ids: HashSet<_> = (0..d.run.len() as NodeIdx).map(|node| d.run.unique_id(node)).collect();
    assert_eq!(ids.len(), d.run.len());
    assert!(d.run.len() > 5_000 * 5);
    assert!(ids.contains("an-array-with-a-long-name-0-n4999"));
}

#[test]
fn needed_nodes_are_named_once() {
    use proto::flyteidl::core;
    let promise = |node_id: &str| {
        let promise = core::OutputReference { node_id: node_id.into(), ..Default::default() };
        core::BindingData { value: Some(core::binding_data::Value::Promise(promise)), ..Default::default() }
    };
    let data = core::BindingDataCollection { bindings: vec![promise("n1"), promise("start-node")] };
    let list =
        core::BindingData { value: Some(core::binding_data::Value::Collection(data)), ..Default::default() };
    let binding = |var: &str, binding| core::Binding { var: var.into(), binding };
    let mut last = node("n2", &[]);
    last.inputs = vec![binding("x", Some(list)), binding("y", Some(promise("n1"))), binding("z", None)];
    let inner = closure(vec![node("n0", &[]), node("n1", &[]), last]);
    let mut d = Driver::started(&with_subs(closure(vec![sub("inner", "s", &[])]), vec![("inner", inner)]));
    d.run_up_to(&["s"]);
    let needed = d.run.needed_nodes(d.idx("s-0-n2"));
    assert_eq!(needed, [d.idx("s-0-start-node"), d.idx("s-0-n1")], "those of its own workflow");
    assert_eq!(d.run.lookup(d.idx("s-0-n2"), "s"), None);
}
