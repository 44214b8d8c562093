//! Holds the settings of the echo plugin; `schema.json` beside `src` is their JSON Schema.

use serde::Deserialize;

/// Settings of the echo plugin.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// How long a task sleeps before it succeeds, in milliseconds, unless its `custom.sleep-ms` says otherwise.
    pub sleep_ms: u64,
}

#[cfg(test)]
mod tests {
    #[test]
    fn schema_file_is_that_of_the_type() {
        let schema = serde_json::to_value(schemars::schema_for!(super::Config)).unwrap();
        plugin_api::testing::assert_schema(concat!(env!("CARGO_MANIFEST_DIR"), "/schema.json"), &schema);
    }
}
