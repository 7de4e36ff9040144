//! Defines a small network with one tap, and prints the attention map of an image with a bright
//! square.
//!
//! `cargo run -p lasnn-nn --example attention`

#![allow(clippy::print_stdout)]

use burn::tensor::module::{avg_pool2d, conv2d};
use burn::tensor::{Tensor, TensorData, activation::relu, ops::ConvOptions};
use burn_flex::Flex;
use lasnn_core::{Pass, Probe, Probes, Seed, Tap};
use lasnn_nn::{Observable, Observations, attention_map};

/// A convolution with a tap, and the mean of each channel as logits.
struct Edges {
    weights: Tensor<Flex, 4>,
}

impl Observable<Flex> for Edges {
    fn observe(
        &self,
        images: Tensor<Flex, 4>,
        _pass: &Pass<'_>,
        probes: &Probes,
    ) -> Observations<Flex> {
        let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
        let feature_map = relu(conv2d(images, self.weights.clone(), None, options));
        let means = avg_pool2d(feature_map.clone(), [16, 16], [16, 16], [0, 0], true, false);
        let mut observations = Observations::new(means.flatten(1, 3));
        if probes.contains(Probe::Attention(Tap::Low)) {
            observations.attention.insert(Tap::Low, attention_map(feature_map));
        }
        observations
    }
}

fn main() {
    let device = Default::default();
    // Two kernels: one for horizontal edges and one for vertical edges.
    let kernels = [1., 1., 1., 0., 0., 0., -1., -1., -1., 1., 0., -1., 1., 0., -1., 1., 0., -1.];
    let weights = Tensor::from_data(TensorData::new(kernels.to_vec(), [2, 1, 3, 3]), &device);
    let image = Tensor::<Flex, 4>::zeros([1, 1, 16, 16], &device)
        .slice_assign([0..1, 0..1, 4..12, 5..13], Tensor::ones([1, 1, 8, 8], &device));

    // A network returns its logits, and the values of the probes that are requested.
    let probes = Probes::from([Probe::Attention(Tap::Low)]);
    let observed = Edges { weights }.observe(image, &Pass::evaluate(Seed(0), &[0]), &probes);
    println!("mean horizontal and vertical edges: {}", observed.logits.into_data());
    println!("attention map at the low tap:");
    let map: Vec<f32> = observed.attention[&Tap::Low].to_data().iter().collect();
    for row in map.chunks(16) {
        let line: String =
            row.iter().map(|&a| [" .", " +", " #"][(a / 2.0).min(2.0) as usize]).collect();
        println!("{line}");
    }
}
