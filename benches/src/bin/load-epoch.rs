//! Epochs of a data set, as a training run reads them. Its peer is `benches/peers/loading.py`.
//!
//! ```text
//! load-epoch --source cifar10 --path data --images 12800 --threads 2
//! load-epoch --source folder --path images --size 64 --images 12800 --threads 2
//! ```
//!
//! An epoch has random crops of padded images, flips, normalisation to [-1, 1], and batches of
//! `f32`. The program prints one JSON object with the seconds of the preparation and of each epoch.
//! The preparation opens the data set and decodes encoded images. With `--check` the program prints
//! the label and two means of the first images, without augmentation, for a comparison with
//! `loading.py`.

// The output is the purpose of this program.
#![allow(clippy::print_stdout)]

// The same memory allocator as in `lasnn`.
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
    /// The data set.
    #[arg(long, value_enum)]
    source: Kind,
    /// The data directory of CIFAR-10, or the folder that contains `train` and `test`.
    #[arg(long)]
    path: PathBuf,
    /// The rows, and also the columns, of the images in a folder.
    #[arg(long, default_value_t = 32)]
    size: usize,
    /// The folder for decoded images.
    #[arg(long)]
    cache: PathBuf,
    /// The number of training images, counted from the first one.
    #[arg(long)]
    images: usize,
    /// The number of images of a batch.
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// The number of threads that decode, and also of threads that make batches.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// The number of epochs. The first one loads the files into the page cache.
    #[arg(long, default_value_t = 4)]
    epochs: u32,
    /// Instead of the epochs, print the labels and means of this number of images.
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
    anyhow::ensure!(
        args.images <= there,
        "--images is {}, and the data set has {there}",
        args.images
    );
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

/// Prints the label of each image, the mean of its normalised pixels, and a weighted mean, whose
/// weights grow from 0 for the first pixel to 1 for the last one. Swapped rows, columns or channels
/// change the weighted mean.
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
