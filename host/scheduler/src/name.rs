//! Names the executions of ticks, so that a tick that is fired twice meets its own execution.

use model::{EntityId, Timestamp};
use sha2::{Digest, Sha256};

/// Characters of the hash.
const WIDTH: usize = 19;

/// The execution of a schedule's tick: `f` and 19 hexadecimal digits. The version is no part of it: a tick that was
/// fired is not fired again for a version that is activated meanwhile.
pub fn of_tick(plan: &EntityId, tick: Timestamp) -> String {
    name('f', &[&plan.project, &plan.domain, &plan.name, &tick.0.to_string()])
}

/// The execution of a backfill's tick: `b` and 19 hexadecimal digits.
pub fn of_backfill_tick(backfill: &str, tick: Timestamp) -> String {
    name('b', &[backfill, &tick.0.to_string()])
}

fn name(first: char, parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // With their lengths, so that no two lists of parts read alike.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut out = hex::encode(hash.finalize());
    out.truncate(WIDTH);
    out.insert(0, first);
    out
}

#[cfg(test)]
mod tests {
    use model::EntityKind;

    use super::*;

    fn plan(name: &str, version: &str) -> EntityId {
        EntityId {
            kind: EntityKind::LaunchPlan,
            project: "p".to_owned(),
            domain: "d".to_owned(),
            name: name.to_owned(),
            version: version.to_owned(),
        }
    }

    #[test]
    fn names_tell_ticks_and_plans_apart_but_not_versions() {
        let tick = Timestamp(1_700_000_000_000_000);
        let found = of_tick(&plan("nightly", "v1"), tick);
        // Written down: executions of an earlier version of this program must be met again.
        assert_eq!(found, "f890d017d499cdb447f1");
        assert!(model::name::is_execution_name(&found) && found.len() == 20);
        assert_eq!(found, of_tick(&plan("nightly", "v2"), tick));
        assert_ne!(found, of_tick(&plan("nightl", "yv2"), tick));
        assert_ne!(found, of_tick(&plan("nightly", "v1"), tick.plus(60_000_000)));
        assert_ne!(of_backfill_tick("x1", tick), of_backfill_tick("x2", tick));
        assert!(model::name::is_execution_name(&of_backfill_tick("x1", tick)));
    }
}
