//! The parameters of a layer's neurons, a number for each lane.

use lasnn_core::neuron::NeuronOptions;

use super::TileNeurons;
use super::step_back::surrogate_max;
use crate::args::ForwardArgs;
use crate::spikes::Grid;

/// The parameters of a layer, in the order in which kernels read them. Lanes without a channel have
/// the parameters of the first channel, and no bias.
#[derive(Debug)]
pub(crate) struct LaneParams {
    options: NeuronOptions,
    grid: Grid,
    leak: f32,
    thresholds: Vec<f32>,
    per_threshold: Vec<f32>,
    q8_scales: Vec<f32>,
    /// By lane; `None` for no bias.
    bias: Option<Vec<f32>>,
    /// `[tile][position][lane]`; `None` for rest.
    initial_membrane: Option<Vec<f32>>,
}

impl LaneParams {
    /// The parameters of a layer of a pass.
    pub fn of(args: &ForwardArgs<'_>, layer: usize) -> Self {
        let (options, grid) = (args.neurons[layer], args.grid(layer));
        let params = args.graph.layers[layer].params;
        let thresholds = by_lane(args.params[params.threshold], grid, None);
        let largest = surrogate_max(&options).unwrap_or(0.0);
        Self {
            options,
            grid,
            leak: args.params[params.leak][0],
            per_threshold: thresholds.iter().map(|threshold| 1.0 / threshold).collect(),
            q8_scales: thresholds.iter().map(|v| largest / (255.0 * v)).collect(),
            thresholds,
            bias: params.bias.map(|bias| by_lane(args.params[bias], grid, Some(0.0))),
            initial_membrane: params.initial_membrane.map(|u| by_neuron(args.params[u], grid)),
        }
    }

    /// The neurons of a tile.
    pub fn tile(&self, tile: usize) -> TileNeurons<'_> {
        let lanes = self.range(tile);
        TileNeurons {
            options: self.options,
            leak: self.leak,
            thresholds: &self.thresholds[lanes.clone()],
            per_threshold: &self.per_threshold[lanes.clone()],
            q8_scales: &self.q8_scales[lanes],
        }
    }

    /// The bias of a tile, by lane.
    pub fn bias(&self, tile: usize) -> Option<&[f32]> {
        Some(&self.bias.as_ref()?[self.range(tile)])
    }

    /// The initial membrane potentials of a tile, `[position][lane]`; `None` for rest.
    pub fn initial_membrane(&self, tile: usize) -> Option<&[f32]> {
        let size = self.grid.shape.positions() * self.grid.tile;
        Some(&self.initial_membrane.as_ref()?[tile * size..][..size])
    }

    fn range(&self, tile: usize) -> std::ops::Range<usize> {
        tile * self.grid.tile..(tile + 1) * self.grid.tile
    }
}

/// Writes `bias` to every place of `currents`, `[place][lane]`, or zeros without a bias.
#[inline(always)]
pub(crate) fn fill_bias(bias: Option<&[f32]>, currents: &mut [f32]) {
    match bias {
        Some(bias) => {
            currents.chunks_exact_mut(bias.len()).for_each(|to| to.copy_from_slice(bias));
        }
        None => currents.fill(0.0),
    }
}

/// A parameter of the shape `[1]` or `[channels]` by lane. Lanes without a channel get `padding`,
/// by default the first number.
fn by_lane(param: &[f32], grid: Grid, padding: Option<f32>) -> Vec<f32> {
    let channels = grid.shape.channels;
    let lane = |lane: usize| match (param, lane < channels) {
        (&[shared], true) => shared,
        (all, true) => all[lane],
        (all, false) => padding.unwrap_or(all[0]),
    };
    (0..grid.lanes()).map(lane).collect()
}

/// A parameter of the shape `[1]` or `[channels, height, width]` as `[tile][position][lane]`. Lanes
/// without a channel are at rest.
fn by_neuron(param: &[f32], grid: Grid) -> Vec<f32> {
    let (positions, channels) = (grid.shape.positions(), grid.shape.channels);
    let mut numbers = vec![0.0; grid.lanes() * positions];
    for (index, number) in numbers.iter_mut().enumerate() {
        let (tile, rest) = (index / (positions * grid.tile), index % (positions * grid.tile));
        let (position, channel) = (rest / grid.tile, tile * grid.tile + rest % grid.tile);
        if channel < channels {
            *number = match param {
                &[shared] => shared,
                all => all[channel * positions + position],
            };
        }
    }
    numbers
}
