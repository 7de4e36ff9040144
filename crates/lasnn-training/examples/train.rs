//! Trains a small network on the embedded digits and prints each epoch.
//!
//! `cargo run -p lasnn-training --example train`

#![allow(clippy::print_stdout)]

use std::error::Error;
use std::sync::atomic::AtomicBool;

use burn::backend::Autodiff;
use burn_flex::Flex;
use lasnn_core::{Architecture, Layer, Seed};
use lasnn_datasets::{DatasetConfig, Loader, Normaliser, Source, load, split};
use lasnn_models::{Init, Network};
use lasnn_training::{CrossEntropy, EpochRecord, FitContext, Observer, TrainConfig, fit};

fn main() -> Result<(), Box<dyn Error>> {
    let seed = Seed(1);
    let config = DatasetConfig { validation: 200, ..DatasetConfig::new(Source::Digits) };
    let data = load(&config, None)?;
    let split = split(&data, &config, seed)?;
    let normaliser =
        Normaliser::fit(config.normalisation, config.source, &data.train, &split.train)?;
    let images = data.train;
    let validation = Loader::evaluate(images.clone(), split.validation, 100, &normaliser);
    let train = Loader::train(images, split.train, 32, &normaliser, config.augment, seed);

    let layers =
        vec![Layer::conv(8), Layer::AveragePool { size: 2 }, Layer::Classifier { bias: true }];
    let plan = Architecture { name: "small".into(), layers }.plan(data.shape, data.classes)?;
    let device = Default::default();
    let network = Network::<Autodiff<Flex>>::new(&plan, Init::Kaiming, seed, &device);

    // The `train` table of a recipe, here in JSON.
    let config: TrainConfig = serde_json::from_str(
        r#"{"epochs": 5, "batch": 32, "optimizer": {"kind": "adam", "learning_rate": 0.01}}"#,
    )?;
    let dir = tempfile::tempdir()?;
    let context = FitContext {
        dir: dir.path(),
        stage: "digits",
        seed,
        resume: false,
        fingerprint: "",
        recipe: serde_json::Value::Null,
        stop: &AtomicBool::new(false),
        observer: &mut Print,
    };
    let fitted = fit(network, &CrossEntropy, &train, &validation, &config, context, &device)?;
    println!("best epoch: {}", fitted.best_epoch + 1);
    Ok(())
}

/// An observer that prints a line after each epoch.
struct Print;

impl Observer for Print {
    fn epoch(&mut self, history: &[EpochRecord]) {
        if let Some(EpochRecord { epoch, train_loss, validation_accuracy, .. }) = history.last() {
            let accuracy = 100.0 * validation_accuracy;
            println!(
                "epoch {}: training loss {train_loss:.3}, accuracy {accuracy:.1} %",
                epoch + 1
            );
        }
    }
}
