//! What form JSON has, whatever is in it.

/// Returns the names and kinds of a JSON value; of a list its first entry.
pub(crate) fn shape(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value as Json;
    match value {
        Json::Null => "null".into(),
        Json::Bool(_) => "true or false".into(),
        Json::Number(_) => "a number".into(),
        Json::String(_) => "a text".into(),
        Json::Array(list) => list.first().map(shape).into_iter().collect::<Vec<_>>().into(),
        Json::Object(object) => object.iter().map(|(key, value)| (key.clone(), shape(value))).collect(),
    }
}
