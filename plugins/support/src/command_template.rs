//! Renders `{{ .input }}`-style templates in commands, arguments and queries (execution.md B9).

use plugin_api::{PluginError, TaskContext};
use proto::flyteidl::core::{Literal, LiteralMap, Primitive, literal, primitive, scalar};

/// Renders every argument. An argument that is exactly one template of a list input becomes several arguments;
/// an empty argument stays an empty argument.
pub fn render_all(cx: &TaskContext, arguments: &[String]) -> Result<Vec<String>, PluginError> {
    let mut out = Vec::with_capacity(arguments.len());
    for argument in arguments {
        match whole_input(argument).and_then(|name| list_input(cx, name)) {
            Some(items) => {
                for item in items {
                    out.push(literal_text(item)?);
                }
            }
            None => out.push(render(cx, argument)?),
        }
    }
    Ok(out)
}

/// Renders one text.
pub fn render(cx: &TaskContext, text: &str) -> Result<String, PluginError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let Some(length) = rest.get(start..).and_then(|tail| tail.find("}}")) else { break };
        let (before, tail) = rest.split_at(start);
        let (inside, after) = tail.split_at(length);
        let (inside, after) = (inside.trim_start_matches("{{"), after.trim_start_matches("}}"));
        out.push_str(before);
        match name_of(inside) {
            Some(name) => match value(cx, name)? {
                Some(value) => out.push_str(&value),
                // Not one of our names: some other tool's template, left as it is.
                None => {
                    out.push_str("{{");
                    out.push_str(inside);
                    out.push_str("}}");
                }
            },
            None => {
                out.push_str("{{");
                out.push_str(inside);
                out.push_str("}}");
            }
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// Whether rendering these texts looks at the values of the inputs.
pub fn uses_inputs(texts: &[String]) -> bool {
    texts.iter().any(|text| {
        text.split("{{").skip(1).any(|part| {
            name_of(part.split("}}").next().unwrap_or_default())
                .is_some_and(|name| name.to_ascii_lowercase().starts_with("inputs."))
        })
    })
}

fn name_of(inside: &str) -> Option<&str> {
    inside.trim().strip_prefix(['.', '$'])
}

fn whole_input(argument: &str) -> Option<&str> {
    let inside = argument.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    if inside.contains("{{") {
        return None;
    }
    input_name(name_of(inside)?)
}

fn input_name(name: &str) -> Option<&str> {
    let (head, tail) = name.split_once('.')?;
    head.eq_ignore_ascii_case("inputs").then_some(tail.trim())
}

fn list_input<'a>(cx: &'a TaskContext, name: &str) -> Option<&'a Vec<Literal>> {
    match cx.inputs()?.literals.get(name)?.value.as_ref()? {
        literal::Value::Collection(list) => Some(&list.literals),
        _ => None,
    }
}

fn value(cx: &TaskContext, name: &str) -> Result<Option<String>, PluginError> {
    if let Some(input) = input_name(name) {
        let inputs = cx.inputs().ok_or_else(|| {
            PluginError::system(
                "InputsUnavailable",
                format!("the inputs for {{{{ .{name} }}}} were not fetched"),
            )
        })?;
        return input_text(inputs, input).map(Some);
    }
    let value = match name.trim().to_ascii_lowercase().as_str() {
        "input" => cx.input_uri.clone(),
        "inputprefix" => cx.input_prefix.clone(),
        "outputprefix" => cx.output_prefix.clone(),
        "rawoutputdataprefix" => cx.raw_output_prefix.clone(),
        "checkpointoutputprefix" => cx.checkpoint_prefix.clone(),
        // flytekit accepts both the text `""` that Flyte writes and an empty argument.
        "prevcheckpointprefix" if cx.prev_checkpoint_prefix.is_empty() => "\"\"".to_owned(),
        "prevcheckpointprefix" => cx.prev_checkpoint_prefix.clone(),
        "perretryuniquekey" => per_retry_unique_key(&cx.generated_name),
        "tasktemplatepath" => cx.task_template_uri().to_owned(),
        "namespace" => cx.namespace.clone(),
        _ => return Ok(None),
    };
    Ok(Some(value))
}

fn per_retry_unique_key(generated_name: &str) -> String {
    let mut key: String =
        generated_name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if !key.starts_with(|c: char| c.is_ascii_alphabetic()) {
        key.insert(0, 'a');
    }
    key
}

fn input_text(inputs: &LiteralMap, name: &str) -> Result<String, PluginError> {
    let literal = inputs.literals.get(name).ok_or_else(|| {
        let known: Vec<&str> = inputs.literals.keys().map(String::as_str).collect();
        PluginError::user(
            "BadTaskSpecification",
            format!(
                "the command names the input `{name}`, which the task does not have (it has: {})",
                known.join(", ")
            ),
        )
    })?;
    literal_text(literal)
}

fn literal_text(literal: &Literal) -> Result<String, PluginError> {
    match literal.value.as_ref() {
        Some(literal::Value::Scalar(scalar)) => match scalar.value.as_ref() {
            Some(scalar::Value::Primitive(primitive)) => Ok(primitive_text(primitive)),
            Some(scalar::Value::Blob(blob)) => Ok(blob.uri.clone()),
            Some(scalar::Value::Schema(schema)) => Ok(schema.uri.clone()),
            Some(scalar::Value::StructuredDataset(dataset)) => Ok(dataset.uri.clone()),
            Some(scalar::Value::Generic(value)) => Ok(plugin_api::json::from_struct(value).to_string()),
            Some(scalar::Value::Union(union)) => {
                union.value.as_deref().map_or_else(|| Ok(String::new()), literal_text)
            }
            Some(scalar::Value::NoneType(_)) | None => Ok(String::new()),
            Some(scalar::Value::Binary(_) | scalar::Value::Error(_)) => Err(PluginError::user(
                "BadTaskSpecification",
                "a command can not name an input of this type; pass it through the inputs file instead",
            )),
        },
        Some(literal::Value::Collection(list)) => {
            let items: Result<Vec<String>, PluginError> = list.literals.iter().map(literal_text).collect();
            Ok(format!("[{}]", items?.join(",")))
        }
        Some(literal::Value::Map(_) | literal::Value::OffloadedMetadata(_)) => {
            Err(PluginError::user("BadTaskSpecification", "a command can not name an input that is a map"))
        }
        None => Ok(String::new()),
    }
}

fn primitive_text(primitive: &Primitive) -> String {
    match primitive.value.as_ref() {
        Some(primitive::Value::Integer(value)) => value.to_string(),
        Some(primitive::Value::FloatValue(value)) => value.to_string(),
        Some(primitive::Value::StringValue(value)) => value.clone(),
        Some(primitive::Value::Boolean(value)) => value.to_string(),
        Some(primitive::Value::Datetime(value)) => value.to_string(),
        Some(primitive::Value::Duration(value)) => value.to_string(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::wire::TaskExecutionContext;
    use proto::flyteidl::core::{LiteralCollection, Scalar};

    fn integer(value: i64) -> Literal {
        let primitive = Primitive { value: Some(primitive::Value::Integer(value)) };
        let scalar = Scalar { value: Some(scalar::Value::Primitive(primitive)) };
        Literal { value: Some(literal::Value::Scalar(Box::new(scalar))), ..Default::default() }
    }

    fn context() -> TaskContext {
        let mut cx = TaskContext::new(TaskExecutionContext {
            generated_name: "1ex-n0-0".into(),
            namespace: "p-d".into(),
            input_uri: "s3://b/inputs.pb".into(),
            output_prefix: "s3://b/out".into(),
            ..Default::default()
        });
        let list = LiteralCollection { literals: vec![integer(1), integer(2)] };
        let list = Literal { value: Some(literal::Value::Collection(list)), ..Default::default() };
        cx.set_inputs(LiteralMap { literals: [("x".to_owned(), integer(7)), ("l".to_owned(), list)].into() });
        cx
    }

    #[test]
    fn every_spelling_of_a_template_is_rendered() {
        for (text, want) in [
            ("{{.input}}", "s3://b/inputs.pb"),
            ("{{ .Input }}", "s3://b/inputs.pb"),
            ("{{$input}}", "s3://b/inputs.pb"),
            ("a{{.outputPrefix}}/b", "as3://b/out/b"),
            ("{{.prevCheckpointPrefix}}", "\"\""),
            ("{{.perRetryUniqueKey}}", "a1ex_n0_0"),
            ("{{.inputs.x}}-{{.inputs.l}}", "7-[1,2]"),
            ("{{ .Values.other }}", "{{ .Values.other }}"),
            ("{{ unclosed", "{{ unclosed"),
            ("", ""),
        ] {
            assert_eq!(render(&context(), text).unwrap(), want, "{text}");
        }
    }

    #[test]
    fn a_list_input_alone_becomes_several_arguments_and_empty_ones_stay() {
        let arguments = ["a".to_owned(), String::new(), "{{.inputs.l}}".to_owned()];
        assert_eq!(render_all(&context(), &arguments).unwrap(), ["a", "", "1", "2"]);
    }

    #[test]
    fn an_unknown_input_is_named_in_the_error() {
        let error = render(&context(), "{{.inputs.nope}}").unwrap_err();
        assert!(error.message.contains("`nope`") && error.message.contains("l, x"), "{error}");
    }

    #[test]
    fn inputs_are_asked_for_only_when_a_template_names_them() {
        assert!(uses_inputs(&["{{ .inputs.x }}".to_owned()]));
        assert!(!uses_inputs(&["{{.input}}".to_owned(), "{{.inputPrefix}}".to_owned()]));
    }
}
