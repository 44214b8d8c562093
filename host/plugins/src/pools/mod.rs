//! Keeps resource pools: named quotas whose tokens are granted atomically and survive a restart.
//!
//! A pool has a size, and caps per project and per project and domain. Tokens go to the earliest request that the caps
//! allow, so a project at its cap holds up nobody. Who waits is told for what and behind whom. The tokens themselves are
//! kept behind [`TokenStore`]: in the database of the host, or in [`MemoryTokens`].

mod memory;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use proto::pinion::plugin::v1::{ResourceConstraints, ResourcePool, TokenStatus};

pub use memory::MemoryTokens;

/// A claim on one place in a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// Name of the pool.
    pub namespace: String,
    /// Token, unique within the pool.
    pub token: String,
    /// Project that asks.
    pub project: String,
    /// Domain that asks.
    pub domain: String,
    /// Execution that asks; shown to those who wait.
    pub execution: String,
    /// Places in the pool.
    pub pool_size: u32,
    /// Places one project may hold; 0 is no cap.
    pub project_cap: u32,
    /// Places one domain of a project may hold; 0 is no cap.
    pub domain_cap: u32,
    /// Current time in milliseconds.
    pub now_ms: i64,
}

/// The answer to a [`TokenRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenOutcome {
    /// The place is held until it is released.
    Granted,
    /// No place is free for this request yet; its place in the line is kept.
    Exhausted {
        /// Place in the line, from 1.
        position: u32,
        /// Execution directly ahead in the line.
        ahead: Option<String>,
        /// Executions that hold places, a few of them.
        held_by: Vec<String>,
    },
}

/// A token as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Name of the token.
    pub token: String,
    /// Project that asked.
    pub project: String,
    /// Domain that asked.
    pub domain: String,
    /// Execution that asked.
    pub execution: String,
    /// Whether the place is held; else the token waits.
    pub held: bool,
}

/// A cause from the store of tokens.
pub type StoreError = Box<dyn std::error::Error + Send + Sync>;

/// Where tokens are kept.
#[async_trait]
pub trait TokenStore: Send + Sync + 'static {
    /// Asks for a place, or asks again, in one atomic step. Asking for a held token grants it.
    async fn allocate(&self, request: &TokenRequest) -> Result<TokenOutcome, StoreError>;
    /// Gives a place back, or leaves the line. Safe to repeat.
    async fn release(&self, namespace: &str, token: &str) -> Result<(), StoreError>;
    /// All tokens of a pool: those held, then the line in its order.
    async fn list(&self, namespace: &str) -> Result<Vec<Token>, StoreError>;
}

/// Why a token is neither granted nor waiting.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// Nobody declared the pool.
    #[error("there is no resource pool `{0}`; a plugin declares its pools when it starts")]
    UnknownPool(String),
    /// Two plugins declare the pool differently.
    #[error(
        "resource pool `{name}` of plugin {plugin} is already declared by plugin {owner} with other numbers"
    )]
    Conflict {
        /// Name of the pool.
        name: String,
        /// Plugin that declared it first.
        owner: String,
        /// Plugin that declared it now.
        plugin: String,
    },
    /// The store of tokens failed.
    #[error("cannot read or write tokens of resource pool `{name}`")]
    Store {
        /// Name of the pool.
        name: String,
        /// Cause.
        #[source]
        source: StoreError,
    },
}

/// Who asks for a token.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// Project of the execution.
    pub project: &'a str,
    /// Domain of the execution.
    pub domain: &'a str,
    /// Name of the execution.
    pub execution: &'a str,
}

/// The pools of this host.
pub struct Pools {
    store: Arc<dyn TokenStore>,
    pools: RwLock<BTreeMap<String, Declared>>,
}

struct Declared {
    owner: String,
    pool: ResourcePool,
}

impl std::fmt::Debug for Pools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pools").finish_non_exhaustive()
    }
}

impl Pools {
    /// No pools yet; their tokens are in `store`.
    pub fn new(store: Arc<dyn TokenStore>) -> Self {
        Self { store, pools: RwLock::default() }
    }

    /// Adds a pool that a plugin declared. Declaring the same pool again is fine.
    ///
    /// # Errors
    /// Another plugin declared it with other numbers.
    pub fn declare(&self, plugin: &str, pool: &ResourcePool) -> Result<(), PoolError> {
        let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        let name = &pool.resource_namespace;
        match pools.get(name) {
            Some(known) if known.owner != plugin && known.pool != *pool => Err(PoolError::Conflict {
                name: name.clone(),
                owner: known.owner.clone(),
                plugin: plugin.into(),
            }),
            _ => {
                pools.insert(name.clone(), Declared { owner: plugin.into(), pool: pool.clone() });
                Ok(())
            }
        }
    }

    /// Asks for a token, or asks again. One that waits keeps its place in the line as long as it is asked for at least
    /// once a minute.
    ///
    /// # Errors
    /// The pool is unknown, or the store failed.
    pub async fn acquire(
        &self,
        namespace: &str,
        token: &str,
        asker: Asker<'_>,
        constraints: Option<ResourceConstraints>,
        now_ms: i64,
    ) -> Result<TokenStatus, PoolError> {
        let pool = self.pool(namespace)?;
        let constraints = constraints.unwrap_or_default();
        let request = TokenRequest {
            namespace: namespace.into(),
            token: token.into(),
            project: asker.project.into(),
            domain: asker.domain.into(),
            execution: asker.execution.into(),
            pool_size: pool.size,
            project_cap: stricter(pool.project_cap, constraints.project_cap),
            domain_cap: stricter(pool.domain_cap, constraints.domain_cap),
            now_ms,
        };
        let outcome = self.store.allocate(&request).await;
        let outcome = outcome.map_err(|source| PoolError::Store { name: namespace.into(), source })?;
        Ok(TokenStatus {
            resource_namespace: namespace.into(),
            token: token.into(),
            granted: outcome == TokenOutcome::Granted,
            message: describe(&request, &outcome),
        })
    }

    /// Gives a token back, or leaves the line. Safe to repeat, also for pools that nobody declares any more.
    ///
    /// # Errors
    /// The store failed.
    pub async fn release(&self, namespace: &str, token: &str) -> Result<(), PoolError> {
        let released = self.store.release(namespace, token).await;
        released.map_err(|source| PoolError::Store { name: namespace.into(), source })
    }

    /// The tokens of a pool: those held, then the line in its order.
    ///
    /// # Errors
    /// The store failed.
    pub async fn list(&self, namespace: &str) -> Result<Vec<Token>, PoolError> {
        let listed = self.store.list(namespace).await;
        listed.map_err(|source| PoolError::Store { name: namespace.into(), source })
    }

    fn pool(&self, namespace: &str) -> Result<ResourcePool, PoolError> {
        let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner);
        let declared = pools.get(namespace).ok_or_else(|| PoolError::UnknownPool(namespace.into()))?;
        Ok(declared.pool.clone())
    }
}

/// The smaller of two caps, where 0 and absent are none.
fn stricter(pool: u32, request: Option<u32>) -> u32 {
    match (pool, request.unwrap_or(0)) {
        (0, cap) | (cap, 0) => cap,
        (one, other) => one.min(other),
    }
}

fn describe(request: &TokenRequest, outcome: &TokenOutcome) -> String {
    let TokenOutcome::Exhausted { position, ahead, held_by } = outcome else { return String::new() };
    let (pool, size) = (&request.namespace, request.pool_size);
    let behind = ahead.as_ref().map(|ahead| format!(", behind execution {ahead}")).unwrap_or_default();
    let held = if held_by.is_empty() { String::new() } else { format!("; held by {}", held_by.join(", ")) };
    format!("waiting for a token of pool {pool} (size {size}): number {position} in line{behind}{held}")
}

#[cfg(test)]
mod tests;
