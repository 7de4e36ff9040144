//! Trains one step of a convolution with batch norm and ReLU, once with Burn's operations and once
//! with the kernels of this crate, and prints how long both take and how far they differ.
//!
//! `cargo run --release -p lasnn-backend --example conv_batch_norm`

#![allow(clippy::print_stdout)]

use std::time::Instant;

use burn::backend::Autodiff;
use burn::tensor::activation::relu;
use burn::tensor::{Tensor, TensorData, module::conv2d, ops::ConvOptions};
use burn_flex::Flex;
use lasnn_backend::{ConvBatchNorm, Convolution, Precision, ops};

type B = Autodiff<Flex>;

/// Values of a sine wave, which stand for images and trained weights.
fn wave<const D: usize>(shape: [usize; D]) -> Tensor<B, D> {
    let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i as f32).sin()).collect();
    Tensor::from_data(TensorData::new(values, shape), &Default::default()).require_grad()
}

/// The layer in one operation of this crate.
fn fused(input: Tensor<B, 4>, weights: Tensor<B, 4>, affine: [Tensor<B, 1>; 2]) -> Tensor<B, 4> {
    let convolution = Convolution { stride: 1, padding: 1, precision: Precision::F32 };
    let layer = ConvBatchNorm { convolution, epsilon: 1e-5, relu: true };
    let (output, [_mean, _variance]) = ops::conv2d_batch_norm(input, weights, affine, None, layer);
    output
}

/// The layer in Burn's operations, differentiated by Burn.
fn burn(input: Tensor<B, 4>, weights: Tensor<B, 4>, affine: [Tensor<B, 1>; 2]) -> Tensor<B, 4> {
    let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
    let x = conv2d(input, weights, None, options);
    let mean = |x: Tensor<B, 4>| x.mean_dim(0).mean_dim(2).mean_dim(3);
    let centred = x.clone() - mean(x);
    let variance = mean(centred.clone() * centred.clone());
    let [gamma, beta] = affine.map(|parameter| parameter.reshape([1, 64, 1, 1]));
    relu(centred / (variance + 1e-5).sqrt() * gamma + beta)
}

fn main() {
    let (input, weights) = (wave([16, 64, 16, 16]), wave([64, 64, 3, 3]));
    let affine = [wave([64]), wave([64])];
    let step = |name: &str, layer: fn(_, _, _) -> Tensor<B, 4>| {
        let start = Instant::now();
        let output = layer(input.clone(), weights.clone(), affine.clone());
        let grads = (output.clone() * output).sum().backward();
        let grad = weights.grad(&grads).expect("the weights require a gradient").into_data();
        println!(
            "{name:>5}: {:6.1} ms for forward and backward",
            1e3 * start.elapsed().as_secs_f64()
        );
        Tensor::<Flex, 4>::from_data(grad, &Default::default())
    };
    // The first run starts the threads and is not timed fairly.
    step("warm", burn);
    step("warm", fused);
    let (expected, found) = (step("Burn", burn), step("fused", fused));
    let difference = (found - expected.clone()).abs().max() / expected.abs().max();
    println!("largest difference of the weight gradient: {:.1e}", difference.into_scalar());
}
