//! The real CIFAR-10, if `LASNN_DATA_DIR` names a directory that contains it.

use std::io::Write;
use std::path::PathBuf;

use lasnn_core::{BatchSource, Seed};
use lasnn_datasets::{
    AugmentConfig, DatasetConfig, Images, LoadOptions, Loader, Moments, Normalisation, Normaliser,
    Source, Verified, describe, load, split, verify,
};

fn data_dir() -> Option<PathBuf> {
    let directory = std::env::var_os("LASNN_DATA_DIR").map(PathBuf::from);
    if directory.is_none() {
        // Written directly, since the test harness hides the output of passing tests.
        writeln!(std::io::stderr(), "skipped: LASNN_DATA_DIR is not set").ok();
    }
    directory
}

#[test]
fn the_real_cifar10_is_complete() {
    let Some(directory) = data_dir() else { return };
    let config = DatasetConfig {
        normalisation: Normalisation::Standard,
        validation: 5000,
        augment: AugmentConfig { crop_padding: 4, flip: true, cutout: 8 },
        ..DatasetConfig::new(Source::Cifar10)
    };
    let dataset = load(&config, Some(&directory)).unwrap();
    assert_eq!((dataset.train.len(), dataset.test.len()), (50_000, 10_000));
    assert_eq!(
        dataset.class_names,
        ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    );

    let split = split(&dataset, &config, Seed(1)).unwrap();
    let described = describe(&dataset, &split);
    assert_eq!(described.train.class_counts, [4500; 10]);
    assert_eq!(described.validation.class_counts, [500; 10]);
    assert_eq!(described.test.class_counts, [1000; 10]);

    // The published moments are those of all training images.
    let all: Vec<u32> = (0..50_000).collect();
    let (measured, published) =
        (Moments::of(&dataset.train, &all), config.source.published().unwrap());
    let numbers = |moments: Moments| moments.mean.into_iter().chain(moments.deviation);
    for (found, known) in numbers(measured).zip(numbers(published)) {
        assert!((found - known).abs() < 1e-4, "{found} {known}");
    }

    // The normaliser uses nine tenths of them.
    let normaliser =
        Normaliser::fit(config.normalisation, config.source, &dataset.train, &split.train).unwrap();
    let moments = normaliser.moments();
    for (found, known) in moments.mean.iter().zip([0.4914, 0.4822, 0.4465]) {
        assert!((found - known).abs() < 2e-3, "{moments:?}");
    }
    for (found, known) in moments.deviation.iter().zip([0.2470, 0.2435, 0.2616]) {
        assert!((found - known).abs() < 2e-3, "{moments:?}");
    }

    let train =
        Loader::train(dataset.train, split.train, 128, &normaliser, config.augment, Seed(1));
    let served: usize = train.epoch(0, 0).map(|batch| batch.len()).sum();
    assert_eq!(served, 45_000);
    let all = (0..10_000).collect();
    let test = Loader::evaluate(dataset.test, all, 500, &normaliser);
    let (mut sum, mut squares) = (0.0, 0.0);
    for batch in test.epoch(0, 0) {
        sum += batch.pixels.iter().map(|&value| f64::from(value)).sum::<f64>();
        squares += batch.pixels.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>();
    }
    let count = 10_000.0 * 3072.0;
    assert!((sum / count).abs() < 0.05, "{}", sum / count);
    assert!((squares / count - 1.0).abs() < 0.05, "{}", squares / count);
}

/// The known hash belongs to the official images: their means by channel are published with all
/// digits, so the sums of all pixels are known exactly.
#[test]
fn the_real_cifar10_is_the_official_one() {
    let Some(directory) = data_dir() else { return };
    let options = LoadOptions { data_dir: Some(&directory), ..LoadOptions::default() };
    let (dataset, verified) = verify(&DatasetConfig::new(Source::Cifar10), options).unwrap();
    assert_eq!(verified, Verified::Official);
    let means = |images: &Images| {
        let mut sums = [0_u64; 3];
        for (plane, pixels) in images.pixels.chunks_exact(1024).enumerate() {
            sums[plane % 3] += pixels.iter().map(|&pixel| u64::from(pixel)).sum::<u64>();
        }
        sums.map(|sum| sum as f64 / (images.len() * 1024) as f64)
    };
    assert_eq!(means(&dataset.train), [125.306918046875, 122.950394140625, 113.86538318359375]);
    assert_eq!(means(&dataset.test), [126.02464140625, 123.70850419921875, 114.85431865234375]);
}
