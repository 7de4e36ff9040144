//! What a spike sets in motion, and what that costs.
//!
//! A synaptic operation is one addition of a weight to a membrane, caused by one spike. Counts are
//! exact at edges: a spike in a corner of the map reaches fewer neurons than one in the middle.
//! A spike that passes average pooling counts with all the synapses behind its window, since the
//! pooling is linear and can be folded into them; spikes of one window are not merged.
//!
//! Energies are those of 32-bit floating-point arithmetic in 45 nm (Horowitz, "Computing's energy
//! problem", ISSCC 2014): 4.6 pJ for a multiply-accumulate, 0.9 pJ for an addition. They leave out
//! memory traffic and membrane updates, as the field's tables do; they compare arithmetic, not
//! devices.

use lasnn_core::{Layer, Plan, PlannedLayer, Shape};

/// One 32-bit multiply-accumulate, in picojoules.
pub const MULTIPLY_ACCUMULATE_PJ: f64 = 4.6;

/// One 32-bit addition, in picojoules.
pub const ADDITION_PJ: f64 = 0.9;

/// The energy of the ordinary network for one image, in picojoules.
pub fn ann_energy_pj(plan: &Plan) -> f64 {
    plan.macs() as f64 * MULTIPLY_ACCUMULATE_PJ
}

/// How many synapses a spike at each position drives, row by row; the same for all channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FanOut {
    /// The shape of the layer that spikes.
    pub shape: Shape,
    /// One count per position, `height · width`.
    pub synapses: Vec<u64>,
}

/// The fan-out of the input and of every layer of neurons, in the order of
/// [`SpikingNetwork::neurons`](crate::SpikingNetwork::neurons).
pub fn fan_outs(plan: &Plan) -> (FanOut, Vec<FanOut>) {
    let input = fan_out(plan.input, &plan.layers);
    let mut neurons = Vec::new();
    for (index, planned) in plan.layers.iter().enumerate() {
        let behind = &plan.layers[index + 1..];
        match planned.layer {
            Layer::Conv { .. } | Layer::Linear { .. } => {
                neurons.push(fan_out(planned.output, behind));
            }
            Layer::Residual { .. } => {
                let shape = planned.output;
                let synapses = reached(shape, shape, 3, 1);
                neurons.push(FanOut { shape, synapses });
                neurons.push(fan_out(shape, behind));
            }
            _ => {}
        }
    }
    (input, neurons)
}

/// Follows the positions of `shape` through pools to the first layer with weights.
fn fan_out(shape: Shape, layers: &[PlannedLayer]) -> FanOut {
    let mut places: Vec<Option<(usize, usize)>> =
        (0..shape.height).flat_map(|y| (0..shape.width).map(move |x| Some((y, x)))).collect();
    for planned in layers {
        let synapses = match planned.layer {
            Layer::AveragePool { size } => {
                let Shape { height, width, .. } = planned.output;
                for place in &mut places {
                    *place = place
                        .map(|(y, x)| (y / size, x / size))
                        .filter(|&(y, x)| y < height && x < width);
                }
                continue;
            }
            Layer::GlobalAveragePool => {
                places.fill(Some((0, 0)));
                continue;
            }
            Layer::Conv { kernel, stride, .. } => {
                reached(planned.input, planned.output, kernel, stride)
            }
            Layer::Residual { stride, .. } => {
                let convolved = reached(planned.input, planned.output, 3, stride);
                let shortcut = match planned.input == planned.output {
                    true => vec![1; convolved.len()],
                    false => reached(planned.input, planned.output, 1, stride),
                };
                convolved.iter().zip(shortcut).map(|(a, b)| a + b).collect()
            }
            Layer::Linear { .. } | Layer::Classifier { .. } => {
                vec![planned.output.channels as u64; planned.input.height * planned.input.width]
            }
            _ => continue,
        };
        let width = planned.input.width;
        let at = |place: &Option<(usize, usize)>| place.map_or(0, |(y, x)| synapses[y * width + x]);
        return FanOut { shape, synapses: places.iter().map(at).collect() };
    }
    FanOut { shape, synapses: vec![0; places.len()] }
}

/// How many neurons of a "same" convolution each input position reaches.
fn reached(input: Shape, output: Shape, kernel: usize, stride: usize) -> Vec<u64> {
    let along = |size: usize, outputs: usize| -> Vec<u64> {
        let covers = |place: usize, out: usize| {
            let start = (out * stride) as isize - (kernel / 2) as isize;
            (start..start + kernel as isize).contains(&(place as isize))
        };
        (0..size)
            .map(|place| (0..outputs).filter(|&out| covers(place, out)).count() as u64)
            .collect()
    };
    let (rows, columns) = (along(input.height, output.height), along(input.width, output.width));
    let channels = output.channels as u64;
    rows.iter().flat_map(|&y| columns.iter().map(move |&x| y * x * channels)).collect()
}

#[cfg(test)]
mod tests {
    use lasnn_core::Architecture;

    use super::*;

    fn plan(layers: Vec<Layer>) -> Plan {
        let input = Shape { channels: 1, height: 5, width: 5 };
        Architecture { name: "test".into(), layers }.plan(input, 3).unwrap()
    }

    #[test]
    fn corners_reach_fewer_neurons_than_the_middle() {
        let (input, neurons) =
            fan_outs(&plan(vec![Layer::conv(2), Layer::Classifier { bias: false }]));
        assert_eq!(input.synapses[..5], [8, 12, 12, 12, 8]);
        assert_eq!(input.synapses[12], 18);
        assert_eq!(neurons[0].synapses, vec![3; 25]);
    }

    #[test]
    fn pools_pass_spikes_on_and_cut_the_rest() {
        let layers =
            vec![Layer::conv(2), Layer::AveragePool { size: 2 }, Layer::Classifier { bias: false }];
        let (_, neurons) = fan_outs(&plan(layers));
        assert_eq!(neurons[0].synapses[..10], [3, 3, 3, 3, 0, 3, 3, 3, 3, 0]);
        assert_eq!(neurons[0].synapses[20..], [0; 5]);
    }

    /// The exact number of operations when every neuron fires once is the number of weights used,
    /// counted here the other way round, from each output.
    #[test]
    fn strided_residual_blocks_count_both_ways_alike() {
        let block =
            Layer::Residual { channels: 4, stride: 2, batch_norm: false, dropout: 0.0, tap: None };
        let plan = plan(vec![Layer::conv(2), block, Layer::Classifier { bias: false }]);
        let (_, neurons) = fan_outs(&plan);
        let total: u64 = neurons[0].synapses.iter().sum();
        let side = |kernel: isize| -> u64 {
            let inside = |out: isize| {
                (out * 2 - kernel / 2..=out * 2 + kernel / 2).filter(|i| (0..5).contains(i)).count()
            };
            (0..3).map(|out| inside(out) as u64).sum()
        };
        assert_eq!(total, 4 * side(3) * side(3) + 4 * side(1) * side(1));
        assert_eq!(neurons[1].synapses.len(), 9);
        assert_eq!(neurons[2].synapses, vec![3; 9]);
    }
}
