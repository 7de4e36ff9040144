//! Batch norm, alone, after a convolution, and in residual blocks.

use burn::backend::Autodiff;
use burn::tensor::activation;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use burn_flex::Flex;
use burn_ndarray::NdArray;
use lasnn_backend::{ConvBatchNorm, Convolution, DenseBackend, Precision, ops, reference};

use crate::support::{Tensors, check, check_within, per_channel, primitive, random, short, tensor};

pub fn norms<B: DenseBackend>() {
    for (shape, relu) in [([3, 4, 5, 7], false), ([2, 3, 8, 8], true), ([4, 2, 1, 1], true)] {
        let channels = [1, shape[1], 1, 1];
        let leaves = vec![random::<B, 4>(shape, 1), random(channels, 2), random(channels, 3)];
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

pub fn convolutions_with_norms<B: DenseBackend>() {
    for ([batch, inputs, outputs, height, width], kernel, stride) in [
        ([2, 3, 16, 8, 8], 3, 1),
        ([3, 16, 17, 7, 9], 3, 1),
        ([4, 20, 8, 8, 6], 3, 2),
        ([1, 16, 32, 8, 8], 1, 2),
    ] {
        for (relu, has_added, precision) in [
            (false, false, Precision::F32),
            (true, false, Precision::F32),
            (false, true, Precision::F32),
            (true, true, Precision::F32),
        ] {
            let convolution = Convolution { stride, padding: kernel / 2, precision };
            let layer = ConvBatchNorm { convolution, epsilon: 1e-5, relu };
            let channels = [1, outputs, 1, 1];
            let mut leaves = vec![
                random::<B, 4>([batch, inputs, height, width], 1),
                random([outputs, inputs, kernel, kernel], 2),
                random(channels, 3),
                random(channels, 4),
            ];
            if has_added {
                let [height, width] = [height, width].map(|size| size.div_ceil(stride));
                leaves.push(random([batch, outputs, height, width], 5));
            }
            check::<B, NdArray>(
                &format!("{layer:?} of {:?} {:?}", leaves[0].dims(), leaves[1].dims()),
                leaves.clone(),
                |l| {
                    let affine = [per_channel(&l[2]), per_channel(&l[3])];
                    let added = l.get(4).cloned();
                    let (input, weights) = (l[0].clone(), l[1].clone());
                    ops::conv2d_batch_norm(input, weights, affine, added, layer).0
                },
                |l| {
                    let [input, weights] = [0, 1].map(|at| primitive(l[at].clone()));
                    let [gamma, beta] = [2, 3].map(|at| primitive(per_channel(&l[at])));
                    let conv_output = reference::conv2d::<Autodiff<NdArray>>(
                        input,
                        weights,
                        None,
                        convolution,
                        false,
                    );
                    let normal = reference::batch_norm::<Autodiff<NdArray>>(
                        conv_output,
                        gamma,
                        beta,
                        1e-5,
                        false,
                    )
                    .output;
                    let output = tensor::<Autodiff<NdArray>, 4>(normal);
                    let output = match l.get(4) {
                        Some(added) => output + added.clone(),
                        None => output,
                    };
                    if relu { activation::relu(output) } else { output }
                },
            );
        }
    }
}

/// Rounds to bfloat16 in the forward pass; the gradient passes unchanged.
fn rounded<B: Backend>(values: Tensor<Autodiff<B>, 4>) -> Tensor<Autodiff<B>, 4> {
    let data = values.clone().inner().into_data();
    let round = |value: f32| {
        let bits = value.to_bits();
        f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
    };
    let rounded: Vec<f32> = data.iter::<f32>().map(round).collect();
    let rounded = TensorData::new(rounded, values.dims());
    let rounded = Tensor::<B, 4>::from_data(rounded, &values.device());
    Tensor::from_inner(rounded) + (values.clone() - values.detach())
}

/// In bfloat16 the fused kernel rounds the same values as the separate operations. They agree if
/// the output of the convolution, which the fused kernel stores in bfloat16, is rounded as well.
fn rounded_convolutions_with_norms<B: DenseBackend>() {
    for (outputs, [height, width]) in [(24, [8, 8]), (17, [7, 5])] {
        let convolution = Convolution { stride: 1, padding: 1, precision: Precision::Bf16 };
        let layer = ConvBatchNorm { convolution, epsilon: 1e-5, relu: true };
        let leaves = vec![
            random::<B, 4>([3, 16, height, width], 1),
            random([outputs, 16, 3, 3], 2),
            random([1, outputs, 1, 1], 3),
            random([1, outputs, 1, 1], 4),
            random([3, outputs, height, width], 5),
        ];
        // The fused kernel adds up the statistics in another order, which changes how some
        // gradients are rounded.
        check_within::<B, B>(
            2e-3,
            &format!("rounded convolution with norm, {outputs} outputs"),
            leaves,
            |l| {
                let affine = [per_channel(&l[2]), per_channel(&l[3])];
                let (input, weights, added) = (l[0].clone(), l[1].clone(), Some(l[4].clone()));
                ops::conv2d_batch_norm(input, weights, affine, added, layer).0
            },
            |l| {
                let (gamma, beta) = (per_channel(&l[2]), per_channel(&l[3]));
                let conv_output = ops::conv2d(l[0].clone(), l[1].clone(), None, convolution, false);
                let (output, _) = ops::batch_norm(rounded(conv_output), gamma, beta, 1e-5, false);
                ops::add_relu(output, l[4].clone())
            },
        );
    }
}

/// The shortcut of a residual block.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shortcut {
    Identity,
    /// A convolution that runs before the convolutions of the main path.
    ConvFirst,
    /// A convolution that runs after the first one of the main path.
    ConvSecond,
}

/// The gradients of both branches of a residual block are added up, in either order of the
/// branches.
pub fn residual_blocks<B: DenseBackend>() {
    for (stride, precision, shortcut) in [
        (1, Precision::F32, Shortcut::Identity),
        (1, Precision::F32, Shortcut::ConvFirst),
        (2, Precision::F32, Shortcut::ConvFirst),
        (2, Precision::F32, Shortcut::ConvSecond),
        (1, Precision::Bf16, Shortcut::Identity),
        (2, Precision::Bf16, Shortcut::ConvSecond),
    ] {
        // Each convolution has its own γ and β. If several threads run backward passes, as tests
        // do, Burn 0.21 sometimes loses a part of the gradient of a leaf that is reshaped more than
        // once.
        let kernels = [3, 3, 1].map(|kernel| [16, 16, kernel, kernel]);
        let convolutions = if shortcut == Shortcut::Identity { 2 } else { 3 };
        let mut leaves = vec![short(random::<B, 4>([3, 16, 8, 6], 1))];
        for (index, kernel) in kernels.into_iter().take(convolutions).enumerate() {
            let salt = 3 * index as u32;
            leaves.push(short(random(kernel, salt + 2)));
            leaves.push(random([1, 16, 1, 1], salt + 3));
            leaves.push(random([1, 16, 1, 1], salt + 4));
        }
        let conv_norm = |input: &Tensor<Autodiff<B>, 4>,
                         parameters: &[Tensor<Autodiff<B>, 4>],
                         added,
                         stride,
                         relu| {
            let weights = parameters[0].clone();
            let padding = weights.dims()[2] / 2;
            let convolution = Convolution { stride, padding, precision };
            let layer = ConvBatchNorm { convolution, epsilon: 1e-5, relu };
            let affine = [per_channel(&parameters[1]), per_channel(&parameters[2])];
            ops::conv2d_batch_norm(input.clone(), weights, affine, added, layer).0
        };
        // The main path and the shortcut get the input as separate arguments, see below.
        let block = |l: &Tensors<Autodiff<B>>, [main, side]: [&Tensor<Autodiff<B>, 4>; 2]| {
            let side_path = || conv_norm(side, &l[7..], None, stride, false);
            let main_path = || conv_norm(main, &l[1..], None, stride, true);
            let (main_path, side_path) = match shortcut {
                Shortcut::Identity => (main_path(), side.clone()),
                Shortcut::ConvFirst => {
                    let side_path = side_path();
                    (main_path(), side_path)
                }
                Shortcut::ConvSecond => (main_path(), side_path()),
            };
            conv_norm(&main_path, &l[4..], Some(side_path), 1, true)
        };
        check::<B, B>(
            &format!("residual block, stride {stride}, {precision:?}, {shortcut:?}"),
            leaves,
            |l| block(l, [&l[0], &l[0]]),
            // Two tensors, so that Burn's autodiff adds the gradients of both branches.
            |l| block(l, [&(l[0].clone() * 1.0), &(l[0].clone() * 1.0)]),
        );
    }
}

/// GPU backends do not round, so this test runs on CPU backends only.
#[test]
fn rounded_convolutions_with_norms_on_cpus() {
    rounded_convolutions_with_norms::<Flex>();
    rounded_convolutions_with_norms::<NdArray>();
}
