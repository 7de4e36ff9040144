//! The named architectures.
//!
//! Teachers have bias and batch norm, in their CIFAR forms (a 3×3 convolution of stride 1 at the
//! image, no pooling behind it). Students, and the intermediates that they are converted from,
//! have neither, since threshold balancing has no place for them; they pool by the average and
//! have dropout: 0.2 behind convolutions and 0.5 behind linear layers, none where a pooling
//! follows, as in the public code of hybrid training.
//!
//! | name | layers |
//! |---|---|
//! | `teacher-vgg16` | 13 convolutions with batch norm, maximum pooling, one linear layer |
//! | `teacher-resnet20` | He et al.'s network for CIFAR, 1×1 convolutions as shortcuts |
//! | `teacher-resnet18` | He et al.'s network for ImageNet with the CIFAR stem |
//! | `teacher-densenet121` | Huang et al.'s network for ImageNet with the CIFAR stem |
//! | `conv3-linear2` | 64, A, 128, A, 256, A; linear 1024 |
//! | `vgg5` | 64, A, 128, 128, A; linear 4096, 4096 |
//! | `vgg7` | 64, 64, A, 128, 128, A, 256, A; linear 1024 |
//! | `vgg9` | 64, A, 128, 256, A, 256, 512, A, 512, A, 512; linear 1024 |
//! | `vgg16` | 64×2, A, 128×2, A, 256×3, A, 512×3, A, 512×3; linear 4096, 4096 |
//! | `resnet12` | 64×3, A, basic blocks of 64, 128, 256 and 512 |
//!
//! A is 2×2 average pooling, and a classifier closes each network. All take images of 1 or 3
//! channels; the VGGs with four or five poolings (`vgg9`, `vgg16`, `teacher-vgg16`) need at least
//! 16 or 32 pixels, the others fit 8.
//!
//! # Taps
//!
//! Low, middle and high are the last activations at the full, half and quarter resolution of the
//! image: what the network knows before it gives up places for channels. So the maps of any
//! teacher and any student have the same size (where 4 divides the image's) and are compared as
//! they are; and a high map of 8×8 for a CIFAR image still says where something is, which one of
//! 2×2 from the deepest layers does not. `vgg5` has only two resolutions: its taps are its three
//! convolutions, the high one at half resolution. In `teacher-densenet121` the taps are on the
//! rectified norms behind the blocks, because a block's own output is not rectified.

use lasnn_core::{Architecture, Layer, Tap};

/// Every name that [`named`] knows: the teachers, then the students by depth.
pub const NAMES: [&str; 10] = [
    "teacher-vgg16",
    "teacher-resnet20",
    "teacher-resnet18",
    "teacher-densenet121",
    "conv3-linear2",
    "vgg5",
    "vgg7",
    "vgg9",
    "vgg16",
    "resnet12",
];

const CONV_DROPOUT: f64 = 0.2;
const LINEAR_DROPOUT: f64 = 0.5;

/// The architecture of that name, one of [`NAMES`].
pub fn named(name: &str) -> Option<Architecture> {
    let layers = match name {
        "teacher-vgg16" => teacher_vgg16(),
        "teacher-resnet20" => teacher_resnet(16, &[(16, 3), (32, 3), (64, 3)]),
        "teacher-resnet18" => teacher_resnet(64, &[(64, 2), (128, 2), (256, 2), (512, 2)]),
        "teacher-densenet121" => teacher_densenet(32, &[6, 12, 24, 16]),
        "conv3-linear2" => student(&[&[64], &[128], &[256], &[]], [0, 1, 2], &[1024]),
        "vgg5" => student(&[&[64], &[128, 128], &[]], [0, 1, 2], &[4096, 4096]),
        "vgg7" => student(&[&[64, 64], &[128, 128], &[256], &[]], [1, 3, 4], &[1024]),
        "vgg9" => student(&[&[64], &[128, 256], &[256, 512], &[512], &[512]], [0, 2, 4], &[1024]),
        "vgg16" => student(&VGG16, [1, 3, 6], &[4096, 4096]),
        "resnet12" => resnet12(),
        _ => return None,
    };
    Some(Architecture { name: name.to_owned(), layers })
}

/// The convolutions of VGG16 (configuration D of Simonyan and Zisserman, 2015), with a pooling
/// between the stages.
const VGG16: [&[usize]; 5] =
    [&[64, 64], &[128, 128], &[256, 256, 256], &[512, 512, 512], &[512, 512, 512]];

/// Bias-free convolutions with a pooling between the stages, and hidden linear layers. An empty
/// last stage stands for a pooling at the end. `taps` counts convolutions from 0.
fn student(stages: &[&[usize]], taps: [usize; 3], hidden: &[usize]) -> Vec<Layer> {
    let mut layers = Vec::new();
    let mut convolutions = 0;
    for (number, stage) in stages.iter().enumerate() {
        if number > 0 {
            // The pooling takes the place of the dropout.
            layers.pop();
            layers.push(Layer::AveragePool { size: 2 });
        }
        for &channels in *stage {
            let layer = Layer::conv(channels);
            layers.push(match taps.iter().position(|&at| at == convolutions) {
                Some(depth) => layer.tapped(Tap::ALL[depth]),
                None => layer,
            });
            layers.push(Layer::Dropout { probability: CONV_DROPOUT });
            convolutions += 1;
        }
    }
    for &features in hidden {
        layers.push(Layer::Linear { features, bias: false });
        layers.push(Layer::Dropout { probability: LINEAR_DROPOUT });
    }
    layers.push(Layer::Classifier { bias: false });
    layers
}

fn resnet12() -> Vec<Layer> {
    let block = |channels, stride| Layer::Residual {
        channels,
        stride,
        batch_norm: false,
        dropout: CONV_DROPOUT,
        tap: None,
    };
    vec![
        Layer::conv(64),
        Layer::Dropout { probability: CONV_DROPOUT },
        Layer::conv(64),
        Layer::Dropout { probability: CONV_DROPOUT },
        Layer::conv(64).tapped(Tap::Low),
        Layer::AveragePool { size: 2 },
        block(64, 1).tapped(Tap::Middle),
        block(128, 2).tapped(Tap::High),
        block(256, 2),
        block(512, 2),
        Layer::Classifier { bias: false },
    ]
}

fn teacher_vgg16() -> Vec<Layer> {
    let mut layers = Vec::new();
    for (number, stage) in VGG16.iter().enumerate() {
        let convolution = |&channels| teacher_convolution(channels, true);
        layers.extend(stage.iter().map(convolution));
        tap_last(&mut layers, number);
        layers.push(Layer::MaxPool { size: 2 });
    }
    layers.extend([Layer::GlobalAveragePool {}, Layer::Classifier { bias: true }]);
    layers
}

/// Groups of `(channels, blocks)`, each but the first halving the resolution.
fn teacher_resnet(stem: usize, groups: &[(usize, usize)]) -> Vec<Layer> {
    // Batch norm takes the mean away again, so a bias before it would do nothing (VGG16 has it
    // because its published parameter count includes it).
    let mut layers = vec![teacher_convolution(stem, false)];
    for (number, &(channels, blocks)) in groups.iter().enumerate() {
        for block in 0..blocks {
            let stride = if number > 0 && block == 0 { 2 } else { 1 };
            layers.push(Layer::Residual {
                channels,
                stride,
                batch_norm: true,
                dropout: 0.0,
                tap: None,
            });
        }
        tap_last(&mut layers, number);
    }
    layers.extend([Layer::GlobalAveragePool {}, Layer::Classifier { bias: true }]);
    layers
}

/// DenseNet-BC: dense blocks of the given numbers of units; between them a 1×1 convolution halves
/// the channels and a pooling the resolution.
fn teacher_densenet(growth: usize, blocks: &[usize]) -> Vec<Layer> {
    // The norm and the activation stand before the convolutions, not behind them.
    let plain = |channels, kernel| Layer::Conv {
        channels,
        kernel,
        stride: 1,
        bias: false,
        batch_norm: false,
        activation: false,
        tap: None,
    };
    let mut channels = 2 * growth;
    let mut layers = vec![plain(channels, 3)];
    for (number, &units) in blocks.iter().enumerate() {
        if number > 0 {
            channels /= 2;
            layers.extend([plain(channels, 1), Layer::AveragePool { size: 2 }]);
        }
        layers.extend([Layer::Dense { units, growth, tap: None }, Layer::Norm { tap: None }]);
        tap_last(&mut layers, number);
        channels += units * growth;
    }
    layers.extend([Layer::GlobalAveragePool {}, Layer::Classifier { bias: true }]);
    layers
}

fn teacher_convolution(channels: usize, bias: bool) -> Layer {
    Layer::Conv {
        channels,
        kernel: 3,
        stride: 1,
        bias,
        batch_norm: true,
        activation: true,
        tap: None,
    }
}

/// Puts the tap of a depth, counted in resolutions from 0, on the last layer so far.
fn tap_last(layers: &mut [Layer], depth: usize) {
    if let (Some(&tap), Some(layer)) = (Tap::ALL.get(depth), layers.last_mut()) {
        *layer = layer.clone().tapped(tap);
    }
}
