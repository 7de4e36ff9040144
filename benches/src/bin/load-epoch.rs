//! Epochs of a data set, as a training run asks for them; its peer is `benches/peers/loading.py`.
//!
//! ```text
//! load-epoch --source cifar10 --path data --images 12800 --threads 2
//! load-epoch --source folder --path images --size 64 --images 12800 --threads 2
//! ```
//!
//! Random crops of a padded image, flips, normalisation to [-1, 1], batches of `f32`. Prints one JSON
//! object: the seconds until the data set is open and, where its images are encoded, decoded, and those of
//! each epoch. With `--check` it prints, for the first images as they are, what `loading.py` compares.

// This binary's output is what it is for.
#![allow(clippy::print_stdout)]

// Memory comes as in `lasnn` itself.
#[cfg(not(target_env = "msvc"))]
#[path = "../../../crates/lasnn-cli/src/allocator.rs"]
mod allocator;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use lasnn_core::{BatchSource, Seed};
use lasnn_datasets::{
    AugmentConfig, Dataset, DatasetConfig, FolderConfig, LoadOptions, Loader, Normaliser, Prefetch,
    Source, load_with,
};
use serde_json::json;

#[derive(Parser)]
struct Args {
    #[arg(long, value_enum)]
    source: Kind,
    /// The data directory of CIFAR-10, or the folder that has `train` and `test`.
    #[arg(long)]
    path: PathBuf,
    /// Rows and columns of the images of a folder.
    #[arg(long, default_value_t = 32)]
    size: usize,
    /// Where decoded images are kept.
    #[arg(long)]
    cache: PathBuf,
    /// The first so many training images.
    #[arg(long)]
    images: usize,
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Threads that decode, and threads that make batches.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Epochs, of which the first finds the files' pages.
    #[arg(long, default_value_t = 4)]
    epochs: u32,
    /// Print labels and sums of so many images instead.
    #[arg(long)]
    check: Option<usize>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Cifar10,
    Folder,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    // As in `lasnn` itself.
    rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads)
        .use_current_thread()
        .build_global()?;
    let config = config(&args);
    let start = Instant::now();
    let options = LoadOptions {
        data_dir: Some(&args.path),
        cache_dir: Some(&args.cache),
        ..LoadOptions::default()
    };
    let dataset = load_with(&config, options)?;
    let preparation = start.elapsed().as_secs_f64();
    let there = dataset.train.len();
    anyhow::ensure!(args.images <= there, "{} images asked for of {there}", args.images);
    let indices: Vec<u32> = (0..args.images as u32).collect();
    let normaliser =
        Normaliser::fit(config.normalisation, config.source, &dataset.train, &indices)?;
    if let Some(images) = args.check {
        return check(&dataset, images, &normaliser);
    }
    let augment = AugmentConfig { crop_padding: 4, flip: true, cutout: 0 };
    let images = dataset.train.clone();
    let loader = Loader::train(images, indices, args.batch, &normaliser, augment, Seed(1))
        .with_prefetch(Prefetch { threads: args.threads, ..Prefetch::default() });
    let mut seconds = Vec::new();
    for epoch in 0..args.epochs {
        let start = Instant::now();
        let seen: usize = loader.epoch(epoch, 0).map(|batch| batch.len()).sum();
        seconds.push(start.elapsed().as_secs_f64());
        anyhow::ensure!(seen == args.images, "{seen} images in an epoch of {}", args.images);
    }
    let all = there + dataset.test.len();
    println!("{}", json!({ "preparation": preparation, "prepared": all, "epochs": seconds }));
    Ok(())
}

fn config(args: &Args) -> DatasetConfig {
    match args.source {
        Kind::Cifar10 => DatasetConfig::new(Source::Cifar10),
        Kind::Folder => {
            let size = [args.size; 2];
            let folder = FolderConfig { path: args.path.clone(), size, resize: false, channels: 3 };
            DatasetConfig { folder: Some(folder), ..DatasetConfig::new(Source::Folder) }
        }
    }
}

/// The label of each image, the mean of its conv_batch_norm pixels, and their mean weighted from 0 at the
/// first to 1 at the last, in which an exchange of rows, columns or channels shows.
fn check(dataset: &Dataset, images: usize, normaliser: &Normaliser) -> anyhow::Result<()> {
    let first: Vec<u32> = (0..images as u32).collect();
    let loader = Loader::evaluate(dataset.train.clone(), first, images, normaliser);
    let batch = loader.epoch(0, 0).next().context("the data set has no images")?;
    let size = batch.shape.len();
    let rows = batch.pixels.chunks(size).zip(&batch.labels).map(|(pixels, label)| {
        let mean = |weight: &dyn Fn(usize) -> f64| {
            let weighted =
                pixels.iter().enumerate().map(|(i, &pixel)| f64::from(pixel) * weight(i));
            weighted.sum::<f64>() / size as f64
        };
        json!([label, mean(&|_| 1.0), mean(&|i| i as f64 / (size - 1) as f64)])
    });
    println!("{}", json!(rows.collect::<Vec<_>>()));
    Ok(())
}
