//! The JSON Schema of the form.
use serde_json::{Value, json};

/// Returns the schema.
pub fn schema() -> Value {
    json!({})
}
