//! Says what the worker needs of plugins, so that tests can bring their own.

use std::sync::Arc;
use std::time::Duration;

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
            again_in: None,
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
    /// How long until it is worth to look again, where that is known.
    pub again_in: Option<Duration>,
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

    /// Whether its `handle` does nothing outside and answers the same again, so that it may be asked before the rows of
    /// the attempt are committed.
    fn describes_only(&self) -> bool {
        false
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    /// A plugin that is only its name.
    struct Named(String);

    fn no_call<T>() -> Result<T, Fault> {
        Err(Fault::Unavailable(Unavailable {
            reason: "not called here".to_owned(),
            gone: true,
            again_in: None,
        }))
    }

    #[async_trait]
    impl Plugin for Named {
        fn id(&self) -> &str {
            &self.0
        }

        fn identity(&self) -> &str {
            &self.0
        }

        fn inputs_inline(&self) -> bool {
            false
        }

        async fn handle(&self, _: HandleRequest) -> Result<HandleResponse, Fault> {
            no_call()
        }

        async fn abort(&self, _: AbortRequest) -> Result<AbortResponse, Fault> {
            no_call()
        }

        async fn finalize(&self, _: FinalizeRequest) -> Result<FinalizeResponse, Fault> {
            no_call()
        }

        async fn migrate_state(&self, _: PluginState) -> Result<PluginState, Fault> {
            no_call()
        }
    }

    /// Has the plugin `usual`, which every task type gets, and `other`.
    struct Two;

    impl PluginSource for Two {
        fn resolve(&self, _task_type: &str, pin: &str) -> Result<Arc<dyn Plugin>, Unavailable> {
            match pin {
                "" | "usual" => Ok(Arc::new(Named("usual".to_owned()))),
                "other" => Ok(Arc::new(Named("other".to_owned()))),
                _ => Err(Unavailable { reason: String::new(), gone: true, again_in: None }),
            }
        }

        fn changes(&self) -> watch::Receiver<u64> {
            watch::channel(0).1
        }
    }

    #[test]
    fn attributes_choose_the_plugin_of_a_new_attempt() {
        let wish = |ids: &[&str], behavior: MissingPluginBehavior| PluginOverride {
            task_type: "t".to_owned(),
            plugin_id: ids.iter().map(|id| (*id).to_owned()).collect(),
            missing_plugin_behavior: behavior as i32,
        };
        let chosen = |wish: Option<&PluginOverride>, pin: &str| {
            choose(&Two, wish, "t", pin).map(|plugin| plugin.id().to_owned())
        };
        use MissingPluginBehavior::{Fail, UseDefault};
        assert_eq!(chosen(None, "").as_deref(), Ok("usual"));
        assert_eq!(chosen(Some(&wish(&["gone", "other"], Fail)), "").as_deref(), Ok("other"));
        assert_eq!(chosen(Some(&wish(&["gone"], UseDefault)), "").as_deref(), Ok("usual"));
        assert_eq!(chosen(Some(&wish(&[], Fail)), "").as_deref(), Ok("usual"));
        // An attempt stays with the plugin it has.
        assert_eq!(chosen(Some(&wish(&["other"], Fail)), "usual").as_deref(), Ok("usual"));
        let refused = chosen(Some(&wish(&["gone", "lost"], Fail)), "").unwrap_err();
        assert!(refused.reason.contains("gone, lost"), "{}", refused.reason);
    }
}
