//! A layer of leaky integrate-and-fire neurons, each with another constant current: a raster of
//! their spikes, and their firing rates.
//!
//! `cargo run -p lasnn-neurons --example lif`

#![allow(clippy::print_stdout)]

use burn::tensor::{Tensor, TensorData};
use burn_flex::Flex;
use lasnn_neurons::{Lif, LifConfig, NeuronModel};

/// One neuron for each of these currents, in units of the threshold.
const CURRENTS: [f32; 7] = [0.08, 0.11, 0.15, 0.2, 0.3, 0.5, 0.8];

const TIME_STEPS: usize = 80;

fn main() {
    let device = Default::default();
    // A membrane potential decays by a tenth in each step; a spike subtracts the threshold.
    let config = LifConfig { leak: 0.9.into(), ..LifConfig::default() };
    let neurons = Lif::<Flex>::new(&config, 1.0, &device);

    // Time is folded into the batch: row `t * batch + b` is image `b` at step `t`. Here the batch
    // is one image with seven values.
    let currents = TensorData::new(CURRENTS.repeat(TIME_STEPS), [TIME_STEPS, CURRENTS.len()]);
    let spikes = neurons.forward(Tensor::<Flex, 2>::from_data(currents, &device), TIME_STEPS);

    let spikes: Vec<f32> = spikes.into_data().iter().collect();
    println!("current  spikes over {TIME_STEPS} time steps");
    for (neuron, current) in CURRENTS.into_iter().enumerate() {
        let train = spikes.iter().skip(neuron).step_by(CURRENTS.len());
        let raster: String = train.clone().map(|&s| if s > 0.0 { '|' } else { '.' }).collect();
        println!(
            "{current:7.2}  {raster}  firing rate {:.2}",
            train.sum::<f32>() / TIME_STEPS as f32
        );
    }
    // A constant current I charges the membrane to I / (1 - leak). Below 0.1 that stays under the
    // threshold of 1, and the neuron never fires.
}
