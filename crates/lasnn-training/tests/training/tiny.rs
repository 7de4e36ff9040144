//! A network and a data set small enough to train in milliseconds.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use burn::backend::Autodiff;
use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use burn::tensor::{Tensor, TensorData, activation::relu, backend::Backend};
use burn_flex::Flex;
use lasnn_core::{Batch, BatchSource, Pass, Precision, Probe, Probes, Seed, Shape, Stream, Tap};
use lasnn_nn::{Constrained, Observable, Observations, StateDict, state};
use lasnn_training::{
    CrossEntropy, FitContext, Fitted, Observer, OptimizerConfig, Schedule, Sgd, TrainConfig,
    TrainError, fit,
};

pub type Train = Autodiff<Flex>;

pub const SEED: Seed = Seed(7);
const CLASSES: usize = 3;
const SIZE: usize = 4;

/// Convolution, optional batch norm, ReLU, dropout, classifier; and a threshold that is not
/// trained.
#[derive(Module, Debug)]
pub struct Tiny<B: Backend> {
    pub conv: Conv2d<B>,
    pub norm: Option<BatchNorm<B>>,
    pub threshold: Param<Tensor<B, 1>>,
    pub classifier: Linear<B>,
    dropout: f64,
    /// The range of the biases of the convolution ends here.
    largest_bias: f64,
}

impl Tiny<Train> {
    /// A network with weights that are the same at each call.
    pub fn new(batch_norm: bool, dropout: f64) -> Self {
        let device = Default::default();
        let threshold = Tensor::ones([1], &device).set_require_grad(false);
        let model = Self {
            conv: Conv2dConfig::new([1, 4], [3, 3]).init(&device),
            norm: batch_norm.then(|| BatchNormConfig::new(4).init(&device)),
            threshold: Param::initialized(Default::default(), threshold),
            classifier: LinearConfig::new(4 * (SIZE - 2) * (SIZE - 2), CLASSES).init(&device),
            dropout,
            largest_bias: f64::INFINITY,
        };
        let mut weights = state::save(&model);
        for (key, name) in
            ["conv.weight", "conv.bias", "classifier.weight", "classifier.bias"].iter().enumerate()
        {
            let data = weights.get_mut(*name).unwrap();
            let draws = SEED.draws(Stream::Weights, [key as u32, 0, 0]);
            let values = draws.normals(data.num_elements()).into_iter().map(|v| 0.3 * v);
            *data = TensorData::new(values.collect(), data.shape.clone());
        }
        state::load(model, weights).unwrap()
    }

    /// The network with a range for the biases of its convolution.
    pub fn with_largest_bias(self, largest_bias: f64) -> Self {
        Self { largest_bias, ..self }
    }
}

impl<B: Backend> Constrained for Tiny<B> {
    fn constrained(mut self) -> Self {
        let largest = self.largest_bias;
        if largest.is_finite() {
            let clamp =
                |bias: Tensor<B, 1>| bias.set_require_grad(false).clamp_max(largest).require_grad();
            self.conv.bias = self.conv.bias.map(|bias| bias.map(clamp));
        }
        self
    }
}

impl<B: Backend> Observable<B> for Tiny<B> {
    fn observe(&self, images: Tensor<B, 4>, pass: &Pass<'_>, probes: &Probes) -> Observations<B> {
        let mut x = self.conv.forward(images);
        if let Some(norm) = &self.norm {
            x = norm.forward(x);
        }
        let map = relu(x);
        let mut x = map.clone();
        let [_, channels, height, width] = x.dims();
        if let Some(mask) = pass.dropout(0, self.dropout, channels * height * width) {
            let mask = TensorData::new(mask.rows().factors(), x.dims());
            x = x.clone() * Tensor::from_data(mask, &x.device());
        }
        let logits = self.classifier.forward(x.flatten(1, 3));
        let mut observations = Observations::new(logits);
        if probes.contains(Probe::Features(Tap::Low)) {
            observations.features.insert(Tap::Low, map);
        }
        observations
    }
}

/// Images of three classes. Each class has a bright stripe in a row of its own; noise is added.
pub struct Stripes {
    pub images: usize,
    pub batch: usize,
    pub shuffled: bool,
    pub noise: f32,
}

pub const TRAIN: Stripes = Stripes { images: 22, batch: 6, shuffled: true, noise: 0.6 };
pub const VALIDATION: Stripes = Stripes { images: 12, batch: 5, shuffled: false, noise: 0.9 };

impl Stripes {
    fn batch(&self, samples: &[u32]) -> Batch {
        let mut pixels = Vec::new();
        for &sample in samples {
            let noise = SEED.draws(Stream::Synthetic, [sample, self.images as u32, 0]);
            let stripe = sample as usize % CLASSES;
            for (i, value) in noise.normals(SIZE * SIZE).into_iter().enumerate() {
                pixels.push(self.noise * value + f32::from(i / SIZE == stripe));
            }
        }
        Batch {
            shape: Shape { channels: 1, height: SIZE, width: SIZE },
            pixels,
            labels: samples.iter().map(|sample| sample % CLASSES as u32).collect(),
            samples: samples.to_vec(),
        }
    }
}

impl BatchSource for Stripes {
    fn len(&self) -> usize {
        self.images
    }

    fn batches(&self) -> usize {
        self.images.div_ceil(self.batch)
    }

    fn epoch(&self, epoch: u32, first: usize) -> Box<dyn Iterator<Item = Batch> + '_> {
        let order = match self.shuffled {
            true => SEED.draws(Stream::Order, [epoch, 0, 0]).permutation(self.images),
            false => (0..self.images as u32).collect(),
        };
        let batches: Vec<Batch> = order.chunks(self.batch).map(|chunk| self.batch(chunk)).collect();
        Box::new(batches.into_iter().skip(first))
    }
}

/// Three epochs of four steps with a cosine schedule.
pub fn config(optimizer: OptimizerConfig) -> TrainConfig {
    TrainConfig {
        precision: Precision::F32,
        epochs: 3,
        batch: TRAIN.batch,
        micro_batch: None,
        clip_norm: None,
        checkpoint_steps: None,
        optimizer,
        schedule: Schedule::Cosine {},
        groups: Default::default(),
    }
}

pub fn sgd(learning_rate: f64) -> OptimizerConfig {
    OptimizerConfig::Sgd(Sgd::new(learning_rate))
}

/// Trains on [`TRAIN`] and [`VALIDATION`] by cross-entropy.
pub fn train(
    model: Tiny<Train>,
    config: &TrainConfig,
    dir: &Path,
    resume: bool,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Fitted<Tiny<Train>>, TrainError> {
    let context = FitContext {
        dir,
        stage: "tiny",
        seed: SEED,
        resume,
        fingerprint: "stripes",
        recipe: serde_json::json!({"name": "tiny"}),
        stop,
        observer,
    };
    fit(model, &CrossEntropy, &TRAIN, &VALIDATION, config, context, &Default::default())
}

/// Trains from the start, without observer and without interruption.
pub fn train_all(model: Tiny<Train>, config: &TrainConfig, dir: &Path) -> Fitted<Tiny<Train>> {
    train(model, config, dir, false, &AtomicBool::new(false), &mut ()).unwrap()
}

/// The bytes of every tensor.
pub fn bits(state: &StateDict) -> Vec<(String, Vec<u8>)> {
    state.iter().map(|(name, data)| (name.clone(), data.as_bytes().to_vec())).collect()
}
