//! `snn-step make`: a case from a named architecture or from a trained network.

use std::path::PathBuf;

use anyhow::Context;
use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use burn_flex::Flex;
use lasnn_core::{Architecture, Batch, BatchSource, Layer, Seed, Shape, Stream};
use lasnn_datasets::{DatasetConfig, Loader, Normalisation, Normaliser, Source};
use lasnn_models::zoo;
use lasnn_neurons::{Direct, Encoding, Poisson, PoissonRange};
use lasnn_nn::state;
use lasnn_snn::{Simulator, SpikingConfig, SpikingNetwork};
use lasnn_training::Checkpoint;
use serde::Deserialize;

use crate::calibrate::calibrate;
use crate::case::{About, Case};
use crate::step::{Rates, firing_rates};

/// The seed of the weights and of the input spikes.
pub const SEED: Seed = Seed(1);

#[derive(clap::Args)]
pub struct MakeArguments {
    /// A network by its name, with random weights, on synthetic images
    #[arg(long, required_unless_present = "checkpoint", requires = "rate")]
    net: Option<String>,
    /// The firing rate of every layer of that network, in spikes per neuron and time step
    #[arg(long, value_name = "0..1", value_parser = rate)]
    rate: Option<f64>,
    /// The checkpoint of a trained student, which runs on the first test images of CIFAR-10
    #[arg(long, conflicts_with_all = ["net", "rate", "encoding"], requires = "data_dir")]
    checkpoint: Option<PathBuf>,
    /// The folder that contains `cifar-10-batches-bin`
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// How images become input currents or spikes
    #[arg(long, value_enum, default_value = "direct")]
    encoding: EncodingName,
    /// The number of time steps
    #[arg(long)]
    time_steps: usize,
    /// The number of images
    #[arg(long)]
    batch: usize,
    /// The file to write
    #[arg(long)]
    out: PathBuf,
}

/// The encodings by name.
#[derive(Clone, Copy, clap::ValueEnum)]
enum EncodingName {
    /// A pixel is the input current of every step
    Direct,
    /// A pixel fires with its value as the probability
    Poisson,
}

/// The part of the metadata of a `lasnn` checkpoint that describes its network.
#[derive(Deserialize)]
struct Trained {
    network: Architecture,
    image: Shape,
    classes: usize,
    spiking: Option<SpikingConfig>,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if rate > 0.0 && rate < 1.0 { Ok(rate) } else { Err("expected a number within 0..1".into()) }
}

/// Writes the case, and prints its name, its encoding and its firing rates.
pub fn make(arguments: &MakeArguments) -> anyhow::Result<()> {
    let mut case = match &arguments.checkpoint {
        Some(path) => trained(arguments, path)?,
        None => {
            let random_of = Random {
                net: arguments.net.as_deref().unwrap_or_default(),
                rate: arguments.rate.unwrap_or_default(),
                batch: arguments.batch,
                time_steps: arguments.time_steps,
            };
            random(&random_of, arguments.encoding.into())?
        }
    };
    let Rates { mean, by_layer, .. } =
        firing_rates(&Simulator::new(case.network::<Flex>(&Default::default())?), &case);
    anyhow::ensure!(mean > 0.0, "no neuron of the case fires");
    case.about.firing_rate = mean;
    case.about.firing_rate_by_layer = by_layer.clone();
    let line = serde_json::json!({
        "net": case.about.architecture.name,
        "encoding": case.about.spiking.encoding.name(),
        "firing_rate": mean,
        "firing_rate_by_layer": by_layer,
    });
    case.save(&arguments.out)?;
    println!("{line}");
    Ok(())
}

/// What a case with random weights is made of.
pub struct Random<'a> {
    /// The name of the network.
    pub net: &'a str,
    /// The firing rate of every layer, in spikes per neuron and time step.
    pub rate: f64,
    /// The number of images.
    pub batch: usize,
    /// The number of time steps.
    pub time_steps: usize,
}

/// A network with He's random weights and with thresholds for the given firing rate.
pub fn random(arguments: &Random<'_>, encoding: Encoding) -> anyhow::Result<Case> {
    let name = arguments.net;
    let architecture = zoo::named(name)
        .with_context(|| format!("there is no network `{name}`, only {}", zoo::NAMES.join(", ")))?;
    let image = Shape { channels: 3, height: 32, width: 32 };
    let mut data = DatasetConfig::new(Source::Synthetic).resolved()?;
    if let Some(synthetic) = &mut data.synthetic {
        synthetic.test = arguments.batch;
    }
    let images = images(&data, None, arguments.batch)?;
    let about = About {
        architecture: without_dropout(architecture),
        spiking: SpikingConfig { encoding, ..Default::default() },
        time_steps: arguments.time_steps,
        image,
        classes: 10,
        labels: images.labels,
        seed: SEED,
        firing_rate: 0.0,
        firing_rate_by_layer: vec![],
    };
    let device = Default::default();
    let network =
        SpikingNetwork::<Flex>::new(&about.plan()?, &about.spiking, about.time_steps, &device)?;
    let network = network.map(&mut HeWeights { drawn: 0 });
    let batch = about.batch(images.pixels);
    let network = calibrate(network, &batch, about.seed, arguments.rate);
    Ok(Case { state: state::save::<Flex, _>(&network), about, batch })
}

/// A network that `lasnn` trained, with its own thresholds, on test images.
fn trained(arguments: &MakeArguments, path: &std::path::Path) -> anyhow::Result<Case> {
    let file = Checkpoint::load(path)?;
    let Trained { network, image, classes, spiking } = file.metadata(path)?;
    let spiking =
        spiking.with_context(|| format!("{} holds no spiking network", path.display()))?;
    let data = DatasetConfig::new(Source::Cifar10).resolved()?;
    let images = images(&data, arguments.data_dir.as_deref(), arguments.batch)?;
    let about = About {
        architecture: network,
        spiking,
        time_steps: arguments.time_steps,
        image,
        classes,
        labels: images.labels,
        seed: SEED,
        firing_rate: 0.0,
        firing_rate_by_layer: vec![],
    };
    let batch = about.batch(images.pixels);
    Ok(Case { state: file.state, about, batch })
}

/// The first test images, with pixels from -1 to 1.
fn images(
    data: &DatasetConfig,
    data_dir: Option<&std::path::Path>,
    count: usize,
) -> anyhow::Result<Batch> {
    let dataset = lasnn_datasets::load(data, data_dir)?;
    let normaliser = Normaliser::fit(Normalisation::Signed, data.source, &dataset.test, &[])?;
    let first = (0..count as u32).collect();
    let loader = Loader::evaluate(dataset.test.clone(), first, count, &normaliser);
    let batch = loader.epoch(0, 0).next();
    batch.context("a batch needs at least one image")
}

/// The architecture without dropout. Dropout acts only in training and differs between the
/// libraries, so neither side has it.
fn without_dropout(mut architecture: Architecture) -> Architecture {
    architecture.layers.retain(|layer| !matches!(layer, Layer::Dropout { .. }));
    for layer in &mut architecture.layers {
        if let Layer::Residual { dropout, .. } = layer {
            *dropout = 0.0;
        }
    }
    architecture
}

/// Draws weights with the variance `2 / inputs`.
struct HeWeights {
    drawn: u32,
}

impl<B: Backend> ModuleMapper<B> for HeWeights {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        // Convolutions have the shape `[outputs, inputs, height, width]`, and matrices
        // `[inputs, outputs]`. Thresholds and leaks are vectors and keep their values.
        let shape = param.dims();
        let inputs: usize = match D {
            4 => shape[1..].iter().product(),
            2 => shape[0],
            _ => return param,
        };
        let (id, tensor, mapper) = param.consume();
        let draws = SEED.draws(Stream::Weights, [self.drawn, 0, 0]);
        self.drawn += 1;
        let deviation = (2.0 / inputs as f32).sqrt();
        let weights: Vec<f32> =
            draws.normals(shape.iter().product()).into_iter().map(|w| w * deviation).collect();
        let tensor = Tensor::from_data(TensorData::new(weights, shape), &tensor.device());
        Param::from_mapped_value(id, tensor, mapper)
    }
}

impl From<EncodingName> for Encoding {
    fn from(name: EncodingName) -> Self {
        match name {
            EncodingName::Direct => Self::Direct(Direct {}),
            EncodingName::Poisson => Self::Poisson(Poisson { range: PoissonRange::Signed }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_firing_rate_is_between_0_and_1() {
        assert_eq!(rate("0.05"), Ok(0.05));
        assert!(rate("5").is_err());
        assert!(rate("0").is_err());
    }

    #[test]
    fn no_dropout_layer_is_left() {
        let layers = without_dropout(zoo::named("resnet12").unwrap()).layers;
        let left = |layer: &Layer| match layer {
            Layer::Dropout { .. } => true,
            Layer::Residual { dropout, .. } => *dropout > 0.0,
            _ => false,
        };
        assert!(!layers.iter().any(left));
    }
}
