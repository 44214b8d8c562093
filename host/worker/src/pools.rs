//! Takes and returns places of resource pools, and wakes who waits for one.

use std::sync::Arc;

use model::{ExecutionId, Timestamp};
use proto::pinion::plugin::v1::{ResourceConstraints, TokenStatus};
use store::{Store, TokenOutcome, TokenRequest};

use crate::mailbox::{AttemptKey, Mailbox};
use crate::plugin::PluginSource;
use crate::registry::Registry;

/// How many of those at the head of a line are woken when a place is free; the others could not get it.
const WOKEN_PER_RELEASE: usize = 8;

/// Places in a resource namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Places in all.
    pub size: u32,
    /// Places one project may hold; 0 is no limit.
    pub project_cap: u32,
    /// Places one domain of a project may hold; 0 is no limit.
    pub domain_cap: u32,
}

/// The resource pools of all plugins. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pools {
    store: Store,
    source: Arc<dyn PluginSource>,
    registry: Registry,
}

impl Pools {
    pub(crate) fn new(store: Store, source: Arc<dyn PluginSource>, registry: Registry) -> Self {
        Self { store, source, registry }
    }

    /// Asks for a place, or asks again. `waiter` is woken when one may be free.
    pub(crate) async fn allocate(
        &self,
        execution: &ExecutionId,
        (namespace, token): (&str, &str),
        constraints: Option<&ResourceConstraints>,
        waiter: Option<(&Arc<Mailbox>, AttemptKey)>,
        now: Timestamp,
    ) -> Result<TokenStatus, store::Error> {
        let status = |granted, message| TokenStatus {
            resource_namespace: namespace.to_owned(),
            token: token.to_owned(),
            granted,
            message,
        };
        let Some(pool) = self.source.pool(namespace) else {
            return Ok(status(false, format!("waits for a resource pool {namespace:?}, which is not configured")));
        };
        let stored = stored_token(execution, token);
        let constraints = constraints.copied().unwrap_or_default();
        let request = TokenRequest {
            namespace: namespace.to_owned(),
            token: stored.clone(),
            project: execution.project.to_string(),
            domain: execution.domain.to_string(),
            execution: execution.name.to_string(),
            pool_size: pool.size,
            project_limit: tighter(pool.project_cap, constraints.project_cap),
            domain_limit: tighter(pool.domain_cap, constraints.domain_cap),
            now,
        };
        if let Some((mailbox, attempt)) = waiter {
            // Before the store is asked: a place that is given back in between is not missed.
            self.registry.waiting().insert((namespace.to_owned(), stored.clone()), (mailbox.clone(), attempt));
        }
        match self.store.token_allocate(&request).await? {
            TokenOutcome::Granted => {
                self.registry.waiting().remove(&(namespace.to_owned(), stored));
                Ok(status(true, String::new()))
            }
            TokenOutcome::Exhausted { position, ahead, held } => {
                let behind = ahead.map(|ahead| format!(", behind {ahead}")).unwrap_or_default();
                let held = if held.is_empty() { String::new() } else { format!("; held by {}", held.join(", ")) };
                let size = pool.size;
                Ok(status(
                    false,
                    format!("waits for one of {size} places in {namespace}: number {position} in line{behind}{held}"),
                ))
            }
        }
    }

    /// Wakes nobody there any more.
    pub(crate) fn forget(&self, mailbox: &Arc<Mailbox>) {
        self.registry.waiting().retain(|_, (waiting, _)| !Arc::ptr_eq(waiting, mailbox));
    }

    /// Gives a place back, or leaves the line, and wakes those who may have it now.
    pub(crate) async fn release(
        &self,
        execution: &ExecutionId,
        namespace: &str,
        token: &str,
    ) -> Result<(), store::Error> {
        let stored = stored_token(execution, token);
        self.registry.waiting().remove(&(namespace.to_owned(), stored.clone()));
        self.store.token_release(namespace, &stored).await?;
        let anyone_waits = self.registry.waiting().keys().any(|(pool, _)| pool == namespace);
        if anyone_waits {
            let line = self.store.token_list(namespace).await?;
            let head = line.into_iter().filter(|row| !row.held).take(WOKEN_PER_RELEASE);
            for row in head {
                let waiter = self.registry.waiting().get(&(row.namespace, row.token)).cloned();
                if let Some((mailbox, attempt)) = waiter {
                    mailbox.leave(|mail| mail.attempts.entry(attempt).or_default().token_released = true);
                }
            }
        }
        Ok(())
    }
}

/// Tokens are unique within an execution; in the store within a namespace.
fn stored_token(execution: &ExecutionId, token: &str) -> String {
    format!("{}:{}:{}-{token}", execution.project, execution.domain, execution.name)
}

/// The tighter of two limits of which 0 is none.
fn tighter(pool: u32, asked: Option<u32>) -> u32 {
    match (pool, asked.unwrap_or(0)) {
        (0, limit) | (limit, 0) => limit,
        (one, other) => one.min(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_never_beats_a_limit() {
        assert_eq!(tighter(0, None), 0);
        assert_eq!(tighter(0, Some(3)), 3);
        assert_eq!(tighter(2, Some(0)), 2);
        assert_eq!(tighter(2, Some(3)), 2);
    }
}
