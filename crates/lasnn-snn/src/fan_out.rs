//! How many synapses a spike drives.
//!
//! A synaptic operation is the addition of one weight to one membrane potential, caused by one
//! spike. The counts are exact at edges: a spike in a corner of a feature map reaches fewer neurons
//! than one in the middle. A spike that passes average pooling counts with all synapses of the
//! pooled position, because the pooling is linear and can be folded into the weights. Several
//! spikes in one pooling window count one by one.

use lasnn_core::plan::DENSE_BOTTLENECK;
use lasnn_core::{Layer, Plan, PlannedLayer, Shape};

/// How many synapses a spike of a layer drives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FanOut {
    /// The shape of the layer that spikes.
    pub shape: Shape,
    /// The count for each position, `[height · width]`; it holds for every channel.
    pub synapses: Vec<u64>,
}

/// The fan-out of the input, and of every layer of neurons in the order of
/// [`SpikingNetwork::neurons`](crate::SpikingNetwork::neurons).
pub fn fan_outs(plan: &Plan) -> (FanOut, Vec<FanOut>) {
    let input = fan_out(plan.input, &plan.layers);
    let mut neurons = Vec::new();
    for (index, planned) in plan.layers.iter().enumerate() {
        let downstream = &plan.layers[index + 1..];
        match planned.layer {
            Layer::Conv { .. } | Layer::Linear { .. } => {
                neurons.push(fan_out(planned.output, downstream));
            }
            Layer::Residual { .. } => {
                let shape = planned.output;
                let inner = connections(planned).into_iter().filter(|found| !found.at_entrance);
                neurons.extend(inner.map(|found| FanOut { shape, synapses: found.synapses }));
                neurons.push(fan_out(shape, downstream));
            }
            _ => {}
        }
    }
    (input, neurons)
}

/// One convolution, matrix product or identity of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The shape of the connection's input.
    pub input: Shape,
    /// How many outputs each position of the input reaches, `[height · width]`; the numbers hold
    /// for every channel.
    pub synapses: Vec<u64>,
    /// Whether it multiplies by weights; an identity does not.
    pub weighted: bool,
    /// Whether its input is the input of the layer. That is false for the second convolution of a
    /// residual block, whose input is the output of the first.
    pub at_entrance: bool,
}

/// The connections of a layer; empty for a layer without weights.
pub fn connections(planned: &PlannedLayer) -> Vec<Connection> {
    let PlannedLayer { ref layer, input, output, .. } = *planned;
    match *layer {
        Layer::Conv { kernel, stride, .. } => vec![Connection::conv(input, output, kernel, stride)],
        Layer::Residual { stride, .. } => {
            let shortcut = match input == output {
                true => {
                    let one = vec![1; input.height * input.width];
                    Connection { weighted: false, ..Connection::new(input, one) }
                }
                false => Connection::conv(input, output, 1, stride),
            };
            let inner = Connection::conv(output, output, 3, 1);
            vec![
                Connection::conv(input, output, 3, stride),
                shortcut,
                Connection { at_entrance: false, ..inner },
            ]
        }
        Layer::Dense { units, growth, .. } => {
            let unit = |number: usize| {
                let wide = Shape { channels: input.channels + number * growth, ..input };
                let narrow = Shape { channels: DENSE_BOTTLENECK * growth, ..input };
                let grown = Shape { channels: growth, ..input };
                let inner = Connection::conv(narrow, grown, 3, 1);
                [Connection::conv(wide, narrow, 1, 1), Connection { at_entrance: false, ..inner }]
            };
            (0..units).flat_map(unit).collect()
        }
        Layer::Linear { .. } | Layer::Classifier { .. } => {
            let synapses = vec![output.channels as u64; input.height * input.width];
            vec![Connection::new(input, synapses)]
        }
        Layer::Norm { .. }
        | Layer::AveragePool { .. }
        | Layer::MaxPool { .. }
        | Layer::GlobalAveragePool {}
        | Layer::Dropout { .. } => Vec::new(),
    }
}

impl Connection {
    fn new(input: Shape, synapses: Vec<u64>) -> Self {
        Self { input, synapses, weighted: true, at_entrance: true }
    }

    fn conv(input: Shape, output: Shape, kernel: usize, stride: usize) -> Self {
        Self::new(input, reached(input, output, kernel, stride))
    }
}

/// The fan-out of a layer of shape `shape`, given the layers downstream. Follows each position
/// through poolings to the first layer with weights.
fn fan_out(shape: Shape, layers: &[PlannedLayer]) -> FanOut {
    let mut positions: Vec<Option<(usize, usize)>> =
        (0..shape.height).flat_map(|y| (0..shape.width).map(move |x| Some((y, x)))).collect();
    for planned in layers {
        match planned.layer {
            Layer::AveragePool { size } => {
                let Shape { height, width, .. } = planned.output;
                for position in &mut positions {
                    *position = position
                        .map(|(y, x)| (y / size, x / size))
                        .filter(|&(y, x)| y < height && x < width);
                }
            }
            Layer::GlobalAveragePool {} => positions.fill(Some((0, 0))),
            _ => {}
        }
        let mut next = connections(planned);
        next.retain(|connection| connection.at_entrance);
        if next.is_empty() {
            continue;
        }
        let width = planned.input.width;
        let at = |position: &Option<(usize, usize)>| {
            let index = position.map(|(y, x)| y * width + x);
            index.map_or(0, |index| next.iter().map(|found| found.synapses[index]).sum())
        };
        return FanOut { shape, synapses: positions.iter().map(at).collect() };
    }
    FanOut { shape, synapses: vec![0; positions.len()] }
}

/// How many outputs of a "same" convolution each position of its input reaches.
fn reached(input: Shape, output: Shape, kernel: usize, stride: usize) -> Vec<u64> {
    let along = |size: usize, outputs: usize| -> Vec<u64> {
        let covers = |position: usize, out: usize| {
            let start = (out * stride) as isize - (kernel / 2) as isize;
            (start..start + kernel as isize).contains(&(position as isize))
        };
        (0..size)
            .map(|position| (0..outputs).filter(|&out| covers(position, out)).count() as u64)
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
    fn spikes_outside_of_every_pooling_window_drive_nothing() {
        let layers =
            vec![Layer::conv(2), Layer::AveragePool { size: 2 }, Layer::Classifier { bias: false }];
        let (_, neurons) = fan_outs(&plan(layers));
        assert_eq!(neurons[0].synapses[..10], [3, 3, 3, 3, 0, 3, 3, 3, 3, 0]);
        assert_eq!(neurons[0].synapses[20..], [0; 5]);
    }

    /// If every neuron fires once, the operations are as many as the weights that meet an input.
    /// The test counts these from each output.
    #[test]
    fn strided_residual_blocks_count_the_same_from_inputs_and_outputs() {
        let block = Layer::Residual {
            channels: 4,
            stride: 2,
            bias: false,
            batch_norm: false,
            dropout: 0.0,
            tap: None,
        };
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
