//! `pinion lineage`: where an output is from and who used it, as a tree.

use anyhow::{Context, Result};
use catalog::lineage::{How, Input, Lineage, Maker, Source, Use, UseKind};

use crate::client::Target;
use crate::command::get::Format;
use crate::json_client::moment;

/// Of what.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// `flyte://v1/...` URI of an output, `EXECUTION/NODE[/OUTPUT]`, or the id of an artifact of the cache.
    of: String,
    /// Steps to follow, both ways.
    #[arg(long, default_value_t = 5)]
    depth: u32,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Prints it.
pub(crate) async fn run(target: &Target, args: &Args) -> Result<()> {
    let depth = args.depth.to_string();
    let query = [
        ("of", args.of.as_str()),
        ("project", &target.project),
        ("domain", &target.domain),
        ("depth", &depth),
    ];
    let answer = target.get_json("lineage", &query).await?;
    if args.output == Format::Json {
        println!("{answer:#}");
        return Ok(());
    }
    let lineage: Lineage =
        serde_json::from_value(answer).context("the server's answer is of another version")?;
    print!("{}", shown(&lineage));
    Ok(())
}

/// A line and the lines below it.
struct Branch {
    line: String,
    below: Vec<Branch>,
}

impl Branch {
    fn leaf(line: impl Into<String>) -> Self {
        Self { line: line.into(), below: Vec::new() }
    }

    fn print(&self, out: &mut String, indent: &str) {
        out.push_str(&self.line);
        out.push('\n');
        for (n, branch) in self.below.iter().enumerate() {
            let is_last = n + 1 == self.below.len();
            out.push_str(indent);
            out.push_str(if is_last { "└─ " } else { "├─ " });
            branch.print(out, &format!("{indent}{}", if is_last { "   " } else { "│  " }));
        }
    }
}

fn shown(lineage: &Lineage) -> String {
    let of = &lineage.of;
    let value = if of.value.is_empty() { String::new() } else { format!(" = {}", of.value) };
    let mut out = format!("{}{value}\n", of.uri);
    for entry in &of.cached {
        let state = if entry.evicted_at.is_some() { "was cached" } else { "cached" };
        out += &format!("{state} as artifact {}, taken {} times\n", entry.artifact_id, entry.uses);
    }
    let execution = &lineage.made_by.execution;
    let made_by = maker(&lineage.made_by, "");
    Branch { line: format!("made by {}", made_by.line), below: made_by.below }.print(&mut out, "");
    let used_by = Branch {
        line: if lineage.used_by.is_empty() { "used by nothing" } else { "used by" }.to_owned(),
        below: lineage.used_by.iter().map(|it| used(it, execution)).collect(),
    };
    used_by.print(&mut out, "");
    if lineage.cut {
        out += "(some of it is left out; follow more with --depth)\n";
    }
    out
}

/// A node, with its execution where that is another than the one around it.
fn place(execution: &str, node: &str, around: &str) -> String {
    if execution == around { node.to_owned() } else { format!("{execution}/{node}") }
}

fn maker(maker: &Maker, around: &str) -> Branch {
    let mut line = place(&maker.execution, &maker.node, around);
    for part in [&maker.runs, &maker.name] {
        if !part.is_empty() {
            line += &format!("  {part}");
        }
    }
    if maker.attempt > 0 {
        line += &format!("  attempt {}", maker.attempt);
    }
    if !maker.at.is_empty() {
        line += &format!("  {}", moment(&maker.at.clone().into()));
    }
    if maker.cut {
        line += "  ...";
    }
    let mut below = Vec::new();
    if let Some(taken) = &maker.taken_from {
        let from = self::maker(&taken.maker, &maker.execution);
        let how = match taken.how {
            How::Cache => "taken from the cache, made by",
            How::Recovery => "taken from the recovered execution, made by",
        };
        below.push(Branch { line: format!("{how} {}", from.line), below: from.below });
    }
    if !maker.within.is_empty() {
        let within = maker.within.iter().map(|it| source(it, &maker.execution)).collect();
        below.push(Branch { line: "within".to_owned(), below: within });
    }
    below.extend(maker.inputs.iter().map(|it| input(it, &maker.execution)));
    Branch { line, below }
}

fn input(input: &Input, around: &str) -> Branch {
    let value = if input.value.is_empty() { String::new() } else { format!(" = {}", input.value) };
    let head = format!("{}{value}", input.name);
    match input.from.as_slice() {
        [Source::Constant] => Branch::leaf(format!("{head}  constant")),
        [one] => {
            let from = source(one, around);
            Branch { line: format!("{head}  ← {}", from.line), below: from.below }
        }
        many => Branch { line: head, below: many.iter().map(|it| source(it, around)).collect() },
    }
}

fn source(source: &Source, around: &str) -> Branch {
    match source {
        Source::Output { output, maker } => {
            let from = self::maker(maker, around);
            Branch { line: format!("`{output}` of {}", from.line), below: from.below }
        }
        Source::Given { input, execution, from } => Branch {
            line: format!("input `{input}` of execution {execution}"),
            below: from.iter().map(|it| self::source(it, execution)).collect(),
        },
        Source::Constant => Branch::leaf("constant"),
        Source::Unknown { reason } => Branch::leaf(format!("unknown: {reason}")),
    }
}

fn used(it: &Use, around: &str) -> Branch {
    let place = place(&it.execution, &it.node, around);
    let runs = if it.runs.is_empty() { String::new() } else { format!("  {}", it.runs) };
    let mut line = match it.kind {
        UseKind::Input => format!("{place}{runs}  as `{}`", it.input),
        UseKind::LaunchPlan => {
            format!("{place}{runs}  as input `{}` of execution {}", it.input, it.started)
        }
        UseKind::CacheHit => format!("{place}{runs}  from the cache"),
        UseKind::Output => format!("output `{}` of execution {}", it.input, it.execution),
    };
    if !it.at.is_empty() {
        line += &format!("  {}", moment(&it.at.clone().into()));
    }
    if it.cut {
        line += "  ...";
    }
    Branch { line, below: it.then.iter().map(|then| used(then, &it.execution)).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catalog::lineage::Artifact;

    #[test]
    fn the_tree_names_executions_only_where_they_change() {
        let node = |execution: &str, node: &str, inputs| Maker {
            execution: execution.to_owned(),
            node: node.to_owned(),
            runs: "task t@1".to_owned(),
            inputs,
            ..Maker::default()
        };
        let from = |maker| Source::Output { output: "o".to_owned(), maker };
        let input = |name: &str, from| Input { name: name.to_owned(), value: "1".to_owned(), from };
        let lineage = Lineage {
            of: Artifact {
                uri: "flyte://v1/p/d/e/n1/o".to_owned(),
                output: None,
                value: String::new(),
                cached: Vec::new(),
            },
            made_by: node(
                "p/d/e",
                "n1",
                vec![
                    input("a", vec![from(node("p/d/e", "n0", Vec::new()))]),
                    input("b", vec![Source::Constant]),
                    input("c", vec![from(node("p/d/f", "n0", Vec::new()))]),
                ],
            ),
            used_by: Vec::new(),
            cut: false,
        };
        let want = "flyte://v1/p/d/e/n1/o\n\
                    made by p/d/e/n1  task t@1\n\
                    ├─ a = 1  ← `o` of n0  task t@1\n\
                    ├─ b = 1  constant\n\
                    └─ c = 1  ← `o` of p/d/f/n0  task t@1\n\
                    used by nothing\n";
        assert_eq!(shown(&lineage), want);
    }
}
