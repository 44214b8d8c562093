//! Chooses the cluster of an execution by its label. Pure.

use proto::flyteidl::admin::ClusterAssignment;

use crate::{Config, Error};

/// The cluster for a label: one of those the label stands for, by their weights; without any, the configured one.
pub(crate) fn choose(config: &Config, label: &str, execution: &str) -> String {
    let Some(clusters) = config.cluster_labels.get(label) else { return config.cluster.clone() };
    let total: u64 = clusters.values().copied().map(u64::from).sum();
    let mut left = hash(execution).checked_rem(total).unwrap_or_default();
    for (cluster, weight) in clusters {
        match left.checked_sub(u64::from(*weight)) {
            Some(rest) => left = rest,
            None => return cluster.clone(),
        }
    }
    config.cluster.clone()
}

/// The same number for the same text in every version: FNV-1a.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The cluster pool: the assigned one, which the request may name but not change.
pub(crate) fn assignment(
    asked: Option<ClusterAssignment>,
    assigned: Option<&ClusterAssignment>,
    config: &Config,
    (project, domain): (&str, &str),
) -> Result<Option<ClusterAssignment>, Error> {
    let of_domain = || {
        let pool = config.cluster_pools.get(domain).filter(|pool| !pool.is_empty())?;
        Some(ClusterAssignment { cluster_pool_name: pool.clone() })
    };
    let Some(assigned) = assigned.cloned().or_else(of_domain) else { return Ok(asked) };
    match asked {
        Some(asked)
            if !asked.cluster_pool_name.is_empty()
                && asked.cluster_pool_name != assigned.cluster_pool_name =>
        {
            Err(Error::ClusterPool {
                project: project.to_owned(),
                domain: domain.to_owned(),
                asked: asked.cluster_pool_name,
                assigned: assigned.cluster_pool_name,
            })
        }
        _ => Ok(Some(assigned)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn pool(name: &str) -> ClusterAssignment {
        ClusterAssignment { cluster_pool_name: name.to_owned() }
    }

    #[test]
    fn a_label_spreads_executions_by_weight() {
        let clusters = [("a".to_owned(), 3), ("b".to_owned(), 1), ("c".to_owned(), 0)];
        let config = Config {
            cluster: "home".to_owned(),
            cluster_labels: [("gpu".to_owned(), clusters.into())].into(),
            ..Config::default()
        };
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for n in 0..4_000 {
            *counts.entry(choose(&config, "gpu", &format!("execution{n}"))).or_default() += 1;
        }
        assert_eq!(counts.len(), 2, "{counts:?}");
        assert!((2_700..3_300).contains(&counts["a"]), "{counts:?}");
        assert_eq!(choose(&config, "gpu", "x"), choose(&config, "gpu", "x"));
        assert_eq!(choose(&config, "", "x"), "home");
        assert_eq!(choose(&config, "unknown", "x"), "home");
    }

    #[test]
    fn an_assigned_pool_can_be_named_but_not_changed() {
        let config = Config {
            cluster_pools: [("production".to_owned(), "big".to_owned())].into(),
            ..Config::default()
        };
        let assign = |asked: Option<&str>, assigned: Option<&str>, domain| {
            let assigned = assigned.map(pool);
            assignment(asked.map(pool), assigned.as_ref(), &config, ("p", domain))
        };
        assert_eq!(assign(Some("gpu"), None, "staging").unwrap(), Some(pool("gpu")));
        assert_eq!(assign(None, None, "staging").unwrap(), None);
        assert_eq!(assign(None, Some("a"), "production").unwrap(), Some(pool("a")));
        assert_eq!(assign(None, None, "production").unwrap(), Some(pool("big")));
        assert_eq!(assign(Some("big"), None, "production").unwrap(), Some(pool("big")));
        assert_eq!(assign(Some(""), Some("a"), "staging").unwrap(), Some(pool("a")));
        let refused = assign(Some("gpu"), Some("a"), "staging");
        assert!(matches!(refused, Err(Error::ClusterPool { .. })));
    }
}
