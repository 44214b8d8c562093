//! Names what can go wrong between the host and a cluster.

use crate::ObjectRef;

/// A failure of the cluster itself. A container that failed is no error: it is the status of its pod.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object cannot be read as what it claims to be; sending it again will not help.
    #[error("the object is not valid: {reason}")]
    InvalidObject {
        /// What is wrong with it, naming the field.
        reason: String,
    },
    /// This cluster has no idea what to do with objects of this kind.
    #[error("cluster {cluster} does not take {api_version} {kind}; it takes {takes}")]
    UnsupportedKind {
        /// Name of the cluster.
        cluster: String,
        /// `apiVersion` of the object.
        api_version: String,
        /// `kind` of the object.
        kind: String,
        /// What this cluster does take.
        takes: &'static str,
    },
    /// The cluster has no such object.
    #[error("{} {}/{} does not exist on cluster {}", .0.kind, .0.namespace, .0.name, .0.cluster)]
    NotFound(ObjectRef),
    /// The object exists, but has no container of that name.
    #[error("pod {}/{} has no container {container}", .object_ref.namespace, .object_ref.name)]
    NoContainer {
        /// The pod that was asked.
        object_ref: ObjectRef,
        /// The name that it does not know.
        container: String,
    },
    /// A file or directory of the cluster could not be used.
    #[error("cannot {action} {path}")]
    Io {
        /// A verb: read, write, create.
        action: &'static str,
        /// Where.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A setting that cannot work.
    #[error("local cluster setting {key}: {reason}")]
    Config {
        /// The key, as written in the configuration file.
        key: &'static str,
        /// What is wrong and what would do.
        reason: String,
    },
    /// The supervisor process could not be started.
    #[error("cannot start the supervisor process {program}")]
    Supervisor {
        /// The executable that was tried.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The cluster was not started yet, or shuts down.
    #[error("cluster {cluster} is not running")]
    NotRunning {
        /// Name of the cluster.
        cluster: String,
    },
}

impl Error {
    /// Whether the same call may well succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::InvalidObject { .. }
            | Error::UnsupportedKind { .. }
            | Error::NotFound(_)
            | Error::NoContainer { .. }
            | Error::Config { .. } => false,
            Error::Io { .. } | Error::Supervisor { .. } | Error::NotRunning { .. } => true,
        }
    }

    pub(crate) fn io(action: &'static str, path: &std::path::Path, source: std::io::Error) -> Error {
        Error::Io { action, path: path.display().to_string(), source }
    }
}
