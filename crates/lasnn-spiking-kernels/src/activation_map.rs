//! Spike activation maps (Kim and Panda, "Visual explanations from spiking neural networks using
//! inter-spike intervals", 2021) and their gradients, from recorded spikes.
//!
//! With the spikes `o^t` of a neuron, `d = e^-γ`, and `N^0 = o^0 = 0`:
//!
//! ```text
//! N^t = d N^{t-1} + o^t              with the current spike
//! N^t = d (N^{t-1} + o^{t-1})        without it
//! map^t = Σ_c N^t_c o^t_c            the sum over the channels c
//! ```
//!
//! With the gradient `G^t` of the map and `R^t = G^t o^t + d R^{t+1}`, the gradient of a spike is
//! `G^t N^t + R^t` with the current spike, and `G^t N^t + d R^{t+1}` without it. Without a trace
//! ([`Trace::NONE`]), the map is the sum of the spikes, and the gradient of a spike is `G^t`.

use rayon::prelude::*;

use lasnn_core::Trace;
use lasnn_gemm::memory::Scratch;

use crate::spikes::{LANES, Spikes};

impl Spikes {
    /// The spike activation map of each step, `[steps, batch, height, width]`.
    pub fn activation_map(&self, trace: Trace) -> Vec<f32> {
        let (positions, decay) = (self.grid.shape.positions(), (-trace.gamma).exp() as f32);
        // [image][step][position]
        let mut by_image = vec![0.0; self.frames() * positions];
        by_image.par_chunks_mut(self.steps * positions).enumerate().for_each(|(image, maps)| {
            self.each_word(image, |position, _, words| {
                let mut traces = [0.0; LANES];
                for (step, word) in words.enumerate() {
                    let mut sum = 0.0;
                    for (lane, trace_of_lane) in traces.iter_mut().enumerate() {
                        let spike = f32::from(word >> lane & 1);
                        let with_current = decay * *trace_of_lane + spike;
                        let seen = match trace.include_current {
                            _ if trace.is_none() => 1.0,
                            true => with_current,
                            false => with_current - spike,
                        };
                        sum += seen * spike;
                        *trace_of_lane = with_current;
                    }
                    maps[step * positions + position] += sum;
                }
            });
        });
        let mut maps = vec![0.0; by_image.len()];
        for (frame, map) in by_image.chunks_exact(positions).enumerate() {
            let (image, step) = (frame / self.steps, frame % self.steps);
            maps[(step * self.batch + image) * positions..][..positions].copy_from_slice(map);
        }
        maps
    }

    /// The gradient of the spikes `[image][step][position][lane]`. `grad` is with respect to the
    /// result of [`Spikes::activation_map`].
    pub fn activation_map_backward(&self, trace: Trace, grad: &[f32]) -> Scratch {
        let (positions, lanes) = (self.grid.shape.positions(), self.grid.lanes());
        let decay = (-trace.gamma).exp() as f32;
        let of_image = self.steps * positions * lanes;
        let mut result = Scratch::zeros_parallel(self.batch * of_image);
        result.par_chunks_mut(of_image).enumerate().for_each(|(image, result)| {
            self.each_word(image, |position, lane, words| {
                let words: Vec<u16> = words.collect();
                let place = |step: usize| (step * positions + position) * lanes + lane;
                let grad = |step: usize| grad[(step * self.batch + image) * positions + position];
                if trace.is_none() {
                    for step in 0..words.len() {
                        result[place(step)..][..LANES].fill(grad(step));
                    }
                    return;
                }
                let mut traces = [0.0f32; LANES];
                for (step, word) in words.iter().enumerate() {
                    let to = &mut result[place(step)..][..LANES];
                    for (lane, (to, trace_of_lane)) in to.iter_mut().zip(&mut traces).enumerate() {
                        let spike = f32::from(word >> lane & 1);
                        let before = decay * *trace_of_lane;
                        *trace_of_lane = before + spike;
                        let seen = if trace.include_current { *trace_of_lane } else { before };
                        *to = grad(step) * seen;
                    }
                }
                let mut later = [0.0f32; LANES];
                for (step, word) in words.iter().enumerate().rev() {
                    let to = &mut result[place(step)..][..LANES];
                    for (lane, (to, later)) in to.iter_mut().zip(&mut later).enumerate() {
                        let carried = decay * *later;
                        *later = grad(step) * f32::from(word >> lane & 1) + carried;
                        *to += if trace.include_current { *later } else { carried };
                    }
                }
            });
        });
        result
    }

    /// Calls `visit` for each word of an image with its position, its first lane, and its spikes at
    /// each step.
    fn each_word(
        &self,
        image: usize,
        mut visit: impl FnMut(usize, usize, &mut dyn Iterator<Item = u16>),
    ) {
        let (positions, words) = (self.grid.shape.positions(), self.grid.words());
        let of_step = positions * words;
        for tile in 0..self.grid.tiles() {
            let all = &self.words[self.at(tile, image, 0, 0)..][..self.image_words()];
            for place in 0..of_step {
                let lane = tile * self.grid.tile + place % words * LANES;
                let mut steps = all.iter().skip(place).step_by(of_step).copied();
                visit(place / words, lane, &mut steps);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use lasnn_core::Shape;

    use super::*;

    const TRACES: [Trace; 3] = [
        Trace::NONE,
        Trace { gamma: 0.5, include_current: true },
        Trace { gamma: 0.25, include_current: false },
    ];

    /// Numbers of spikes `[steps, batch, channels, height, width]`. They are real numbers, so that
    /// a derivative exists.
    fn naive(
        spikes: &[f64],
        [steps, batch, channels, positions]: [usize; 4],
        t: Trace,
    ) -> Vec<f64> {
        let decay = (-t.gamma).exp();
        let mut maps = vec![0.0; steps * batch * positions];
        for neuron in 0..batch * channels * positions {
            let mut trace = 0.0;
            for step in 0..steps {
                let spike = spikes[step * batch * channels * positions + neuron];
                let seen = match t.is_none() {
                    true => 1.0,
                    false => decay * trace + if t.include_current { spike } else { 0.0 },
                };
                trace = decay * trace + spike;
                let image = neuron / (channels * positions);
                maps[(step * batch + image) * positions + neuron % positions] += seen * spike;
            }
        }
        maps
    }

    #[test]
    fn maps_and_gradients_are_those_of_their_definition() {
        let (steps, batch, shape) = (5, 2, Shape { channels: 19, height: 2, width: 3 });
        let sizes = [steps, batch, shape.channels, shape.positions()];
        let count = steps * batch * shape.len();
        let spikes: Vec<f32> = (0..count).map(|i| f32::from(i * 7919 % 5 < 2)).collect();
        let recorded = Spikes::of(&spikes, shape, batch, steps);
        let exact: Vec<f64> = spikes.iter().map(|&spike| spike.into()).collect();
        for trace in TRACES {
            let found = recorded.activation_map(trace);
            let expected = naive(&exact, sizes, trace);
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                assert!((f64::from(*found) - expected).abs() < 1e-5, "{found}, not {expected}");
            }
            let grad: Vec<f32> = (0..found.len()).map(|i| (i % 7) as f32 - 3.0).collect();
            let by_frame = recorded.activation_map_backward(trace, &grad);
            let lanes = recorded.grid.lanes();
            for index in (0..count).step_by(11) {
                let at = |delta: f64| {
                    let mut moved = exact.clone();
                    moved[index] += delta;
                    let maps = naive(&moved, sizes, trace);
                    maps.iter().zip(&grad).map(|(map, &grad)| map * f64::from(grad)).sum::<f64>()
                };
                // The map is quadratic in each number, so the difference is exact.
                let expected = (at(0.5) - at(-0.5)) / 1.0;
                let (step, rest) = (index / (batch * shape.len()), index % (batch * shape.len()));
                let (image, rest) = (rest / shape.len(), rest % shape.len());
                let (channel, position) = (rest / shape.positions(), rest % shape.positions());
                let frame = image * steps + step;
                let found = by_frame[(frame * shape.positions() + position) * lanes + channel];
                assert!((f64::from(found) - expected).abs() < 1e-4, "{found}, not {expected}");
            }
        }
    }
}
