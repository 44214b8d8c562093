//! Makes databases on the Postgres server of the test command.

use sqlx::{Connection, Executor, PgConnection};

/// A new database on the server at `url`; the answer is its URL.
///
/// # Panics
/// When the server refuses.
pub fn create(url: &str) -> String {
    let name = format!("pinion_{}_{}", std::process::id(), crate::server::free_port());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("invariant: a runtime can be made");
    runtime.block_on(async {
        let mut connection = PgConnection::connect(url).await.expect("the test database answers");
        let statement = sqlx::AssertSqlSafe(format!("create database {name}"));
        connection.execute(statement).await.expect("a database can be made");
    });
    let (server, _) = url.rsplit_once('/').expect("invariant: the URL names a database");
    format!("{server}/{name}")
}
