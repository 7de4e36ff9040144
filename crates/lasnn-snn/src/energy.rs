//! What a spike sets in motion, and what that costs.
//!
//! A synaptic operation is one addition of a weight to a membrane, caused by one spike. Both kinds
//! of network are counted from the same list of connections ([`connections`]), which is exact at
//! edges: a spike in a corner of the map reaches fewer neurons than one in the middle, and the
//! ordinary network multiplies no padding. A spike that passes average pooling counts with all the
//! synapses of the pooled position, since the pooling is linear and can be folded into them; spikes
//! of one window are not merged.
//!
//! Energies are those of 32-bit floating-point arithmetic in 45 nm (Horowitz, "Computing's energy
//! problem", ISSCC 2014): 4.6 pJ for a multiply-accumulate, 0.9 pJ for an addition. They leave out
//! memory traffic and membrane updates, as the field's tables do; they compare arithmetic, not
//! devices.

use lasnn_core::plan::DENSE_BOTTLENECK;
use lasnn_core::{Layer, Plan, PlannedLayer, Shape};

/// One 32-bit multiply-accumulate, in picojoules.
pub const MULTIPLY_ACCUMULATE_PJ: f64 = 4.6;

/// One 32-bit addition, in picojoules.
pub const ADDITION_PJ: f64 = 0.9;

/// The arithmetic energy of the ordinary network for one image, in picojoules.
///
/// Convolutions and matrix products are counted as multiply-accumulates where a pixel of the input
/// lies below a weight, and identity shortcuts as additions. Pooling, batch norm and activations
/// are left out, like the membrane updates of the spiking network.
pub fn ann_energy_pj(plan: &Plan) -> f64 {
    plan.layers.iter().flat_map(connections).map(|connection| connection.dense_energy_pj()).sum()
}

/// The energy of the first layer under direct encoding, in picojoules: its input is the image, so
/// it multiplies as the ordinary network does, once for all time steps.
pub(crate) fn image_energy_pj(plan: &Plan) -> f64 {
    let first = plan.layers.iter().map(connections).find(|found| !found.is_empty());
    let from_image = first.into_iter().flatten().filter(|connection| connection.at_entrance);
    from_image.map(|connection| connection.dense_energy_pj()).sum()
}

/// What a layer connects: one convolution, matrix product or identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The shape of the connection's input.
    pub input: Shape,
    /// How many outputs each position of the input reaches, row by row, `height · width` numbers;
    /// the same for all channels.
    pub synapses: Vec<u64>,
    /// Whether the connection multiplies by weights; an identity does not.
    pub weighted: bool,
    /// Whether its input is that of the layer. The second convolution of a residual block has the
    /// block's inner activations as its input.
    pub at_entrance: bool,
}

impl Connection {
    fn new(input: Shape, synapses: Vec<u64>) -> Self {
        Self { input, synapses, weighted: true, at_entrance: true }
    }

    fn conv(input: Shape, output: Shape, kernel: usize, stride: usize) -> Self {
        Self::new(input, reached(input, output, kernel, stride))
    }

    /// The energy where every input is a real number, in picojoules.
    fn dense_energy_pj(&self) -> f64 {
        let synapses: u64 = self.synapses.iter().sum();
        let operations = synapses as f64 * self.input.channels as f64;
        operations * if self.weighted { MULTIPLY_ACCUMULATE_PJ } else { ADDITION_PJ }
    }
}

/// The connections of a layer, those of its own input first; none for a layer without weights.
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
                let inner = connections(planned).into_iter().filter(|found| !found.at_entrance);
                neurons.extend(inner.map(|found| FanOut { shape, synapses: found.synapses }));
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
        match planned.layer {
            Layer::AveragePool { size } => {
                let Shape { height, width, .. } = planned.output;
                for place in &mut places {
                    *place = place
                        .map(|(y, x)| (y / size, x / size))
                        .filter(|&(y, x)| y < height && x < width);
                }
            }
            Layer::GlobalAveragePool {} => places.fill(Some((0, 0))),
            _ => {}
        }
        let mut next = connections(planned);
        next.retain(|connection| connection.at_entrance);
        if next.is_empty() {
            continue;
        }
        let width = planned.input.width;
        let at = |place: &Option<(usize, usize)>| {
            let index = place.map(|(y, x)| y * width + x);
            index.map_or(0, |index| next.iter().map(|found| found.synapses[index]).sum())
        };
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

    /// Multiplications of a "same" convolution, counted from each output by trying each weight.
    fn tried(input: Shape, channels: usize, kernel: usize, stride: usize) -> u64 {
        let inside = |size: usize, out: usize, tap: usize| {
            let place = (out * stride + tap) as isize - (kernel / 2) as isize;
            (0..size as isize).contains(&place)
        };
        let mut products = 0;
        for (y, x) in all(input.height.div_ceil(stride), input.width.div_ceil(stride)) {
            for (row, column) in all(kernel, kernel) {
                if inside(input.height, y, row) && inside(input.width, x, column) {
                    products += (input.channels * channels) as u64;
                }
            }
        }
        products
    }

    fn all(rows: usize, columns: usize) -> impl Iterator<Item = (usize, usize)> {
        (0..rows).flat_map(move |row| (0..columns).map(move |column| (row, column)))
    }

    fn energy(products: u64, additions: u64) -> f64 {
        products as f64 * MULTIPLY_ACCUMULATE_PJ + additions as f64 * ADDITION_PJ
    }

    #[track_caller]
    fn same(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-9 * expected, "{found} {expected}");
    }

    #[test]
    fn both_columns_count_the_weights_that_meet_a_pixel() {
        for (height, width) in all(7, 7).filter(|&(h, w)| h > 0 && w > 0) {
            for kernel in [1, 3, 5, 7] {
                for stride in 1..4 {
                    let input = Shape { channels: 2, height, width };
                    let mut conv = Layer::conv(3);
                    if let Layer::Conv { kernel: k, stride: s, .. } = &mut conv {
                        (*k, *s) = (kernel, stride);
                    }
                    let layers = vec![conv, Layer::Classifier { bias: false }];
                    let plan = Architecture { name: "test".into(), layers }.plan(input, 4).unwrap();
                    let first = tried(input, 3, kernel, stride);
                    let last = plan.layers[0].output.len() as u64 * 4;
                    same(ann_energy_pj(&plan), energy(first + last, 0));
                    same(image_energy_pj(&plan), energy(first, 0));
                    // Every pixel and every neuron spiking once performs the same operations.
                    let (from_image, neurons) = fan_outs(&plan);
                    assert_eq!(2 * from_image.synapses.iter().sum::<u64>(), first);
                    assert_eq!(3 * neurons[0].synapses.iter().sum::<u64>(), last);
                }
            }
        }
    }

    #[test]
    fn residual_blocks_multiply_in_three_convolutions_and_add_identities() {
        let block = |channels, stride| Layer::Residual {
            channels,
            stride,
            batch_norm: false,
            dropout: 0.0,
            tap: None,
        };
        let input = Shape { channels: 2, height: 7, width: 5 };
        let network = |layers| Architecture { name: "test".into(), layers }.plan(input, 3).unwrap();
        let classifier = || Layer::Classifier { bias: false };
        let same_shape = network(vec![block(2, 1), classifier()]);
        let convolutions = 2 * tried(input, 2, 3, 1);
        same(ann_energy_pj(&same_shape), energy(convolutions + 3 * 70, 70));
        same(image_energy_pj(&same_shape), energy(tried(input, 2, 3, 1), 70));

        let strided = network(vec![block(4, 2), classifier()]);
        let inner = Shape { channels: 4, height: 4, width: 3 };
        let entrance = tried(input, 4, 3, 2) + tried(input, 4, 1, 2);
        same(ann_energy_pj(&strided), energy(entrance + tried(inner, 4, 3, 1) + 3 * 48, 0));
        same(image_energy_pj(&strided), energy(entrance, 0));
    }

    /// The image is pooled once, and the first layer multiplies the pooled image.
    #[test]
    fn an_image_that_is_pooled_first_is_multiplied_after_pooling() {
        let layers =
            vec![Layer::AveragePool { size: 2 }, Layer::conv(3), Layer::Classifier { bias: false }];
        let input = Shape { channels: 2, height: 9, width: 8 };
        let plan = Architecture { name: "test".into(), layers }.plan(input, 3).unwrap();
        let pooled = Shape { channels: 2, height: 4, width: 4 };
        same(image_energy_pj(&plan), energy(tried(pooled, 3, 3, 1), 0));
        same(ann_energy_pj(&plan), energy(tried(pooled, 3, 3, 1) + 3 * 48, 0));
    }

    #[test]
    fn dense_blocks_grow_unit_by_unit() {
        let layers =
            vec![Layer::Dense { units: 2, growth: 3, tap: None }, Layer::Classifier { bias: true }];
        let input = Shape { channels: 2, height: 4, width: 3 };
        let plan = Architecture { name: "test".into(), layers }.plan(input, 5).unwrap();
        let unit = |channels| {
            let wide = Shape { channels, ..input };
            tried(wide, 12, 1, 1) + tried(Shape { channels: 12, ..input }, 3, 3, 1)
        };
        same(ann_energy_pj(&plan), energy(unit(2) + unit(5) + 5 * 8 * 12, 0));
    }
}
