//! Every operation against the reference: values, and the gradients that Burn's autodiff finds for the
//! stock operations.

// All of this is a test, the helpers too.
#![allow(clippy::unwrap_used)]

use burn::backend::Autodiff;
#[cfg(feature = "vulkan")]
use burn::backend::Vulkan;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData, TensorPrimitive};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use lasnn_backend::parity::{DenseCase, compare_dense};
use lasnn_backend::{
    AdamStep, Convolution, DenseBackend, Mask, NormalisedConvolution, Precision, SgdStep, ops,
    reference,
};

mod norms;

type Tensors<B> = Vec<Tensor<B, 4>>;

/// What is compared.
type Operation<'a, B> = dyn Fn(&Tensors<B>) -> Tensor<B, 4> + 'a;

/// Numbers between -1 and 1 that do not repeat soon; `salt` tells tensors apart.
fn numbers<B: Backend, const D: usize>(shape: [usize; D], salt: u32) -> Tensor<B, D> {
    let hash = |i: usize| (i as u32 + 1).wrapping_mul(0x9E37_79B1 ^ salt.wrapping_mul(0x85EB_CA6B));
    let number = |i: usize| (hash(i) >> 8) as f32 / (1 << 23) as f32 - 1.0;
    let count = shape.iter().product();
    Tensor::from_data(
        TensorData::new((0..count).map(number).collect(), shape),
        &B::Device::default(),
    )
}

/// Rounded to seven bits, which both precisions hold.
fn short<B: Backend, const D: usize>(numbers: Tensor<B, D>) -> Tensor<B, D> {
    (numbers * 64.0).round() / 64.0
}

fn primitive<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> B::FloatTensorPrimitive {
    tensor.into_primitive().tensor()
}

fn tensor<B: Backend, const D: usize>(primitive: B::FloatTensorPrimitive) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

#[track_caller]
fn assert_near<B: Backend, const D: usize>(
    what: &str,
    found: Tensor<B, D>,
    expected: Tensor<B, D>,
) {
    assert_within(2e-4, what, found, expected);
}

#[track_caller]
fn assert_within<B: Backend, const D: usize>(
    tolerance: f64,
    what: &str,
    found: Tensor<B, D>,
    expected: Tensor<B, D>,
) {
    assert_eq!(found.dims(), expected.dims(), "shape of {what}");
    let (found, expected) = (found.into_data(), expected.into_data());
    for (index, (a, b)) in found.iter::<f64>().zip(expected.iter::<f64>()).enumerate() {
        let limit = tolerance * (1.0 + b.abs());
        assert!((a - b).abs() <= limit, "{what} {index}: {a} instead of {b}");
    }
}

/// Compares `fast` with `stock` on a backend of its own, in their value and their gradients with respect to
/// all inputs.
#[track_caller]
fn check<B: DenseBackend, S: DenseBackend>(
    what: &str,
    inputs: Tensors<B>,
    fast: impl Fn(&Tensors<Autodiff<B>>) -> Tensor<Autodiff<B>, 4>,
    stock: impl Fn(&Tensors<Autodiff<S>>) -> Tensor<Autodiff<S>, 4>,
) {
    check_within::<B, S>(2e-4, what, inputs, fast, stock);
}

/// The same, with a tolerance for the gradients.
#[track_caller]
fn check_within<B: DenseBackend, S: DenseBackend>(
    tolerance: f64,
    what: &str,
    inputs: Tensors<B>,
    fast: impl Fn(&Tensors<Autodiff<B>>) -> Tensor<Autodiff<B>, 4>,
    stock: impl Fn(&Tensors<Autodiff<S>>) -> Tensor<Autodiff<S>, 4>,
) {
    let expected = run::<S>(&inputs.iter().map(elsewhere).collect(), &stock);
    let found = run::<B>(&inputs, &fast);
    for (number, (found, expected)) in found.into_iter().zip(&expected).enumerate() {
        match number {
            0 => assert_near(what, found, elsewhere(expected)),
            _ => {
                let what = format!("gradient {} of {what}", number - 1);
                assert_within(tolerance, &what, found, elsewhere(expected));
            }
        }
    }
}

/// The value of a function and the gradients of its inputs.
fn run<B: Backend>(inputs: &Tensors<B>, f: &Operation<'_, Autodiff<B>>) -> Tensors<B> {
    let leaf = |input: &Tensor<B, 4>| Tensor::from_inner(input.clone()).require_grad();
    let leaves: Tensors<Autodiff<B>> = inputs.iter().map(leaf).collect();
    let output = f(&leaves);
    let slope = short(numbers::<Autodiff<B>, 4>(output.dims(), 99));
    let grads = (output.clone() * slope).sum().backward();
    let grads = leaves.iter().map(|leaf| leaf.grad(&grads).unwrap());
    [output.inner()].into_iter().chain(grads).collect()
}

/// The same numbers on another backend.
fn elsewhere<A: Backend, B: Backend>(tensor: &Tensor<A, 4>) -> Tensor<B, 4> {
    Tensor::from_data(tensor.to_data(), &B::Device::default())
}

fn matrix<B: Backend>(tensor: &Tensor<B, 4>) -> Tensor<B, 2> {
    let [rows, columns, _, _] = tensor.dims();
    tensor.clone().reshape([rows, columns])
}

fn per_channel<B: Backend>(tensor: &Tensor<B, 4>) -> Tensor<B, 1> {
    tensor.clone().flatten(0, 3)
}

fn convolutions<B: DenseBackend>() {
    for ([batch, inputs, outputs, height, width], kernel, stride) in [
        ([2, 3, 16, 8, 8], 3, 1),
        ([1, 16, 17, 7, 9], 3, 1),
        ([3, 20, 8, 8, 6], 3, 2),
        ([2, 5, 6, 7, 7], 3, 2),
        ([2, 16, 32, 8, 8], 1, 2),
        ([2, 33, 4, 5, 5], 1, 1),
    ] {
        for (relu, biased, precision) in [
            (false, false, Precision::F32),
            (true, true, Precision::F32),
            (true, false, Precision::F32),
            (true, true, Precision::Bf16),
        ] {
            let conv = Convolution { stride, padding: kernel / 2, precision };
            let input = short(numbers::<B, 4>([batch, inputs, height, width], 1));
            let weights = short(numbers([outputs, inputs, kernel, kernel], 2));
            let mut leaves = vec![input, weights];
            if biased {
                leaves.push(numbers([1, outputs, 1, 1], 3));
            }
            check::<B, NdArray>(
                &format!("convolution {:?} {:?}", leaves[0].dims(), leaves[1].dims()),
                leaves.clone(),
                |leaves| {
                    let bias = leaves.get(2).map(per_channel);
                    ops::conv2d(leaves[0].clone(), leaves[1].clone(), bias, conv, relu)
                },
                |leaves| {
                    let bias = leaves.get(2).map(|bias| primitive(per_channel(bias)));
                    let [input, weights] = [0, 1].map(|at| primitive(leaves[at].clone()));
                    tensor(reference::conv2d::<Autodiff<NdArray>>(input, weights, bias, conv, relu))
                },
            );
        }
    }
}

fn linear_layers<B: DenseBackend>() {
    let leaves = vec![
        short(numbers::<B, 4>([5, 37, 1, 1], 1)),
        short(numbers([37, 19, 1, 1], 2)),
        numbers([1, 19, 1, 1], 3),
    ];
    for (relu, precision) in
        [(false, Precision::F32), (true, Precision::F32), (true, Precision::Bf16)]
    {
        check::<B, NdArray>(
            "linear",
            leaves.clone(),
            |l| {
                let bias = Some(per_channel(&l[2]));
                ops::linear(matrix(&l[0]), matrix(&l[1]), bias, precision, relu)
                    .reshape([5, 19, 1, 1])
            },
            |l| {
                let bias = Some(primitive(per_channel(&l[2])));
                let [input, weights] = [0, 1].map(|at| primitive(matrix(&l[at])));
                let output = reference::linear::<Autodiff<NdArray>>(input, weights, bias, relu);
                tensor::<_, 2>(output).reshape([5, 19, 1, 1])
            },
        );
    }
}

fn norms<B: DenseBackend>() {
    for (shape, relu) in [([3, 4, 5, 7], false), ([2, 3, 8, 8], true), ([4, 2, 1, 1], true)] {
        let channels = [1, shape[1], 1, 1];
        let leaves = vec![numbers::<B, 4>(shape, 1), numbers(channels, 2), numbers(channels, 3)];
        check::<B, NdArray>(
            "norm",
            leaves,
            |l| {
                let (gamma, beta) = (per_channel(&l[1]), per_channel(&l[2]));
                ops::batch_norm(l[0].clone(), gamma, beta, 1e-5, relu).0
            },
            |l| {
                let (gamma, beta) = (primitive(per_channel(&l[1])), primitive(per_channel(&l[2])));
                let input = primitive(l[0].clone());
                tensor(
                    reference::batch_norm::<Autodiff<NdArray>>(input, gamma, beta, 1e-5, relu)
                        .output,
                )
            },
        );
    }
}

fn others<B: DenseBackend>() {
    let map = |salt| numbers::<B, 4>([2, 3, 7, 9], salt);
    check::<B, NdArray>(
        "rectified sum",
        vec![map(1), map(2)],
        |l| ops::rectified_sum(l[0].clone(), l[1].clone()),
        |l| {
            let [a, b] = [0, 1].map(|at| primitive(l[at].clone()));
            tensor(reference::rectified_sum::<Autodiff<NdArray>>(a, b))
        },
    );
    let draw = |row: usize, words: &mut [u64]| words.fill(0x9E37_79B9_7F4A_7C15 >> row);
    let mask = || Mask::new([2, 3 * 7 * 9], 1.25, draw);
    let factors = Tensor::from_data(
        TensorData::new(mask().rows().factors(), [2, 3, 7, 9]),
        &Default::default(),
    );
    check::<B, NdArray>(
        "mask",
        vec![map(1)],
        |l| ops::masked(l[0].clone(), mask()),
        |l| l[0].clone() * factors.clone(),
    );
    assert_near(
        "mask of the reference",
        tensor::<B, 4>(reference::masked::<B>(primitive(map(1)), &mask())),
        map(1) * Tensor::from_data(factors.to_data(), &B::Device::default()),
    );
    for size in [2, 3] {
        check::<B, NdArray>(
            "average pooling",
            vec![map(1)],
            |l| ops::average_pool(l[0].clone(), size),
            |l| tensor(reference::average_pool::<Autodiff<NdArray>>(primitive(l[0].clone()), size)),
        );
        check::<B, NdArray>(
            "maximum pooling",
            vec![map(1)],
            |l| ops::maximum_pool(l[0].clone(), size),
            |l| tensor(reference::maximum_pool::<Autodiff<NdArray>>(primitive(l[0].clone()), size)),
        );
    }
    let channels = |salt| numbers::<B, 1>([3], salt);
    assert_near(
        "scale and shift",
        ops::scale_and_shift(map(1), channels(2), channels(3), true),
        tensor::<B, 4>(reference::scale_and_shift::<B>(
            primitive(map(1)),
            primitive(channels(2)),
            primitive(channels(3)),
            true,
        )),
    );
}

fn updates<B: DenseBackend>() {
    // More than one job's worth.
    let flat = |salt| numbers::<B, 1>([40_000], salt);
    let squares = |salt| flat(salt).square();
    for (kept, decoupled) in [(false, false), (true, false), (false, true), (true, true)] {
        let max = kept.then(|| squares(5));
        let step = AdamStep {
            rate: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.1,
            decoupled,
            step: 3,
        };
        let (p, [m, v], u) = ops::adam(step, flat(1), flat(2), [flat(3), squares(4)], max.clone());
        let (rp, [rm, rv], ru) = reference::adam::<B>(
            step,
            primitive(flat(1)),
            primitive(flat(2)),
            [primitive(flat(3)), primitive(squares(4))],
            max.map(primitive),
        );
        assert_near("parameter", p, tensor(rp));
        assert_near("mean", m, tensor(rm));
        assert_near("square", v, tensor(rv));
        assert_eq!(u.is_some(), kept);
        if let (Some(u), Some(ru)) = (u, ru) {
            assert_near("largest square", u, tensor(ru));
        }
    }
    for (nesterov, momentum) in [(false, 0.9), (true, 0.9), (false, 0.0)] {
        let step = SgdStep { rate: 0.01, weight_decay: 0.1, momentum, nesterov };
        let buffer = (momentum > 0.0).then(|| flat(3));
        let (p, b) = ops::sgd(step, flat(1), flat(2), buffer.clone());
        let (rp, rb) = reference::sgd::<B>(
            step,
            primitive(flat(1)),
            primitive(flat(2)),
            buffer.map(primitive),
        );
        assert_near("parameter", p, tensor(rp));
        assert_eq!(b.is_some(), rb.is_some());
        if let (Some(b), Some(rb)) = (b, rb) {
            assert_near("buffer", b, tensor(rb));
        }
    }
    let sum = ops::sum_of_squares(flat(1));
    assert_near("sum of squares", sum, tensor(reference::sum_of_squares::<B>(primitive(flat(1)))));
}

/// A tensor that shares its memory keeps its numbers when another one is updated.
#[test]
fn updates_leave_clones_alone() {
    let parameter = numbers::<Flex, 1>([50_000], 1);
    let clone = parameter.clone();
    let before = clone.to_data();
    let step = SgdStep { rate: 0.5, weight_decay: 0.0, momentum: 0.0, nesterov: false };
    let (moved, _) = ops::sgd(step, parameter, numbers([50_000], 2), None);
    assert_eq!(clone.into_data(), before);
    assert_ne!(moved.into_data(), before);
}

/// Tensors that do not lie in memory row by row, and those of another type.
#[test]
fn turned_and_double_tensors() {
    let conv = Convolution { stride: 1, padding: 1, precision: Precision::F32 };
    let weights = numbers::<Flex, 4>([4, 3, 3, 3], 2);
    let turned = numbers::<Flex, 4>([2, 3, 6, 5], 1).swap_dims(2, 3);
    let lying = Tensor::<Flex, 4>::from_data(turned.clone().into_data(), &Default::default());
    let output = ops::conv2d(turned, weights.clone(), None, conv, false);
    let expected = ops::conv2d(lying.clone(), weights.clone(), None, conv, false);
    assert_eq!(output.into_data(), expected.clone().into_data());

    let double = burn::tensor::DType::F64;
    let output = ops::conv2d(lying.cast(double), weights.cast(double), None, conv, false);
    assert_eq!(output.dtype(), double);
    assert_near("double", output.cast(burn::tensor::DType::F32), expected);
}

/// The comparisons that machines without tests make.
fn parity_cases<B: DenseBackend>() {
    for case in DenseCase::all() {
        let found = compare_dense::<B>(case, &B::Device::default()).unwrap();
        assert!(found.is_right(), "{case}: {found:?}");
    }
}

macro_rules! on {
    ($backend:ident, $type:ty) => {
        mod $backend {
            use super::*;

            #[test]
            fn convolutions() {
                super::convolutions::<$type>();
            }

            #[test]
            fn linear_layers() {
                super::linear_layers::<$type>();
            }

            #[test]
            fn norms() {
                super::norms::<$type>();
            }

            #[test]
            fn convolutions_with_norms() {
                norms::convolutions_with_norms::<$type>();
                norms::residual_blocks::<$type>();
            }

            #[test]
            fn others() {
                super::others::<$type>();
            }

            #[test]
            fn updates() {
                super::updates::<$type>();
            }

            #[test]
            fn parity_cases() {
                super::parity_cases::<$type>();
            }
        }
    };
}

on!(flex, Flex);
on!(ndarray, NdArray);
#[cfg(feature = "vulkan")]
on!(vulkan, Vulkan);
