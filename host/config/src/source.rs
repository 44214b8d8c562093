//! Finds the files, variables and flags that settings come from.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use figment::{Provider, value::Value};

use crate::{Origin, Problem, key, tree::Node, yaml};

/// What an environment variable must begin with to be a setting.
pub const ENV_PREFIX: &str = "PINION__";

/// Where settings come from, from the weakest to the strongest.
#[derive(Default)]
pub struct Sources {
    /// YAML texts below all files, each with a name to show as its origin: what a mode of the host sets by itself.
    pub base: Vec<(String, String)>,
    /// YAML files, each a path, a directory (its `*.yaml` and `*.yml`) or a pattern with `*` and `?` in the file
    /// name. Those that one item finds are merged in the order of their names; a later item overrides.
    pub files: Vec<PathBuf>,
    /// More layers, above files.
    pub providers: Vec<Box<dyn Provider>>,
    /// Environment variables; those that begin with `PINION__` count, as `PINION__SECTION__KEY`.
    pub env: Vec<(String, String)>,
    /// Keys (`section.key`) and values of the command line.
    pub flags: Vec<(String, String)>,
}

impl Sources {
    /// Splits `section.key=value`.
    pub fn parse_set(text: &str) -> Option<(String, String)> {
        let (key, value) = text.split_once('=')?;
        (!key.trim().is_empty()).then(|| (key.trim().to_owned(), value.to_owned()))
    }

    /// The files in the order in which they are merged.
    pub fn files(&self) -> Result<Vec<PathBuf>, Problem> {
        let mut found = Vec::new();
        for item in &self.files {
            let unreadable = |source| Problem::Unreadable { path: item.clone(), source };
            found.extend(expand(item).map_err(unreadable)?);
        }
        Ok(found)
    }

    /// One tree per layer, weakest first.
    pub(crate) fn layers(&self, problems: &mut Vec<Problem>) -> Vec<Node> {
        let mut layers = Vec::new();
        for (name, text) in &self.base {
            match yaml::parse(text, &Arc::new(name.into())) {
                Ok(node) => layers.push(node),
                Err(problem) => problems.push(problem),
            }
        }
        match self.files() {
            Ok(files) => {
                for path in files {
                    let text = fs::read_to_string(&path)
                        .map_err(|source| Problem::Unreadable { path: path.clone(), source });
                    match text.and_then(|text| yaml::parse(&text, &Arc::new(path))) {
                        Ok(node) => layers.push(node),
                        Err(problem) => problems.push(problem),
                    }
                }
            }
            Err(problem) => problems.push(problem),
        }
        for provider in &self.providers {
            let origin = Origin::Provider(provider.metadata().name.into());
            match provider.data() {
                Ok(profiles) => layers
                    .extend(profiles.into_values().map(|dict| Node::from_value(Value::from(dict), &origin))),
                Err(error) => {
                    problems.push(Problem::Invalid { key: String::new(), message: error.to_string(), origin })
                }
            }
        }
        layers.extend(self.env_layer(problems));
        layers.extend(self.flag_layer(problems));
        layers
    }

    fn env_layer(&self, problems: &mut Vec<Problem>) -> Option<Node> {
        let mut layer = None;
        let mut variables: Vec<_> = self.env.iter().collect();
        // A deterministic order: a section as a whole (`A`) before its parts (`A__B`).
        variables.sort_unstable();
        for (name, value) in variables {
            let Some(rest) = name.strip_prefix(ENV_PREFIX) else { continue };
            let origin = Origin::Env(name.as_str().into());
            let path: Vec<String> = rest.split("__").map(key::kebab).collect();
            if path.iter().any(String::is_empty) {
                let message = "write it as PINION__SECTION__KEY";
                problems.push(Problem::Unnamed { origin, message });
                continue;
            }
            let node = Node::from_text(value, &origin);
            layer.get_or_insert_with(|| Node::section(origin)).insert(&path, node);
        }
        layer
    }

    fn flag_layer(&self, problems: &mut Vec<Problem>) -> Option<Node> {
        let mut layer = None;
        for (name, value) in &self.flags {
            let origin = Origin::Flag(name.as_str().into());
            let path = split_path(name);
            if path.iter().any(String::is_empty) {
                let message = "write it as section.key=value";
                problems.push(Problem::Unnamed { origin, message });
                continue;
            }
            let node = Node::from_text(value, &origin);
            layer.get_or_insert_with(|| Node::section(origin)).insert(&path, node);
        }
        layer
    }
}

/// Splits a path at its dots; `\.` is a dot in a key.
fn split_path(path: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut letters = path.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '.' => parts.push(String::new()),
            '\\' if letters.peek() == Some(&'.') => {
                parts.last_mut().into_iter().for_each(|part| part.push('.'))
            }
            other => parts.last_mut().into_iter().for_each(|part| part.push(other)),
        }
        if letter == '\\' && letters.peek() == Some(&'.') {
            letters.next();
        }
    }
    parts
}

fn expand(item: &Path) -> io::Result<Vec<PathBuf>> {
    if item.is_dir() {
        let mut found = matching(item, "*.yaml")?;
        found.extend(matching(item, "*.yml")?);
        found.sort();
        return Ok(found);
    }
    match item.file_name().and_then(|name| name.to_str()) {
        Some(pattern) if pattern.contains(['*', '?']) => {
            let dir = item.parent().filter(|dir| !dir.as_os_str().is_empty());
            matching(dir.unwrap_or(Path::new(".")), pattern)
        }
        // A file that is named must be there.
        _ => fs::metadata(item).map(|_| vec![item.to_owned()]),
    }
}

/// The files of a directory whose names match, sorted. As in a shell, `*` finds no hidden file; Kubernetes keeps
/// the former contents of a volume in one.
fn matching(dir: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        if !name.starts_with('.') && matches(pattern.as_bytes(), name.as_bytes()) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            matches(rest, name) || name.split_first().is_some_and(|(_, name)| matches(pattern, name))
        }
        (Some((b'?', pattern)), Some((_, name))) => matches(pattern, name),
        (Some((one, pattern)), Some((other, name))) => one == other && matches(pattern, name),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*.yaml", "a.yaml", true),
            ("*.yaml", "a.yml", false),
            ("0?-*.yaml", "01-core.yaml", true),
            ("*", "", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn dots_in_keys_can_be_escaped() {
        assert_eq!(split_path(r"a.b\.c.d"), ["a", "b.c", "d"]);
        assert_eq!(split_path(r"a\b"), [r"a\b"]);
        assert_eq!(split_path(""), [""]);
    }

    #[test]
    fn set_is_split_at_the_first_sign() {
        assert_eq!(Sources::parse_set("a.b=c=d"), Some(("a.b".into(), "c=d".into())));
        assert_eq!(Sources::parse_set("=x"), None);
        assert_eq!(Sources::parse_set("a"), None);
    }
}
