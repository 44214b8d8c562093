//! Runs an array: one node once for every element, in a scope of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::Timestamp;
use proto::flyteidl::core;
use proto::flyteidl::core::execution_error::ErrorKind;

use crate::error;
use crate::execution::{Content, ElementRules, Execution};
use crate::graph::NodeKind;
use crate::node::{container, queue};
use crate::step::NodeIdx;

/// Longest text of a merged error, in bytes.
const MAX_MESSAGE: usize = 100 * 1024;
const CUT: &str = "... and many more.";

/// What an array holds whose row has this detail.
pub(crate) fn content(run: &Execution, node: NodeIdx, detail: i64) -> Option<Content> {
    let NodeKind::Array {
        inner,
        parallelism,
        min_successes,
        min_success_ratio,
        individual_inputs,
        run_all,
        bound_inputs: _,
        original_interface: _,
    } = run.graph_node(node).kind
    else {
        return None;
    };
    let size = u32::try_from(detail.checked_sub(1)?).ok()?;
    let own_inputs = individual_inputs || run.graph_of(node).is_cacheable(inner);
    let min_successes = match (min_successes, min_success_ratio) {
        (Some(count), _) => count,
        (None, Some(ratio)) => part_of(size, ratio),
        (None, None) => size,
    };
    let limit = run.settings.elements_in_flight(parallelism);
    let rules = ElementRules { limit, min_successes, run_all, own_inputs };
    Some(Content::Elements { inner, size, rules })
}

/// How many of `size` are at least this part of them. A ratio like 0.6 is a little more than that once it is stored;
/// it must not ask for one element more.
fn part_of(size: u32, ratio: f32) -> u32 {
    const SLACK: f64 = 1e-7;
    if ratio >= 1.0 {
        return size;
    }
    (f64::from(size) * f64::from(ratio) * (1.0 - SLACK)).ceil().max(0.0) as u32
}

/// Its inputs are written and tell how many elements there are: they start, as many as may.
pub(crate) fn resolved(run: &mut Execution, node: NodeIdx, size: u32, uri: &Arc<str>, now: Timestamp) {
    if !queue(run, node, uri, now) {
        return;
    }
    let detail = i64::from(size) + 1;
    run.change(node).detail = detail;
    if let Some(content) = content(run, node, detail)
        && let Some(scope) = container::open(run, node, content, now)
    {
        run.open_elements(scope, now);
    }
}

/// The error of an array: those of its elements, equal messages once with the indexes they are about.
pub(crate) fn merged_error<'a>(
    failed: impl Iterator<Item = (u32, &'a core::ExecutionError)>,
    size: u32,
    min_successes: u32,
) -> core::ExecutionError {
    let mut by_message: BTreeMap<&str, Vec<(u32, u32)>> = BTreeMap::new();
    let mut kinds: Vec<(ErrorKind, &str)> = Vec::new();
    for (element, error) in failed {
        let ranges = by_message.entry(&error.message).or_default();
        match ranges.last_mut() {
            Some((_, last)) if last.saturating_add(1) == element => *last = element,
            _ => ranges.push((element, element)),
        }
        if !kinds.contains(&(error.kind(), error.code.as_str())) && kinds.len() < 2 {
            kinds.push((error.kind(), &error.code));
        }
    }
    let mut message = String::new();
    for (text, ranges) in &by_message {
        for (first, last) in ranges {
            message.push_str(&if first == last { format!("[{first}]") } else { format!("[{first}-{last}]") });
        }
        message.push_str(": ");
        message.push_str(text);
        message.push('\n');
        if message.len() > MAX_MESSAGE {
            let end = (0..=MAX_MESSAGE - CUT.len()).rev().find(|at| message.is_char_boundary(*at));
            message.truncate(end.unwrap_or_default());
            message.push_str(CUT);
            break;
        }
    }
    match kinds.as_slice() {
        [] => {
            let message = format!("{min_successes} elements are to succeed, but there are only {size}");
            error::user("ArrayNodeFailing", message)
        }
        [(kind, code)] => error::failure(*kind, code, message),
        [(kind, _), ..] => error::failure(*kind, "ArrayNodeFailing", message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_rounded_up_but_not_over() {
        let cases = [
            (10, 0.6, 6),
            (10, 0.61, 7),
            (100, 0.07, 7),
            (3, 0.1, 1),
            (3, 0.0, 0),
            (0, 0.5, 0),
            (100_000, 1.0, 100_000),
            (100_000, 0.6, 60_000),
            (7, 2.0, 7),
            (7, -1.0, 0),
        ];
        for (size, ratio, expected) in cases {
            assert_eq!(part_of(size, ratio), expected, "{ratio} of {size}");
        }
    }

    #[test]
    fn equal_messages_are_said_once() {
        let error = |message: &str, code: &str| error::user(code, message.to_owned());
        let (a, b) = (error("out of memory", "OOM"), error("bad row", "OOM"));
        let merged = merged_error([(0, &a), (2, &b), (3, &a), (4, &a), (9, &a)].into_iter(), 10, 10);
        assert_eq!(merged.message, "[2]: bad row\n[0][3-4][9]: out of memory\n");
        assert_eq!((merged.code.as_str(), merged.kind()), ("OOM", ErrorKind::User));
        let other = error("x", "Other");
        assert_eq!(merged_error([(0, &a), (1, &other)].into_iter(), 2, 2).code, "ArrayNodeFailing");
        assert!(merged_error(std::iter::empty(), 2, 3).message.contains("only 2"));
    }

    #[test]
    fn long_errors_are_cut() {
        let errors: Vec<_> = (0..50).map(|i| error::user("X", format!("{i}{}", "é".repeat(5_000)))).collect();
        let merged = merged_error((0..).zip(&errors), 50, 50);
        assert!(merged.message.len() <= MAX_MESSAGE && merged.message.ends_with(CUT));
    }
}
