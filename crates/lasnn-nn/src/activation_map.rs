//! Spike activation maps (Kim and Panda, "Visual explanations from spiking neural networks using
//! inter-spike intervals", 2021).
//!
//! A neuron that fires often within a short time contributes more. [`Trace`] has the equations.

use burn::tensor::{Tensor, backend::Backend};
use lasnn_core::Trace;

/// The spike activation map of every time step.
///
/// It is differentiable with respect to the spikes. The maps are not scaled to a range, unlike the
/// pictures of the paper.
///
/// # Shapes
///
/// - `spikes`: `[steps · batch, channels, height, width]`, time-major
/// - result: `[steps, batch, height, width]`
///
/// # Panics
///
/// Panics if the first dimension is not a multiple of `steps`.
pub fn activation_map<B: Backend>(
    spikes: Tensor<B, 4>,
    steps: usize,
    trace: Trace,
) -> Tensor<B, 4> {
    let [rows, channels, height, width] = spikes.dims();
    assert!(
        steps > 0 && rows.is_multiple_of(steps),
        "{rows} rows are not {steps} time steps of a batch"
    );
    let batch = rows / steps;
    if trace.is_none() {
        return spikes.sum_dim(1).reshape([steps, batch, height, width]);
    }
    let Trace { gamma, include_current } = trace;
    let decay = (-gamma).exp();
    let options = (&spikes.device(), spikes.dtype());
    let mut contributions = Tensor::zeros([batch, channels, height, width], options);
    let mut maps = Vec::with_capacity(steps);
    for spikes in spikes.split(batch, 0) {
        if include_current {
            contributions = contributions * decay + spikes.clone();
        }
        let map = (contributions.clone() * spikes.clone()).sum_dim(1);
        maps.push(map.reshape([1, batch, height, width]));
        if !include_current {
            contributions = (contributions + spikes) * decay;
        }
    }
    Tensor::cat(maps, 0)
}

#[cfg(test)]
mod tests {
    use burn::backend::Autodiff;
    use burn::tensor::TensorData;
    use burn_flex::Flex;

    use super::*;

    const STEPS: usize = 4;
    const BATCH: usize = 2;
    const CHANNELS: usize = 3;
    const POSITIONS: usize = 2;
    const LENGTH: usize = STEPS * BATCH * CHANNELS * POSITIONS;

    const TRACES: [Trace; 2] =
        [Trace { gamma: 0.5, include_current: true }, Trace { gamma: 0.3, include_current: false }];

    /// The index of a spike in `[steps · batch, channels, 1, positions]`.
    fn at(step: usize, image: usize, channel: usize, position: usize) -> usize {
        ((step * BATCH + image) * CHANNELS + channel) * POSITIONS + position
    }

    /// The maps `[steps, batch, positions]` from the definition, a sum over all earlier spikes.
    fn naive(spikes: &[f64], trace: Trace) -> Vec<f64> {
        let mut maps = Vec::new();
        for step in 0..STEPS {
            for image in 0..BATCH {
                for position in 0..POSITIONS {
                    let mut map = 0.0;
                    for channel in 0..CHANNELS {
                        let last = if trace.include_current { step + 1 } else { step };
                        let contribution: f64 = (0..last)
                            .map(|earlier| {
                                let age = (step - earlier) as f64;
                                (-trace.gamma * age).exp()
                                    * spikes[at(earlier, image, channel, position)]
                            })
                            .sum();
                        map += contribution * spikes[at(step, image, channel, position)];
                    }
                    maps.push(map);
                }
            }
        }
        maps
    }

    /// Values of a spike train; the map is a polynomial, so it is defined for fractions, too.
    fn spikes() -> Vec<f64> {
        (0..LENGTH).map(|index| [1.0, 0.0, 1.0, 1.0, 0.25, 0.0, 0.5][index * index % 7]).collect()
    }

    fn tensor<B: Backend>(values: &[f64], rows: usize, channels: usize) -> Tensor<B, 4> {
        let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
        let shape = [rows, channels, 1, POSITIONS];
        Tensor::from_data(TensorData::new(values, shape), &Default::default())
    }

    #[test]
    fn maps_equal_the_sum_over_earlier_spikes() {
        for trace in TRACES {
            let maps =
                activation_map(tensor::<Flex>(&spikes(), STEPS * BATCH, CHANNELS), STEPS, trace);
            assert_eq!(maps.dims(), [STEPS, BATCH, 1, POSITIONS]);
            let maps = maps.into_data();
            let expected = naive(&spikes(), trace);
            for (found, expected) in maps.iter::<f64>().zip(expected) {
                assert!((found - expected).abs() < 1e-5, "{found} instead of {expected}");
            }
        }
    }

    /// The map is a polynomial of degree 2 in the spikes, so central differences are exact up to
    /// rounding.
    #[test]
    fn gradients_equal_finite_differences() {
        for trace in TRACES {
            let weights: Vec<f64> =
                (0..STEPS * BATCH * POSITIONS).map(|index| (index as f64 * 0.7).sin()).collect();
            let loss = |spikes: &[f64]| -> f64 {
                naive(spikes, trace).iter().zip(&weights).map(|(map, weight)| map * weight).sum()
            };
            let input = tensor::<Autodiff<Flex>>(&spikes(), STEPS * BATCH, CHANNELS).require_grad();
            let maps = activation_map(input.clone(), STEPS, trace);
            let weights = tensor(&weights, STEPS * BATCH, 1).reshape(maps.shape());
            let gradients = (maps * weights).sum().backward();
            let found = input.grad(&gradients).unwrap().into_data();
            for (index, found) in found.iter::<f64>().enumerate() {
                let shifted = |by: f64| {
                    let mut spikes = spikes();
                    spikes[index] += by;
                    loss(&spikes)
                };
                let expected = (shifted(1e-3) - shifted(-1e-3)) / 2e-3;
                assert!((found - expected).abs() < 1e-4, "{index}: {found}, not {expected}");
            }
        }
    }
}
