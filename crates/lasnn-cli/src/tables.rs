//! The tables that the program prints, and the format of their numbers.

use std::collections::BTreeSet;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use lasnn_conversion::LayerErrors;
use lasnn_core::Plan;
use lasnn_snn::ann_energy_pj;

use crate::escape::printable;
use crate::recipe::{Graph, Node, Plans};
use crate::stage::StageName;
use crate::stage_artifact::Conversion;
use crate::summary::{ClassAccuracy, Stages};

/// An empty table. All columns but the first are aligned to the right.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(header.to_vec());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The result of a run: one row per network.
///
/// The column `energy / image` has the energy of ANNs and of spiking networks. The column `as an
/// ANN` has the energy of the ANN with the same layers.
pub fn stages(stages: &Stages, graph: &Graph<'_>, plans: &Plans) -> String {
    let mut table = table(&[
        "network",
        "test accuracy",
        "steps",
        "firing rate",
        "synops / image",
        "energy / image",
        "as an ANN",
        "seconds",
    ]);
    for (stage, summary) in stages.in_order() {
        let (name, accuracy) = (title(graph, stage), percent(summary.test_accuracy));
        let seconds = match summary.reused {
            true => "reused".to_owned(),
            false => format!("{:.1}", summary.seconds),
        };
        let plan = plans.of(stage);
        let Some(spiking) = &summary.spiking else {
            let dash = || "-".to_owned();
            let energy = picojoules(ann_energy_pj(plan));
            table.add_row([
                name,
                accuracy,
                dash(),
                dash(),
                dash(),
                energy.clone(),
                energy,
                seconds,
            ]);
            continue;
        };
        let rate = |spikes, steps| percent(overall_rate(spikes, steps, plan));
        table.add_row([
            name,
            accuracy,
            spiking.time_steps.to_string(),
            rate(spiking.spikes_per_image, spiking.time_steps),
            count(spiking.synops_per_image),
            picojoules(spiking.energy_pj_per_image),
            picojoules(spiking.ann_energy_pj_per_image),
            seconds,
        ]);
        for other in &spiking.at_time_steps {
            table.add_row([
                format!("  {}", other.title()),
                percent(other.test_accuracy),
                other.all_steps().to_string(),
                rate(other.spikes_per_image, other.all_steps()),
                count(other.synops_per_image),
                picojoules(other.energy_pj_per_image),
                picojoules(spiking.ann_energy_pj_per_image),
                String::new(),
            ]);
        }
    }
    table.to_string()
}

/// A table of the accuracy of each class, from the worst class to the best.
pub fn by_class(classes: &[ClassAccuracy]) -> String {
    let mut worst_first: Vec<_> = classes.iter().collect();
    // The sort is stable, so equal classes stay in the order of the class scores. A class without
    // images comes last.
    let key = |class: &ClassAccuracy| class.accuracy.unwrap_or(f64::INFINITY);
    worst_first.sort_by(|a, b| key(a).total_cmp(&key(b)));
    let mut table = table(&["class", "test images", "accuracy"]);
    for class in worst_first {
        table.add_row([
            printable(&class.class),
            class.images.to_string(),
            class.accuracy.map_or("-".into(), percent),
        ]);
    }
    table.to_string()
}

/// The accuracy after each time step as a row of bars. The lowest accuracy has the lowest bar.
pub fn sparkline(accuracy_by_step: &[f64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const WIDTH: usize = 40;
    // If there are more steps than columns, evenly spaced steps are shown, the last one included.
    let steps = accuracy_by_step.len();
    let shown: Vec<f64> = match steps <= WIDTH {
        true => accuracy_by_step.to_vec(),
        false => (1..=WIDTH).map(|column| accuracy_by_step[column * steps / WIDTH - 1]).collect(),
    };
    let low = shown.iter().copied().fold(f64::INFINITY, f64::min);
    let high = shown.iter().copied().fold(0.0, f64::max);
    let bar = |accuracy: &f64| {
        let share = (accuracy - low) / (high - low).max(f64::MIN_POSITIVE);
        BARS[((share * 8.0) as usize).min(7)]
    };
    shown.iter().map(bar).collect()
}

/// The accuracy over the time steps of every spiking network: one line per network.
pub fn over_time(stages: &Stages, graph: &Graph<'_>) -> String {
    let mut text = String::new();
    for (stage, summary) in stages.in_order() {
        let Some(spiking) = &summary.spiking else { continue };
        let steps = &spiking.accuracy_by_step;
        if let [first, .., last] = steps[..] {
            text.push_str(&format!(
                "\n{}, accuracy after step 1 to {}: {} {} {}",
                title(graph, stage),
                steps.len(),
                percent(first),
                sparkline(steps),
                percent(last)
            ));
        }
    }
    text
}

/// The name of a stage of a recipe in a table.
fn title(graph: &Graph<'_>, stage: &StageName) -> String {
    graph.get(stage).map_or_else(|_| stage.to_string(), Node::title)
}

/// The report of a conversion: one row per layer. The warnings are in the log.
pub fn conversion(report: &Conversion) -> String {
    let mut table = table(&[
        "layer",
        "threshold",
        "firing rate",
        "dead",
        "dead in the ANN",
        "saturated",
        "correlation",
        "error",
        "largest part",
    ]);
    let mut causes = BTreeSet::new();
    for layer in &report.layers {
        let largest = layer.errors.as_ref().map(LayerErrors::largest);
        causes.extend(largest.map(|(cause, _)| cause));
        table.add_row([
            layer.layer.clone(),
            format!("{:.4}", layer.threshold),
            percent(layer.firing_rate),
            percent(layer.dead),
            percent(layer.ann_dead),
            percent(layer.saturated),
            layer.correlation.map_or("-".into(), |value| format!("{value:.4}")),
            layer.errors.map_or("-".into(), |errors| percent(errors.total)),
            largest.map_or("-".into(), |(cause, error)| {
                format!("{}, {}", cause.name(), percent(error))
            }),
        ]);
    }
    let mut text = table.to_string();
    for cause in causes {
        text.push_str(&format!("\nless {}: {}", cause.name(), cause.remedy()));
    }
    text
}

/// The mean firing rate over all neurons of a network, in spikes per neuron and time step.
pub fn overall_rate(spikes_per_image: f64, time_steps: usize, plan: &Plan) -> f64 {
    let (_, layers) = lasnn_snn::fan_out::fan_outs(plan);
    let neurons: usize = layers.iter().map(|layer| layer.shape.len()).sum();
    match neurons * time_steps {
        0 => 0.0,
        possible => spikes_per_image / possible as f64,
    }
}

/// A share in percent: `0.9712` is `97.12 %`.
pub fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// A count with three digits.
pub fn count(number: f64) -> String {
    scaled(number, &[(1e9, " G"), (1e6, " M"), (1e3, " k")], "")
}

/// An energy in picojoules with three digits.
pub fn picojoules(energy: f64) -> String {
    scaled(energy, &[(1e9, " mJ"), (1e6, " uJ"), (1e3, " nJ")], " pJ")
}

fn scaled(number: f64, units: &[(f64, &str)], small: &str) -> String {
    let unit = units.iter().find(|(size, _)| number.abs() >= *size);
    let (size, name) = unit.copied().unwrap_or((1.0, small));
    let value = number / size;
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        assert_eq!(count(1_234_567.0), "1.23 M");
        assert_eq!(count(45_600.0), "45.6 k");
        assert_eq!(count(12.0), "12.0");
        assert_eq!(picojoules(0.0), "0.00 pJ");
        assert_eq!(picojoules(789_000.0), "789 nJ");
        assert_eq!(percent(0.9712), "97.12 %");
    }

    #[test]
    fn accuracy_over_time_is_a_row_of_bars() {
        assert_eq!(sparkline(&[0.1, 0.5, 0.9]), "▁▅█");
        assert_eq!(sparkline(&[0.5, 0.5]), "▁▁");
        let steps: Vec<f64> = (1..=100).map(|step| f64::from(step) / 100.0).collect();
        let bars = sparkline(&steps);
        assert_eq!(bars.chars().count(), 40);
        assert!(bars.starts_with('▁') && bars.ends_with('█'), "{bars}");
    }

    #[test]
    fn the_worst_class_comes_first_and_its_name_is_escaped() {
        let class =
            |class: &str, accuracy| ClassAccuracy { class: class.into(), images: 4, accuracy };
        let table = by_class(&[
            class("none", None),
            class("good", Some(1.0)),
            class("bad\u{1b}[31m", Some(0.25)),
        ]);
        let position = |text: &str| table.find(text).unwrap();
        assert!(position("bad\\u{1b}") < position("good"), "{table}");
        assert!(position("good") < position("none"), "{table}");
    }

    #[test]
    fn the_overall_rate_weighs_layers_by_their_neurons() {
        use lasnn_core::{Architecture, Layer, Shape};
        let layers = vec![
            Layer::conv(2),
            Layer::Linear { features: 28, bias: false },
            Layer::Classifier { bias: false },
        ];
        let image = Shape { channels: 1, height: 6, width: 6 };
        let plan = Architecture { name: "n".into(), layers }.plan(image, 10).unwrap();
        // 72 and 28 neurons over 4 time steps.
        assert!((overall_rate(40.0, 4, &plan) - 0.1).abs() < 1e-12);
    }
}
