//! The named architectures.
//!
//! Teachers have biases and batch norm. They have the form for CIFAR: the first convolution is 3×3
//! with stride 1, and no pooling follows it. Students, and the intermediate networks that are
//! converted into them, have no biases, as in the paper, and no batch norm, because threshold
//! balancing does not support it. They use average pooling, and dropout as in the public code of
//! hybrid training: 0.2 after convolutions and 0.5 after linear layers, but none before a pooling.
//!
//! [`KINDS`] has the layers of each network. Each ends in a classifier. All take images of 1 or 3
//! channels. `vgg9` and `vgg16`, with four poolings, need images of at least 16×16 pixels;
//! `teacher-vgg16`, with five, needs 32×32. The others need 8×8.
//!
//! # Taps
//!
//! The low, middle and high taps are the last activations at the full, half and quarter resolution
//! of the image. If the image size is divisible by 4, the feature maps of any teacher and any
//! student have the same size there and are compared without resizing. The high feature map of a
//! CIFAR image is 8×8, which still has spatial information; the 2×2 feature maps of the deepest
//! layers hardly have any. `vgg5` has only two resolutions: its taps are its three convolutions,
//! with the high tap at half resolution. In `teacher-densenet121` the taps are at the norms that
//! follow the blocks, because the output of a block has no ReLU.

use lasnn_core::{Architecture, Kind, Layer, Tap};

/// All architectures: the teachers, then the students by depth. A is 2×2 average pooling.
pub const KINDS: [Kind; 10] = [
    Kind {
        name: "teacher-vgg16",
        about: "13 convolutions with batch norm, maximum pooling, one linear layer",
        source: "Simonyan and Zisserman 2015",
    },
    Kind {
        name: "teacher-resnet20",
        about: "the ResNet for CIFAR, with 1×1 convolutions as shortcuts",
        source: "He et al. 2016",
    },
    Kind {
        name: "teacher-resnet18",
        about: "the ResNet for ImageNet, with the first layer for CIFAR",
        source: "He et al. 2016",
    },
    Kind {
        name: "teacher-densenet121",
        about: "the DenseNet for ImageNet, with the first layer for CIFAR",
        source: "Huang et al. 2017",
    },
    Kind {
        name: "conv3-linear2",
        about: "64, A, 128, A, 256, A; linear 1024",
        source: "LaSNN (3Conv,2Linear), widths by us",
    },
    Kind {
        name: "vgg5",
        about: "64, A, 128, 128, A; linear 4096, 4096",
        source: "Rathi et al. 2020 (hybrid training)",
    },
    Kind {
        name: "vgg7",
        about: "64, 64, A, 128, 128, A, 256, A; linear 1024",
        source: "LaSNN, widths by us",
    },
    Kind {
        name: "vgg9",
        about: "64, A, 128, 256, A, 256, 512, A, 512, A, 512; linear 1024",
        source: "Rathi et al. 2020 (hybrid training)",
    },
    Kind {
        name: "vgg16",
        about: "64×2, A, 128×2, A, 256×3, A, 512×3, A, 512×3; linear 4096, 4096",
        source: "Rathi et al. 2020 (hybrid training)",
    },
    Kind {
        name: "resnet12",
        about: "64×3, A, basic blocks of 64, 128, 256 and 512",
        source: "Rathi et al. 2020 (hybrid training)",
    },
];

/// The names of all architectures, in the order of [`KINDS`].
pub const NAMES: [&str; KINDS.len()] = names();

const fn names() -> [&'static str; KINDS.len()] {
    let mut names = [""; KINDS.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = KINDS[index].name;
        index += 1;
    }
    names
}

const CONV_DROPOUT: f64 = 0.2;
const LINEAR_DROPOUT: f64 = 0.5;

/// The architecture with the given name, one of [`NAMES`].
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

/// Convolutions without bias, with a pooling between the stages, and hidden linear layers. An empty
/// last stage means that a pooling follows the last convolution. `taps` are the indices of the
/// tapped convolutions, counted from 0.
fn student(stages: &[&[usize]], taps: [usize; 3], hidden: &[usize]) -> Vec<Layer> {
    let mut layers = Vec::new();
    let mut convolutions = 0;
    for (number, stage) in stages.iter().enumerate() {
        if number > 0 {
            // The pooling replaces the dropout.
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
        bias: false,
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

/// A ResNet with groups of `(channels, blocks)`. Each group after the first has half the
/// resolution of the group before it.
fn teacher_resnet(stem: usize, groups: &[(usize, usize)]) -> Vec<Layer> {
    // Batch norm subtracts the mean, so a bias before it has no effect. VGG16 has one because its
    // published parameter count includes it.
    let mut layers = vec![teacher_convolution(stem, false)];
    for (number, &(channels, blocks)) in groups.iter().enumerate() {
        for block in 0..blocks {
            let stride = if number > 0 && block == 0 { 2 } else { 1 };
            layers.push(Layer::Residual {
                channels,
                stride,
                bias: false,
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

/// DenseNet-BC: dense blocks with the given numbers of units. Between them, a 1×1 convolution
/// divides the number of channels by two, and a pooling divides the resolution by two.
fn teacher_densenet(growth: usize, blocks: &[usize]) -> Vec<Layer> {
    // In a DenseNet the norm and the activation precede the convolution.
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

/// Puts the tap of the given depth (0 is low, 1 middle, 2 high) on the last layer; no tap for other
/// depths.
fn tap_last(layers: &mut [Layer], depth: usize) {
    if let (Some(&tap), Some(layer)) = (Tap::ALL.get(depth), layers.last_mut()) {
        *layer = layer.clone().tapped(tap);
    }
}
