//! Compares the schema file of a plugin with the schema of its configuration type.

use serde_json::Value;

/// Fails when the file is not the schema; with `UPDATE_EXPECT=1` in the environment it is rewritten instead.
///
/// A plugin embeds its schema as text known at compile time, so the text is a file; this keeps it true.
#[track_caller]
pub fn assert_schema(path: &str, schema: &Value) {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let text = format!("{schema:#}\n");
        assert!(std::fs::write(path, text).is_ok(), "cannot write {path}");
        return;
    }
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let found: Value = serde_json::from_str(&text).unwrap_or_default();
    assert_eq!(&found, schema, "{path} is not the schema of the type; run the test with UPDATE_EXPECT=1");
}
