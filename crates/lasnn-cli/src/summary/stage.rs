//! The result of one stage. It is also part of the stage's checkpoint, so a reused network keeps
//! its numbers.

use lasnn_core::{ClassCount, Plan};
use lasnn_snn::Simulation;
use lasnn_snn::offset::steps_with_offset;
use serde::{Deserialize, Serialize};

/// The result of one stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageSummary {
    /// The name of the architecture.
    pub network: String,
    /// The number of trainable parameters.
    pub parameters: usize,
    /// The share of the test images that are classified correctly with the weights of the chosen
    /// epoch.
    pub test_accuracy: f64,
    /// The test accuracy of each class.
    pub accuracy_by_class: Vec<ClassAccuracy>,
    /// The share of the validation images that are classified correctly with the same weights.
    pub validation_accuracy: f64,
    /// The number of epochs.
    pub epochs: usize,
    /// The index of the chosen epoch, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_epoch: Option<usize>,
    /// The test accuracy with the weights of the last epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_test_accuracy: Option<f64>,
    /// The wall time in seconds.
    pub seconds: f64,
    /// Whether the result was taken from an earlier run.
    pub reused: bool,
    /// The numbers that only a spiking network has.
    #[serde(flatten)]
    pub spiking: Option<SpikingSummary>,
}

/// The test accuracy of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassAccuracy {
    /// The name of the class.
    pub class: String,
    /// The number of test images of the class.
    pub images: u64,
    /// The share of them that are classified correctly. Null if there are none.
    pub accuracy: Option<f64>,
}

/// The numbers that only a spiking network has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpikingSummary {
    /// The number of time steps per image.
    pub time_steps: usize,
    /// The test accuracy of the readout after each time step.
    pub accuracy_by_step: Vec<f64>,
    /// The mean firing rate of each layer over neurons, time steps and test images.
    pub firing_rate_by_layer: Vec<LayerRate>,
    /// The spikes of all layers in all time steps.
    pub spikes_per_image: f64,
    /// The synaptic operations: additions that spikes cause.
    pub synops_per_image: f64,
    /// The estimated energy in picojoules; docs/summary.md has the formula.
    pub energy_pj_per_image: f64,
    /// The estimated energy of the ANN of the same architecture.
    pub ann_energy_pj_per_image: f64,
    /// The results of the same network with other numbers of time steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at_time_steps: Vec<AtTimeSteps>,
}

/// The firing rate of one layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerRate {
    /// The name of the layer.
    pub layer: String,
    /// Spikes per neuron and time step.
    pub rate: f64,
}

/// The result of a spiking network with another number of time steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AtTimeSteps {
    /// The number of time steps per image.
    pub time_steps: usize,
    /// The number of time steps over which each layer is corrected before it runs; 0 is none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub offset_steps: usize,
    /// The share of the test images that are classified correctly.
    pub test_accuracy: f64,
    /// The spikes of all layers in all time steps.
    pub spikes_per_image: f64,
    /// The synaptic operations: additions that spikes cause.
    pub synops_per_image: f64,
    /// The estimated energy in picojoules; docs/summary.md has the formula.
    pub energy_pj_per_image: f64,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl ClassAccuracy {
    /// The accuracies of all classes, from their names and counts.
    pub fn all(names: &[String], counts: &[ClassCount]) -> Vec<Self> {
        let named = names.iter().zip(counts);
        let one = |(name, count): (&String, &ClassCount)| Self {
            class: name.clone(),
            images: count.images,
            accuracy: count.accuracy(),
        };
        named.map(one).collect()
    }
}

impl SpikingSummary {
    /// The numbers of a simulation of the network `plan`.
    pub fn new(simulation: &Simulation, time_steps: usize, plan: &Plan) -> Self {
        let rate = |layer: &lasnn_snn::LayerRate| LayerRate {
            layer: layer.layer.clone(),
            rate: layer.rate,
        };
        Self {
            time_steps,
            accuracy_by_step: simulation.accuracy_by_step.clone(),
            firing_rate_by_layer: simulation.firing_rate_by_layer.iter().map(rate).collect(),
            spikes_per_image: simulation.spikes_per_image,
            synops_per_image: simulation.synops_per_image,
            energy_pj_per_image: simulation.energy_pj_per_image,
            ann_energy_pj_per_image: lasnn_snn::ann_energy_pj(plan),
            at_time_steps: Vec::new(),
        }
    }

    /// The accuracy after the last time step.
    pub fn test_accuracy(&self) -> f64 {
        self.accuracy_by_step.last().copied().unwrap_or_default()
    }
}

impl AtTimeSteps {
    /// The numbers of a simulation over `time_steps`, with each layer corrected over
    /// `offset_steps`.
    pub fn new(simulation: &Simulation, time_steps: usize, offset_steps: usize) -> Self {
        Self {
            time_steps,
            offset_steps,
            test_accuracy: simulation.accuracy,
            spikes_per_image: simulation.spikes_per_image,
            synops_per_image: simulation.synops_per_image,
            energy_pj_per_image: simulation.energy_pj_per_image,
        }
    }

    /// The numbers of steps in words.
    pub fn title(&self) -> String {
        match self.offset_steps {
            0 => format!("over {} steps", self.time_steps),
            offset => format!("over {} steps, offset {offset}", self.time_steps),
        }
    }

    /// All time steps that the network runs.
    pub fn all_steps(&self) -> usize {
        steps_with_offset(self.time_steps, self.offset_steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A resumed run reads the summaries of its finished stages and must report the same numbers.
    #[test]
    fn writing_and_reading_a_summary_preserves_every_bit() {
        let ann = StageSummary {
            network: "net".into(),
            parameters: 10,
            test_accuracy: 0.1 + 0.2,
            accuracy_by_class: vec![ClassAccuracy {
                class: "ant".into(),
                images: 3,
                accuracy: Some(1.0 / 3.0),
            }],
            validation_accuracy: 2.0 / 3.0,
            epochs: 3,
            best_epoch: Some(1),
            last_test_accuracy: None,
            seconds: 1.0 / 7.0,
            reused: false,
            spiking: None,
        };
        let spiking = SpikingSummary {
            time_steps: 2,
            accuracy_by_step: vec![0.1, 0.7],
            firing_rate_by_layer: vec![LayerRate { layer: "layers.0".into(), rate: 1.0 / 3.0 }],
            spikes_per_image: 1_419.949_999_999_999_8,
            synops_per_image: 5e5,
            energy_pj_per_image: 4.5e5,
            ann_energy_pj_per_image: 2.2e6,
            at_time_steps: Vec::new(),
        };
        let spiking = StageSummary { spiking: Some(spiking), ..ann.clone() };
        for stage in [ann, spiking] {
            let text = serde_json::to_string(&stage).unwrap();
            assert_eq!(serde_json::from_str::<StageSummary>(&text).unwrap(), stage, "{text}");
        }
    }
}
