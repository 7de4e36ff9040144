//! What is compared: networks, modes, sizes and rates.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Class scores without gradients
    Infer,
    /// Forward, cross-entropy, backward, Adam
    Train,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Infer => "infer",
            Self::Train => "train",
        }
    }
}

/// What ours computes with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// As they are.
    #[default]
    F32,
    /// Integers of 12 bits, for inference: the counterpart of a peer's bfloat16.
    Int12,
    /// Weights in bfloat16, for inference; `precision = "bf16"`, for training.
    Bf16,
}

impl Format {
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Int12 => "int12",
            Self::Bf16 => "bf16",
        }
    }

    /// The formats that a mode is measured in.
    pub fn of(mode: Mode) -> &'static [Self] {
        match mode {
            Mode::Infer => &[Self::F32, Self::Int12, Self::Bf16],
            Mode::Train => &[Self::F32, Self::Bf16],
        }
    }
}

/// How an image becomes input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// The pixel is the current of every step
    Direct,
    /// A pixel spikes with its own value as probability
    Poisson,
}

impl Encoding {
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Poisson => "poisson",
        }
    }
}

/// Which weights.
#[derive(Clone, Debug, PartialEq)]
pub enum Weights {
    /// Random ones in a named architecture, with thresholds at which every layer fires so many
    /// per cent of its neurons in a step.
    Random { net: &'static str, percent: f64 },
    /// Those of `--checkpoint`, with its own encoding and at its own rates.
    Trained,
}

/// What ours is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// Every peer.
    Peers,
    /// Ours on one thread.
    OneThread,
    /// Ours over twice as many time steps.
    TwiceTheSteps,
}

/// One line of the matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    pub weights: Weights,
    pub mode: Mode,
    pub encoding: Encoding,
    pub time_steps: usize,
    pub batch: usize,
    pub against: Against,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { weights, mode, encoding, time_steps, batch, .. } = self;
        match weights {
            Weights::Random { net, percent } => write!(f, "{net}, {percent} %")?,
            Weights::Trained => write!(f, "trained student")?,
        }
        write!(f, ", {}, {}, T = {time_steps}, batch {batch}", mode.name(), encoding.name())
    }
}

/// The networks, with the batch at which a step takes about a second.
pub const NETS: [(&str, usize); 4] = [("vgg5", 16), ("vgg9", 16), ("vgg16", 8), ("resnet12", 16)];

/// The rates at which inference is measured, per cent.
const RATES: [f64; 4] = [2.0, 5.0, 10.0, 20.0];

/// The rate of everything else; that of the targets.
const RATE: f64 = 5.0;

/// Few steps, as with direct encoding, and many, as in the paper.
const STEPS: usize = 8;
const MANY_STEPS: usize = 100;

/// What the table in `results/` has. `trained` says whether there is a checkpoint.
pub fn standard(trained: bool) -> Vec<Work> {
    let mut all = Vec::new();
    for (net, batch) in NETS {
        all.extend(RATES.map(|percent| plain(net, percent, Mode::Infer, STEPS, batch)));
        all.push(plain(net, RATE, Mode::Train, STEPS, batch));
    }
    let poisson = |work| Work { encoding: Encoding::Poisson, ..work };
    for mode in [Mode::Infer, Mode::Train] {
        all.push(poisson(plain("vgg5", RATE, mode, STEPS, 16)));
    }
    for batch in [4, 16] {
        all.push(poisson(plain("vgg5", RATE, Mode::Train, MANY_STEPS, batch)));
    }
    if trained {
        let work = plain("vgg5", RATE, Mode::Infer, STEPS, 16);
        all.push(Work { weights: Weights::Trained, ..work });
    }
    all.extend(ourselves("vgg5", STEPS, 16));
    all.extend(ourselves("resnet12", STEPS, 16));
    all
}

/// Seconds instead of an hour, to see whether everything works; its times say nothing.
pub fn quick(trained: bool) -> Vec<Work> {
    let mut all = grid(&[RATE], 4, 2, Encoding::Direct);
    all.push(Work { encoding: Encoding::Poisson, ..plain("vgg5", RATE, Mode::Train, 4, 2) });
    if trained {
        all.push(Work { weights: Weights::Trained, ..plain("vgg5", RATE, Mode::Infer, 4, 2) });
    }
    all.retain(|work| !matches!(work.weights, Weights::Random { net, .. } if net != "vgg5"));
    all.extend(ourselves("vgg5", 4, 2));
    all
}

/// Every network in both modes at the given rates and sizes.
pub fn grid(percents: &[f64], time_steps: usize, batch: usize, encoding: Encoding) -> Vec<Work> {
    let mut all = Vec::new();
    for (net, _) in NETS {
        for mode in [Mode::Infer, Mode::Train] {
            for &percent in percents {
                all.push(Work { encoding, ..plain(net, percent, mode, time_steps, batch) });
            }
        }
    }
    all
}

/// Ours against ours: what a second thread brings and what twice the steps cost.
fn ourselves(net: &'static str, time_steps: usize, batch: usize) -> Vec<Work> {
    let mut all = Vec::new();
    for against in [Against::OneThread, Against::TwiceTheSteps] {
        for mode in [Mode::Infer, Mode::Train] {
            all.push(Work { against, ..plain(net, RATE, mode, time_steps, batch) });
        }
    }
    all
}

fn plain(net: &'static str, percent: f64, mode: Mode, time_steps: usize, batch: usize) -> Work {
    Work {
        weights: Weights::Random { net, percent },
        mode,
        encoding: Encoding::Direct,
        time_steps,
        batch,
        against: Against::Peers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_has_every_network_at_every_rate_and_in_training() {
        let all = standard(true);
        for (net, _) in NETS {
            let has = |mode, percent| {
                all.iter().any(|work| {
                    work.weights == Weights::Random { net, percent }
                        && work.mode == mode
                        && work.against == Against::Peers
                })
            };
            assert!([2.0, 5.0, 10.0, 20.0].into_iter().all(|rate| has(Mode::Infer, rate)), "{net}");
            assert!(has(Mode::Train, 5.0), "{net}");
        }
        assert_eq!(all.iter().filter(|work| work.weights == Weights::Trained).count(), 1);
        assert!(all.iter().any(|work| work.time_steps == 100 && work.mode == Mode::Train));
    }

    #[test]
    fn no_line_is_there_twice() {
        for all in [standard(true), quick(true), grid(&[5.0, 10.0], 8, 4, Encoding::Poisson)] {
            for (index, work) in all.iter().enumerate() {
                assert!(!all[..index].contains(work), "{work}");
            }
        }
    }
}
