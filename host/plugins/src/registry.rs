//! Decides which plugin serves a task type.

use std::collections::{BTreeMap, BTreeSet};

/// The task type of a plugin that serves every type nobody else claims.
const ANY: &str = "*";

/// Why no plugin serves a task type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// No plugin claims it.
    #[error("no plugin serves task type `{task_type}`{hint}")]
    Unclaimed {
        /// The task type.
        task_type: String,
        /// What could be done, if something is known.
        hint: String,
    },
    /// Several plugins claim it.
    #[error(
        "task type `{task_type}` is claimed by {}; choose one by `task-types: {{{task_type}: <plugin>}}`",
        claimants.join(" and ")
    )]
    Ambiguous {
        /// The task type.
        task_type: String,
        /// Ids of the plugins.
        claimants: Vec<String>,
    },
    /// The plugin that serves it is quarantined.
    #[error("task type `{task_type}` is served by plugin {plugin}, which is quarantined: {reason}")]
    Quarantined {
        /// The task type.
        task_type: String,
        /// Id of the plugin.
        plugin: String,
        /// Why it is quarantined.
        reason: String,
    },
    /// The configuration names a plugin that can not serve it.
    #[error("`task-types` gives `{task_type}` to plugin {plugin}, {problem}")]
    Misconfigured {
        /// The task type.
        task_type: String,
        /// Id of the plugin.
        plugin: String,
        /// Why it can not.
        problem: String,
    },
}

/// What the registry knows about one plugin.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) id: String,
    pub(crate) task_types: Vec<String>,
    pub(crate) default_for: Vec<String>,
    /// Why it is not loaded, if so.
    pub(crate) quarantined: Option<String>,
}

impl Claim {
    fn serves(&self, task_type: &str) -> bool {
        self.task_types.iter().any(|found| found == task_type || found == ANY)
    }

    /// Without a list of defaults a plugin claims all that it serves.
    fn claims(&self, task_type: &str) -> bool {
        let claimed = if self.default_for.is_empty() { &self.task_types } else { &self.default_for };
        claimed.iter().any(|found| found == task_type)
    }
}

/// Which plugin serves which task type.
#[derive(Debug, Default)]
pub(crate) struct Registry(BTreeMap<String, Result<String, ResolveError>>);

impl Registry {
    /// Decides once for all task types that anybody mentions. `claims` holds each plugin id once.
    pub(crate) fn new(claims: &[Claim], pins: &BTreeMap<String, String>) -> Self {
        let served = claims.iter().flat_map(|claim| &claim.task_types);
        let task_types: BTreeSet<&String> = served.chain(pins.keys()).collect();
        let decide = |task_type: &String| match pins.get(task_type) {
            Some(pinned) => decide_pinned(claims, task_type, pinned),
            None => decide_free(claims, task_type),
        };
        Self(task_types.into_iter().map(|task_type| (task_type.clone(), decide(task_type))).collect())
    }

    /// Id of the plugin that serves a task type.
    pub(crate) fn resolve(&self, task_type: &str) -> Result<&str, ResolveError> {
        match self.0.get(task_type).or_else(|| self.0.get(ANY)) {
            Some(Ok(id)) => Ok(id),
            Some(Err(error)) => Err(error.clone()),
            None => {
                let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
                let hint = crate::schema::closest(task_type, &known);
                let hint = hint.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
                Err(ResolveError::Unclaimed { task_type: task_type.into(), hint })
            }
        }
    }

    /// Task types that nobody serves although somebody could.
    pub(crate) fn problems(&self) -> impl Iterator<Item = &ResolveError> {
        self.0.values().filter_map(|decision| decision.as_ref().err())
    }

    /// Task types that are served, with the id of the plugin.
    pub(crate) fn served(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .filter_map(|(task_type, decision)| Some((task_type.as_str(), decision.as_deref().ok()?)))
    }
}

fn decide_pinned(claims: &[Claim], task_type: &str, pinned: &str) -> Result<String, ResolveError> {
    let (task_type, plugin) = (task_type.to_owned(), pinned.to_owned());
    let Some(claim) = claims.iter().find(|claim| claim.id == pinned) else {
        return Err(ResolveError::Misconfigured { task_type, plugin, problem: "which is not there".into() });
    };
    if !claim.serves(&task_type) {
        let problem = format!("which serves only {}", claim.task_types.join(", "));
        return Err(ResolveError::Misconfigured { task_type, plugin, problem });
    }
    match &claim.quarantined {
        Some(reason) => Err(ResolveError::Quarantined { task_type, plugin, reason: reason.clone() }),
        None => Ok(plugin),
    }
}

fn decide_free(claims: &[Claim], task_type: &str) -> Result<String, ResolveError> {
    let claimants: Vec<&Claim> = claims.iter().filter(|claim| claim.claims(task_type)).collect();
    let healthy: Vec<&Claim> =
        claimants.iter().copied().filter(|claim| claim.quarantined.is_none()).collect();
    let task_type = task_type.to_owned();
    match healthy.as_slice() {
        [one] => Ok(one.id.clone()),
        [_, ..] => {
            let claimants = healthy.iter().map(|claim| claim.id.clone()).collect();
            Err(ResolveError::Ambiguous { task_type, claimants })
        }
        [] => match claimants.first() {
            Some(Claim { id, quarantined: Some(reason), .. }) => {
                Err(ResolveError::Quarantined { task_type, plugin: id.clone(), reason: reason.clone() })
            }
            _ => {
                let able = claims.iter().find(|claim| claim.task_types.contains(&task_type));
                let hint = able.map(|claim| {
                    format!(
                        "; plugin {} can, if `task-types: {{{task_type}: {}}}` says so",
                        claim.id, claim.id
                    )
                });
                Err(ResolveError::Unclaimed { task_type, hint: hint.unwrap_or_default() })
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(id: &str, task_types: &[&str], default_for: &[&str]) -> Claim {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Claim {
            id: id.into(),
            task_types: list(task_types),
            default_for: list(default_for),
            quarantined: None,
        }
    }

    fn pins(pins: &[(&str, &str)]) -> BTreeMap<String, String> {
        pins.iter().map(|(task_type, id)| ((*task_type).to_owned(), (*id).to_owned())).collect()
    }

    #[test]
    fn two_claimants_are_both_refused_by_name() {
        let claims = [claim("spark", &["spark"], &[]), claim("databricks", &["spark"], &[])];
        let registry = Registry::new(&claims, &pins(&[]));
        let error = registry.resolve("spark").unwrap_err();
        assert!(error.to_string().contains("spark and databricks"), "{error}");
        let registry = Registry::new(&claims, &pins(&[("spark", "databricks")]));
        assert_eq!(registry.resolve("spark"), Ok("databricks"));
    }

    #[test]
    fn able_plugin_serves_only_what_it_claims() {
        let claims = [claim("athena", &["athena", "hive"], &["athena"])];
        let registry = Registry::new(&claims, &pins(&[]));
        assert_eq!(registry.resolve("athena"), Ok("athena"));
        let error = registry.resolve("hive").unwrap_err().to_string();
        assert!(error.contains("plugin athena can, if `task-types: {hive: athena}` says so"), "{error}");
    }

    #[test]
    fn types_nobody_claims_go_to_the_plugin_for_any() {
        let claims =
            [claim("pod", &["container", "*"], &[]), claim("athena", &["athena", "hive"], &["athena"])];
        let registry = Registry::new(&claims, &pins(&[("odd", "pod")]));
        for (task_type, id) in [("container", "pod"), ("my-own", "pod"), ("odd", "pod"), ("athena", "athena")]
        {
            assert_eq!(registry.resolve(task_type), Ok(id), "{task_type}");
        }
        let error = registry.resolve("hive").unwrap_err().to_string();
        assert!(error.contains("plugin athena can"), "a plugin that can is not passed over: {error}");
        let rivals = [claim("pod", &["*"], &[]), claim("other", &["*"], &[])];
        let registry = Registry::new(&rivals, &pins(&[]));
        assert!(registry.resolve("x").unwrap_err().to_string().contains("pod and other"));
    }

    #[test]
    fn quarantined_claimant_says_why() {
        let mut bad = claim("spark", &["spark"], &[]);
        bad.quarantined = Some("wrong digest".into());
        let registry = Registry::new(&[bad.clone()], &pins(&[]));
        assert!(registry.resolve("spark").unwrap_err().to_string().contains("wrong digest"));
        let registry = Registry::new(&[bad, claim("other", &["spark"], &[])], &pins(&[]));
        assert_eq!(registry.resolve("spark"), Ok("other"));
    }

    #[test]
    fn wrong_pins_and_names_are_explained() {
        let claims = [claim("pod", &["container"], &[])];
        let registry = Registry::new(&claims, &pins(&[("x", "gone"), ("y", "pod")]));
        assert!(registry.resolve("x").unwrap_err().to_string().contains("not there"));
        assert!(registry.resolve("y").unwrap_err().to_string().contains("serves only container"));
        assert!(registry.resolve("contaner").unwrap_err().to_string().contains("did you mean `container`"));
    }
}
