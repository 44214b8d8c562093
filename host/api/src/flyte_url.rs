//! Reads and writes `flyte://v1/<project>/<domain>/<execution>/<node>[/<attempt>]/<i|o|d>[/<name>]`. Pure.

use model::{ExecutionId, NodeExecutionId};
use proto::flyteidl::admin::FlyteUrLs;

use crate::Error;

/// What a flyte URL points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlyteUrl {
    /// The node.
    pub node: NodeExecutionId,
    /// The attempt; `None` is the node as a whole.
    pub attempt: Option<u32>,
    /// Which of its data.
    pub part: Part,
    /// One value of a literal map.
    pub name: Option<String>,
}

/// Which data of a node or attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Inputs, `i`.
    Inputs,
    /// Outputs, `o`.
    Outputs,
    /// The deck, `d`.
    Deck,
}

/// Reads a URL.
///
/// # Errors
/// A text of another form.
pub fn parse(url: &str) -> Result<FlyteUrl, Error> {
    let broken = |reason: &str| {
        let shown: String = url.chars().take(200).collect();
        Error::invalid("flyte_url", format!("`{shown}`: {reason}"))
    };
    const FORM: &str =
        "expected flyte://v1/<project>/<domain>/<execution>/<node>[/<attempt>]/<i|o|d>[/<name>]";
    let path = url.strip_prefix("flyte://v1/").ok_or_else(|| broken(FORM))?;
    let parts: Vec<&str> = path.split('/').collect();
    let allowed = |part: &&str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    if !parts.iter().all(allowed) {
        return Err(broken("parts have letters, digits, `-` and `_` only"));
    }
    let (ids, tail) = parts.split_at_checked(4).ok_or_else(|| broken(FORM))?;
    let (attempt, tail) = match tail {
        [attempt, tail @ ..] if attempt.chars().all(|c| c.is_ascii_digit()) => {
            let attempt = attempt.parse().map_err(|_| broken("the attempt is too large"))?;
            (Some(attempt), tail)
        }
        tail => (None, tail),
    };
    let (part, name) = match tail {
        [part] => (*part, None),
        [part, name] => (*part, Some((*name).to_owned())),
        _ => return Err(broken(FORM)),
    };
    let part = match part {
        "i" => Part::Inputs,
        "o" => Part::Outputs,
        "d" if attempt.is_some() => return Err(broken("a deck belongs to a node, not to an attempt")),
        "d" if name.is_some() => return Err(broken("a deck has no values")),
        "d" => Part::Deck,
        _ => return Err(broken("the data is i, o or d")),
    };
    let execution = ExecutionId::new(ids[0], ids[1], ids[2]);
    Ok(FlyteUrl { node: NodeExecutionId { execution, node: ids[3].into() }, attempt, part, name })
}

/// The URLs of a node, with the deck only where there is one.
pub fn of_node(node: &NodeExecutionId, has_deck: bool) -> FlyteUrLs {
    let base = base(node);
    let deck = if has_deck { format!("{base}/d") } else { String::new() };
    FlyteUrLs { inputs: format!("{base}/i"), outputs: format!("{base}/o"), deck }
}

/// The URLs of an attempt. The deck is the node's: attempts have none of their own.
pub fn of_attempt(node: &NodeExecutionId, attempt: u32, has_deck: bool) -> FlyteUrLs {
    let base = base(node);
    let deck = if has_deck { format!("{base}/d") } else { String::new() };
    FlyteUrLs { inputs: format!("{base}/{attempt}/i"), outputs: format!("{base}/{attempt}/o"), deck }
}

fn base(node: &NodeExecutionId) -> String {
    let NodeExecutionId { execution, node } = node;
    format!("flyte://v1/{}/{}/{}/{node}", execution.project, execution.domain, execution.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeExecutionId {
        NodeExecutionId { execution: ExecutionId::new("p", "d", "ex"), node: "n0-0-dn1".into() }
    }

    #[test]
    fn urls_read_back_as_written() {
        let urls = of_node(&node(), true);
        for (url, attempt, part) in [
            (&urls.inputs, None, Part::Inputs),
            (&urls.outputs, None, Part::Outputs),
            (&urls.deck, None, Part::Deck),
            (&of_attempt(&node(), 2, false).outputs, Some(2), Part::Outputs),
        ] {
            assert_eq!(parse(url).unwrap(), FlyteUrl { node: node(), attempt, part, name: None }, "{url}");
        }
        let one = parse("flyte://v1/p/d/ex/n0-0-dn1/o/o0").unwrap();
        assert_eq!(one.name.as_deref(), Some("o0"));
    }

    #[test]
    fn other_forms_are_refused() {
        for url in [
            "",
            "flyte://v2/p/d/ex/n0/i",
            "flyte://v1/p/d/ex/n0",
            "flyte://v1/p/d/ex/n0/x",
            "flyte://v1/p/d/ex/n0/0/d",
            "flyte://v1/p/d/ex/n0/i/a/b",
            "flyte://v1/p/d/ex//i",
            "flyte://v1/p/d/e%78/n0/i",
            "flyte://v1/p/d/ex/n0/99999999999/i",
            "s3://bucket/key",
        ] {
            assert!(matches!(parse(url), Err(Error::Invalid { .. })), "{url}");
        }
    }
}
