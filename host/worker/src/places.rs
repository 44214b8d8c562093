//! Takes and gives back places of resource pools, and wakes who waits for one.

use std::sync::Arc;

use model::{ExecutionId, Timestamp};
use plugins::pools::{Asker, PoolError, Pools};
use proto::pinion::plugin::v1::{ResourceConstraints, TokenStatus};

use crate::mailbox::{AttemptKey, Mailbox};
use crate::registry::Registry;

/// How many of those at the head of a line are woken when a place is free; the others could not get it.
const WOKEN_PER_RELEASE: usize = 8;

/// The resource pools, and who waits for a place. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pools: Arc<Pools>,
    registry: Registry,
}

impl Places {
    pub(crate) fn new(pools: Arc<Pools>, registry: Registry) -> Self {
        Self { pools, registry }
    }

    /// Asks for a place, or asks again. `waiter` is woken when one may be free.
    pub(crate) async fn acquire(
        &self,
        execution: &ExecutionId,
        (namespace, token): (&str, &str),
        constraints: Option<ResourceConstraints>,
        waiter: Option<(&Arc<Mailbox>, AttemptKey)>,
        now: Timestamp,
    ) -> Result<TokenStatus, PoolError> {
        let stored = stored_token(execution, token);
        let key = (namespace.to_owned(), stored.clone());
        if let Some((mailbox, attempt)) = waiter {
            // Before the pool is asked: a place that is given back in between is not missed.
            self.registry.waiting().insert(key.clone(), (Arc::clone(mailbox), attempt));
        }
        let asker =
            Asker { project: &execution.project, domain: &execution.domain, execution: &execution.name };
        let asked = self.pools.acquire(namespace, &stored, asker, constraints, now.0 / 1000).await;
        let status = match asked {
            Ok(status) => TokenStatus { token: token.to_owned(), ..status },
            // Shown while it waits: the plugin that declares the pool may come.
            Err(error @ PoolError::UnknownPool(_)) => TokenStatus {
                resource_namespace: namespace.to_owned(),
                token: token.to_owned(),
                granted: false,
                message: error.to_string(),
            },
            Err(error) => return Err(error),
        };
        if status.granted {
            self.registry.waiting().remove(&key);
        }
        Ok(status)
    }

    /// Gives a place back, or leaves the line, and wakes those who may have it now.
    pub(crate) async fn release(
        &self,
        execution: &ExecutionId,
        namespace: &str,
        token: &str,
    ) -> Result<(), PoolError> {
        let stored = stored_token(execution, token);
        self.registry.waiting().remove(&(namespace.to_owned(), stored.clone()));
        self.pools.release(namespace, &stored).await?;
        let anyone_waits = self.registry.waiting().keys().any(|(pool, _)| pool == namespace);
        if !anyone_waits {
            return Ok(());
        }
        let line = self.pools.list(namespace).await?.into_iter().filter(|token| !token.held);
        for waiting in line.take(WOKEN_PER_RELEASE) {
            let waiter = self.registry.waiting().get(&(namespace.to_owned(), waiting.token)).cloned();
            if let Some((mailbox, attempt)) = waiter {
                mailbox.leave(|mail| mail.attempts.entry(attempt).or_default().token_released = true);
            }
        }
        Ok(())
    }

    /// Wakes nobody there any more.
    pub(crate) fn forget(&self, mailbox: &Arc<Mailbox>) {
        self.registry.waiting().retain(|_, (waiting, _)| !Arc::ptr_eq(waiting, mailbox));
    }
}

/// Plugins choose tokens that are unique within an execution; a pool is shared by all.
fn stored_token(execution: &ExecutionId, token: &str) -> String {
    format!("{}:{}:{}-{token}", execution.project, execution.domain, execution.name)
}
