//! Keeps tokens in memory: for tests, and for hosts whose quotas need not survive them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::{StoreError, Token, TokenOutcome, TokenRequest, TokenStore};

/// A request that was not repeated for this long holds up nobody.
const STALE_MS: i64 = 60_000;
/// Executions named to those who wait.
const NAMED: usize = 5;

/// Tokens in memory.
#[derive(Debug, Default)]
pub struct MemoryTokens(Mutex<BTreeMap<String, Vec<Row>>>);

#[derive(Debug, Clone)]
struct Row {
    token: Token,
    asked_ms: i64,
}

/// Places taken, and by whom, while the line is walked.
#[derive(Default)]
struct Taken {
    all: u32,
    by_project: BTreeMap<String, u32>,
    by_domain: BTreeMap<(String, String), u32>,
}

impl Taken {
    fn add(&mut self, token: &Token) {
        self.all += 1;
        *self.by_project.entry(token.project.clone()).or_default() += 1;
        *self.by_domain.entry((token.project.clone(), token.domain.clone())).or_default() += 1;
    }

    fn allows(&self, token: &Token, request: &TokenRequest) -> bool {
        let domain = (token.project.clone(), token.domain.clone());
        let under = |taken: Option<&u32>, cap: u32| cap == 0 || taken.copied().unwrap_or(0) < cap;
        self.all < request.pool_size
            && under(self.by_project.get(&token.project), request.project_cap)
            && under(self.by_domain.get(&domain), request.domain_cap)
    }
}

#[async_trait]
impl TokenStore for MemoryTokens {
    async fn allocate(&self, request: &TokenRequest) -> Result<TokenOutcome, StoreError> {
        let mut namespaces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = namespaces.entry(request.namespace.clone()).or_default();
        Ok(allocate(rows, request))
    }

    async fn release(&self, namespace: &str, token: &str) -> Result<(), StoreError> {
        let mut namespaces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rows) = namespaces.get_mut(namespace) {
            rows.retain(|row| row.token.token != token);
        }
        Ok(())
    }

    async fn list(&self, namespace: &str) -> Result<Vec<Token>, StoreError> {
        let namespaces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = namespaces.get(namespace).map(Vec::as_slice).unwrap_or_default();
        let (held, waiting): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.token.held);
        Ok(held.into_iter().chain(waiting).map(|row| row.token.clone()).collect())
    }
}

/// Rows stand in the order in which they were first asked for.
fn allocate(rows: &mut Vec<Row>, request: &TokenRequest) -> TokenOutcome {
    let place = match rows.iter().position(|row| row.token.token == request.token) {
        Some(place) if rows[place].token.held => return TokenOutcome::Granted,
        Some(place) => place,
        None => {
            let token = Token {
                token: request.token.clone(),
                project: request.project.clone(),
                domain: request.domain.clone(),
                execution: request.execution.clone(),
                held: false,
            };
            rows.push(Row { token, asked_ms: request.now_ms });
            rows.len() - 1
        }
    };
    rows[place].asked_ms = request.now_ms;

    let mut taken = Taken::default();
    rows.iter().filter(|row| row.token.held).for_each(|row| taken.add(&row.token));
    let held: Vec<String> =
        rows.iter().filter(|row| row.token.held).take(NAMED).map(|row| row.token.execution.clone()).collect();
    let (mut position, mut ahead) = (1, None);
    for at in 0..=place {
        let row = &rows[at];
        if row.token.held || request.now_ms - row.asked_ms > STALE_MS {
            continue;
        }
        let fits = taken.allows(&row.token, request);
        if at == place {
            if fits {
                rows[place].token.held = true;
                return TokenOutcome::Granted;
            }
        } else {
            // An earlier request that fits has the place, whether it has asked again yet or not.
            if fits {
                taken.add(&row.token);
            }
            position += 1;
            ahead = Some(row.token.execution.clone());
        }
    }
    TokenOutcome::Exhausted { position, ahead, held_by: held }
}
