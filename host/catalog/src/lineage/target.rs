//! Reads what lineage is asked of. Pure.

use model::ExecutionId;

use crate::error::{Error, Result};

/// An output of a node, or an artifact of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The node, or the artifact's id.
    pub(crate) node: Named,
    /// The attempt; `None` is the last one.
    pub(crate) attempt: Option<u32>,
    /// The output; `None` is all of them.
    pub(crate) output: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Node(ExecutionId, String),
    Artifact(String),
}

const FORMS: &str = "give `flyte://v1/<project>/<domain>/<execution>/<node>[/<attempt>]/o[/<output>]`, \
                     `<execution>/<node>[/<output>]`, or the id of an artifact of the cache";

impl Target {
    /// Reads a `flyte://` URI, `<execution>/<node>[/<output>]` of a project and domain, or the id of an artifact.
    ///
    /// # Errors
    /// A text of another form.
    pub fn parse(text: &str, project: &str, domain: &str) -> Result<Self> {
        let broken = || Error::Invalid(format!("`{}`: {FORMS}", text.chars().take(200).collect::<String>()));
        let Some(path) = text.strip_prefix("flyte://v1/") else {
            return Self::short(text, project, domain).ok_or_else(broken);
        };
        let parts: Vec<&str> = path.split('/').collect();
        let [project, domain, execution, node, tail @ ..] = parts.as_slice() else { return Err(broken()) };
        if [project, domain, execution, node].iter().any(|part| part.is_empty()) {
            return Err(broken());
        }
        let (attempt, tail) = match tail {
            [attempt, tail @ ..] if !attempt.is_empty() && attempt.bytes().all(|b| b.is_ascii_digit()) => {
                (Some(attempt.parse().map_err(|_| broken())?), tail)
            }
            tail => (None, tail),
        };
        let output = match tail {
            [] | ["o"] => None,
            ["o", output] => Some((*output).to_owned()),
            ["i", ..] => {
                let reason = "an input is made by the node whose output it is; ask for that one";
                return Err(Error::Invalid(format!("`{text}`: {reason}")));
            }
            _ => return Err(broken()),
        };
        let node = Named::Node(ExecutionId::new(project, domain, execution), (*node).to_owned());
        Ok(Self { node, attempt, output })
    }

    fn short(text: &str, project: &str, domain: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return None;
        }
        let (node, output) = match parts.as_slice() {
            [id] => (Named::Artifact((*id).to_owned()), None),
            [execution, node] => {
                (Named::Node(ExecutionId::new(project, domain, execution), (*node).into()), None)
            }
            [execution, node, output] => {
                (Named::Node(ExecutionId::new(project, domain, execution), (*node).into()), Some(*output))
            }
            [project, domain, execution, node] => {
                (Named::Node(ExecutionId::new(project, domain, execution), (*node).into()), None)
            }
            _ => return None,
        };
        Some(Self { node, attempt: None, output: output.map(str::to_owned) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(project: &str, execution: &str, attempt: Option<u32>, output: Option<&str>) -> Target {
        Target {
            node: Named::Node(ExecutionId::new(project, "d", execution), "n0".to_owned()),
            attempt,
            output: output.map(str::to_owned),
        }
    }

    #[test]
    fn all_forms_are_read() {
        for (text, want) in [
            ("flyte://v1/p/d/e/n0", node("p", "e", None, None)),
            ("flyte://v1/p/d/e/n0/o", node("p", "e", None, None)),
            ("flyte://v1/p/d/e/n0/o/o0", node("p", "e", None, Some("o0"))),
            ("flyte://v1/p/d/e/n0/3/o/o0", node("p", "e", Some(3), Some("o0"))),
            ("e/n0", node("q", "e", None, None)),
            ("e/n0/o0", node("q", "e", None, Some("o0"))),
            ("p/d/e/n0", node("p", "e", None, None)),
        ] {
            assert_eq!(Target::parse(text, "q", "d").unwrap(), want, "{text}");
        }
        let artifact = Target::parse("9f1c", "q", "d").unwrap();
        assert_eq!(artifact.node, Named::Artifact("9f1c".to_owned()));
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "",
            "/",
            "e/",
            "flyte://v1/",
            "flyte://v1/p/d/e",
            "flyte://v1/p/d/e/n0/i/x",
            "flyte://v1/p/d/e/n0/d",
            "flyte://v1/p//e/n0/o",
            "flyte://v1/p/d/e/n0/99999999999/o",
            "a/b/c/d/e",
        ] {
            assert!(Target::parse(text, "q", "d").is_err(), "{text}");
        }
    }
}
