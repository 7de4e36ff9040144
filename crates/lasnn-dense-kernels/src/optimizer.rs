//! Update rules, one pass over a parameter, its gradient and what is remembered of it.

use rayon::prelude::*;

use lasnn_core::vectorised;

/// Elements of a job: small enough for the nearest large cache, large enough to be worth a job.
const CHUNK: usize = 1 << 14;

/// Step number `step`, counted from 1, of Adam with parameter θ and gradient g:
///
/// ```text
/// θ ← θ - rate · weight_decay · θ  where it is decoupled,  g ← g + weight_decay · θ  elsewhere
/// m ← beta1 · m + (1 - beta1) · g
/// v ← beta2 · v + (1 - beta2) · g²
/// u ← max(u, v)  where it is kept,  v  elsewhere
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
    /// What keeps the division finite.
    pub epsilon: f64,
    /// The weight decay.
    pub weight_decay: f64,
    /// Whether it is taken off the parameter itself (AdamW) instead of being added to the gradient.
    pub decoupled: bool,
    /// The number of the step.
    pub step: u64,
}

impl AdamStep {
    /// The learning rate over the correction of the mean gradient.
    pub fn corrected_rate(&self) -> f64 {
        self.rate / (1.0 - self.beta1.powf(self.step as f64))
    }

    /// The root of the correction of the mean squared gradient.
    pub fn root(&self) -> f64 {
        (1.0 - self.beta2.powf(self.step as f64)).sqrt()
    }

    /// What is added to the gradient for each unit of the parameter.
    pub fn coupled_decay(&self) -> f64 {
        if self.decoupled { 0.0 } else { self.weight_decay }
    }

    /// What is left of the parameter before the gradient moves it.
    pub fn kept(&self) -> f64 {
        if self.decoupled { 1.0 - self.rate * self.weight_decay } else { 1.0 }
    }
}

/// The constants of an [`AdamStep`] as the inner loop needs them.
#[derive(Clone, Copy)]
struct Constants {
    beta1: f32,
    share1: f32,
    beta2: f32,
    share2: f32,
    epsilon: f32,
    coupled_decay: f32,
    kept: f32,
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
            kept: step.kept() as f32,
            rate: step.corrected_rate() as f32,
            root: step.root() as f32,
        }
    }

    #[inline(always)]
    fn moments(&self, parameter: f32, gradient: f32, mean: &mut f32, square: &mut f32) {
        let gradient = gradient + parameter * self.coupled_decay;
        *mean = normal(*mean * self.beta1 + gradient * self.share1);
        *square = normal(*square * self.beta2 + gradient * gradient * self.share2);
    }
}

/// The number, or zero where it is subnormal. The average of gradients that have become zero, as those of
/// dead neurons, fades to the smallest number there is and stays there, since nine tenths of that are
/// rounded to itself; and processors of Intel's take a hundred cycles for every product with such numbers.
#[inline(always)]
fn normal(number: f32) -> f32 {
    if number.abs() < f32::MIN_POSITIVE { 0.0 } else { number }
}

/// Moves a parameter by one step of Adam; all slices have the same length.
///
/// # Panics
///
/// Panics if they have not.
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
            step.moments(*p, g, m, v);
            *p = *p * step.kept - *m / (v.sqrt() / step.root + step.epsilon) * step.rate;
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
            step.moments(*p, g, m, v);
            *u = u.max(*v);
            *p = *p * step.kept - *m / (u.sqrt() / step.root + step.epsilon) * step.rate;
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
    /// The coupled weight decay.
    pub weight_decay: f64,
    /// How much of the buffer stays.
    pub momentum: f64,
    /// Whether the momentum looks one step ahead.
    pub nesterov: bool,
}

/// Moves a parameter by one step of stochastic gradient descent; all slices have the same length. A
/// buffer of zeros is as good as the first step without one.
///
/// # Panics
///
/// Panics if they have not.
pub fn sgd(step: &SgdStep, parameter: &mut [f32], gradient: &[f32], buffer: Option<&mut [f32]>) {
    let length = parameter.len();
    assert_eq!(gradient.len(), length, "lengths of a step");
    let [rate, weight_decay, momentum] =
        [step.rate, step.weight_decay, step.momentum].map(|number| number as f32);
    let pairs = parameter.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
    let Some(buffer) = buffer else {
        return pairs.for_each(|(parameter, gradient)| {
            for (p, &g) in parameter.iter_mut().zip(gradient) {
                *p -= (g + *p * weight_decay) * rate;
            }
        });
    };
    assert_eq!(buffer.len(), length, "lengths of a step");
    // With Nesterov's momentum the step is g + μ b, without it b.
    let [own, ahead] = if step.nesterov { [1.0, momentum] } else { [0.0, 1.0] };
    pairs.zip(buffer.par_chunks_mut(CHUNK)).for_each(|((parameter, gradient), buffer)| {
        sgd_chunk([rate, weight_decay, momentum, own, ahead], parameter, gradient, buffer);
    });
}

vectorised! {
    fn sgd_chunk<'a>(
        constants: [f32; 5],
        parameter: &'a mut [f32],
        gradient: &'a [f32],
        buffer: &'a mut [f32],
    ) -> () {
        let [rate, weight_decay, momentum, own, ahead] = constants;
        for ((p, &g), b) in parameter.iter_mut().zip(gradient).zip(buffer) {
            let g = g + *p * weight_decay;
            *b = normal(*b * momentum + g);
            *p -= (own * g + ahead * *b) * rate;
        }
    }
}

/// The sum of the squares, added up in an order that threads do not change.
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

    /// What is left of a gradient is zero after a while, not a number that processors are slow with.
    #[test]
    fn moments_of_dead_weights_fade_to_zero() {
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
