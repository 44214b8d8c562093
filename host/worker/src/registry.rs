//! Finds the mailbox of an execution that this host drives.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{EntityId, ExecutionId};
use proto::pinion::plugin::v1::PhaseInfo;
use store::row::ExecutionKey;

use crate::mailbox::{AttemptKey, Mailbox, News};

/// Who waits for a place in a resource pool, by namespace and stored token.
pub(crate) type Waiting = HashMap<(String, String), (Arc<Mailbox>, AttemptKey)>;

#[derive(Debug, Default)]
struct Tables {
    by_key: HashMap<ExecutionKey, (ExecutionId, Arc<Mailbox>)>,
    by_id: HashMap<ExecutionId, Arc<Mailbox>>,
    /// Whom executions that nodes started concern.
    parents: HashMap<ExecutionKey, Arc<Mailbox>>,
}

/// The executions this host drives, and the way to wake them. Cheap to clone; every clone shows the same.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    tables: Arc<Mutex<Tables>>,
    waiting: Arc<Mutex<Waiting>>,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who waits for places.
    pub(crate) fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a `handle` of an attempt as soon as possible. Says whether this host drives the execution.
    pub fn wake(&self, execution: &ExecutionId, unique_node_id: &str, attempt: u32) -> bool {
        self.tell(execution, unique_node_id, attempt, |news| news.woken = true)
    }

    /// Notes a report about an attempt beside those in a plugin's answers. Says whether this host drives the execution.
    pub fn report(
        &self,
        execution: &ExecutionId,
        unique_node_id: &str,
        attempt: u32,
        info: PhaseInfo,
    ) -> bool {
        self.tell(execution, unique_node_id, attempt, |news| news.report(info))
    }

    fn tell(
        &self,
        execution: &ExecutionId,
        node_id: &str,
        attempt: u32,
        write: impl FnOnce(&mut News),
    ) -> bool {
        let mailbox = self.lock().by_id.get(execution).cloned();
        if let Some(mailbox) = &mailbox {
            mailbox.leave(|mail| write(mail.named.entry((node_id.to_owned(), attempt)).or_default()));
        }
        mailbox.is_some()
    }

    /// Whether a task of an execution may read a secret; nothing when this host does not drive the execution.
    pub(crate) fn may_read(
        &self,
        execution: &ExecutionId,
        task: &EntityId,
        (group, key): (&str, &str),
    ) -> Option<bool> {
        let mailbox = self.lock().by_id.get(execution).cloned()?;
        let allowed = mailbox.declared().allows(task, group, key);
        Some(allowed)
    }

    /// Number of executions in memory.
    pub fn n_live(&self) -> usize {
        self.lock().by_key.len()
    }

    pub(crate) fn insert(&self, key: ExecutionKey, id: ExecutionId) -> Option<Arc<Mailbox>> {
        let mut tables = self.lock();
        if tables.by_key.contains_key(&key) {
            return None;
        }
        let mailbox = Arc::new(Mailbox::default());
        tables.by_id.insert(id.clone(), mailbox.clone());
        tables.by_key.insert(key, (id, mailbox.clone()));
        Some(mailbox)
    }

    pub(crate) fn remove(&self, key: ExecutionKey) {
        let mut tables = self.lock();
        if let Some((id, _)) = tables.by_key.remove(&key) {
            tables.by_id.remove(&id);
        }
    }

    /// Has changes of an execution noted for the one that started it.
    pub(crate) fn adopt(&self, child: ExecutionKey, parent: &Arc<Mailbox>) {
        self.lock().parents.insert(child, Arc::clone(parent));
    }

    /// Ends that.
    pub(crate) fn disown(&self, child: ExecutionKey) {
        self.lock().parents.remove(&child);
    }

    /// Notes that an execution changed, for the one that started it.
    pub(crate) fn child_changed(&self, child: ExecutionKey) {
        let parent = self.lock().parents.get(&child).cloned();
        if let Some(parent) = parent {
            parent.leave_quietly(|mail| {
                mail.children.insert(child);
            });
        }
    }

    pub(crate) fn clear(&self) {
        *self.lock() = Tables::default();
        self.waiting().clear();
    }

    pub(crate) fn get(&self, key: ExecutionKey) -> Option<Arc<Mailbox>> {
        self.lock().by_key.get(&key).map(|(_, mailbox)| mailbox.clone())
    }

    pub(crate) fn keys(&self) -> Vec<ExecutionKey> {
        self.lock().by_key.keys().copied().collect()
    }

    pub(crate) fn each(&self, mut visit: impl FnMut(&Mailbox)) {
        let mailboxes: Vec<_> = self.lock().by_key.values().map(|(_, mailbox)| mailbox.clone()).collect();
        mailboxes.iter().for_each(|mailbox| visit(mailbox));
    }
}
