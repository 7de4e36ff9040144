//! The cache of trained networks: `<runs>/cache/<stage>-<16 hex digits>.safetensors`.
//!
//! The digits are the beginning of a hash of everything that determines the network. A run that
//! would train the same network again finds it there.

use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::stage::StageName;

/// SHA-256 of the JSON of `content`, in hexadecimal.
///
/// The keys of all objects are sorted first, so the hash does not depend on the order of the fields
/// of a struct or of the tables in a recipe.
///
/// # Errors
///
/// Fails if `content` cannot be written as JSON.
pub fn hash(content: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut content = serde_json::to_value(content)?;
    content.sort_all_objects();
    let digest = Sha256::digest(content.to_string());
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The file of the network of `stage` whose inputs have the hash `key`.
pub fn path(runs: &Path, stage: &StageName, key: &str) -> PathBuf {
    let short = &key[..key.len().min(16)];
    runs.join("cache").join(format!("{}-{short}.safetensors", stage))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_value_changes_the_hash_and_the_order_of_keys_does_not() {
        #[derive(Serialize)]
        struct Sorted {
            a: u32,
            b: [f64; 2],
        }
        #[derive(Serialize)]
        struct Unsorted {
            b: [f64; 2],
            a: u32,
        }
        let b = [1.0, 2.5];
        assert_eq!(hash(&Sorted { a: 1, b }).unwrap(), hash(&Unsorted { b, a: 1 }).unwrap());
        assert_ne!(hash(&Sorted { a: 1, b }).unwrap(), hash(&Sorted { a: 2, b }).unwrap());
        assert_eq!(hash(&Sorted { a: 1, b }).unwrap().len(), 64);
    }

    #[test]
    fn the_hash_is_that_of_the_compact_json() {
        // printf '{"a":{"c":true,"d":"x\\"y"},"b":[1,2.5,null]}' | sha256sum
        let content = json!({"b": [1, 2.5, null], "a": {"d": "x\"y", "c": true}});
        let expected = "c6a5f151cb5a9fdfca71f4ddf31c64d3eb841ca3c306592f8da46cad18f857b9";
        assert_eq!(hash(&content).unwrap(), expected);
    }

    #[test]
    fn files_are_named_by_stage_and_key() {
        let path = path(Path::new("runs"), &StageName::TEACHER, "0123456789abcdef0123");
        assert_eq!(path, Path::new("runs/cache/teacher-0123456789abcdef.safetensors"));
    }
}
