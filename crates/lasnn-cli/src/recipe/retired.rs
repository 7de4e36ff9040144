//! Keys that recipes had once. Each is refused with the keys that replace it.

use toml::de::DeValue;

/// A key that recipes had once: its path, and what to write instead.
const RETIRED: [([&str; 2], &str); 3] = [
    (
        ["spiking", "readout"],
        "the logits of a spiking network are the mean over time; an entry of [[student.losses]] \
         says with `on` whether it takes their \"mean\", their \"sum\" (the default of \
         `cross-entropy`) or those of each \"step\"",
    ),
    (
        ["conversion", "policy"],
        "write `method = { kind = \"threshold-balancing\", policy = ... }` in [conversion], with the \
         value of this key as the policy",
    ),
    (
        ["student", "distillation"],
        "write an entry of [[student.losses]] with `kind = \"cross-entropy\"`, and one with \
         `kind = \"attention\"` and the keys of this table",
    ),
];

/// The first retired key of a recipe: the position of its value, and what to write instead.
pub fn find(recipe: &DeValue<'_>) -> Option<(usize, String)> {
    RETIRED.iter().find_map(|([table, key], instead)| {
        let value = recipe.get(*table)?.get_ref().get(*key)?;
        let message = format!("`{table}.{key}` is no longer a key of a recipe: {instead}");
        Some((value.span().start, message))
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::parse;

    #[test]
    fn a_retired_key_is_refused_with_its_line_and_its_replacement() {
        let message = |text: &str| parse(text, Path::new("r.toml"), None).unwrap_err().to_string();
        let other = message("[spiking]\nleak = 1.0\n[student]\ntime_steps = 2\n");
        assert!(!other.contains("no longer"), "{other}");
        for text in [
            "name = \"a\"\n[spiking]\nreadout = \"mean\"\n",
            "name = \"a\"\n\nspiking.readout = \"mean\"\n",
            "name = \"a\"\n\nspiking = { leak = 1.0, readout = \"mean\" }\n",
        ] {
            let message = message(text);
            assert!(message.starts_with("r.toml:3:"), "{message}");
            for word in ["`spiking.readout` is no longer a key", "[[student.losses]]", "`on`"] {
                assert!(message.contains(word), "{word}: {message}");
            }
        }
        let message = message("[student]\n[student.distillation]\nkind = \"attention\"\n");
        for word in ["r.toml:2:", "`student.distillation`", "[[student.losses]]", "attention"] {
            assert!(message.contains(word), "{word}: {message}");
        }
    }
}
