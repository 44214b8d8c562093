//! Performs the core's steps against the world.

use std::sync::Arc;

use engine::{AttemptRow, Detail, NodeIdx, NodeKind, Resolved, Step};
use proto::flyteidl::core;

use super::{Event, Shell, Word};
use crate::world;

impl Shell<'_> {
    pub(super) fn perform(&mut self, step: Step) {
        match step {
            Step::ResolveInputs { node } => self.resolve(node),
            Step::StartAttempt { node, attempt, recovered } => {
                let uid = self.run.unique_id(node);
                let spec = self.spec(node).expect("start and end nodes have no attempts");
                self.check_start(node, &uid, attempt);
                let mut at = self.now;
                for report in self.world.start(spec, &uid, attempt, recovered) {
                    at += 1 + self.rng.below(self.scenario.delay) as i64;
                    self.answer_at(at, &uid, Word::Report(attempt, report));
                }
            }
            Step::Abort { node, attempt, reason } => {
                assert!(!reason.is_empty(), "an abort says why");
                self.clean(node, attempt, AttemptRow::Live);
            }
            Step::Finalize { node, attempt } => self.clean(node, attempt, AttemptRow::Ended),
            Step::GatherOutputs { node } => {
                let uid = self.run.unique_id(node);
                self.check_gather(node);
                let result = match world::gathers(self.scenario, &uid) {
                    true => Ok(format!("gathered/{uid}")),
                    false => Err(error("GatherFailed", &uid)),
                };
                self.answer(&uid, Word::Outputs(result));
            }
            Step::LoadExpansion { node, spec_uri } => {
                let uid = self.run.unique_id(node);
                let spec = self.spec(node).expect("only tasks expand");
                let expansion = self.world.expansion(spec, &spec_uri);
                self.answer(&uid, Word::Expanded(Ok(expansion)));
            }
        }
    }

    fn resolve(&mut self, node: NodeIdx) {
        self.check_inputs_exist(node);
        let uid = self.run.unique_id(node);
        let spec = self.spec(node);
        let uri = format!("in/{uid}");
        let result = match world::inputs(self.scenario, spec, &uid) {
            Some(detail) => Ok(Resolved { uri: uri.clone(), detail }),
            None => Err(error("Unresolvable", &uid)),
        };
        if !world::waits(self.scenario, spec, &uid) {
            return self.answer(&uid, Word::Inputs(result));
        }
        let at = self.now + self.rng.below(self.scenario.delay) as i64;
        let waiting = Resolved { uri, detail: Detail::CacheWait };
        self.answer_at(at, &uid, Word::Inputs(Ok(waiting)));
        let at = at + 1 + self.rng.below(self.scenario.delay) as i64;
        self.answer_at(at, &uid, Word::Inputs(result));
    }

    fn clean(&mut self, node: NodeIdx, attempt: u32, expected: AttemptRow) {
        let uid = self.run.unique_id(node);
        // An answer of an earlier life may have closed it already.
        let row = self.rows.attempts.get(&(Arc::clone(&uid), attempt)).copied();
        let is_task = matches!(self.run.graph_node(node).kind, NodeKind::Task { .. });
        assert!(
            row == Some(expected) || row == Some(AttemptRow::Closed) || !is_task,
            "{uid}/{attempt} is cleaned up as {row:?}"
        );
        assert!(is_task || expected == AttemptRow::Live, "{uid} runs no task and has nothing to finalize");
        self.world.clean(&uid, attempt);
        self.answer(&uid, Word::Cleaned(attempt));
    }

    fn answer(&mut self, uid: &Arc<str>, word: Word) {
        let at = self.now + self.rng.below(self.scenario.delay) as i64;
        self.answer_at(at, uid, word);
    }

    fn answer_at(&mut self, at: i64, uid: &Arc<str>, word: Word) {
        if self.rng.chance(self.scenario.losing) {
            self.lost = true;
        } else {
            self.schedule_at(at, Event::Said(Arc::clone(uid), word));
        }
    }
}

fn error(code: &str, uid: &str) -> core::ExecutionError {
    core::ExecutionError { code: code.into(), message: uid.into(), ..Default::default() }
}
