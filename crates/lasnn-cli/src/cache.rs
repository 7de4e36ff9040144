//! Trained networks found again by what made them: `<runs>/cache/<stage>-<16 hex>.safetensors`.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::stage::StageName;

/// SHA-256 of the canonical JSON of `content`, in hexadecimal.
///
/// Canonical is: keys in the order of their letters, no spaces. The order of fields in a struct or
/// of tables in a recipe so says nothing.
///
/// # Errors
///
/// Fails if `content` cannot be written as JSON.
pub fn hash(content: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut text = String::new();
    canonical(&serde_json::to_value(content)?, &mut text);
    Ok(Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect())
}

fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            out.push('{');
            for (place, (key, value)) in entries.into_iter().enumerate() {
                out.push_str(if place > 0 { "," } else { "" });
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                out.push_str(if place > 0 { "," } else { "" });
                canonical(item, out);
            }
            out.push(']');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

/// The file of the network of `stage` that was made from what has the hash `key`.
pub fn path(runs: &Path, stage: StageName, key: &str) -> PathBuf {
    let short = &key[..key.len().min(16)];
    runs.join("cache").join(format!("{}-{short}.safetensors", stage.name()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_of_keys_says_nothing_and_every_value_does() {
        let text = |value: Value| {
            let mut out = String::new();
            canonical(&value, &mut out);
            out
        };
        assert_eq!(
            text(json!({"b": [1, 2.5, null], "a": {"d": "x\"y", "c": true}})),
            r#"{"a":{"c":true,"d":"x\"y"},"b":[1,2.5,null]}"#
        );
        let key = |seed| hash(&json!({"stage": "teacher", "seed": seed})).unwrap();
        assert_eq!(key(1), key(1));
        assert_ne!(key(1), key(2));
        assert_eq!(key(1).len(), 64);
    }

    #[test]
    fn a_hash_is_that_of_the_text() {
        // `printf '{"a":1}' | sha256sum`
        let expected = "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862";
        assert_eq!(hash(&json!({"a": 1})).unwrap(), expected);
    }

    #[test]
    fn files_are_named_by_stage_and_key() {
        let path = path(Path::new("runs"), StageName::Teacher, "0123456789abcdef0123");
        assert_eq!(path, Path::new("runs/cache/teacher-0123456789abcdef.safetensors"));
    }
}
