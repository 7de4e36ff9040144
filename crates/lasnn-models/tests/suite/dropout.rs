//! Dropout in training and in evaluation.

use burn::tensor::{Tensor, TensorData};
use lasnn_core::{Layer, Pass, Probe, Probes, Seed, Tap};
use lasnn_nn::Observable;
use lasnn_nn::state::{self, StateDict};

use crate::network::{block, build, planned, values, wave};

/// The output of the layers for an image of ones, read at the tap of an identity convolution.
fn ones_through(mut layers: Vec<Layer>, pass: &Pass<'_>) -> Vec<f32> {
    let last = layers.len();
    layers.push(Layer::Conv {
        channels: 1,
        kernel: 1,
        stride: 1,
        bias: false,
        batch_norm: false,
        activation: true,
        tap: Some(Tap::Low),
    });
    layers.push(Layer::Classifier { bias: false });
    let plan = planned(layers, [1, 64, 64], 2);
    let mut tensors: StateDict = state::save(&build(&plan, 1));
    let weight = TensorData::ones::<f32, _>([1, 1, 1, 1]);
    tensors.insert(format!("layers.{last}.conv.weight"), weight);
    let network = state::load(build(&plan, 1), tensors).unwrap();
    let images = Tensor::ones([pass.samples.len(), 1, 64, 64], &Default::default());
    let probes = Probes::from([Probe::Features(Tap::Low)]);
    values(network.observe(images, pass, &probes).features[&Tap::Low].clone())
}

/// The fraction of zeros.
fn zero_fraction(values: &[f32]) -> f32 {
    values.iter().filter(|&&v| v == 0.0).count() as f32 / values.len() as f32
}

#[test]
fn dropout_preserves_the_mean_and_acts_in_training_only() {
    let dropout = |probability| vec![Layer::Dropout { probability }];
    let samples = [4, 9, 2, 7];
    let pass = Pass::train(Seed(3), 0, &samples);
    let found = ones_through(dropout(0.3), &pass);
    assert!((zero_fraction(&found) - 0.3).abs() < 0.02, "{}", zero_fraction(&found));
    let mean = found.iter().sum::<f32>() / found.len() as f32;
    assert!((mean - 1.0).abs() < 0.02, "{mean}");

    assert_eq!(found, ones_through(dropout(0.3), &pass));
    assert_ne!(found, ones_through(dropout(0.3), &Pass::train(Seed(3), 1, &samples)));
    assert_ne!(found, ones_through(dropout(0.3), &Pass::train(Seed(4), 0, &samples)));
    // The mask of a sample does not depend on the rest of the batch.
    let last_two = ones_through(dropout(0.3), &pass.slice(2..4));
    assert_eq!(found[found.len() / 2..], last_two);

    let measured = ones_through(dropout(0.3), &Pass::evaluate(Seed(3), &samples));
    assert!(measured.iter().all(|&v| v == 1.0));
}

#[test]
fn dropout_layers_of_one_network_have_different_masks() {
    let twice = vec![Layer::Dropout { probability: 0.5 }, Layer::Dropout { probability: 0.5 }];
    let found = zero_fraction(&ones_through(twice, &Pass::train(Seed(3), 0, &[0, 1, 2, 3])));
    // The same mask twice would leave half of the ones.
    assert!((found - 0.75).abs() < 0.02, "{found}");
}

#[test]
fn dropout_within_a_residual_block_acts_between_its_convolutions() {
    let input = [1, 8, 8];
    let plan = |dropout| {
        planned(vec![block(4, 1, false, dropout), Layer::Classifier { bias: false }], input, 3)
    };
    let samples = [0, 1];
    let train = Pass::train(Seed(3), 0, &samples);
    let run =
        |dropout, pass: &Pass<'_>| build(&plan(dropout), 1).activations(wave([2, 1, 8, 8]), pass);
    let (with, without) = (run(0.5, &train), run(0.0, &train));
    assert_eq!(values(with[0].1.clone()), values(without[0].1.clone()), "before the dropout");
    assert_ne!(values(with[1].1.clone()), values(without[1].1.clone()), "after the dropout");
    let measured = run(0.5, &Pass::evaluate(Seed(3), &samples));
    assert_eq!(
        values(measured[1].1.clone()),
        values(without[1].1.clone()),
        "an evaluation has no dropout"
    );
}
