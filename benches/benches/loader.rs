//! The data loader: an epoch of images as large as those of CIFAR-10, normalised and in batches, in
//! images per second.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use lasnn_core::{BatchSource, Seed};
use lasnn_datasets::{
    AugmentConfig, DatasetConfig, Loader, Normaliser, Prefetch, Source, SyntheticConfig, load,
};

const IMAGES: usize = 2048;
const BATCH: usize = 64;

fn main() -> Result<(), lasnn_datasets::DatasetError> {
    let mut criterion = Criterion::default().configure_from_args();
    let synthetic = SyntheticConfig { train: IMAGES, test: 1, ..SyntheticConfig::default() };
    let config =
        DatasetConfig { synthetic: Some(synthetic), ..DatasetConfig::new(Source::Synthetic) };
    let images = load(&config, None)?.train;
    let indices: Vec<u32> = (0..IMAGES as u32).collect();
    let normaliser = Normaliser::fit(config.normalisation, config.source, &images, &indices)?;

    let mut group = criterion.benchmark_group("loader (CPU)");
    group.throughput(Throughput::Elements(IMAGES as u64));
    let all = AugmentConfig { crop_padding: 4, flip: true, cutout: 8 };
    for (name, augment) in [("plain", AugmentConfig::default()), ("augmented", all)] {
        for threads in [0, 2] {
            let loader = Loader::train(
                images.clone(),
                indices.clone(),
                BATCH,
                &normaliser,
                augment,
                Seed(1),
            )
            .with_prefetch(Prefetch { threads, ..Prefetch::default() });
            let threads = format!("{threads} threads");
            group.bench_function(BenchmarkId::new(name, threads), |bencher| {
                bencher
                    .iter(|| loader.epoch(0, 0).map(|batch| black_box(batch).len()).sum::<usize>());
            });
        }
    }
    group.finish();
    criterion.final_summary();
    Ok(())
}
