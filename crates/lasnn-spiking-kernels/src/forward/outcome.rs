//! The results of a forward pass.

use crate::args::ForwardArgs;

/// The statistic of the spikes of a layer that a pass returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpikeStats {
    /// None.
    #[default]
    Nothing,
    /// The spike count of each neuron.
    Counts,
    /// The squared spike counts, summed over the channels. Up to a factor, that is the attention
    /// map of the firing rates (Eq. 5-6 of the LaSNN paper).
    Squares,
}

/// What a pass returns of its layers, beside the readout.
#[derive(Clone, Copy, Debug, Default)]
pub struct LayerProbes<'a> {
    /// By layer: the statistic of its spikes. Missing entries are [`SpikeStats::Nothing`].
    pub stats: &'a [SpikeStats],
    /// The layers whose membrane potentials the pass returns.
    pub membranes: &'a [usize],
}

impl<'a> LayerProbes<'a> {
    /// Statistics of spikes alone.
    pub fn stats(stats: &'a [SpikeStats]) -> Self {
        Self { stats, membranes: &[] }
    }

    /// The statistic of the spikes of a layer.
    pub(super) fn of(&self, layer: usize) -> SpikeStats {
        self.stats.get(layer).copied().unwrap_or_default()
    }
}

/// The results of a pass.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The readout: its currents summed over time, `[batch, classes]`.
    pub readout: Vec<f32>,
    /// The currents into the readout at each time step, `[steps, batch, classes]`.
    pub by_step: Vec<f32>,
    /// By layer: the spike count of each neuron, `[batch, channels, height, width]`. It is empty
    /// except for layers with [`SpikeStats::Counts`].
    pub counts: Vec<Vec<f32>>,
    /// By layer: the squared spike counts, summed over the channels, `[batch, height, width]`. It
    /// is empty except for layers with [`SpikeStats::Squares`].
    pub squares: Vec<Vec<f32>>,
    /// By layer: the membrane potentials after each time step, before the reset of its spikes,
    /// `[steps, batch, channels, height, width]`. It is empty except for the layers of
    /// [`LayerProbes::membranes`].
    pub membranes: Vec<Vec<f32>>,
}

impl Outcome {
    /// The outcome of a pass before its first step. `has_counts` tells for which statistics spikes
    /// are counted.
    pub(super) fn empty(
        args: &ForwardArgs<'_>,
        probes: LayerProbes<'_>,
        steps: usize,
        has_counts: impl Fn(SpikeStats) -> bool,
    ) -> Self {
        let neurons = |layer: usize| args.graph.layers[layer].shape.len() * args.batch;
        let counts =
            |layer| vec![0.0; if has_counts(probes.of(layer)) { neurons(layer) } else { 0 }];
        let membranes = |layer| match probes.membranes.contains(&layer) {
            true => Vec::with_capacity(neurons(layer) * steps),
            false => Vec::new(),
        };
        let layers = args.graph.layers.len();
        Self {
            readout: vec![0.0; args.batch * args.graph.classes],
            by_step: Vec::new(),
            counts: (0..layers).map(counts).collect(),
            squares: vec![Vec::new(); layers],
            membranes: (0..layers).map(membranes).collect(),
        }
    }
}
