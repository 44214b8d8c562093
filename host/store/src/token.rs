//! Keeps allocation tokens of resource pools: never more than allowed, first come first served.

use std::collections::HashMap;

use model::Timestamp;

use crate::dialect::{Dialect, Tx};
use crate::record::Record;
use crate::sql::Sql;
use crate::{Result, Store};

/// A claim on one place in a resource namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    /// Resource namespace.
    pub namespace: String,
    /// Token, unique within the namespace.
    pub token: String,
    /// Project that asks.
    pub project: String,
    /// Domain that asks.
    pub domain: String,
    /// Name of the execution that asks, shown to those who wait.
    pub execution: String,
    /// Places in the namespace.
    pub pool_size: u32,
    /// Places one project may hold; 0 is no limit.
    pub project_limit: u32,
    /// Places one domain of a project may hold; 0 is no limit.
    pub domain_limit: u32,
    /// Current time.
    pub now: Timestamp,
}

/// Answer to a [`TokenRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
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
        held: Vec<String>,
    },
}

/// A token as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// Resource namespace.
    pub namespace: String,
    /// Token, unique within the namespace.
    pub token: String,
    /// Project that asked.
    pub project: String,
    /// Domain that asked.
    pub domain: String,
    /// Name of the execution that asked.
    pub execution: String,
    /// Whether the place is held; else the token waits.
    pub held: bool,
    /// When it was first asked for.
    pub created_at: Timestamp,
}

/// After this time without asking, a request keeps its place in the line but holds up nobody: whoever asked may
/// be gone.
const PATIENCE_MICROS: i64 = 60_000_000;

/// How often at most the time of asking is written.
const REFRESH_MICROS: i64 = 20_000_000;

/// How many of the holders are named to those who wait.
const MAX_SHOWN: u32 = 5;

impl TokenRequest {
    /// Requests that last asked before this are passed over.
    fn patience(&self) -> Timestamp {
        self.now.plus(-PATIENCE_MICROS)
    }
}

/// What is allowed to one who waits, and what its project and domain hold.
#[derive(Default)]
struct Held {
    total: u32,
    by_project: HashMap<String, u32>,
    by_domain: HashMap<(String, String), u32>,
}

impl Held {
    fn add(&mut self, project: String, domain: String, n: u32) {
        self.total += n;
        *self.by_project.entry(project.clone()).or_default() += n;
        *self.by_domain.entry((project, domain)).or_default() += n;
    }

    fn allows(&self, project: &str, domain: &str, project_limit: u32, domain_limit: u32) -> bool {
        let of_project = self.by_project.get(project).copied().unwrap_or_default();
        let key = (project.to_owned(), domain.to_owned());
        let of_domain = self.by_domain.get(&key).copied().unwrap_or_default();
        (project_limit == 0 || of_project < project_limit) && (domain_limit == 0 || of_domain < domain_limit)
    }
}

/// Enters the request into the line, or finds it there. Returns its place and whether it is held.
async fn enter(tx: &mut Tx, request: &TokenRequest) -> Result<(i64, bool)> {
    let find = Sql::new(
        "select seq, held, asked_at, project_limit, domain_limit from resource_token
         where namespace = $1 and token = $2",
    )
    .bind(&request.namespace)
    .bind(&request.token);
    let Some(found) = tx.fetch_optional(find).await? else {
        let insert = Sql::new(
            "insert into resource_token (namespace, token, project, domain, execution, held, project_limit,
             domain_limit, created_at, asked_at) values ($1, $2, $3, $4, $5, 0, $6, $7, $8, $8) returning seq",
        )
        .bind(&request.namespace)
        .bind(&request.token)
        .bind(&request.project)
        .bind(&request.domain)
        .bind(&request.execution)
        .bind(request.project_limit)
        .bind(request.domain_limit)
        .bind(request.now);
        let records = tx.fetch(insert).await?;
        let seq = records.first().map(|record| record.cursor().i64()).transpose()?;
        return Ok((seq.unwrap_or_default(), false));
    };
    let mut c = found.cursor();
    let (seq, held, asked_at) = (c.i64()?, c.bool()?, c.time()?);
    let limits = (c.u32()?, c.u32()?);
    let stale = asked_at.plus(REFRESH_MICROS) < request.now;
    if !held && (stale || limits != (request.project_limit, request.domain_limit)) {
        let refresh = Sql::new(
            "update resource_token set asked_at = $1, project_limit = $2, domain_limit = $3 where seq = $4",
        )
        .bind(request.now)
        .bind(request.project_limit)
        .bind(request.domain_limit)
        .bind(seq);
        tx.execute(refresh).await?;
    }
    Ok((seq, held))
}

/// Whether a free place falls to this request when all who wait are served in their order.
async fn is_next(tx: &mut Tx, request: &TokenRequest, seq: i64) -> Result<bool> {
    let count = Sql::new(
        "select project, domain, count(*) from resource_token where namespace = $1 and held = 1
         group by project, domain",
    )
    .bind(&request.namespace);
    let mut held = Held::default();
    for record in tx.fetch(count).await? {
        let mut c = record.cursor();
        held.add(c.text()?, c.text()?, c.u32()?);
    }
    if held.total >= request.pool_size {
        return Ok(false);
    }
    let line = Sql::new(
        "select project, domain, project_limit, domain_limit from resource_token
         where namespace = $1 and held = 0 and seq < $2 and asked_at >= $3 order by seq",
    )
    .bind(&request.namespace)
    .bind(seq)
    .bind(request.patience());
    for record in tx.fetch(line).await? {
        let mut c = record.cursor();
        let (project, domain) = (c.text()?, c.text()?);
        if held.allows(&project, &domain, c.u32()?, c.u32()?) {
            held.add(project, domain, 1);
            if held.total >= request.pool_size {
                return Ok(false);
            }
        }
    }
    Ok(held.allows(&request.project, &request.domain, request.project_limit, request.domain_limit))
}

async fn exhausted(tx: &mut Tx, request: &TokenRequest, seq: i64) -> Result<TokenOutcome> {
    let before = Sql::new(
        "select count(*), max(seq) from resource_token
         where namespace = $1 and held = 0 and seq < $2 and asked_at >= $3",
    )
    .bind(&request.namespace)
    .bind(seq)
    .bind(request.patience());
    let (mut position, mut last) = (1, None);
    if let Some(record) = tx.fetch_optional(before).await? {
        let mut c = record.cursor();
        position = c.u32()?.saturating_add(1);
        last = c.opt_i64()?;
    }
    let mut ahead = None;
    if let Some(last) = last {
        let sql = Sql::new("select execution from resource_token where seq = $1").bind(last);
        ahead = tx.fetch_optional(sql).await?.map(|record| record.cursor().text()).transpose()?;
    }
    let holders = Sql::new(
        "select execution from resource_token where namespace = $1 and held = 1 order by seq limit $2",
    )
    .bind(&request.namespace)
    .bind(MAX_SHOWN);
    let held = tx.fetch(holders).await?.iter().map(|record| record.cursor().text()).collect::<Result<_>>()?;
    Ok(TokenOutcome::Exhausted { position, ahead, held })
}

async fn allocate(tx: &mut Tx, request: &TokenRequest) -> Result<TokenOutcome> {
    if tx.dialect() == Dialect::Postgres {
        // One at a time for each namespace. SQLite has one writer anyway.
        let lock = "select pg_advisory_xact_lock(hashtextextended($1, 5064734211))";
        tx.execute(Sql::new(lock).bind(&request.namespace)).await?;
    }
    let (seq, held) = enter(tx, request).await?;
    if held {
        return Ok(TokenOutcome::Granted);
    }
    if !is_next(tx, request, seq).await? {
        return exhausted(tx, request, seq).await;
    }
    tx.execute(Sql::new("update resource_token set held = 1 where seq = $1").bind(seq)).await?;
    Ok(TokenOutcome::Granted)
}

impl Store {
    /// Asks for a place, or asks again: asking for a token that is held grants it. A place goes to the earliest
    /// request that its project's and domain's limits allow; one that has not asked for 60 s holds up nobody.
    ///
    /// # Errors
    /// The database.
    pub async fn token_allocate(&self, request: &TokenRequest) -> Result<TokenOutcome> {
        let request = request.clone();
        self.write(move |tx| Box::pin(async move { allocate(tx, &request).await })).await
    }

    /// Gives a place back, or leaves the line. Safe to repeat.
    ///
    /// # Errors
    /// The database.
    pub async fn token_release(&self, namespace: &str, token: &str) -> Result<()> {
        let sql = Sql::new("delete from resource_token where namespace = $1 and token = $2")
            .bind(namespace)
            .bind(token);
        self.write(move |tx| Box::pin(async move { tx.execute(sql).await.map(drop) })).await
    }

    /// All tokens of a namespace: first those that are held, then the line in its order.
    ///
    /// # Errors
    /// The database.
    pub async fn token_list(&self, namespace: &str) -> Result<Vec<TokenRow>> {
        let sql = Sql::new(
            "select namespace, token, project, domain, execution, held, created_at from resource_token
             where namespace = $1 order by held desc, seq",
        )
        .bind(namespace);
        let read = |record: &Record| {
            let mut c = record.cursor();
            Ok(TokenRow {
                namespace: c.text()?,
                token: c.text()?,
                project: c.text()?,
                domain: c.text()?,
                execution: c.text()?,
                held: c.bool()?,
                created_at: c.time()?,
            })
        };
        self.fetch(sql).await?.iter().map(read).collect()
    }

    /// Releases tokens, held or waiting, of executions that are over or unknown, and returns how many.
    ///
    /// # Errors
    /// The database.
    pub async fn token_sweep(&self) -> Result<u64> {
        let sql = Sql::new(
            "delete from resource_token where not exists (select 1 from execution e
             where e.project = resource_token.project and e.domain = resource_token.domain
             and e.name = resource_token.execution and e.live = 1)",
        );
        self.write(move |tx| Box::pin(async move { tx.execute(sql).await })).await
    }
}
