//! Update rules of optimisers.
//!
//! A step reads and writes a parameter, its gradient and the state of the optimiser in one pass.

use rayon::prelude::*;

use lasnn_core::vectorised;

/// The number of elements of a job. They fit the second-level cache, and are worth a job.
const CHUNK: usize = 1 << 14;

/// One step of Adam with parameter θ and gradient g:
///
/// ```text
/// θ ← θ - rate · weight_decay · θ  if decoupled,  g ← g + weight_decay · θ  otherwise
/// m ← beta1 · m + (1 - beta1) · g
/// v ← beta2 · v + (1 - beta2) · g²
/// u ← max(u, v)  with AMSGrad,  v  without
/// θ ← θ - rate / (1 - beta1 ^ step) · m / (√u / √(1 - beta2 ^ step) + epsilon)
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// The learning rate.
    pub rate: f64,
    /// The decay of the mean gradient.
    pub beta1: f64,
    /// The decay of the mean squared gradient.
    pub beta2: f64,
    /// Added to the denominator, so that the division is finite.
    pub epsilon: f64,
    /// The weight decay.
    pub weight_decay: f64,
    /// Whether the weight decay is subtracted from the parameter (AdamW) instead of added to the
    /// gradient.
    pub decoupled: bool,
    /// The number of the step, counted from 1.
    pub step: u64,
}

impl AdamStep {
    /// The learning rate divided by the bias correction of the mean gradient, `1 - beta1 ^ step`.
    pub fn corrected_rate(&self) -> f64 {
        self.rate / (1.0 - self.beta1.powf(self.step as f64))
    }

    /// The square root of the bias correction of the mean squared gradient, `√(1 - beta2 ^ step)`.
    pub fn root(&self) -> f64 {
        (1.0 - self.beta2.powf(self.step as f64)).sqrt()
    }

    /// The multiple of the parameter that is added to the gradient.
    pub fn coupled_decay(&self) -> f64 {
        if self.decoupled { 0.0 } else { self.weight_decay }
    }

    /// The factor of the parameter in the update, which is below 1 if the weight decay is
    /// decoupled.
    pub fn decay_factor(&self) -> f64 {
        if self.decoupled { 1.0 - self.rate * self.weight_decay } else { 1.0 }
    }
}

/// The constants of an [`AdamStep`] in `f32`, for the inner loop.
#[derive(Clone, Copy)]
struct Constants {
    beta1: f32,
    share1: f32,
    beta2: f32,
    share2: f32,
    epsilon: f32,
    coupled_decay: f32,
    decay_factor: f32,
    rate: f32,
    root: f32,
}

impl Constants {
    fn of(step: &AdamStep) -> Self {
        Self {
            beta1: step.beta1 as f32,
            share1: (1.0 - step.beta1) as f32,
            beta2: step.beta2 as f32,
            share2: (1.0 - step.beta2) as f32,
            epsilon: step.epsilon as f32,
            coupled_decay: step.coupled_decay() as f32,
            decay_factor: step.decay_factor() as f32,
            rate: step.corrected_rate() as f32,
            root: step.root() as f32,
        }
    }

    #[inline(always)]
    fn update_moments(&self, parameter: f32, gradient: f32, mean: &mut f32, square: &mut f32) {
        let gradient = gradient + parameter * self.coupled_decay;
        *mean = flush_subnormal(*mean * self.beta1 + gradient * self.share1);
        *square = flush_subnormal(*square * self.beta2 + gradient * gradient * self.share2);
    }
}

/// The number, or zero if it is subnormal.
///
/// The gradients of dead neurons are zero, and their moving average decays to the smallest positive
/// number. It stays there, since nine tenths of that number are rounded to the number itself.
/// Processors by Intel take a hundred cycles for every product with a subnormal number.
#[inline(always)]
fn flush_subnormal(number: f32) -> f32 {
    if number.abs() < f32::MIN_POSITIVE { 0.0 } else { number }
}

/// Updates a parameter by one step of Adam.
///
/// `mean` and `square` are the moments m and v, zero before the first step. `max_square` is u, if
/// AMSGrad is used.
///
/// # Panics
///
/// Panics if the slices differ in length.
pub fn adam(
    step: &AdamStep,
    parameter: &mut [f32],
    gradient: &[f32],
    mean: &mut [f32],
    square: &mut [f32],
    max_square: Option<&mut [f32]>,
) {
    let step = Constants::of(step);
    let length = parameter.len();
    assert_eq!([gradient.len(), mean.len(), square.len()], [length; 3], "lengths of a step");
    let chunks = parameter
        .par_chunks_mut(CHUNK)
        .zip(gradient.par_chunks(CHUNK))
        .zip(mean.par_chunks_mut(CHUNK).zip(square.par_chunks_mut(CHUNK)));
    match max_square {
        None => chunks.for_each(|((parameter, gradient), (mean, square))| {
            adam_chunk(step, parameter, gradient, mean, square);
        }),
        Some(max_square) => {
            assert_eq!(max_square.len(), length, "lengths of a step");
            let chunks = chunks.zip(max_square.par_chunks_mut(CHUNK));
            chunks.for_each(|(((parameter, gradient), (mean, square)), max_square)| {
                amsgrad_chunk(step, parameter, gradient, mean, square, max_square);
            });
        }
    }
}

vectorised! {
    fn adam_chunk<'a>(
        step: Constants,
        parameter: &'a mut [f32],
        gradient: &'a [f32],
        mean: &'a mut [f32],
        square: &'a mut [f32],
    ) -> () {
        let moments = mean.iter_mut().zip(square);
        for ((p, &g), (m, v)) in parameter.iter_mut().zip(gradient).zip(moments) {
            step.update_moments(*p, g, m, v);
            *p = *p * step.decay_factor - *m / (v.sqrt() / step.root + step.epsilon) * step.rate;
        }
    }
}

vectorised! {
    fn amsgrad_chunk<'a>(
        step: Constants,
        parameter: &'a mut [f32],
        gradient: &'a [f32],
        mean: &'a mut [f32],
        square: &'a mut [f32],
        max_square: &'a mut [f32],
    ) -> () {
        let moments = mean.iter_mut().zip(square).zip(max_square);
        for ((p, &g), ((m, v), u)) in parameter.iter_mut().zip(gradient).zip(moments) {
            step.update_moments(*p, g, m, v);
            *u = u.max(*v);
            *p = *p * step.decay_factor - *m / (u.sqrt() / step.root + step.epsilon) * step.rate;
        }
    }
}

/// One step of stochastic gradient descent with parameter θ and gradient g:
///
/// ```text
/// g ← g + weight_decay · θ
/// b ← g at the first step, momentum · b + g afterwards
/// θ ← θ - rate · (g + momentum · b)  if nesterov,  θ - rate · b  if not
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdStep {
    /// The learning rate.
    pub rate: f64,
    /// The weight decay, which is added to the gradient.
    pub weight_decay: f64,
    /// The decay of the momentum buffer b.
    pub momentum: f64,
    /// Whether the momentum is that of Nesterov.
    pub nesterov: bool,
}

/// Updates a parameter by one step of stochastic gradient descent.
///
/// `buffer` is the momentum buffer b. Before the first step it must be zero.
///
/// # Panics
///
/// Panics if the slices differ in length.
pub fn sgd(step: &SgdStep, parameter: &mut [f32], gradient: &[f32], buffer: Option<&mut [f32]>) {
    let length = parameter.len();
    assert_eq!(gradient.len(), length, "lengths of a step");
    let [rate, weight_decay, momentum] =
        [step.rate, step.weight_decay, step.momentum].map(|number| number as f32);
    let chunks = parameter.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
    let Some(buffer) = buffer else {
        return chunks.for_each(|(parameter, gradient)| {
            for (p, &g) in parameter.iter_mut().zip(gradient) {
                *p -= (g + *p * weight_decay) * rate;
            }
        });
    };
    assert_eq!(buffer.len(), length, "lengths of a step");
    // The direction of the step is g + momentum · b with Nesterov, and b without.
    let [by_grad, by_buffer] = if step.nesterov { [1.0, momentum] } else { [0.0, 1.0] };
    chunks.zip(buffer.par_chunks_mut(CHUNK)).for_each(|((parameter, gradient), buffer)| {
        sgd_chunk([rate, weight_decay, momentum, by_grad, by_buffer], parameter, gradient, buffer);
    });
}

vectorised! {
    fn sgd_chunk<'a>(
        constants: [f32; 5],
        parameter: &'a mut [f32],
        gradient: &'a [f32],
        buffer: &'a mut [f32],
    ) -> () {
        let [rate, weight_decay, momentum, by_grad, by_buffer] = constants;
        for ((p, &g), b) in parameter.iter_mut().zip(gradient).zip(buffer) {
            let g = g + *p * weight_decay;
            *b = flush_subnormal(*b * momentum + g);
            *p -= (by_grad * g + by_buffer * *b) * rate;
        }
    }
}

/// The sum of the squares of `values`. The order of additions does not depend on the number of
/// threads.
pub fn sum_of_squares(values: &[f32]) -> f32 {
    let sums: Vec<f32> = values.par_chunks(CHUNK).map(squares_of_chunk).collect();
    sums.iter().sum()
}

vectorised! {
    fn squares_of_chunk<'a>(values: &'a [f32]) -> f32 {
        let mut lanes = [0f32; 32];
        let (whole, rest) = values.as_chunks::<32>();
        for values in whole {
            for (lane, &value) in lanes.iter_mut().zip(values) {
                *lane += value * value;
            }
        }
        lanes.iter().sum::<f32>() + rest.iter().map(|value| value * value).sum::<f32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_zero_gradients_decay_to_zero() {
        let step = AdamStep {
            rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            decoupled: false,
            step: 1000,
        };
        let (mut parameter, mut mean, mut square) = ([0.5; 40], [1e-36; 40], [2e-38; 40]);
        for _ in 0..1000 {
            adam(&step, &mut parameter, &[0.0; 40], &mut mean, &mut square, None);
        }
        assert_eq!((parameter, mean, square), ([0.5; 40], [0.0; 40], [0.0; 40]));
        let step = SgdStep { rate: 0.1, weight_decay: 0.0, momentum: 0.9, nesterov: true };
        let mut buffer = [-1e-36; 40];
        for _ in 0..100 {
            sgd(&step, &mut parameter, &[0.0; 40], Some(&mut buffer));
        }
        assert_eq!((parameter, buffer), ([0.5; 40], [0.0; 40]));
    }
}
