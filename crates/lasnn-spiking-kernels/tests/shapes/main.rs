//! Every layer of the paper's networks in its real size: spikes and gradients are those of the dense
//! reference.
//!
//! The random networks of `tests/spiking` are small; blocks of weights, tiles and panels of outputs
//! that only wide layers fill, and sums as long as theirs, are here. Weights are short binary fractions, so
//! sums of currents are exact in any order and the spikes must be the same, not merely close.

#![allow(clippy::unwrap_used)]

mod network;
mod reference;

use crate::network::{Network, Setting};

/// Convolutions of VGG5, VGG9, VGG16 and of the first layers of ResNet12, for images of 32 by 32, as
/// `[inputs, side, pool, outputs]`: `side` is that of the map before an average pooling of `pool` by `pool`.
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

/// Matrices of the VGGs, as convolutions are written, the largest ones first. Downstream each of them, and
/// downstream the last block, the classifier of this test is that of the network.
const MATRICES: [[usize; 4]; 4] =
    [[128, 16, 2, 4096], [4096, 1, 1, 4096], [512, 2, 1, 4096], [512, 2, 1, 1024]];

/// Every number of steps with every rate; of images and threads every pair, and each with every number of
/// steps and every rate.
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

/// For what takes seconds in each: every rate once, and everything else twice.
const FEW: [Setting; 4] = [SETTINGS[2], SETTINGS[3], SETTINGS[4], SETTINGS[5]];

const fn setting(steps: usize, rate: f32, batch: usize, threads: usize) -> Setting {
    Setting { steps, rate, batch, threads }
}

#[test]
fn convolutions_of_large_maps() {
    everywhere(&CONVOLUTIONS[..6], Network::convolution);
}

#[test]
fn convolutions_of_small_maps() {
    everywhere(&CONVOLUTIONS[6..], Network::convolution);
}

#[test]
fn residual_blocks() {
    everywhere(&BLOCKS, Network::block);
}

#[test]
fn matrices() {
    in_settings(&FEW, &MATRICES[..2], Network::matrix);
    everywhere(&MATRICES[2..], Network::matrix);
}

#[test]
fn convolutions_of_input_spikes() {
    // A spike for bright pixels, and one for each of bright and dark.
    everywhere(&[[3, 32, 64], [6, 32, 64]], Network::of_input_spikes);
}

#[test]
fn a_hundred_steps() {
    let setting = setting(100, 0.05, 1, 2);
    Network::convolution([512, 4, 2, 512], setting).check();
    Network::block([256, 4, 1, 512, 2], setting).check();
}

fn everywhere<const N: usize>(rows: &[[usize; N]], network: fn([usize; N], Setting) -> Network) {
    in_settings(&SETTINGS, rows, network);
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
