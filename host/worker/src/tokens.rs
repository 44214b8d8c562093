//! Keeps the tokens of resource pools in the store.

use async_trait::async_trait;
use model::Timestamp;
use plugins::pools::{StoreError, Token, TokenOutcome, TokenRequest, TokenStore};
use store::Store;

/// The store as the pools use it.
#[derive(Clone, Debug)]
pub struct StoreTokens(Store);

impl StoreTokens {
    /// Keeps tokens in this store.
    pub fn new(store: Store) -> Self {
        Self(store)
    }
}

#[async_trait]
impl TokenStore for StoreTokens {
    async fn allocate(&self, request: &TokenRequest) -> Result<TokenOutcome, StoreError> {
        let request = store::TokenRequest {
            namespace: request.namespace.clone(),
            token: request.token.clone(),
            project: request.project.clone(),
            domain: request.domain.clone(),
            execution: request.execution.clone(),
            pool_size: request.pool_size,
            project_limit: request.project_cap,
            domain_limit: request.domain_cap,
            now: Timestamp(request.now_ms.saturating_mul(1000)),
        };
        Ok(match self.0.token_allocate(&request).await? {
            store::TokenOutcome::Granted => TokenOutcome::Granted,
            store::TokenOutcome::Exhausted { position, ahead, held } => {
                TokenOutcome::Exhausted { position, ahead, held_by: held }
            }
        })
    }

    async fn release(&self, namespace: &str, token: &str) -> Result<(), StoreError> {
        Ok(self.0.token_release(namespace, token).await?)
    }

    async fn list(&self, namespace: &str) -> Result<Vec<Token>, StoreError> {
        let rows = self.0.token_list(namespace).await?.into_iter();
        let token = |row: store::TokenRow| Token {
            token: row.token,
            project: row.project,
            domain: row.domain,
            execution: row.execution,
            held: row.held,
        };
        Ok(rows.map(token).collect())
    }
}
