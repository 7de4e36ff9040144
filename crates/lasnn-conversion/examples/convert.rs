//! Converts an ordinary network to a spiking one and prints how well the firing rates of each layer
//! follow the activations.
//!
//! `cargo run -p lasnn-conversion --example convert`

#![allow(clippy::print_stdout)]

use std::error::Error;

use burn_flex::Flex;
use lasnn_conversion::{Ann, Balancing, ConversionConfig, convert};
use lasnn_core::{Architecture, Batch, Layer, Pass, Seed, Shape, Stream};
use lasnn_models::{Init, Network};
use lasnn_nn::{BatchTensors, state};
use lasnn_snn::{SpikingConfig, SpikingNetwork, progress};

const SEED: Seed = Seed(1);
const IMAGE: Shape = Shape { channels: 3, height: 12, width: 12 };

fn main() -> Result<(), Box<dyn Error>> {
    let device = Default::default();
    let layers = vec![
        Layer::conv(16),
        Layer::AveragePool { size: 2 },
        Layer::conv(32),
        Layer::Linear { features: 64, bias: false },
        Layer::Classifier { bias: false },
    ];
    let plan = Architecture { name: "small".into(), layers }.plan(IMAGE, 10)?;
    // A real program would train this network first.
    let ann = Network::<Flex>::new(&plan, Init::Kaiming, SEED, &device);
    let batches = [images(16)];

    for time_steps in [8, 64] {
        let snn = SpikingNetwork::new(&plan, &SpikingConfig::default(), time_steps, &device)?;
        let config = ConversionConfig { time_steps, ..ConversionConfig::default() };
        let activations = |batch: &Batch| {
            ann.activations(batch.images(&device), &Pass::evaluate(SEED, &batch.samples))
        };
        let on_progress = &progress::go_on;
        let balancing = Balancing { config: &config, batches: &batches, seed: SEED, on_progress };
        let weights = state::save::<Flex, _>(&ann);
        let (_snn, report) = convert(snn, Ann::new(&weights, &activations), balancing, &device)?;

        println!("{time_steps} time steps\nlayer     threshold  firing rate  correlation");
        for layer in &report.layers {
            let correlation = layer.correlation.unwrap_or(f64::NAN);
            let (name, threshold, rate) = (&layer.name, layer.threshold, layer.firing_rate);
            println!("{name:8}  {threshold:9.3}  {rate:11.3}  {correlation:11.3}");
        }
        report.warnings.iter().for_each(|warning| println!("{warning}"));
    }
    Ok(())
}

/// Random images; calibration needs a few hundred images of the training split.
fn images(count: u32) -> Batch {
    let pixels = SEED.draws(Stream::Test, [0; 3]).normals(count as usize * IMAGE.len());
    let samples = (0..count).collect();
    Batch { shape: IMAGE, pixels, labels: vec![0; count as usize], samples }
}
