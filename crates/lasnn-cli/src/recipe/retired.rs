//! Keys that recipes had once. Each is refused with the keys that replace it.

use toml::de::DeValue;

/// A key that recipes had once: its path, and what to write instead.
const RETIRED: [([&str; 2], &str); 9] = [
    (
        ["spiking", "readout"],
        "the logits of a spiking network are the mean over time; an entry of [[student.losses]] \
         says with `on` whether it takes their \"mean\", their \"sum\" (the default of \
         `cross-entropy`) or those of each \"step\"",
    ),
    (
        ["conversion", "policy"],
        "write `method = { kind = \"threshold-balancing\", policy = ... }` in [conversion], with \
         the value of this key as the policy",
    ),
    (
        ["student", "distillation"],
        "write an entry of [[student.losses]] with `kind = \"cross-entropy\"`, and one with \
         `kind = \"attention\"` and the keys of this table",
    ),
    (["spiking", "leak"], "write `spiking.neuron.leak`"),
    (["spiking", "threshold"], "write `spiking.neuron.threshold`"),
    (["spiking", "initial_membrane"], "write `spiking.neuron.initial_membrane`"),
    (["spiking", "reset"], "write `spiking.neuron.reset`"),
    (["spiking", "step_order"], "write `spiking.neuron.step_order`"),
    (["spiking", "surrogate"], "write `spiking.neuron.surrogate`"),
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
        let other = message("[spiking.neuron]\nleak = 1.0\n[student]\ntime_steps = 2\n");
        assert!(!other.contains("no longer"), "{other}");
        for text in [
            "name = \"a\"\n[spiking]\nreadout = \"mean\"\n",
            "name = \"a\"\n\nspiking.readout = \"mean\"\n",
            "name = \"a\"\n\nspiking = { neuron = { leak = 1.0 }, readout = \"mean\" }\n",
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

    #[test]
    fn the_keys_of_neurons_have_moved() {
        for entry in [
            "leak = 0.5",
            "threshold = { train = true }",
            "initial_membrane = { value = 0.5 }",
            "reset = \"zero\"",
            "step_order = \"fire-then-integrate\"",
            "surrogate = { kind = \"atan\" }",
        ] {
            let key = entry.split(' ').next().unwrap();
            let text = format!("name = \"a\"\n[spiking]\n{entry}\n");
            let message = parse(&text, Path::new("r.toml"), None).unwrap_err().to_string();
            let expected = format!("`spiking.{key}` is no longer a key of a recipe");
            assert!(message.starts_with("r.toml:3:") && message.contains(&expected), "{message}");
            assert!(message.contains(&format!("write `spiking.neuron.{key}`")), "{message}");
        }
    }
}
