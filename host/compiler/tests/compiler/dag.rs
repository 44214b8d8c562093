//! Random graphs.

use std::collections::BTreeSet;

use compiler::ErrorCode;
use proptest::prelude::*;
use proto::flyteidl::core::*;

use crate::build::*;

/// Edges of a graph whose nodes come in order: for each node the earlier ones it needs, and whether by value.
type Needs = Vec<BTreeSet<(usize, bool)>>;

fn needs() -> impl Strategy<Value = Needs> {
    (1usize..40).prop_flat_map(|n| {
        let node = |i: usize| proptest::collection::btree_set((0..i.max(1), any::<bool>()), 0..4.min(i + 1));
        (0..n)
            .map(|i| if i == 0 { Just(BTreeSet::new()).boxed() } else { node(i).boxed() })
            .collect::<Vec<_>>()
    })
}

fn template(needs: &Needs, order: &[usize]) -> WorkflowTemplate {
    let nodes = order.iter().map(|i| {
        let values = needs[*i].iter().filter(|(_, by_value)| *by_value);
        let values = values.map(|(from, _)| promise(&format!("n{from}"), "o"));
        let bound = BindingDataCollection { bindings: values.collect() };
        let value = binding_data::Value::Collection(bound);
        let upstream = needs[*i].iter().filter(|(_, by_value)| !by_value);
        Node {
            upstream_node_ids: upstream.map(|(from, _)| format!("n{from}")).collect(),
            ..node(&format!("n{i}"), "sum", vec![bind("xs", data(value))])
        }
    });
    workflow("wf", interface([], []), nodes.collect(), vec![])
}

fn sum() -> [CompiledTask; 1] {
    [task("sum", interface([("xs", list(int()))], [("o", int())]))]
}

proptest! {
    #[test]
    fn any_dag_compiles((needs, order) in needs().prop_flat_map(|needs| {
        let order: Vec<usize> = (0..needs.len()).collect();
        (Just(needs), Just(order).prop_shuffle())
    })) {
        let closure = compile_with(template(&needs, &order), &sum()).unwrap();
        let primary = closure.primary.unwrap();
        let nodes = primary.template.unwrap().nodes;
        prop_assert_eq!(&nodes[0].id, "start-node");
        prop_assert_eq!(&nodes[1].id, "end-node");
        prop_assert_eq!(nodes.len(), needs.len() + 2);

        let connections = primary.connections.unwrap();
        let (up, down) = (edges(&connections.upstream), edges(&connections.downstream));
        let pairs = |map: &std::collections::BTreeMap<&str, Vec<&str>>| -> BTreeSet<(String, String)> {
            map.iter().flat_map(|(a, bs)| bs.iter().map(|b| ((*a).to_owned(), (*b).to_owned()))).collect()
        };
        let flipped: BTreeSet<_> = pairs(&down).into_iter().map(|(from, to)| (to, from)).collect();
        prop_assert_eq!(pairs(&up), flipped, "both directions agree");
        for list in up.values().chain(down.values()) {
            prop_assert!(list.is_sorted_by(|a, b| a < b));
        }
        let targets: BTreeSet<usize> = needs.iter().flatten().map(|(from, _)| *from).collect();
        for (i, need) in needs.iter().enumerate() {
            let id = format!("n{i}");
            let mut expected: BTreeSet<String> = need.iter().map(|(from, _)| format!("n{from}")).collect();
            if expected.is_empty() {
                expected.insert("start-node".to_owned());
            }
            let found: BTreeSet<String> = up[id.as_str()].iter().map(|id| (*id).to_owned()).collect();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(down[id.as_str()].contains(&"end-node"), !targets.contains(&i));
        }
        prop_assert!(!up.contains_key("start-node") && !down.contains_key("end-node"));
    }

    #[test]
    fn a_back_edge_is_a_cycle(mut needs in needs(), at in any::<prop::sample::Index>(), by_value: bool) {
        let n = needs.len();
        // From a node to itself or to one that leads to it.
        let last = at.index(n);
        let mut first = last;
        while let Some((from, _)) = needs[first].first() {
            first = *from;
        }
        needs[first].insert((last, by_value));
        let order: Vec<usize> = (0..n).collect();
        let found = codes(compile_with(template(&needs, &order), &sum()));
        prop_assert_eq!(found.len(), 1);
        prop_assert_eq!(found[0].0, ErrorCode::CycleDetected);
    }
}
