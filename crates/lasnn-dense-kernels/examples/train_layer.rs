//! Learns the weights of a convolution from its outputs, with the kernels alone.
//!
//! Run it with `cargo run -p lasnn-dense-kernels --example train_layer`.

#![allow(clippy::print_stdout)]

use lasnn_core::{Precision, Seed, Stream};
use lasnn_dense_kernels::conv::{self, ConvShape};
use lasnn_dense_kernels::optimizer::{AdamStep, adam, sum_of_squares};

fn main() {
    let shape = ConvShape {
        batch: 16,
        inputs: 3,
        outputs: 8,
        height: 12,
        width: 12,
        kernel: 3,
        stride: 1,
        padding: 1,
    };
    let normals = |key, count| Seed(1).draws(Stream::Test, [key, 0, 0]).normals(count);
    let input = normals(0, shape.batch * shape.image());
    let target_weights = normals(1, shape.weights());
    let convolve = |weights: &[f32]| {
        let mut output = vec![0.0; shape.batch * shape.output_image()];
        conv::forward(shape, Precision::F32, &input, weights, None, false, &mut output);
        output
    };
    let target = convolve(&target_weights);
    let n = target.len() as f32;

    let mut weights = vec![0.0; shape.weights()];
    let mut grad = weights.clone();
    // The state of Adam: the moving averages of the gradient and of its square.
    let (mut mean, mut square) = (weights.clone(), weights.clone());
    for step in 1..=100 {
        // The loss is Σ (output - target)² / 2n. This is its gradient with respect to the output.
        let output = convolve(&weights);
        let difference = |(output, target): (f32, &f32)| (output - target) / n;
        let output_grad: Vec<f32> = output.into_iter().zip(&target).map(difference).collect();
        conv::weight_grad(shape, Precision::F32, &input, &output_grad, &mut grad);
        let adam_step = AdamStep {
            rate: 0.1,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            decoupled: false,
            step,
        };
        adam(&adam_step, &mut weights, &grad, &mut mean, &mut square, None);
        if step % 20 == 0 {
            let distance: Vec<f32> =
                weights.iter().zip(&target_weights).map(|(x, y)| x - y).collect();
            println!(
                "step {step:3}: distance to the target {:.4}",
                sum_of_squares(&distance).sqrt()
            );
        }
    }
}
