//! Builds every architecture of the zoo for CIFAR-10 images, prints their sizes, and runs one of
//! them on an image.
//!
//! `cargo run -p lasnn-models --example zoo`

#![allow(clippy::print_stdout)]

use std::error::Error;

use burn::tensor::Tensor;
use burn_flex::Flex;
use lasnn_core::{Pass, Probe, Probes, Seed, Shape, Tap};
use lasnn_models::{Init, Network, zoo};
use lasnn_nn::Observable;

fn main() -> Result<(), Box<dyn Error>> {
    let image = Shape { channels: 3, height: 32, width: 32 };
    println!(
        "{:20} {:>6} {:>12} {:>15}",
        "architecture", "layers", "parameters", "multiplications"
    );
    for name in zoo::NAMES {
        // A plan has every shape worked out, before any memory is allocated for weights.
        let plan = zoo::named(name).ok_or("not in the zoo")?.plan(image, 10)?;
        let (layers, parameters) = (plan.layers.len(), plan.parameters());
        println!("{name:20} {layers:6} {parameters:12} {:15}", plan.macs());
    }

    let device = Default::default();
    let plan = zoo::named("teacher-resnet20").ok_or("not in the zoo")?.plan(image, 10)?;
    let network = Network::<Flex>::new(&plan, Init::Kaiming, Seed(1), &device);
    let images = Tensor::ones([1, 3, 32, 32], &device);
    let probes = Probes::from(Tap::ALL.map(Probe::Features));
    let observed = network.observe(images, &Pass::evaluate(Seed(1), &[0]), &probes);
    println!("\nteacher-resnet20 on one image, untrained:");
    for (tap, map) in observed.features {
        println!("  {tap} tap: feature map {:?}", map.dims());
    }
    println!("  logits: {:.2?}", observed.logits.into_data().to_vec::<f32>()?);
    Ok(())
}
