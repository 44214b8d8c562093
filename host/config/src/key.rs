//! Compares and prints keys: `maxRetries`, `max_retries` and `max-retries` are one key.

/// What two spellings of a key have in common.
pub(crate) fn fold(key: &str) -> String {
    key.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}

/// The spelling of an environment variable as a key.
pub(crate) fn kebab(segment: &str) -> String {
    segment.to_lowercase().replace('_', "-")
}

/// Appends a key to a path.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The known key that a wrong one was probably meant to be.
pub(crate) fn nearest<'k>(wrong: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let wrong = fold(wrong);
    let score = |key: &str| {
        let key = fold(key);
        let within = key.contains(&wrong) || wrong.contains(&key);
        let likeness = strsim::normalized_damerau_levenshtein(&wrong, &key);
        if within && wrong.len() > 2 { likeness.max(0.61) } else { likeness }
    };
    let scored = known.into_iter().map(|key| (score(key), key));
    let best = scored.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (best.0 >= 0.6).then_some(best.1)
}

/// Whether a key holds something that must not be shown.
pub(crate) fn is_secret(path: &str) -> bool {
    let name = fold(path.rsplit_once('.').map_or(path, |(_, name)| name));
    ["secret", "password", "token", "accesskey", "apikey", "privatekey", "passphrase"]
        .iter()
        .any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_fold_together() {
        for key in ["maxRetries", "max_retries", "max-retries", "MAX_RETRIES", "MaxRetries"] {
            assert_eq!(fold(key), "maxretries");
        }
    }

    #[test]
    fn typos_find_their_key() {
        let known = ["max-retries", "port", "host", "image-pull-policy"];
        for (wrong, meant) in [
            ("max-retry", Some("max-retries")),
            ("prot", Some("port")),
            ("pull-policy", Some("image-pull-policy")),
            ("colour", None),
        ] {
            assert_eq!(nearest(wrong, known), meant, "{wrong}");
        }
        assert_eq!(nearest("a", []), None);
    }

    #[test]
    fn secret_keys_are_known() {
        for path in ["auth.client-secret", "s3.access_key", "db.password", "a.tokenValue"] {
            assert!(is_secret(path), "{path}");
        }
        assert!(!is_secret("secrets.env-prefix"));
    }
}
