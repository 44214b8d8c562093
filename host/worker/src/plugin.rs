//! Says what the worker needs of plugins, so that tests can bring their own.

use std::sync::Arc;

use async_trait::async_trait;
use proto::flyteidl::admin::{PluginOverride, plugin_override::MissingPluginBehavior};
use proto::pinion::plugin::v1::{
    AbortRequest, AbortResponse, FinalizeRequest, FinalizeResponse, HandleRequest, HandleResponse,
    PluginState, Status,
};
use tokio::sync::watch;

/// Finds the plugin of a task type.
pub trait PluginSource: Send + Sync {
    /// The plugin that is to drive an attempt: the one that `pin` names when the attempt is already its own, else the
    /// one that new attempts of the task type get.
    ///
    /// # Errors
    /// Why there is none; the attempt waits, and the reason is shown.
    fn resolve(&self, task_type: &str, pin: &str) -> Result<Arc<dyn Plugin>, Unavailable>;

    /// Changes whenever a plugin appears, goes, or leaves quarantine.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// The plugin of an attempt: its own once it has one, else the first that is there of those which the execution's
/// attributes name for the task type, else the one that the task type has anyway, unless the attributes forbid that.
pub(crate) fn choose(
    source: &dyn PluginSource,
    wish: Option<&PluginOverride>,
    task_type: &str,
    pin: &str,
) -> Result<Arc<dyn Plugin>, Unavailable> {
    let Some(wish) = wish.filter(|wish| pin.is_empty() && !wish.plugin_id.is_empty()) else {
        return source.resolve(task_type, pin);
    };
    let named = wish.plugin_id.iter().find_map(|id| source.resolve(task_type, id).ok());
    match (named, wish.missing_plugin_behavior()) {
        (Some(plugin), _) => Ok(plugin),
        (None, MissingPluginBehavior::UseDefault) => source.resolve(task_type, pin),
        (None, MissingPluginBehavior::Fail) => Err(Unavailable {
            reason: format!(
                "none of the plugins that attributes name for tasks of type {task_type} is loaded: {}",
                wish.plugin_id.join(", ")
            ),
            gone: true,
        }),
    }
}

/// Why a task type has no plugin now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// Shown to users.
    pub reason: String,
    /// No plugin claims the task type, or the one that the attempt belongs to is not installed: waiting may take for
    /// ever, so clean-up does not.
    pub gone: bool,
}

/// One loaded plugin.
#[async_trait]
pub trait Plugin: Send + Sync {
    /// Its id (`pod`), the `plugin_identifier` that clients see.
    fn id(&self) -> &str;

    /// Id, version and digest; kept with every attempt it drives.
    fn identity(&self) -> &str;

    /// Whether it wants the inputs within the request.
    fn inputs_inline(&self) -> bool;

    /// Advances an attempt.
    async fn handle(&self, request: HandleRequest) -> Result<HandleResponse, Fault>;

    /// Ends what an attempt started.
    async fn abort(&self, request: AbortRequest) -> Result<AbortResponse, Fault>;

    /// Releases what an attempt holds.
    async fn finalize(&self, request: FinalizeRequest) -> Result<FinalizeResponse, Fault>;

    /// Brings a state that another version of it wrote up to date.
    async fn migrate_state(&self, state: PluginState) -> Result<PluginState, Fault>;
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// The plugin said so.
    Status(Status),
    /// The plugin panicked, crashed, hung or answered nonsense.
    Broken {
        /// Short stable name, for example `PluginPanicked`.
        code: String,
        /// What is known.
        message: String,
    },
    /// The plugin takes no calls now (quarantine, unload); nothing was done.
    Unavailable(Unavailable),
}

impl Fault {
    /// What a log line says about it.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Status(status) => format!("{}: {}", status.error_code, status.message),
            Self::Broken { code, message } => format!("{code}: {message}"),
            Self::Unavailable(unavailable) => unavailable.reason.clone(),
        }
    }
}
