//! Simulates a small spiking network over more and more time steps, and compares its estimated
//! energy with that of the ordinary network of the same layers.
//!
//! `cargo run -p lasnn-snn --example simulate`

#![allow(clippy::print_stdout)]

use std::error::Error;

use burn::tensor::TensorData;
use burn_flex::Flex;
use lasnn_core::{Architecture, Layer, Seed, Stream};
use lasnn_datasets::{DatasetConfig, Loader, Normaliser, Source, load};
use lasnn_nn::state;
use lasnn_snn::{Simulator, SpikingConfig, SpikingNetwork, ann_energy_pj, simulate};

fn main() -> Result<(), Box<dyn Error>> {
    let (seed, device) = (Seed(1), Default::default());
    let config = DatasetConfig::new(Source::Digits);
    let data = load(&config, None)?;
    let all: Vec<u32> = (0..data.train.len() as u32).collect();
    let normaliser = Normaliser::fit(config.normalisation, config.source, &data.train, &all)?;
    let images = Loader::evaluate(data.test, (0..100).collect(), 100, &normaliser);

    // Integrate-and-fire neurons with thresholds of 1. The image is the input of every time step.
    let layers = vec![
        Layer::conv(16),
        Layer::AveragePool { size: 2 },
        Layer::Linear { features: 64, bias: false },
        Layer::Classifier { bias: false },
    ];
    let plan = Architecture { name: "small".into(), layers }.plan(data.shape, data.classes)?;
    let network = SpikingNetwork::<Flex>::new(&plan, &SpikingConfig::default(), 8, &device)?;

    // A new network has zero weights. Here they are drawn; a program would load a checkpoint.
    let mut tensors = state::save(&network);
    let weights = tensors.iter_mut().filter(|(name, _)| name.ends_with("weight"));
    for (number, (_, tensor)) in (0..).zip(weights) {
        let draws = seed.draws(Stream::Weights, [number, 0, 0]);
        let weights = draws.normals(tensor.num_elements()).into_iter().map(|draw| 0.2 * draw);
        *tensor = TensorData::new(weights.collect::<Vec<f32>>(), tensor.shape.clone());
    }
    let simulator = Simulator::new(state::load(network, tensors)?);

    println!("time steps  firing rate  spikes  operations  energy, % of the ordinary network's");
    for time_steps in [1, 2, 4, 8, 16, 32] {
        let found = simulate(&simulator, &images, time_steps, seed, &device);
        let (rate, spikes) = (found.firing_rate, found.spikes_per_image);
        let energy = 100.0 * found.energy_pj_per_image / ann_energy_pj(&plan);
        let operations = found.synops_per_image;
        println!("{time_steps:10}  {rate:11.3}  {spikes:6.0}  {operations:10.0}  {energy:6.1}");
    }
    Ok(())
}
