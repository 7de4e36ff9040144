//! Threshold balancing (Sengupta et al., "Going deeper in spiking neural networks", 2019).
//!
//! Layers are balanced one after the other, from the image on. For each layer the network runs on
//! encoded images, without leak, from rest, and with all earlier layers already balanced. The
//! layer's threshold follows from its weighted input sums (not from its membrane potentials) over
//! time, batch and neurons.
//!
//! Layers inside residual blocks are balanced like all others. (The public code of hybrid training
//! leaves these neurons at threshold 1.)

use std::ops::ControlFlow;

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::{Batch, Pass};
use lasnn_neurons::{SpikingBackend, SpikingNeurons};
use lasnn_nn::BatchTensors;
use lasnn_snn::counting::{chunk_steps, chunks, to_host};
use lasnn_snn::network::SpikingNetwork;
use lasnn_snn::progress::{Progress, Task};
use lasnn_snn::runner::{NeuronRunner, Streaming};
use lasnn_snn::signal::Signal;
use serde::{Deserialize, Serialize};

use super::{ConversionMethod, MethodKind, Source};
use crate::convert::Balancing;
use crate::error::{ConversionError, wrong};
use crate::scales::{Thresholds, scale_layer, scales};
use crate::threshold::{Policy, ThresholdPolicy};

/// The threshold of a layer that gets no positive input; the report warns of such a layer.
const SILENT_THRESHOLD: f32 = 1.0;

/// Threshold balancing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ThresholdBalancing {
    /// How a threshold follows from a layer's weighted input sums.
    pub policy: Policy,
}

impl MethodKind for ThresholdBalancing {
    const NAME: &'static str = "threshold-balancing";
    const ABOUT: &'static str =
        "thresholds from the weighted input sums of the spiking network, layer by layer";
    const SOURCE: &'static str = "Sengupta et al. 2019";

    fn check(&self) -> Result<(), ConversionError> {
        match self.policy {
            Policy::Percentile { percentile } if !(percentile > 0.0 && percentile <= 100.0) => {
                let key = "conversion.method.policy.percentile";
                Err(wrong(key, percentile, "above 0 and at most 100"))
            }
            _ => Ok(()),
        }
    }
}

impl<B: SpikingBackend> ConversionMethod<B> for ThresholdBalancing {
    fn thresholds(&self, source: &Source<'_, B>) -> Result<Thresholds, ConversionError> {
        let Source { network, balancing, device, .. } = *source;
        balance(self.policy, network.clone(), balancing, device)
    }
}

/// The threshold of every layer of neurons.
fn balance<B: SpikingBackend>(
    policy: Policy,
    mut network: SpikingNetwork<B>,
    balancing: Balancing<'_>,
    device: &B::Device,
) -> Result<Thresholds, ConversionError> {
    let Balancing { config, batches, .. } = balancing;
    let names: Vec<String> = network.neurons().into_iter().map(|(name, _)| name).collect();
    let images: usize = batches.iter().map(Batch::len).sum();
    let of_layer = images as u64 * config.time_steps as u64;
    let total = of_layer * names.len() as u64;
    let mut thresholds = vec![vec![SILENT_THRESHOLD]; names.len()];
    for (neuron_layer, name) in names.iter().enumerate() {
        // While it is balanced, the network has no leak and starts at rest, whatever it does
        // afterwards.
        let neurons = network.config().neuron.without_leak();
        // Earlier layers are in their scales already.
        let scales = scales(&network, &thresholds);
        network = scale_layer(network, neuron_layer, &scales[neuron_layer]);
        let balanced = network.clone().with_neurons(&neurons, &thresholds, device);
        let mut policy = policy.start();
        let mut done = of_layer * neuron_layer as u64;
        for batch in batches.iter().filter(|batch| !batch.is_empty()) {
            let on_progress = |steps: usize| {
                let done = done + steps as u64 * batch.len() as u64;
                let progress = Progress { task: Task::Balancing, done, total };
                (balancing.on_progress)(progress)
            };
            let policy = policy.as_mut();
            let calibrated =
                calibrate(&balanced, neuron_layer, batch, balancing, &on_progress, policy, device);
            if calibrated.is_break() {
                return Err(ConversionError::Interrupted);
            }
            done += batch.len() as u64 * config.time_steps as u64;
        }
        let found = policy.threshold();
        if !found.is_finite() {
            return Err(ConversionError::NotFinite { layer: name.clone(), found });
        }
        let positive = policy.positive_share();
        if found <= 0.0 && positive > 0.0 {
            return Err(ConversionError::NotPositive { layer: name.clone(), positive });
        }
        tracing::debug!(layer = %name, threshold = found, "balanced");
        // Any positive threshold keeps a layer without positive input silent.
        thresholds[neuron_layer] = vec![if found > 0.0 { found } else { SILENT_THRESHOLD }];
    }
    Ok(thresholds)
}

/// Gives `policy` the currents of one layer of neurons over all time steps. Calls `on_progress`
/// with the number of time steps done, and ends early if it breaks.
fn calibrate<B: SpikingBackend>(
    network: &SpikingNetwork<B>,
    neuron_layer: usize,
    batch: &Batch,
    balancing: Balancing<'_>,
    on_progress: &dyn Fn(usize) -> ControlFlow<()>,
    policy: &mut dyn ThresholdPolicy,
    device: &B::Device,
) -> ControlFlow<()> {
    let Balancing { config, seed, .. } = balancing;
    let pass = Pass::evaluate(seed, &batch.samples);
    let images = batch.images::<B>(device);
    let neurons = Streaming::new();
    let mut runner = Calibrating {
        neurons,
        neuron_layer,
        policy,
        constant: false,
        first: 0,
        on_progress,
        stopped: false,
    };
    for (first, steps) in chunks(config.time_steps, chunk_steps(network.plan(), batch.len())) {
        runner.neurons.next_chunk(steps);
        runner.first = first;
        on_progress(first)?;
        let input = network.encode(images.clone(), first, steps, &pass);
        network.flow(input, &pass, &mut runner);
        if runner.stopped {
            return ControlFlow::Break(());
        }
        // The policy needs currents that are the same at every step only once.
        if runner.constant {
            break;
        }
    }
    on_progress(config.time_steps)
}

/// Runs the network up to one layer of neurons, gives the layer's currents to the policy and stops
/// the pass there.
struct Calibrating<'a, B: Backend> {
    neurons: Streaming<B>,
    neuron_layer: usize,
    policy: &'a mut dyn ThresholdPolicy,
    /// Whether the layer's currents are the same at every time step.
    constant: bool,
    /// The first step of the chunk.
    first: usize,
    on_progress: &'a dyn Fn(usize) -> ControlFlow<()>,
    /// Whether `on_progress` broke.
    stopped: bool,
}

impl<B: SpikingBackend> NeuronRunner<B> for Calibrating<'_, B> {
    fn fire(
        &mut self,
        neuron_layer: usize,
        neurons: &SpikingNeurons<B>,
        currents: Signal<B>,
    ) -> Option<Tensor<B, 4>> {
        // Called here, too, since one layer over one step of a large batch may take most of a
        // second.
        if (self.on_progress)(self.first).is_break() {
            self.stopped = true;
            return None;
        }
        if neuron_layer < self.neuron_layer {
            return self.neurons.fire(neuron_layer, neurons, currents);
        }
        self.constant = currents.constant;
        self.policy.observe(&to_host(currents.maps));
        None
    }

    fn steps(&self) -> usize {
        NeuronRunner::<B>::steps(&self.neurons)
    }
}
