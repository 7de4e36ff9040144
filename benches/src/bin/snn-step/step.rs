//! One step of inference or of training, as in `lasnn`.

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use burn_flex::Flex;
use lasnn_core::{Batch, BatchSource, Pass, Precision, Seed};
use lasnn_nn::BatchTensors;
use lasnn_nn::{Objective, Observable};
use lasnn_snn::fan_out::fan_outs;
use lasnn_snn::{Simulation, Simulator, SpikingNetwork, WeightFormat, simulate};
use lasnn_training::{Adam, CrossEntropy, Gradients, Optimizer, OptimizerConfig};

use crate::case::{About, Case};

/// The backend of a training step.
pub type Train = Autodiff<Flex>;

/// So small that the optimiser does all its work, but the weights and the firing rates stay those
/// of the case. The peers have the same learning rate.
pub const LEARNING_RATE: f64 = 1e-8;

/// A case that can be run again and again.
pub trait Step {
    /// Runs one step.
    fn run(&mut self);
}

/// Class scores without gradients, as in an evaluation: the weights are packed once, before the
/// first step.
pub struct Inference {
    /// The network.
    pub network: Simulator<Flex>,
    batch: Batch,
    seed: Seed,
}

impl Inference {
    /// Builds the network of a case.
    ///
    /// # Errors
    ///
    /// Fails if the tensors do not fit the layers.
    pub fn new(case: &Case, weights: WeightFormat) -> anyhow::Result<Self> {
        let network = Simulator::with_format(case.network(&Default::default())?, weights);
        Ok(Self { network, batch: case.batch.clone(), seed: case.about.seed })
    }

    /// Class scores `[batch, classes]`.
    pub fn logits(&self) -> Tensor<Flex, 2> {
        let pass = Pass::evaluate(self.seed, &self.batch.samples);
        self.network.logits(self.batch.images(&Default::default()), &pass)
    }
}

impl Step for Inference {
    fn run(&mut self) {
        // Flex computes without delay, so there is nothing to wait for.
        std::hint::black_box(self.logits().into_data());
    }
}

/// Forward pass, cross-entropy, backward pass and Adam.
///
/// The training loop also computes the norm of the gradients. The step of the peers lacks it too.
pub struct Training {
    network: Option<SpikingNetwork<Train>>,
    optimizer: Optimizer<Flex>,
    batch: Batch,
    seed: Seed,
    precision: Precision,
}

impl Training {
    /// Builds the network of a case.
    ///
    /// # Errors
    ///
    /// Fails if the tensors do not fit the layers.
    pub fn new(case: &Case, precision: Precision) -> anyhow::Result<Self> {
        let network = case.network(&Default::default())?;
        let optimizer = Optimizer::new(OptimizerConfig::Adam(Adam::new(LEARNING_RATE)));
        Ok(Self {
            network: Some(network),
            optimizer,
            batch: case.batch.clone(),
            seed: case.about.seed,
            precision,
        })
    }
}

impl Step for Training {
    fn run(&mut self) {
        let Some(network) = self.network.take() else { return };
        let device = Default::default();
        // With the random numbers of an evaluation the input spikes are those in the case.
        let pass = Pass::evaluate(self.seed, &self.batch.samples);
        let pass = pass.with_precision(self.precision);
        let images = self.batch.images::<Train>(&device);
        let loss = CrossEntropy.loss(&network, images, self.batch.targets(&device), &pass);
        let gradients = Gradients::collect::<Train, _>(&network, loss.total.backward());
        std::hint::black_box(loss.total.into_scalar());
        self.network = Some(self.optimizer.step(network, gradients, 1.0));
    }
}

/// Firing rates.
pub struct Rates {
    /// Spikes per neuron and time step.
    pub mean: f64,
    /// Spikes per neuron and time step of each layer of neurons.
    pub by_layer: Vec<f64>,
}

/// The firing rates of a case.
pub fn firing_rates(simulator: &Simulator<Flex>, case: &Case) -> Rates {
    let found = simulated(simulator, case, case.batch.clone());
    let by_layer = found.firing_rate_by_layer.iter().map(|layer| layer.rate).collect();
    Rates { mean: found.firing_rate, by_layer }
}

/// The spike counts of a case, for each layer of neurons and each image.
pub fn spikes_by_image(simulator: &Simulator<Flex>, case: &Case) -> Vec<Vec<f64>> {
    let (_, layers) = fan_outs(simulator.network().plan());
    let mut spikes = vec![Vec::new(); layers.len()];
    for image in 0..case.batch.len() {
        let found = simulated(simulator, case, case.batch.slice(image..image + 1));
        let rates = found.firing_rate_by_layer.iter().map(|layer| layer.rate);
        for ((spikes, layer), rate) in spikes.iter_mut().zip(&layers).zip(rates) {
            let chances = (layer.shape.len() * case.about.time_steps) as f64;
            spikes.push((rate * chances).round());
        }
    }
    spikes
}

/// Runs images of a case step by step.
fn simulated(simulator: &Simulator<Flex>, case: &Case, images: Batch) -> Simulation {
    let About { time_steps, seed, .. } = case.about;
    simulate(simulator, &Fixed(images), time_steps, seed, &Default::default())
}

/// A source with one batch.
struct Fixed(Batch);

impl BatchSource for Fixed {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn batches(&self) -> usize {
        1
    }

    fn epoch(&self, _: u32, first: usize) -> Box<dyn Iterator<Item = Batch> + '_> {
        Box::new((first..1).map(|_| self.0.clone()))
    }
}
