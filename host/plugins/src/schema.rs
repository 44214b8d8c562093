//! Checks the settings of a plugin against the JSON Schema that it carries.

use jsonschema::error::ValidationErrorKind;
use plugin_api::metadata::PluginMetadata;
use serde_json::Value;

use crate::refusal::{Refusal, RefusalKind};

/// Closer names are taken for a slip of the keyboard.
const LIKENESS: f64 = 0.7;

/// Checks the settings; a refusal names each wrong value by its JSON pointer.
pub(crate) fn check(metadata: &PluginMetadata, config: &Value) -> Result<(), Refusal> {
    let problems = problems(&metadata.config_schema, config);
    if problems.is_empty() {
        return Ok(());
    }
    Err(refuse(&metadata.id, &problems))
}

/// The refusal for wrong settings.
pub(crate) fn refuse(id: &str, problems: &[String]) -> Refusal {
    Refusal::new(
        RefusalKind::BadConfig,
        problems.join("; "),
        format!("settings that match the schema of plugin {id}"),
        format!("correct `plugins.{id}.config`; `pinion plugin inspect` prints the schema"),
    )
}

fn problems(schema: &Value, config: &Value) -> Vec<String> {
    let empty = Value::Object(serde_json::Map::new());
    let config = if config.is_null() { &empty } else { config };
    if schema.is_null() {
        let given = config.as_object().is_some_and(|map| !map.is_empty());
        return if given { vec!["/: the plugin takes no settings".into()] } else { Vec::new() };
    }
    let Ok(validator) = jsonschema::validator_for(schema) else {
        return vec!["/: the plugin carries an unusable schema".into()];
    };
    validator.iter_errors(config).flat_map(|error| describe(schema, &error)).collect()
}

fn describe(schema: &Value, error: &jsonschema::ValidationError<'_>) -> Vec<String> {
    let pointer = error.instance_path().to_string();
    let unknown = match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => unexpected,
        // The value itself may be a secret.
        _ => return vec![format!("{}: {}", shown(&pointer), error.masked())],
    };
    let known = known_keys(schema, &error.schema_path().to_string());
    let line = |key: &String| {
        let hint = closest(key, &known).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
        format!("{pointer}/{key}: unknown key{hint}")
    };
    unknown.iter().map(line).collect()
}

fn shown(pointer: &str) -> &str {
    if pointer.is_empty() { "/" } else { pointer }
}

/// The keys beside the `additionalProperties` keyword that was broken.
fn known_keys<'a>(schema: &'a Value, schema_path: &str) -> Vec<&'a str> {
    let parent = schema_path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let properties =
        schema.pointer(parent).and_then(|parent| parent.get("properties")).and_then(Value::as_object);
    properties.map(|map| map.keys().map(String::as_str).collect()).unwrap_or_default()
}

/// The known name that a wrong one probably stands for.
pub(crate) fn closest<'a>(wrong: &str, known: &[&'a str]) -> Option<&'a str> {
    let likeness = |name: &&str| strsim::jaro_winkler(wrong, name);
    let best = known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&best) >= LIKENESS).then_some(best)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Value {
        json!({
            "type": "object", "additionalProperties": false,
            "properties": {
                "default-image": {"type": "string"},
                "limits": {
                    "type": "object", "additionalProperties": false,
                    "properties": {"cpu": {"type": "integer", "minimum": 1}}
                }
            }
        })
    }

    #[test]
    fn right_settings_pass() {
        assert!(problems(&schema(), &json!({"limits": {"cpu": 2}})).is_empty());
        assert!(problems(&schema(), &Value::Null).is_empty());
    }

    #[test]
    fn unknown_key_comes_with_pointer_and_guess() {
        let found = problems(&schema(), &json!({"limits": {"cpus": 2}, "defualt-image": "x"}));
        assert!(found.contains(&"/limits/cpus: unknown key; did you mean `cpu`?".to_owned()), "{found:?}");
        assert!(found.contains(&"/defualt-image: unknown key; did you mean `default-image`?".to_owned()));
    }

    #[test]
    fn wrong_value_is_named_but_not_shown() {
        let found = problems(&schema(), &json!({"limits": {"cpu": "s3cret"}}));
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("/limits/cpu: ") && !found[0].contains("s3cret"), "{found:?}");
    }

    #[test]
    fn plugin_without_schema_takes_nothing() {
        assert_eq!(problems(&Value::Null, &json!({"a": 1})).len(), 1);
    }
}
