//! Convolutions, linear layers, elementwise operations and pooling.

use burn::backend::Autodiff;
use burn::tensor::{DType, Tensor, TensorData};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use lasnn_backend::{Convolution, DenseBackend, Mask, Precision, ops, reference};

use crate::support::{assert_near, check, matrix, per_channel, primitive, random, short, tensor};

/// Convolutions of odd sizes, with and without bias, stride and ReLU, in both precisions.
pub fn convolutions<B: DenseBackend>() {
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
            let input = short(random::<B, 4>([batch, inputs, height, width], 1));
            let weights = short(random([outputs, inputs, kernel, kernel], 2));
            let mut leaves = vec![input, weights];
            if biased {
                leaves.push(random([1, outputs, 1, 1], 3));
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

pub fn linear_layers<B: DenseBackend>() {
    let leaves = vec![
        short(random::<B, 4>([5, 37, 1, 1], 1)),
        short(random([37, 19, 1, 1], 2)),
        random([1, 19, 1, 1], 3),
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

pub fn elementwise_and_pooling<B: DenseBackend>() {
    let features = |salt| random::<B, 4>([2, 3, 7, 9], salt);
    check::<B, NdArray>(
        "add_relu",
        vec![features(1), features(2)],
        |l| ops::add_relu(l[0].clone(), l[1].clone()),
        |l| {
            let [a, b] = [0, 1].map(|at| primitive(l[at].clone()));
            tensor(reference::add_relu::<Autodiff<NdArray>>(a, b))
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
        vec![features(1)],
        |l| ops::masked(l[0].clone(), mask()),
        |l| l[0].clone() * factors.clone(),
    );
    assert_near(
        "mask, reference",
        tensor::<B, 4>(reference::masked::<B>(primitive(features(1)), &mask())),
        features(1) * Tensor::from_data(factors.to_data(), &B::Device::default()),
    );
    for size in [2, 3] {
        check::<B, NdArray>(
            "average pooling",
            vec![features(1)],
            |l| ops::average_pool(l[0].clone(), size),
            |l| tensor(reference::average_pool::<Autodiff<NdArray>>(primitive(l[0].clone()), size)),
        );
        check::<B, NdArray>(
            "max pooling",
            vec![features(1)],
            |l| ops::max_pool(l[0].clone(), size),
            |l| tensor(reference::max_pool::<Autodiff<NdArray>>(primitive(l[0].clone()), size)),
        );
    }
    let channels = |salt| random::<B, 1>([3], salt);
    assert_near(
        "scale and shift",
        ops::scale_and_shift(features(1), channels(2), channels(3), true),
        tensor::<B, 4>(reference::scale_and_shift::<B>(
            primitive(features(1)),
            primitive(channels(2)),
            primitive(channels(3)),
            true,
        )),
    );
    let constant = |salt| channels(salt).into_data();
    for relu in [false, true] {
        check::<B, NdArray>(
            "constant scale and shift",
            vec![features(1)],
            |l| {
                let [scale, shift] =
                    [2, 3].map(|salt| Tensor::from_data(constant(salt), &l[0].device()));
                ops::scale_and_shift(l[0].clone(), scale, shift, relu)
            },
            |l| {
                let [scale, shift] =
                    [2, 3].map(|salt| Tensor::from_data(constant(salt), &l[0].device()));
                let [scale, shift] = [scale, shift].map(primitive::<Autodiff<NdArray>, 1>);
                let input = primitive(l[0].clone());
                tensor(reference::scale_and_shift::<Autodiff<NdArray>>(input, scale, shift, relu))
            },
        );
        check::<B, NdArray>(
            "scale and shift",
            vec![features(1), random([1, 3, 1, 1], 2), random([1, 3, 1, 1], 3)],
            |l| ops::scale_and_shift(l[0].clone(), per_channel(&l[1]), per_channel(&l[2]), relu),
            |l| {
                let [scale, shift] = [1, 2].map(|at| primitive(per_channel(&l[at])));
                let input = primitive(l[0].clone());
                tensor(reference::scale_and_shift::<Autodiff<NdArray>>(input, scale, shift, relu))
            },
        );
    }
}

/// Tensors that are not contiguous, and tensors of `f64`, which have no kernels.
#[test]
fn transposed_and_f64_tensors() {
    let conv = Convolution { stride: 1, padding: 1, precision: Precision::F32 };
    let weights = random::<Flex, 4>([4, 3, 3, 3], 2);
    let transposed = random::<Flex, 4>([2, 3, 6, 5], 1).swap_dims(2, 3);
    let contiguous =
        Tensor::<Flex, 4>::from_data(transposed.clone().into_data(), &Default::default());
    let output = ops::conv2d(transposed, weights.clone(), None, conv, false);
    let expected = ops::conv2d(contiguous.clone(), weights.clone(), None, conv, false);
    assert_eq!(output.into_data(), expected.clone().into_data());

    let output =
        ops::conv2d(contiguous.cast(DType::F64), weights.cast(DType::F64), None, conv, false);
    assert_eq!(output.dtype(), DType::F64);
    assert_near("f64", output.cast(DType::F32), expected);
}
