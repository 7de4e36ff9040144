//! The keys that a recipe can have, for the completion of `--set` in a shell.

use std::path::Path;

use lasnn_training::ParamKind;
use toml::{Table, Value};

use super::{Changes, read_text};

/// A `train` table with all keys that do not appear in a resolved recipe by default.
const TRAIN: &str = "
epochs = 1
batch = 1
micro_batch = 1
clip_norm = 1.0
checkpoint_steps = 1
optimizer = { kind = \"adam\", learning_rate = 1.0 }
";

/// The keys of a recipe, without those inside networks and of single data sets.
///
/// They are the keys of a resolved recipe, so they are those that the program reads.
pub fn keys() -> Vec<String> {
    use ParamKind::{Activation, Bias, InitialMembrane, Leak, Norm, Threshold, Weight};
    let of_ann = groups(&[Weight, Bias, Norm, Activation]);
    let of_student = groups(&[Weight, Bias, Norm, Threshold, Leak, InitialMembrane]);
    let clip = "activation.kind = \"clip\"";
    let text = format!(
        "name = \"keys\"
        data = {{ source = \"digits\", validation = 1, train_limit = 1, test_limit = 1 }}
        [teacher]\nnetwork = \"vgg5\"\n{clip}\n[teacher.train]{TRAIN}{of_ann}
        [intermediate]\nnetwork = \"vgg5\"\n{clip}\n[intermediate.train]{TRAIN}{of_ann}
        [spiking.neuron]\nleak = {{ train = true }}\nthreshold = {{ train = true }}
        initial_membrane = {{ train = true }}
        [student]\nstart = \"random\"\nthreshold = 1\ntime_steps = 1\ntrain_limit = 1
        batch_norm = {{ kind = \"threshold-dependent\" }}
        [student.train]{TRAIN}{of_student}"
    );
    let recipe = read_text(text, Path::new("keys"), Changes::default());
    let table = recipe.ok().and_then(|(recipe, _)| Table::try_from(recipe).ok());
    let mut keys = Vec::new();
    add(String::new(), &Value::Table(table.unwrap_or_default()), &mut keys);
    // Other forms of `spiking.neuron.leak`, which a resolved recipe does not have.
    let forms = ["spiking.neuron.leak", "spiking.neuron.leak.time_constant"];
    keys.extend(forms.map(String::from));
    keys
}

/// The groups of a `train` table, with all keys.
fn groups(kinds: &[ParamKind]) -> String {
    let group = |kind: &ParamKind| {
        format!("groups.{} = {{ learning_rate = 1.0, weight_decay = 1.0 }}\n", kind.name())
    };
    kinds.iter().map(group).collect()
}

/// Adds the paths of all values in `value`, whose own path is `path`.
fn add(path: String, value: &Value, keys: &mut Vec<String>) {
    let below = |name: &str| match path.is_empty() {
        true => name.to_owned(),
        false => format!("{path}.{name}"),
    };
    match value {
        Value::Table(table) if !path.ends_with(".network") => {
            for (name, value) in table {
                add(below(name), value, keys);
            }
        }
        Value::Array(list) if list.iter().any(Value::is_table) => {
            for (index, value) in list.iter().enumerate() {
                add(below(&index.to_string()), value, keys);
            }
        }
        _ => keys.push(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_its_keys() {
        let keys = keys();
        for key in [
            "name",
            "data.augment.flip",
            "teacher.network",
            "teacher.train.micro_batch",
            "intermediate.train.optimizer.learning_rate",
            "spiking.neuron.kind",
            "spiking.neuron.surrogate.kind",
            "spiking.neuron.leak",
            "spiking.neuron.leak.train",
            "spiking.neuron.initial_membrane.per",
            "conversion.method.policy.percentile",
            "student.start",
            "student.threshold",
            "student.train.epochs",
            "student.train.groups.initial-membrane.learning_rate",
            "evaluation.time_steps",
        ] {
            assert!(keys.iter().any(|found| found == key), "no `{key}` in {keys:?}");
        }
        assert!(!keys.iter().any(|key| key.contains("layers")), "{keys:?}");
    }
}
