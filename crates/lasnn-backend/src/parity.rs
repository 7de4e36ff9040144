//! Compares the kernels of a backend with the reference on the current device.
//!
//! [`compare_dense`] is for machines on which the tests cannot run: `lasnn check-backend` calls it.
//! It also runs each operation several times and reports whether the results are the same, bit for
//! bit. The tests of this crate make more comparisons. `lasnn_neurons::parity` is the counterpart
//! for neurons.
//!
//! Convolutions are compared with plain loops, since Burn's convolutions have been wrong on some
//! backends. All other operations are compared with the [`reference`](mod@crate::reference).

mod cases;
mod naive;

use std::sync::Arc;

use burn::tensor::backend::{Backend, ExecutionError};
use burn::tensor::{Tensor, TensorData, TensorMetadata, ops::FloatTensor};
use lasnn_core::philox::block;
use lasnn_core::{Mask, Precision};
use lasnn_dense_kernels::optimizer::{AdamStep, SgdStep};

pub use self::cases::DenseCase;
use self::naive::NaiveConvolution;
use crate::backend::{Convolution, DenseBackend, from_primitive, into_primitive};
use crate::reference;

/// The maximum error relative to the maximum absolute value.
///
/// All factors have six significant bits, which TF32 and bfloat16 represent exactly, so that only
/// the order of sums differs.
pub const TOLERANCE: f64 = 1e-5;

/// How often each operation is run with the same inputs.
const REPEATS: usize = 5;

/// The result of a comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DenseComparison {
    /// The maximum error of an output relative to its maximum absolute value.
    pub value_error: f64,
    /// The maximum error of a gradient relative to its maximum absolute value; `None` without
    /// gradients.
    pub gradient_error: Option<f64>,
    /// Whether every run of the operation gave the same bits.
    pub repeats: bool,
}

impl DenseComparison {
    /// Whether all errors are within [`TOLERANCE`] and the operation repeats its results.
    pub fn is_right(&self) -> bool {
        // `<=` is false for NaN, so an error that is not a number fails too.
        self.repeats
            && self.value_error <= TOLERANCE
            && self.gradient_error.is_none_or(|error| error <= TOLERANCE)
    }
}

/// The results of an operation on the device.
struct Results<B: Backend> {
    outputs: Vec<FloatTensor<B>>,
    gradients: Vec<FloatTensor<B>>,
}

/// Compares one operation of the backend `B` with the reference, or with plain loops.
///
/// # Errors
///
/// Returns the backend's error if the device fails.
pub fn compare_dense<B: DenseBackend>(
    case: DenseCase,
    device: &B::Device,
) -> Result<DenseComparison, ExecutionError> {
    let expected = match NaiveConvolution::of(case) {
        Some(convolution) => convolution.compute(),
        None => HostResults::read(compute::<B, true>(case, device))?,
    };
    let found = HostResults::read(compute::<B, false>(case, device))?;
    let mut repeats = true;
    for _ in 1..REPEATS {
        repeats &= HostResults::read(compute::<B, false>(case, device))? == found;
    }
    let has_gradients = !expected.gradients.is_empty();
    Ok(DenseComparison {
        value_error: error(&found.outputs, &expected.outputs),
        gradient_error: has_gradients.then(|| error(&found.gradients, &expected.gradients)),
        repeats,
    })
}

/// Runs a case with the reference or with the kernels of the backend. A convolution always runs
/// with the kernels; [`NaiveConvolution`] is its reference.
fn compute<B: DenseBackend, const REFERENCE: bool>(
    case: DenseCase,
    device: &B::Device,
) -> Results<B> {
    /// Calls a function of the reference, or the method of the backend with the same name.
    macro_rules! call {
        ($name:ident($($argument:expr),* $(,)?)) => {
            match REFERENCE {
                true => reference::$name::<B>($($argument),*),
                false => B::$name($($argument),*),
            }
        };
    }
    let draw = |shape, salt| random::<B, 4>(shape, salt, device);
    let flat = |salt| random::<B, 1>([40_001], salt, device);
    let square = |tensor| into_primitive(from_primitive::<B, 1>(tensor).square());
    match case {
        DenseCase::Convolution { batch, channels: [inputs, outputs], size, kernel, stride } => {
            let convolution =
                Convolution { stride, padding: kernel / 2, precision: Precision::F32 };
            let input = draw([batch, inputs, size, size], 1);
            let weights = draw([outputs, inputs, kernel, kernel], 2);
            let bias = random::<B, 1>([outputs], 3, device);
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
            let input = random::<B, 2>([50, 200], 1, device);
            let weights = random::<B, 2>([200, 70], 2, device);
            let bias = random::<B, 1>([70], 3, device);
            let grad = random::<B, 2>([50, 70], 4, device);
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
            let per_channel = |salt| random::<B, 1>([shape[1]], salt, device);
            let (input, gamma, beta) = (draw(shape, 1), per_channel(2), per_channel(3));
            let (scale, shift) = (per_channel(4), per_channel(5));
            // The outputs are compared with a ReLU, the gradients without: at an output close to
            // zero, the order of a sum would decide whether the gradient passes the ReLU.
            let norm = call!(batch_norm(input.clone(), gamma.clone(), beta.clone(), 1e-5, true));
            let gradients = call!(batch_norm_backward(
                input.clone(),
                [gamma, beta],
                [norm.mean.clone(), norm.variance.clone()],
                None,
                draw(shape, 6),
                1e-5,
            ));
            let shifted = call!(scale_and_shift(input, scale, shift, true));
            Results {
                outputs: vec![norm.output, norm.mean, norm.variance, shifted],
                gradients: gradients.into(),
            }
        }
        DenseCase::Pools => {
            let (input, grad) = (draw([50, 16, 9, 8], 1), draw([50, 16, 4, 4], 2));
            let i = || input.clone();
            Results {
                outputs: vec![call!(max_pool(i(), 2)), call!(average_pool(i(), 2))],
                gradients: vec![
                    call!(max_pool_backward(i(), grad.clone(), 2)),
                    call!(average_pool_backward(i(), grad, 2)),
                ],
            }
        }
        DenseCase::Mask => {
            let bits = |row: usize, words: &mut [u64]| words.fill(0x9E37_79B9_7F4A_7C15 >> row);
            let mask = Arc::new(Mask::new([4, 5 * 7 * 3], 1.25, bits));
            let masked = call!(masked(draw([12, 5, 7, 3], 1), &mask));
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
            let max_square = variant.then(|| square(flat(5)));
            let (parameter, moments, max_square) =
                call!(adam(step, flat(1), flat(2), moments, max_square));
            let outputs = [parameter].into_iter().chain(moments).chain(max_square).collect();
            Results { outputs, gradients: vec![] }
        }
        DenseCase::Sgd { nesterov } => {
            let step = SgdStep { rate: 0.01, weight_decay: 0.1, momentum: 0.9, nesterov };
            let (parameter, buffer) = call!(sgd(step, flat(1), flat(2), Some(flat(3))));
            let outputs = [parameter].into_iter().chain(buffer).collect();
            Results { outputs, gradients: vec![] }
        }
        DenseCase::SumOfSquares { count } => {
            let sum = call!(sum_of_squares(random::<B, 1>([count], 1, device)));
            Results { outputs: vec![sum], gradients: vec![] }
        }
    }
}

/// A tensor of random values from [`draws`].
fn random<B: Backend, const D: usize>(
    shape: [usize; D],
    salt: u32,
    device: &B::Device,
) -> FloatTensor<B> {
    let data = TensorData::new(draws(shape.iter().product(), salt), shape);
    into_primitive(Tensor::<B, D>::from_data(data, device))
}

/// Random multiples of 1/32 between -1 and 1; a different `salt` gives different values.
fn draws(count: usize, salt: u32) -> Vec<f32> {
    let blocks = (0..count.div_ceil(4) as u32).map(|first| block([first, 0, 0, 0], [salt, 0]));
    blocks.flatten().map(|bits| (bits % 65) as f32 / 32.0 - 1.0).take(count).collect()
}

/// The shape and the elements of a tensor in host memory.
type HostTensor = (Vec<usize>, Vec<f32>);

/// [`Results`] in host memory.
#[derive(PartialEq)]
struct HostResults {
    outputs: Vec<HostTensor>,
    gradients: Vec<HostTensor>,
}

impl HostResults {
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

/// The maximum error of the tensors, each relative to its maximum absolute value; infinite if
/// shapes differ.
fn error(found: &[HostTensor], expected: &[HostTensor]) -> f64 {
    let shapes = |tensors: &[HostTensor]| -> Vec<_> {
        tensors.iter().map(|(shape, _)| shape.clone()).collect()
    };
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

/// The larger number, or NaN if one of them is NaN.
fn larger(a: f64, b: f64) -> f64 {
    if a > b || a.is_nan() { a } else { b }
}
