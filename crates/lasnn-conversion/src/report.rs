//! How well the firing rates of each layer follow the ordinary network's activations.
//!
//! The report also has a warning for each layer that lost much in the conversion.

use std::cell::Cell;
use std::ops::ControlFlow;

use lasnn_core::Batch;
use lasnn_neurons::SpikingBackend;
use lasnn_snn::counting::{count_spikes, layer_sizes, to_host};
use lasnn_snn::network::SpikingNetwork;
use lasnn_snn::progress::{Progress, Task};
use lasnn_snn::simulator::Simulator;
use serde::Serialize;

use crate::ann::Ann;
use crate::convert::Balancing;
use crate::error::ConversionError;
use crate::errors::{LayerErrors, Squares};
use crate::measure::{measure, parts};
use crate::scales::scales;

/// Below this correlation a layer's firing rates say little about the ordinary network's
/// activations.
const LOW_CORRELATION: f64 = 0.5;

/// Above this share of neurons that fire at every time step, a layer cannot represent its larger
/// activations.
const MANY_SATURATED: f64 = 0.1;

/// Above this share of neurons that never fire, a layer has lost much of its width.
const MANY_DEAD: f64 = 0.9;

/// The state of each layer after conversion, measured on the images for calibration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConversionReport {
    /// The layers of neurons from the image on.
    pub layers: Vec<LayerReport>,
    /// The problems found; each names the layer and says what to do.
    pub warnings: Vec<String>,
}

/// One layer of neurons after conversion.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerReport {
    /// The layer's name, for instance `layers.0` or `layers.3.first`.
    pub name: String,
    /// The threshold after scaling; its mean over the channels if each has its own.
    pub threshold: f32,
    /// Spikes per neuron and time step, 0 to 1.
    pub firing_rate: f64,
    /// Share of neurons that did not fire for any image, 0 to 1.
    pub dead: f64,
    /// Share of neurons whose activation in the ordinary network was not positive for any image, 0
    /// to 1.
    pub ann_dead: f64,
    /// Share of neurons that fired at every time step, averaged over the images, 0 to 1.
    pub saturated: f64,
    /// Pearson correlation of firing rates and the ordinary network's activations over images and
    /// neurons; `None` if one of the two does not vary.
    pub correlation: Option<f64>,
    /// The errors over the network's own number of time steps; `None` if no neuron of the ordinary
    /// network is active.
    pub errors: Option<LayerErrors>,
}

/// Runs the converted network and the ordinary one on the batches for calibration.
pub(crate) fn report<B: SpikingBackend>(
    network: &SpikingNetwork<B>,
    thresholds: &[Vec<f32>],
    ann: Ann<'_, B>,
    balancing: Balancing<'_>,
    device: &B::Device,
) -> Result<ConversionReport, ConversionError> {
    let Balancing { config, batches, seed, on_progress } = balancing;
    let time_steps = config.time_steps;
    let simulator = Simulator::new(network.clone());
    let names: Vec<String> = network.neurons().into_iter().map(|(name, _)| name).collect();
    let mut tallies: Vec<Tally> = layer_sizes(network.plan()).into_iter().map(Tally::new).collect();
    let images: usize = batches.iter().map(Batch::len).sum();
    let total = images as u64 * time_steps as u64;
    let mut done = 0;
    for batch in batches.iter().flat_map(|batch| parts(batch, network.plan(), time_steps)) {
        let mut steps = 0;
        let counts = count_spikes(&simulator, &batch, time_steps, seed, device, |chunk| {
            steps += chunk.steps as u64;
            let done = done + steps * batch.len() as u64;
            on_progress(Progress { task: Task::Comparing, done, total })
        });
        let ControlFlow::Continue(counts) = counts else {
            return Err(ConversionError::Interrupted);
        };
        done += batch.len() as u64 * time_steps as u64;
        let (found, activations): (Vec<String>, Vec<_>) =
            (ann.activations)(&batch).into_iter().unzip();
        if found != names {
            return Err(ConversionError::Activations { found, expected: names });
        }
        for ((tally, counts), activations) in tallies.iter_mut().zip(counts).zip(activations) {
            tally.add(&counts, &to_host(activations), time_steps);
        }
    }
    let errors = errors(network, thresholds, ann, balancing, device)?;
    let layer = |(index, tally): (usize, &Tally)| LayerReport {
        name: names[index].clone(),
        threshold: thresholds[index].iter().sum::<f32>() / thresholds[index].len() as f32,
        firing_rate: tally.spikes / (tally.pairs * time_steps as f64),
        dead: share_without(&tally.fired),
        ann_dead: share_without(&tally.activated),
        saturated: tally.saturated / tally.pairs,
        correlation: tally.correlation(),
        errors: errors[index],
    };
    let layers: Vec<_> = tallies.iter().enumerate().map(layer).collect();
    let warnings = layers.iter().filter_map(warning).collect();
    Ok(ConversionReport { layers, warnings })
}

/// The errors of all layers of neurons.
fn errors<B: SpikingBackend>(
    network: &SpikingNetwork<B>,
    thresholds: &[Vec<f32>],
    ann: Ann<'_, B>,
    balancing: Balancing<'_>,
    device: &B::Device,
) -> Result<Vec<Option<LayerErrors>>, ConversionError> {
    let images: usize = balancing.batches.iter().map(Batch::len).sum();
    let total = (images * network.time_steps()) as u64;
    let done = Cell::new(0);
    let go_on = || {
        let progress = Progress { task: Task::FindingErrors, done: done.get(), total };
        (balancing.on_progress)(progress)
    };
    let scales = scales(network, thresholds);
    let mut squares = vec![Squares::default(); thresholds.len()];
    measure(network, ann, balancing, device, &go_on, &mut |images, layers| {
        for (number, (squares, measured)) in squares.iter_mut().zip(layers).enumerate() {
            squares.add(network, number, &scales[number], measured, device);
        }
        done.set(done.get() + (images * network.time_steps()) as u64);
    })?;
    match go_on() {
        ControlFlow::Continue(()) => Ok(squares.iter().map(Squares::errors).collect()),
        ControlFlow::Break(()) => Err(ConversionError::Interrupted),
    }
}

/// The share of neurons whose entry is false.
fn share_without(happened: &[bool]) -> f64 {
    happened.iter().filter(|&&happened| !happened).count() as f64 / happened.len().max(1) as f64
}

/// The most serious problem of a layer, if it has one.
fn warning(layer: &LayerReport) -> Option<String> {
    let LayerReport {
        name, threshold, firing_rate, dead, ann_dead, saturated, correlation, ..
    } = layer;
    let per_cent = |share: f64| format!("{:.1} %", 100.0 * share);
    // If the ordinary network is dead, no threshold and no number of time steps helps.
    if *ann_dead == 1.0 {
        return Some(format!(
            "layer `{name}` is silent because no neuron of the ordinary network is ever active \
             there: train the intermediate network longer, or with another learning rate or `init`"
        ));
    }
    if *firing_rate == 0.0 {
        return Some(format!(
            "layer `{name}` is silent (threshold {threshold}): nothing reaches the layers after \
             it; lower `conversion.scale` or give it more time steps"
        ));
    }
    if *saturated > MANY_SATURATED {
        return Some(format!(
            "layer `{name}`: {} of its neurons fire at every step and cannot show larger \
             activations; raise `conversion.scale` or the percentile",
            per_cent(*saturated)
        ));
    }
    if *dead > MANY_DEAD && *ann_dead > MANY_DEAD {
        return Some(format!(
            "layer `{name}`: {} of its neurons never fire, and {} are never active in the ordinary \
             network either; train the intermediate network longer, or with another learning rate \
             or `init`",
            per_cent(*dead),
            per_cent(*ann_dead)
        ));
    }
    if *dead > MANY_DEAD {
        return Some(format!(
            "layer `{name}`: {} of its neurons never fire, though only {} are never active in the \
             ordinary network; lower `conversion.scale` or give it more time steps",
            per_cent(*dead),
            per_cent(*ann_dead)
        ));
    }
    match correlation {
        Some(correlation) if *correlation < LOW_CORRELATION => Some(format!(
            "layer `{name}`: firing rates follow the ordinary network's activations with a \
             correlation of only {correlation:.2}; give it more time steps or change \
             `conversion.scale`"
        )),
        None => {
            Some(format!("layer `{name}`: every neuron has the same activation or firing rate"))
        }
        _ => None,
    }
}

/// Sums over (image, neuron) pairs of one layer.
struct Tally {
    /// For each neuron, whether it fired for some image.
    fired: Vec<bool>,
    /// For each neuron, whether its activation in the ordinary network was positive for some image.
    activated: Vec<bool>,
    pairs: f64,
    spikes: f64,
    /// Pairs in which the neuron fired at every time step.
    saturated: f64,
    // Sums for the correlation of x, the spike count, and y, the activation. The sum of x is
    // `spikes`.
    y: f64,
    xx: f64,
    yy: f64,
    xy: f64,
}

impl Tally {
    fn new(neurons: usize) -> Self {
        Self {
            fired: vec![false; neurons],
            activated: vec![false; neurons],
            pairs: 0.0,
            spikes: 0.0,
            saturated: 0.0,
            y: 0.0,
            xx: 0.0,
            yy: 0.0,
            xy: 0.0,
        }
    }

    fn add(&mut self, counts: &[f32], activations: &[f32], time_steps: usize) {
        let neurons = self.fired.len();
        for (index, (&x, &y)) in counts.iter().zip(activations).enumerate() {
            self.fired[index % neurons] |= x > 0.0;
            self.activated[index % neurons] |= y > 0.0;
            self.saturated += f64::from(u8::from(x as usize >= time_steps));
            let (x, y) = (f64::from(x), f64::from(y));
            self.spikes += x;
            self.y += y;
            self.xx += x * x;
            self.yy += y * y;
            self.xy += x * y;
        }
        self.pairs += counts.len() as f64;
    }

    fn correlation(&self) -> Option<f64> {
        let Self { pairs: n, spikes: x, y, .. } = self;
        let spread = (n * self.xx - x * x) * (n * self.yy - y * y);
        (spread > 0.0).then(|| (n * self.xy - x * y) / spread.sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_agrees_with_the_formulas() {
        let mut tally = Tally::new(2);
        tally.add(&[1.0, 0.0, 4.0, 0.0], &[2.0, 1.0, 8.5, 0.0], 4);
        assert_eq!(tally.fired, [true, false]);
        assert_eq!(tally.activated, [true, true]);
        assert_eq!(tally.saturated, 1.0);
        // numpy.corrcoef([1, 0, 4, 0], [2, 1, 8.5, 0])[0, 1]
        assert!((tally.correlation().unwrap() - 0.992_206_7).abs() < 1e-6);
        assert_eq!(Tally::new(3).correlation(), None);
    }

    #[test]
    fn warnings_name_the_layer_and_say_what_to_do() {
        let healthy = LayerReport {
            name: "layers.2".into(),
            threshold: 1.0,
            firing_rate: 0.1,
            dead: 0.1,
            ann_dead: 0.1,
            saturated: 0.01,
            correlation: Some(0.9),
            errors: None,
        };
        assert_eq!(warning(&healthy), None);
        let warns = |layer: LayerReport, about: &str| {
            let message = warning(&layer).unwrap();
            assert!(message.contains("`layers.2`") && message.contains(about), "{message}");
        };
        warns(LayerReport { firing_rate: 0.0, ..healthy.clone() }, "silent");
        warns(
            LayerReport { saturated: 0.5, ..healthy.clone() },
            "50.0 % of its neurons fire at every",
        );
        warns(
            LayerReport { dead: 0.95, ..healthy.clone() },
            "95.0 % of its neurons never fire, though only 10.0 %",
        );
        warns(
            LayerReport { dead: 0.95, ann_dead: 0.92, ..healthy.clone() },
            "92.0 % are never active in the ordinary network either; train the intermediate",
        );
        // A silent ordinary network explains a silent spiking one.
        warns(
            LayerReport { firing_rate: 0.0, dead: 1.0, ann_dead: 1.0, ..healthy.clone() },
            "no neuron of the ordinary network is ever active",
        );
        warns(LayerReport { correlation: Some(0.2), ..healthy }, "correlation of only 0.20");
    }
}
