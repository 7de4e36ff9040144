//! `list`: what a recipe can name.
//!
//! Each list is the table that the program itself uses to read a recipe.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement};
use lasnn_conversion::{CalibrationConfig, ClassScores, MethodConfig, Policy};
use lasnn_core::Kind;
use lasnn_datasets::Source;
use lasnn_distillation::LossConfig;
use lasnn_models::{ActivationConfig, zoo};
use lasnn_neurons::{Encoding, NeuronConfig, Reset, StepOrder, Surrogate};
use lasnn_snn::BatchNormConfig;
use lasnn_training::{OptimizerConfig, ParamKind, Schedule};
use serde::Serialize;

use crate::args::{Global, Listed};
use crate::output;
use crate::tables::table;

/// The width of the tables, in characters.
const WIDTH: u16 = 100;

/// A name that a key of a recipe can have.
#[derive(Debug, Serialize)]
struct Row {
    /// The key of the recipe.
    key: &'static str,
    #[serde(flatten)]
    kind: Kind,
}

/// Lists the names that some keys of a recipe can have.
///
/// # Errors
///
/// Fails if the list cannot be written.
pub fn list(what: Listed, global: &Global) -> anyhow::Result<()> {
    let rows = rows(what);
    output::print(global, &rows, || text(what, &rows))
}

fn rows(what: Listed) -> Vec<Row> {
    let keys: Vec<(&'static str, Vec<Kind>)> = match what {
        Listed::Networks => vec![("*.network", zoo::KINDS.to_vec())],
        Listed::Activations => vec![("*.activation.kind", ActivationConfig::KINDS.to_vec())],
        Listed::Neurons => vec![
            ("spiking.neuron.kind", NeuronConfig::KINDS.to_vec()),
            ("spiking.neuron.reset", Reset::KINDS.to_vec()),
            ("spiking.neuron.step_order", StepOrder::KINDS.to_vec()),
            ("student.batch_norm.kind", BatchNormConfig::KINDS.to_vec()),
        ],
        Listed::Surrogates => vec![("spiking.neuron.surrogate.kind", Surrogate::KINDS.to_vec())],
        Listed::Encodings => vec![("spiking.encoding.kind", Encoding::KINDS.to_vec())],
        Listed::Losses => vec![("student.losses.kind", LossConfig::KINDS.to_vec())],
        Listed::Datasets => vec![("data.source", Source::ALL.map(Source::kind).to_vec())],
        Listed::Methods => vec![
            ("conversion.method.kind", MethodConfig::KINDS.to_vec()),
            ("conversion.method.policy.kind", Policy::KINDS.to_vec()),
            ("conversion.class_scores", ClassScores::KINDS.to_vec()),
            ("conversion.calibration.kind", CalibrationConfig::KINDS.to_vec()),
        ],
        Listed::Optimizers => vec![
            ("*.train.optimizer.kind", OptimizerConfig::KINDS.to_vec()),
            ("*.train.groups", ParamKind::KINDS.to_vec()),
        ],
        Listed::Schedules => vec![("*.train.schedule.kind", Schedule::KINDS.to_vec())],
    };
    let row = |key, kind| Row { key, kind };
    keys.into_iter().flat_map(|(key, kinds)| kinds.into_iter().map(move |k| row(key, k))).collect()
}

fn text(what: Listed, rows: &[Row]) -> String {
    let mut table = table(&["key", "name", "meaning", "source"]);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Left);
    }
    // Keys and names are typed, so they stay on one line.
    for column in table.column_iter_mut().take(2) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    for Row { key, kind } in rows {
        let source = if kind.source.is_empty() { "-" } else { kind.source };
        table.add_row([key, kind.name, kind.about, source]);
    }
    let note = match what {
        Listed::Networks => "\n`lasnn inspect NAME` shows the layers of a network.",
        Listed::Neurons => "\n`spiking.neuron.kind` is `lif` if a recipe does not say it.",
        _ => "",
    };
    format!("{table}{note}")
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_list_has_names_with_a_meaning() {
        for what in Listed::value_variants() {
            let rows = rows(*what);
            assert!(!rows.is_empty(), "{what:?}");
            let shown = text(*what, &rows);
            assert!(shown.lines().all(|line| line.chars().count() <= 100), "{shown}");
            for Row { kind, .. } in &rows {
                assert!(!kind.about.is_empty(), "{kind:?}");
                assert!(shown.contains(kind.name), "no `{}` in:\n{shown}", kind.name);
            }
        }
    }

    #[test]
    fn a_row_is_a_flat_object_in_json() {
        let row = serde_json::to_value(&rows(Listed::Schedules)[2]).unwrap();
        let expected = serde_json::json!({
            "key": "*.train.schedule.kind",
            "name": "constant",
            "about": "the initial learning rate at every step",
            "source": "",
        });
        assert_eq!(row, expected);
    }
}
