//! Keys that recipes had once. Each is refused with the keys that replace it.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::error::RecipeError;

/// A key that recipes had once: its path, and what to write instead.
const RETIRED: [([&str; 2], &str); 2] = [
    (
        ["spiking", "readout"],
        "the logits of a spiking network are the mean over time; an entry of [[student.losses]] \
         says with `on` whether it takes their \"mean\", their \"sum\" (the default of \
         `cross-entropy`) or those of each \"step\"",
    ),
    (
        ["student", "distillation"],
        "write an entry of [[student.losses]] with `kind = \"cross-entropy\"`, and one with \
         `kind = \"attention\"` and the keys of this table",
    ),
];

/// Checks that the text of a recipe has no retired key.
///
/// # Errors
///
/// Names the first retired key, its position, and what to write instead.
pub fn check(text: &str, file: &Path) -> Result<(), RecipeError> {
    let recipe = DeTable::parse(text)
        .map_err(|error| RecipeError::in_text(file.into(), text, None, &error))?;
    for ([table, key], instead) in RETIRED {
        let Some((_, DeValue::Table(table_of_key))) = entry(recipe.get_ref(), table) else {
            continue;
        };
        if let Some((offset, _)) = entry(table_of_key, key) {
            let key = format!("{table}.{key}");
            return Err(RecipeError::retired(file.into(), text, offset, key, instead));
        }
    }
    Ok(())
}

/// The value of a key, and the position of the key in the text.
fn entry<'a, 'i>(table: &'a DeTable<'i>, key: &str) -> Option<(usize, &'a DeValue<'i>)> {
    let (key, value) = table.iter().find(|(found, _)| found.get_ref().as_ref() == key)?;
    Some((key.span().start, value.get_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retired_key_is_refused_with_its_line_and_its_replacement() {
        let message = |text: &str| match check(text, Path::new("r.toml")) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        };
        assert_eq!(message("[spiking]\nleak = 1.0\n[student]\ntime_steps = 2\n"), "");
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
