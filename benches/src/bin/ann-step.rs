//! One training step of an ordinary network, as in the training loop. Its peer is
//! `benches/peers/ann.py`.
//!
//! ```text
//! ann-step --network vgg5 --steps 10
//! ```
//!
//! A step has the forward pass, cross-entropy, the backward pass, the gradient norm that the loop
//! checks, one step of Adam (intermediate networks) or of SGD with Nesterov momentum (teachers),
//! and reading the loss. The program prints one JSON object with the milliseconds of a step.

// The output is the purpose of this program.
#![allow(clippy::print_stdout)]

// The same memory allocator as in `lasnn`.
#[cfg(not(target_env = "msvc"))]
#[path = "../../../crates/lasnn-cli/src/allocator.rs"]
mod allocator;

use std::time::Instant;

use anyhow::Context;
use burn::backend::Autodiff;
use burn_flex::Flex;
use clap::{Parser, ValueEnum};
use lasnn_core::{Batch, Pass, Precision, Seed, Shape};
use lasnn_models::{Init, Network, zoo};
use lasnn_nn::BatchTensors;
use lasnn_nn::Objective;
use lasnn_training::{Adam, CrossEntropy, Gradients, Optimizer, OptimizerConfig, Sgd};
use serde_json::json;

type Train = Autodiff<Flex>;

#[derive(Parser)]
struct Args {
    /// The name of a network, for instance `vgg5`.
    #[arg(long)]
    network: String,
    /// The number format of the products.
    #[arg(long, value_enum, default_value_t = Format::F32)]
    format: Format,
    /// The number of images of a step.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// The number of measured steps.
    #[arg(long, default_value_t = 10)]
    steps: usize,
    /// The number of steps before the measured ones.
    #[arg(long, default_value_t = 3)]
    warmup: usize,
    /// The number of threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    F32,
    Bf16,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    // As in `lasnn` itself.
    rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads)
        .use_current_thread()
        .build_global()?;
    let image = Shape { channels: 3, height: 32, width: 32 };
    let architecture = zoo::named(&args.network)
        .with_context(|| format!("no network `{}`; there are {:?}", args.network, zoo::NAMES))?;
    let plan = architecture.plan(image, 10)?;
    let device = Default::default();
    let mut model = Network::<Train>::new(&plan, Init::Kaiming, Seed(1), &device);
    let teacher = args.network.starts_with("teacher");
    let mut optimizer = Optimizer::<Flex>::new(match teacher {
        true => OptimizerConfig::Sgd(Sgd { nesterov: true, ..Sgd::new(1e-4) }),
        false => OptimizerConfig::Adam(Adam::new(1e-4)),
    });
    let batch = batch(image, args.batch);
    let precision = match args.format {
        Format::F32 => Precision::F32,
        Format::Bf16 => Precision::Bf16,
    };

    let mut times = Vec::new();
    for step in 0..args.warmup + args.steps {
        let start = Instant::now();
        let pass = Pass::train(Seed(1), step as u32, &batch.samples).with_precision(precision);
        let loss = CrossEntropy.loss(
            &model,
            batch.images(&device),
            batch.targets::<Train>(&device),
            &pass,
        );
        let gradients = Gradients::collect::<Train, _>(&model, loss.total.backward());
        let norm = gradients.norm();
        model = optimizer.step(model, gradients, 1.0);
        let loss: f32 = loss.total.into_scalar();
        times.push(start.elapsed().as_secs_f64() * 1e3);
        anyhow::ensure!(
            (f64::from(loss) + norm).is_finite(),
            "the loss is {loss}, the norm {norm}"
        );
    }
    let mut times = times.split_off(args.warmup);
    times.sort_by(f64::total_cmp);
    println!(
        "{}",
        json!({
            "program": "lasnn flex",
            "network": args.network,
            "batch": args.batch,
            "threads": args.threads,
            "min_ms": times.first(),
            "median_ms": times.get(times.len() / 2),
        })
    );
    Ok(())
}

/// Images of noise, whose labels are 0 to 9 in turn.
fn batch(shape: Shape, images: usize) -> Batch {
    let draws = Seed(2).draws(lasnn_core::Stream::Test, [0; 3]);
    Batch {
        shape,
        pixels: draws.normals(images * shape.len()),
        labels: (0..images as u32).map(|image| image % 10).collect(),
        samples: (0..images as u32).collect(),
    }
}
