//! Remembers which executions cannot go on through the host's own fault, and tells whoever watches the host's health.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use model::ExecutionId;
use store::row::ExecutionKey;

/// Told what is wrong with executions whenever that changes; `None` when nothing is.
pub type OnTrouble = Arc<dyn Fn(Option<&str>) + Send + Sync>;

/// Executions that cannot go on now; they are tried again.
pub(crate) struct Troubles {
    on_trouble: OnTrouble,
    any: AtomicBool,
    stuck: Mutex<BTreeMap<ExecutionKey, String>>,
}

impl Troubles {
    pub(crate) fn new(on_trouble: OnTrouble) -> Self {
        Self { on_trouble, any: AtomicBool::new(false), stuck: Mutex::default() }
    }

    /// Notes why an execution cannot go on.
    pub(crate) fn note(&self, key: ExecutionKey, id: &ExecutionId, why: &str) {
        self.change(|stuck| {
            stuck.insert(key, format!("{id}: {why}"));
        });
    }

    /// Notes that it goes on, or has ended. Cheap when there was nothing.
    pub(crate) fn clear(&self, key: ExecutionKey) {
        if self.any.load(Ordering::Relaxed) {
            self.change(|stuck| {
                stuck.remove(&key);
            });
        }
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<ExecutionKey, String>)) {
        let mut stuck = self.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        let n_before = stuck.len();
        change(&mut stuck);
        self.any.store(!stuck.is_empty(), Ordering::Relaxed);
        match stuck.first_key_value() {
            Some((_, first)) => {
                let more = match stuck.len() - 1 {
                    0 => String::new(),
                    n => format!(" (and {n} more)"),
                };
                (self.on_trouble)(Some(&format!("cannot go on with execution {first}{more}; trying again")));
            }
            None if n_before > 0 => (self.on_trouble)(None),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_told_until_it_is_over() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let listener = Arc::clone(&told);
        let troubles = Troubles::new(Arc::new(move |text: Option<&str>| {
            listener.lock().unwrap().push(text.map(str::to_owned));
        }));
        let id = |name| ExecutionId::new("p", "d", name);
        troubles.clear(ExecutionKey(1));
        troubles.note(ExecutionKey(1), &id("a"), "its driver panicked");
        troubles.note(ExecutionKey(2), &id("b"), "refused");
        troubles.clear(ExecutionKey(1));
        troubles.clear(ExecutionKey(2));
        let told = told.lock().unwrap().clone();
        assert_eq!(told.len(), 4);
        assert!(told[1].as_ref().unwrap().contains("a: its driver panicked (and 1 more)"), "{told:?}");
        assert!(told[2].as_ref().unwrap().contains("b: refused"));
        assert_eq!(told[3], None);
    }
}
