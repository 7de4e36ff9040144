//! Whether a backend does what it should, and the same again, on the device at hand.
//!
//! Made for machines that run no tests, as `lasnn_neurons::parity` is for neurons. The tests of this crate
//! make more comparisons, on the backends that they run on. Convolutions are compared with plain loops, since
//! stock operations may be wrong themselves; all else with stock operations.

mod cases;
mod plain;

use std::sync::Arc;

use burn::tensor::backend::{Backend, ExecutionError};
use burn::tensor::{Tensor, TensorData, TensorMetadata, ops::FloatTensor};
use lasnn_core::philox::block;
use lasnn_core::{Mask, Precision};
use lasnn_dense_kernels::optimizer::{AdamStep, SgdStep};

pub use self::cases::DenseCase;
use self::plain::PlainConvolution;
use crate::backend::{Convolution, DenseBackend, from_primitive, into_primitive};
use crate::reference;

/// The largest error, as a share of the largest value. What is multiplied has six bits, which TF32 and
/// bfloat16 hold, so only the order of sums differs.
pub const TOLERANCE: f64 = 1e-5;

/// How often an operation is asked for the same numbers.
const TIMES: usize = 5;

/// What a comparison found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DenseComparison {
    /// The largest error of an output, as a share of its largest value.
    pub value_error: f64,
    /// The same of a gradient, where there is one.
    pub gradient_error: Option<f64>,
    /// Whether the operation gave the same numbers every time.
    pub repeats: bool,
}

impl DenseComparison {
    /// Whether found and expected numbers are the same but for the order of sums, which is always one.
    pub fn is_right(&self) -> bool {
        // Asks for what is right, so that an error that is not a number fails too.
        self.repeats
            && self.value_error <= TOLERANCE
            && self.gradient_error.is_none_or(|error| error <= TOLERANCE)
    }
}

/// What an operation gives.
struct Results<B: Backend> {
    outputs: Vec<FloatTensor<B>>,
    gradients: Vec<FloatTensor<B>>,
}

/// Makes one comparison.
///
/// # Errors
///
/// Says that the device failed.
pub fn compare_dense<B: DenseBackend>(
    case: DenseCase,
    device: &B::Device,
) -> Result<DenseComparison, ExecutionError> {
    let expected = match PlainConvolution::of(case) {
        Some(plain) => plain.compute(),
        None => Found::read(compute::<B, true>(case, device))?,
    };
    let found = Found::read(compute::<B, false>(case, device))?;
    let mut repeats = true;
    for _ in 1..TIMES {
        repeats &= Found::read(compute::<B, false>(case, device))? == found;
    }
    let gradients = !expected.gradients.is_empty();
    Ok(DenseComparison {
        value_error: error(&found.outputs, &expected.outputs),
        gradient_error: gradients.then(|| error(&found.gradients, &expected.gradients)),
        repeats,
    })
}

/// What a case gives, by the reference or by the backend; a convolution, which plain loops are for, by the
/// backend.
fn compute<B: DenseBackend, const REFERENCE: bool>(
    case: DenseCase,
    device: &B::Device,
) -> Results<B> {
    /// Takes the same function of the reference or of the backend.
    macro_rules! of {
        ($name:ident($($argument:expr),* $(,)?)) => {
            match REFERENCE {
                true => reference::$name::<B>($($argument),*),
                false => B::$name($($argument),*),
            }
        };
    }
    let draw = |shape, salt| numbers::<B, 4>(shape, salt, device);
    let flat = |salt| numbers::<B, 1>([40_001], salt, device);
    let square = |tensor| into_primitive(from_primitive::<B, 1>(tensor).square());
    match case {
        DenseCase::Convolution { batch, channels: [inputs, outputs], size, kernel, stride } => {
            let convolution =
                Convolution { stride, padding: kernel / 2, precision: Precision::F32 };
            let input = draw([batch, inputs, size, size], 1);
            let weights = draw([outputs, inputs, kernel, kernel], 2);
            let bias = numbers::<B, 1>([outputs], 3, device);
            let grad = draw([batch, outputs, size.div_ceil(stride), size.div_ceil(stride)], 4);
            let (i, w, g) = (|| input.clone(), || weights.clone(), || grad.clone());
            Results {
                outputs: vec![
                    B::conv2d_bias_relu(i(), w(), None, convolution, true),
                    B::conv2d_bias_relu(i(), w(), Some(bias), convolution, false),
                ],
                gradients: vec![
                    B::conv2d_input_grad(i(), w(), g(), convolution),
                    B::conv2d_weight_grad(i(), w(), g(), convolution),
                    B::channel_sums(g()),
                ],
            }
        }
        DenseCase::Linear => {
            let input = numbers::<B, 2>([50, 200], 1, device);
            let weights = numbers::<B, 2>([200, 70], 2, device);
            let bias = numbers::<B, 1>([70], 3, device);
            let grad = numbers::<B, 2>([50, 70], 4, device);
            let (i, w, g) = (|| input.clone(), || weights.clone(), || grad.clone());
            let output = match REFERENCE {
                true => reference::linear::<B>(i(), w(), Some(bias), true),
                false => B::linear_bias_relu(i(), w(), Some(bias), Precision::F32, true),
            };
            let gradients = match REFERENCE {
                true => vec![
                    reference::linear_input_grad::<B>(w(), g()),
                    reference::linear_weight_grad::<B>(i(), g()),
                ],
                false => vec![
                    B::linear_input_grad(w(), g(), Precision::F32),
                    B::linear_weight_grad(i(), g(), Precision::F32),
                ],
            };
            Results { outputs: vec![output], gradients }
        }
        DenseCase::Norm { shape } => {
            let per_channel = |salt| numbers::<B, 1>([shape[1]], salt, device);
            let (map, gamma, beta) = (draw(shape, 1), per_channel(2), per_channel(3));
            let (scale, shift) = (per_channel(4), per_channel(5));
            // With a rectifier, but for the gradients: where an output is next to zero, the order of a sum
            // would decide whether it has one.
            let found = of!(batch_norm(map.clone(), gamma.clone(), beta.clone(), 1e-5, true));
            let gradients = of!(batch_norm_backward(
                map.clone(),
                [gamma, beta],
                [found.mean.clone(), found.variance.clone()],
                None,
                draw(shape, 6),
                1e-5,
            ));
            let shifted = of!(scale_and_shift(map, scale, shift, true));
            Results {
                outputs: vec![found.output, found.mean, found.variance, shifted],
                gradients: gradients.into(),
            }
        }
        DenseCase::Pools => {
            let (map, grad) = (draw([50, 16, 9, 8], 1), draw([50, 16, 4, 4], 2));
            let m = || map.clone();
            Results {
                outputs: vec![of!(maximum_pool(m(), 2)), of!(average_pool(m(), 2))],
                gradients: vec![
                    of!(maximum_pool_backward(m(), grad.clone(), 2)),
                    of!(average_pool_backward(m(), grad, 2)),
                ],
            }
        }
        DenseCase::Mask => {
            let bits = |row: usize, words: &mut [u64]| words.fill(0x9E37_79B9_7F4A_7C15 >> row);
            let mask = Arc::new(Mask::new([4, 5 * 7 * 3], 1.25, bits));
            let masked = of!(masked(draw([12, 5, 7, 3], 1), &mask));
            Results { outputs: vec![masked], gradients: vec![] }
        }
        DenseCase::Adam { variant } => {
            let step = AdamStep {
                rate: 0.01,
                beta1: 0.9,
                beta2: 0.999,
                epsilon: 1e-8,
                weight_decay: 0.1,
                decoupled: variant,
                step: 3,
            };
            let moments = [flat(3), square(flat(4))];
            let largest = variant.then(|| square(flat(5)));
            let (moved, moments, largest) = of!(adam(step, flat(1), flat(2), moments, largest));
            let outputs = [moved].into_iter().chain(moments).chain(largest).collect();
            Results { outputs, gradients: vec![] }
        }
        DenseCase::Sgd { nesterov } => {
            let step = SgdStep { rate: 0.01, weight_decay: 0.1, momentum: 0.9, nesterov };
            let (moved, buffer) = of!(sgd(step, flat(1), flat(2), Some(flat(3))));
            let outputs = [moved].into_iter().chain(buffer).collect();
            Results { outputs, gradients: vec![] }
        }
        DenseCase::SumOfSquares { count } => {
            let sum = of!(sum_of_squares(numbers::<B, 1>([count], 1, device)));
            Results { outputs: vec![sum], gradients: vec![] }
        }
    }
}

/// A tensor of [`draws`].
fn numbers<B: Backend, const D: usize>(
    shape: [usize; D],
    salt: u32,
    device: &B::Device,
) -> FloatTensor<B> {
    let data = TensorData::new(draws(shape.iter().product(), salt), shape);
    into_primitive(Tensor::<B, D>::from_data(data, device))
}

/// Multiples of 1/32 between -1 and 1; `salt` tells tensors apart.
fn draws(count: usize, salt: u32) -> Vec<f32> {
    let blocks = (0..count.div_ceil(4) as u32).map(|first| block([first, 0, 0, 0], [salt, 0]));
    blocks.flatten().map(|bits| (bits % 65) as f32 / 32.0 - 1.0).take(count).collect()
}

/// A shape and numbers in host memory.
type Read = (Vec<usize>, Vec<f32>);

/// [`Results`] in host memory.
#[derive(PartialEq)]
struct Found {
    outputs: Vec<Read>,
    gradients: Vec<Read>,
}

impl Found {
    fn read<B: Backend>(results: Results<B>) -> Result<Self, ExecutionError> {
        let read = |tensor: FloatTensor<B>| {
            let shape = tensor.shape().to_vec();
            let count = shape.iter().product::<usize>();
            let flat = from_primitive::<B, 1>(B::float_reshape(tensor, [count].into()));
            Ok((shape, flat.try_into_data()?.iter::<f32>().collect()))
        };
        Ok(Self {
            outputs: results.outputs.into_iter().map(read).collect::<Result<_, _>>()?,
            gradients: results.gradients.into_iter().map(read).collect::<Result<_, _>>()?,
        })
    }
}

/// The largest error of a tensor, as a share of its largest value; infinite where shapes differ.
fn error(found: &[Read], expected: &[Read]) -> f64 {
    let shapes = |tensors: &[Read]| tensors.iter().map(|read| read.0.clone()).collect::<Vec<_>>();
    if shapes(found) != shapes(expected) {
        return f64::INFINITY;
    }
    let errors = found.iter().zip(expected).map(|((_, found), (_, expected))| {
        let pairs = found.iter().zip(expected);
        let error = pairs.map(|(a, b)| f64::from((a - b).abs())).fold(0.0, larger);
        error / expected.iter().map(|b| f64::from(b.abs())).fold(0.0, larger)
    });
    errors.fold(0.0, larger)
}

/// The larger one, or the one that is not a number.
fn larger(a: f64, b: f64) -> f64 {
    if a > b || a.is_nan() { a } else { b }
}
