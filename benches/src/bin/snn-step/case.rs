//! A case: the file that both sides of a comparison read.

use std::path::Path;

use burn::tensor::TensorData;
use burn::tensor::backend::Backend;
use burn_flex::Flex;
use lasnn_core::{Architecture, Batch, Pass, Plan, Seed, Shape};
use lasnn_nn::BatchTensors;
use lasnn_nn::{StateDict, state};
use lasnn_snn::{SpikingConfig, SpikingNetwork};
use lasnn_training::Checkpoint;
use serde::{Deserialize, Serialize};

/// The section of the file that holds the tensors of the network.
const NETWORK: &str = "network";
/// The images `[batch, channels, height, width]`.
const IMAGES: &str = "images";
/// The encoded input `[time_steps, batch, channels, height, width]`. The file has none if the input
/// of every step is the images themselves.
const INPUT: &str = "input";

/// A network and its input.
pub struct Case {
    /// The description of both.
    pub about: About,
    /// The tensors of the network.
    pub state: StateDict,
    /// The images.
    pub batch: Batch,
}

/// The description of a case, which is the metadata of its file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// The layers.
    pub architecture: Architecture,
    /// The neurons and the encoding.
    pub spiking: SpikingConfig,
    /// The number of time steps.
    pub time_steps: usize,
    /// The shape of an image.
    pub image: Shape,
    /// The number of classes.
    pub classes: usize,
    /// The class of each image.
    pub labels: Vec<u32>,
    /// The seed of the input spikes.
    pub seed: Seed,
    /// Spikes per neuron and time step over all neurons.
    pub firing_rate: f64,
    /// Spikes per neuron and time step of each layer of neurons.
    pub firing_rate_by_layer: Vec<f64>,
}

impl Case {
    /// Reads a file that [`Self::save`] wrote.
    ///
    /// # Errors
    ///
    /// Fails if the file is missing, damaged or no case.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let mut file = Checkpoint::load(path)?;
        let about: About = file.metadata(path)?;
        let state = file.take_section(NETWORK);
        let images = file.state.remove(IMAGES);
        let pixels = images.and_then(|images| images.into_vec::<f32>().ok()).unwrap_or_default();
        let batch = about.batch(pixels);
        anyhow::ensure!(
            batch.pixels.len() == batch.len() * about.image.len(),
            "{}: tensor `{IMAGES}` does not hold {} images of {}",
            path.display(),
            batch.len(),
            about.image
        );
        Ok(Self { about, state, batch })
    }

    /// Writes the file. It contains the encoded input, so the peers get the same spikes.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written.
    pub fn save(self, path: &Path) -> anyhow::Result<()> {
        let Self { about, state, batch } = self;
        let Shape { channels, height, width } = about.image;
        let images = [batch.len(), channels, height, width];
        let mut file = Checkpoint { metadata: serde_json::to_value(&about)?, ..Default::default() };
        file.put_section(NETWORK, state);
        file.state.insert(IMAGES.into(), TensorData::new(batch.pixels.clone(), images));
        if !about.spiking.encoding.values().is_constant() {
            let pass = Pass::evaluate(about.seed, &batch.samples);
            let images = batch.images::<Flex>(&Default::default());
            let encoded = about.spiking.encoding.encode(images, 0, about.time_steps, &pass);
            let shape = [about.time_steps, batch.len(), channels, height, width];
            file.state.insert(INPUT.into(), encoded.reshape(shape).into_data());
        }
        Ok(file.save(path)?)
    }

    /// The network on a backend.
    ///
    /// # Errors
    ///
    /// Fails if the tensors do not fit the layers.
    pub fn network<B: Backend>(&self, device: &B::Device) -> anyhow::Result<SpikingNetwork<B>> {
        let About { spiking, time_steps, .. } = &self.about;
        let network = SpikingNetwork::new(&self.about.plan()?, spiking, *time_steps, device)?;
        Ok(state::load(network, self.state.clone())?)
    }
}

impl About {
    /// The layers with their shapes.
    ///
    /// # Errors
    ///
    /// Fails if the layers do not fit the images.
    pub fn plan(&self) -> anyhow::Result<Plan> {
        Ok(self.architecture.plan(self.image, self.classes)?)
    }

    /// The images with their labels. Their sample numbers count from 0.
    pub fn batch(&self, pixels: Vec<f32>) -> Batch {
        let labels = self.labels.clone();
        let samples = (0..labels.len() as u32).collect();
        Batch { shape: self.image, pixels, labels, samples }
    }
}
