//! Chooses the queue that batch services run an execution's tasks in. Pure.

use crate::Config;

/// The queue with the first tag that one has; several with it are parted by the execution's name. Empty when no queue
/// has any of the tags.
pub(crate) fn choose(config: &Config, tags: &[String], domain: &str, execution: &str) -> String {
    let by_tag = |tag: &String| {
        let queues: Vec<&String> =
            config.queues.iter().filter(|(_, tags)| tags.contains(tag)).map(|(name, _)| name).collect();
        let count = u64::try_from(queues.len()).unwrap_or(u64::MAX);
        let at = usize::try_from(crate::cluster::hash(execution).checked_rem(count)?).ok()?;
        queues.get(at).map(|name| (*name).clone())
    };
    let of_domain = config.domain_queue_tags.get(domain).or_else(|| config.domain_queue_tags.get(""));
    tags.iter().chain(of_domain.into_iter().flatten()).find_map(by_tag).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn the_first_tag_that_a_queue_has_wins() {
        let config = Config {
            queues: [
                ("q1".to_owned(), texts(&["fast"])),
                ("q2".to_owned(), texts(&["slow", "cheap"])),
                ("q3".to_owned(), texts(&["cheap"])),
            ]
            .into(),
            domain_queue_tags: [
                ("production".to_owned(), texts(&["fast"])),
                (String::new(), texts(&["slow"])),
            ]
            .into(),
            ..Config::default()
        };
        let choose = |tags: &[&str], domain: &str| choose(&config, &texts(tags), domain, "e1");
        assert_eq!(choose(&["fast"], "staging"), "q1");
        assert_eq!(choose(&["none", "slow"], "staging"), "q2");
        assert_eq!(choose(&[], "production"), "q1");
        assert_eq!(choose(&["none"], "staging"), "q2");
        let both: std::collections::BTreeSet<String> = (0..50)
            .map(|n| super::choose(&config, &texts(&["cheap"]), "staging", &format!("e{n}")))
            .collect();
        assert_eq!(both.into_iter().collect::<Vec<_>>(), ["q2", "q3"]);
        assert_eq!(super::choose(&Config::default(), &texts(&["fast"]), "staging", "e1"), "");
    }
}
