//! An estimate of the energy of a network's arithmetic.
//!
//! Both kinds of network are counted from the same list of connections ([`connections`]), so the
//! two estimates can be compared. The energies are those of 32-bit floating-point arithmetic in
//! 45 nm (Horowitz, "Computing's energy problem", ISSCC 2014): 4.6 pJ for a multiply-accumulate,
//! 0.9 pJ for an addition. Like the tables of the field they leave out memory traffic and updates
//! of membrane potentials. They compare arithmetic, not devices.

use lasnn_core::Plan;

use crate::fan_out::{Connection, connections};

/// One 32-bit multiply-accumulate, in picojoules.
pub const MULTIPLY_ACCUMULATE_PJ: f64 = 4.6;

/// One 32-bit addition, in picojoules.
pub const ADDITION_PJ: f64 = 0.9;

/// The arithmetic energy of the ordinary network for one image, in picojoules.
///
/// Convolutions and matrix products count a multiply-accumulate for every weight that meets a
/// pixel; a weight that meets padding counts nothing. Identity shortcuts count additions. Pooling,
/// batch norm and activation functions are left out, like the updates of membrane potentials in the
/// spiking network.
pub fn ann_energy_pj(plan: &Plan) -> f64 {
    plan.layers.iter().flat_map(connections).map(|connection| dense_energy_pj(&connection)).sum()
}

/// The energy of the first layer for one image, in picojoules, where its input is not spikes. It
/// then multiplies as the ordinary network does, under direct encoding once for all time steps.
pub(crate) fn image_energy_pj(plan: &Plan) -> f64 {
    let first = plan.layers.iter().map(connections).find(|found| !found.is_empty());
    let from_image = first.into_iter().flatten().filter(|connection| connection.at_entrance);
    from_image.map(|connection| dense_energy_pj(&connection)).sum()
}

/// The energy of a connection whose input is real numbers and not spikes, in picojoules.
fn dense_energy_pj(connection: &Connection) -> f64 {
    let synapses: u64 = connection.synapses.iter().sum();
    let operations = synapses as f64 * connection.input.channels as f64;
    operations * if connection.weighted { MULTIPLY_ACCUMULATE_PJ } else { ADDITION_PJ }
}

#[cfg(test)]
mod tests {
    use lasnn_core::{Architecture, Layer, Shape};

    use super::*;
    use crate::fan_out::fan_outs;

    /// The multiplications of a "same" convolution, counted by trying each weight at each output.
    fn products(input: Shape, channels: usize, kernel: usize, stride: usize) -> u64 {
        let inside = |size: usize, out: usize, offset: usize| {
            let position = (out * stride + offset) as isize - (kernel / 2) as isize;
            (0..size as isize).contains(&position)
        };
        let mut count = 0;
        for (y, x) in pairs(input.height.div_ceil(stride), input.width.div_ceil(stride)) {
            for (row, column) in pairs(kernel, kernel) {
                if inside(input.height, y, row) && inside(input.width, x, column) {
                    count += (input.channels * channels) as u64;
                }
            }
        }
        count
    }

    fn pairs(rows: usize, columns: usize) -> impl Iterator<Item = (usize, usize)> {
        (0..rows).flat_map(move |row| (0..columns).map(move |column| (row, column)))
    }

    fn energy(products: u64, additions: u64) -> f64 {
        products as f64 * MULTIPLY_ACCUMULATE_PJ + additions as f64 * ADDITION_PJ
    }

    #[track_caller]
    fn assert_close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-9 * expected, "{found} {expected}");
    }

    #[test]
    fn energy_and_fan_out_count_the_weights_that_meet_a_pixel() {
        for (height, width) in pairs(7, 7).filter(|&(h, w)| h > 0 && w > 0) {
            for kernel in [1, 3, 5, 7] {
                for stride in 1..4 {
                    let input = Shape { channels: 2, height, width };
                    let mut conv = Layer::conv(3);
                    if let Layer::Conv { kernel: k, stride: s, .. } = &mut conv {
                        (*k, *s) = (kernel, stride);
                    }
                    let layers = vec![conv, Layer::Classifier { bias: false }];
                    let plan = Architecture { name: "test".into(), layers }.plan(input, 4).unwrap();
                    let first = products(input, 3, kernel, stride);
                    let last = plan.layers[0].output.len() as u64 * 4;
                    assert_close(ann_energy_pj(&plan), energy(first + last, 0));
                    assert_close(image_energy_pj(&plan), energy(first, 0));
                    // One spike of every pixel and every neuron causes as many operations.
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
            bias: false,
            batch_norm: false,
            dropout: 0.0,
            tap: None,
        };
        let input = Shape { channels: 2, height: 7, width: 5 };
        let network = |layers| Architecture { name: "test".into(), layers }.plan(input, 3).unwrap();
        let classifier = || Layer::Classifier { bias: false };
        let same_shape = network(vec![block(2, 1), classifier()]);
        let convolutions = 2 * products(input, 2, 3, 1);
        assert_close(ann_energy_pj(&same_shape), energy(convolutions + 3 * 70, 70));
        assert_close(image_energy_pj(&same_shape), energy(products(input, 2, 3, 1), 70));

        let strided = network(vec![block(4, 2), classifier()]);
        let inner = Shape { channels: 4, height: 4, width: 3 };
        let entrance = products(input, 4, 3, 2) + products(input, 4, 1, 2);
        assert_close(
            ann_energy_pj(&strided),
            energy(entrance + products(inner, 4, 3, 1) + 3 * 48, 0),
        );
        assert_close(image_energy_pj(&strided), energy(entrance, 0));
    }

    #[test]
    fn the_first_layer_multiplies_the_pooled_image() {
        let layers =
            vec![Layer::AveragePool { size: 2 }, Layer::conv(3), Layer::Classifier { bias: false }];
        let input = Shape { channels: 2, height: 9, width: 8 };
        let plan = Architecture { name: "test".into(), layers }.plan(input, 3).unwrap();
        let pooled = Shape { channels: 2, height: 4, width: 4 };
        assert_close(image_energy_pj(&plan), energy(products(pooled, 3, 3, 1), 0));
        assert_close(ann_energy_pj(&plan), energy(products(pooled, 3, 3, 1) + 3 * 48, 0));
    }

    #[test]
    fn dense_blocks_count_every_unit() {
        let layers =
            vec![Layer::Dense { units: 2, growth: 3, tap: None }, Layer::Classifier { bias: true }];
        let input = Shape { channels: 2, height: 4, width: 3 };
        let plan = Architecture { name: "test".into(), layers }.plan(input, 5).unwrap();
        let unit = |channels| {
            let wide = Shape { channels, ..input };
            products(wide, 12, 1, 1) + products(Shape { channels: 12, ..input }, 3, 3, 1)
        };
        assert_close(ann_energy_pj(&plan), energy(unit(2) + unit(5) + 5 * 8 * 12, 0));
    }
}
