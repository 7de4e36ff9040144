//! Loads the embedded digits, splits them, and prints their shapes and the first batch.
//!
//! Run it with `cargo run -p lasnn-datasets --example digits`.

#![allow(clippy::print_stdout, reason = "an example shows its results")]

use lasnn_core::{BatchSource, Seed};
use lasnn_datasets::{
    AugmentConfig, DatasetConfig, DatasetError, Loader, Normaliser, Source, load, split,
};

fn main() -> Result<(), DatasetError> {
    let seed = Seed(1);
    let config = DatasetConfig {
        validation: 200,
        augment: AugmentConfig { crop_padding: 1, ..AugmentConfig::default() },
        ..DatasetConfig::new(Source::Digits)
    };
    let dataset = load(&config, None)?;
    let split = split(&dataset, &config, seed)?;
    println!("{}: {} classes, images of {}", dataset.name, dataset.classes, dataset.shape);
    println!(
        "{} training, {} validation and {} test images",
        split.train.len(),
        split.validation.len(),
        dataset.test.len()
    );

    let images = dataset.train;
    let normaliser = Normaliser::fit(config.normalisation, config.source, &images, &split.train)?;
    let loader = Loader::train(images, split.train, 16, &normaliser, config.augment, seed);
    println!("{} batches in an epoch", loader.batches());
    for batch in loader.epoch(0, 0).take(1) {
        println!("labels of the first batch: {:?}", batch.labels);
        println!("its first image, with # for bright pixels:");
        for row in batch.pixels.chunks(dataset.shape.width).take(dataset.shape.height) {
            let shade = |value: &f32| if *value > 0.0 { '#' } else { '.' };
            println!("  {}", row.iter().map(shade).collect::<String>());
        }
    }
    Ok(())
}
