//! Names what stops the worker.

/// Why the worker stopped. A task or an execution that failed is no error: it is what the rows say.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting cannot work.
    #[error("invalid worker configuration: {0}")]
    Config(String),
    /// The lease is lost: another host may own the executions by now, so nothing more is done here.
    #[error("the lease of host {host} is lost, another host may own its executions")]
    Fenced {
        /// This host.
        host: String,
    },
    /// The store refused what cannot be done without.
    #[error("cannot {action}")]
    Store {
        /// The verb.
        action: &'static str,
        /// The cause.
        #[source]
        source: store::Error,
    },
    /// One of the worker's loops ended by a panic.
    #[error("the {0} loop of the worker panicked")]
    Panicked(&'static str),
    /// A test asked for a crash at a commit.
    #[error("crashed on request at commit {0}")]
    Crashed(u64),
}
