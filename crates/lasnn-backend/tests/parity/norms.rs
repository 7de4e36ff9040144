//! Convolutions with batch norms behind them, and what is added.

use super::*;

pub fn convolutions_with_norms<B: DenseBackend>() {
    for ([batch, inputs, outputs, height, width], kernel, stride) in [
        ([2, 3, 16, 8, 8], 3, 1),
        ([3, 16, 17, 7, 9], 3, 1),
        ([4, 20, 8, 8, 6], 3, 2),
        ([1, 16, 32, 8, 8], 1, 2),
    ] {
        for (relu, adds, precision) in [
            (false, false, Precision::F32),
            (true, false, Precision::F32),
            (false, true, Precision::F32),
            (true, true, Precision::F32),
        ] {
            let convolution = Convolution { stride, padding: kernel / 2, precision };
            let layer = NormalisedConvolution { convolution, epsilon: 1e-5, relu };
            let channels = [1, outputs, 1, 1];
            let mut leaves = vec![
                numbers::<B, 4>([batch, inputs, height, width], 1),
                numbers([outputs, inputs, kernel, kernel], 2),
                numbers(channels, 3),
                numbers(channels, 4),
            ];
            if adds {
                let [height, width] = [height, width].map(|size| size.div_ceil(stride));
                leaves.push(numbers([batch, outputs, height, width], 5));
            }
            check::<B, NdArray>(
                &format!("{layer:?} of {:?} {:?}", leaves[0].dims(), leaves[1].dims()),
                leaves.clone(),
                |l| {
                    let scales = [per_channel(&l[2]), per_channel(&l[3])];
                    let added = l.get(4).cloned();
                    let (input, weights) = (l[0].clone(), l[1].clone());
                    ops::conv2d_batch_norm(input, weights, scales, added, layer).0
                },
                |l| {
                    let [input, weights] = [0, 1].map(|at| primitive(l[at].clone()));
                    let [gamma, beta] = [2, 3].map(|at| primitive(per_channel(&l[at])));
                    let map = reference::conv2d::<Autodiff<NdArray>>(
                        input,
                        weights,
                        None,
                        convolution,
                        false,
                    );
                    let normal =
                        reference::batch_norm::<Autodiff<NdArray>>(map, gamma, beta, 1e-5, false)
                            .output;
                    let output = tensor::<Autodiff<NdArray>, 4>(normal);
                    let output = match l.get(4) {
                        Some(added) => output + added.clone(),
                        None => output,
                    };
                    if relu { burn::tensor::activation::relu(output) } else { output }
                },
            );
        }
    }
}

/// Rounded to bfloat16, with gradients as if it were not.
fn rounded<B: Backend>(map: Tensor<Autodiff<B>, 4>) -> Tensor<Autodiff<B>, 4> {
    let values = map.clone().inner().into_data();
    let round = |value: f32| {
        let bits = value.to_bits();
        f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
    };
    let numbers: Vec<f32> = values.iter::<f32>().map(round).collect();
    let rounded = Tensor::<B, 4>::from_data(TensorData::new(numbers, map.dims()), &map.device());
    Tensor::from_inner(rounded) + (map.clone() - map.detach())
}

/// Rounded to bfloat16, both ways round the same numbers, so the kernels agree with the operations that
/// they stand for, given that the map between the two is rounded as well.
fn rounded_convolutions_with_norms<B: DenseBackend>() {
    for (outputs, [height, width]) in [(24, [8, 8]), (17, [7, 5])] {
        let convolution = Convolution { stride: 1, padding: 1, precision: Precision::Bf16 };
        let layer = NormalisedConvolution { convolution, epsilon: 1e-5, relu: true };
        let leaves = vec![
            numbers::<B, 4>([3, 16, height, width], 1),
            numbers([outputs, 16, 3, 3], 2),
            numbers([1, outputs, 1, 1], 3),
            numbers([1, outputs, 1, 1], 4),
            numbers([3, outputs, height, width], 5),
        ];
        // Statistics are added up in another order, so that gradients may be rounded another way.
        check_within::<B, B>(
            2e-3,
            &format!("rounded convolution with norm, {outputs} outputs"),
            leaves,
            |l| {
                let scales = [per_channel(&l[2]), per_channel(&l[3])];
                let (input, weights, added) = (l[0].clone(), l[1].clone(), Some(l[4].clone()));
                ops::conv2d_batch_norm(input, weights, scales, added, layer).0
            },
            |l| {
                let (gamma, beta) = (per_channel(&l[2]), per_channel(&l[3]));
                let map = ops::conv2d(l[0].clone(), l[1].clone(), None, convolution, false);
                let (output, _) = ops::batch_norm(rounded(map), gamma, beta, 1e-5, false);
                ops::rectified_sum(output, l[4].clone())
            },
        );
    }
}

/// How a block's input comes to its sum.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shortcut {
    Identity,
    /// A convolution, run before or behind the one of the main path.
    Before,
    Behind,
}

/// The gradients of an input that goes two ways are added up.
pub fn residual_blocks<B: DenseBackend>() {
    for (stride, precision, shortcut) in [
        (1, Precision::F32, Shortcut::Identity),
        (1, Precision::F32, Shortcut::Before),
        (2, Precision::F32, Shortcut::Before),
        (2, Precision::F32, Shortcut::Behind),
        (1, Precision::Bf16, Shortcut::Identity),
        (2, Precision::Bf16, Shortcut::Behind),
    ] {
        // Each convolution has scales of its own: where several threads run backward passes, as tests do,
        // Burn 0.21 now and then loses a part of the gradient of a leaf that is reshaped more than once.
        let kernels = [3, 3, 1].map(|kernel| [16, 16, kernel, kernel]);
        let convolutions = if shortcut == Shortcut::Identity { 2 } else { 3 };
        let mut leaves = vec![short(numbers::<B, 4>([3, 16, 8, 6], 1))];
        for (index, kernel) in kernels.into_iter().take(convolutions).enumerate() {
            let salt = 3 * index as u32;
            leaves.push(short(numbers(kernel, salt + 2)));
            leaves.push(numbers([1, 16, 1, 1], salt + 3));
            leaves.push(numbers([1, 16, 1, 1], salt + 4));
        }
        let conv2d = |input: &Tensor<Autodiff<B>, 4>,
                      parameters: &[Tensor<Autodiff<B>, 4>],
                      added,
                      stride,
                      relu| {
            let weights = parameters[0].clone();
            let padding = weights.dims()[2] / 2;
            let convolution = Convolution { stride, padding, precision };
            let layer = NormalisedConvolution { convolution, epsilon: 1e-5, relu };
            let scales = [per_channel(&parameters[1]), per_channel(&parameters[2])];
            ops::conv2d_batch_norm(input.clone(), weights, scales, added, layer).0
        };
        // The input as the main path and the shortcut see it.
        let block = |l: &Tensors<Autodiff<B>>, [main, side]: [&Tensor<Autodiff<B>, 4>; 2]| {
            let around = || conv2d(side, &l[7..], None, stride, false);
            let through = || conv2d(main, &l[1..], None, stride, true);
            let (through, around) = match shortcut {
                Shortcut::Identity => (through(), side.clone()),
                Shortcut::Before => {
                    let around = around();
                    (through(), around)
                }
                Shortcut::Behind => (through(), around()),
            };
            conv2d(&through, &l[4..], Some(around), 1, true)
        };
        check::<B, B>(
            &format!("residual block, stride {stride}, {precision:?}, {shortcut:?}"),
            leaves,
            |l| block(l, [&l[0], &l[0]]),
            // Apart, so that Burn adds up.
            |l| block(l, [&(l[0].clone() * 1.0), &(l[0].clone() * 1.0)]),
        );
    }
}

/// On GPUs nothing is rounded.
#[test]
fn rounded_convolutions_with_norms_on_cpus() {
    rounded_convolutions_with_norms::<Flex>();
    rounded_convolutions_with_norms::<NdArray>();
}
