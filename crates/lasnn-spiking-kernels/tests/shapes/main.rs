//! Every layer of the paper's networks in its real size: spikes and gradients must be those of a
//! dense reference.
//!
//! The random networks of `tests/spiking` are small. Only wide layers fill whole blocks of weights,
//! channel tiles and panels of outputs, and only they have long sums. Weights are short binary
//! fractions, so sums of currents are exact in any order, and the spikes must be equal, not close.

#![allow(clippy::unwrap_used)]

mod network;
mod reference;

use crate::network::{Network, Setting};

/// Convolutions of VGG5, VGG9, VGG16 and of the first layers of ResNet12 for images of 32 by 32, as
/// `[inputs, side, pool, outputs]`: `side` is the side of the map before an average pooling of
/// `pool` by `pool`.
const CONVOLUTIONS: [[usize; 4]; 13] = [
    [64, 32, 1, 64],
    [64, 32, 2, 128],
    [128, 16, 1, 128],
    [128, 16, 1, 256],
    [128, 16, 2, 256],
    [256, 16, 2, 256],
    [256, 8, 1, 256],
    [256, 8, 1, 512],
    [256, 8, 2, 512],
    [512, 8, 2, 512],
    [512, 4, 1, 512],
    [512, 4, 2, 512],
    [512, 2, 1, 512],
];

/// Residual blocks of ResNet12 as `[inputs, side, pool, outputs, stride]`.
const BLOCKS: [[usize; 5]; 4] =
    [[64, 32, 2, 64, 1], [64, 16, 1, 128, 2], [128, 8, 1, 256, 2], [256, 4, 1, 512, 2]];

/// Linear layers of the VGGs, as `[inputs, side, pool, outputs]`, the largest ones first. This
/// test puts the classifier of the network after each of them and after the last block.
const LINEAR: [[usize; 4]; 4] =
    [[128, 16, 2, 4096], [4096, 1, 1, 4096], [512, 2, 1, 4096], [512, 2, 1, 1024]];

/// Every number of steps with every rate. Every pair of numbers of images and threads, and each of
/// these numbers with every number of steps and every rate.
const SETTINGS: [Setting; 8] = [
    setting(1, 0.0, 1, 1),
    setting(1, 0.05, 2, 2),
    setting(1, 0.5, 1, 2),
    setting(1, 1.0, 2, 1),
    setting(8, 0.0, 2, 2),
    setting(8, 0.05, 1, 1),
    setting(8, 0.5, 2, 1),
    setting(8, 1.0, 1, 2),
];

/// Every rate once, every other value twice. One layer of each kind runs in all settings, the
/// others in these, because they take seconds in each.
const FEW: [Setting; 4] = [SETTINGS[2], SETTINGS[3], SETTINGS[4], SETTINGS[5]];

const fn setting(steps: usize, rate: f32, batch: usize, threads: usize) -> Setting {
    Setting { steps, rate, batch, threads }
}

#[test]
fn convolutions_of_large_maps() {
    one_in_all_settings(&CONVOLUTIONS[..6], Network::convolution);
}

#[test]
fn convolutions_of_small_maps() {
    one_in_all_settings(&CONVOLUTIONS[6..], Network::convolution);
}

#[test]
fn residual_blocks() {
    one_in_all_settings(&BLOCKS, Network::block);
}

#[test]
fn linear_layers() {
    in_settings(&FEW, &LINEAR[..3], Network::linear);
    in_settings(&SETTINGS, &LINEAR[3..], Network::linear);
}

#[test]
fn convolutions_of_input_spikes() {
    // One channel of spikes for each colour, or two: for bright and for dark pixels.
    in_settings(&SETTINGS, &[[3, 32, 64], [6, 32, 64]], Network::of_input_spikes);
}

#[test]
fn a_hundred_steps() {
    let setting = setting(100, 0.05, 1, 2);
    Network::convolution([512, 4, 2, 512], setting).check();
    Network::block([256, 4, 1, 512, 2], setting).check();
}

/// The last layer, which is the smallest, in all settings and the others in few.
fn one_in_all_settings<const N: usize>(
    layers: &[[usize; N]],
    network: fn([usize; N], Setting) -> Network,
) {
    let (others, last) = layers.split_at(layers.len() - 1);
    in_settings(&FEW, others, network);
    in_settings(&SETTINGS, last, network);
}

fn in_settings<const N: usize>(
    settings: &[Setting],
    rows: &[[usize; N]],
    network: fn([usize; N], Setting) -> Network,
) {
    for &row in rows {
        settings.iter().for_each(|&setting| network(row, setting).check());
    }
}
