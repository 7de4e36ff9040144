//! Poisson encoding: the input spikes of a batch over few and many time steps, in drawn numbers per
//! second and as a share of the machine's limit. For comparison, the benchmark also only writes the
//! same amount of memory.

mod limit;

use std::hint::black_box;

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use burn_flex::Flex;
use criterion::{BenchmarkId, Criterion, Throughput};
use lasnn_core::{Pass, Seed, Stream};
use lasnn_neurons::{Encoding, Poisson, PoissonRange};

use crate::limit::{Machine, Work};

/// A batch of images as large as those of CIFAR-10.
const IMAGES: [usize; 4] = [16, 3, 32, 32];

/// Few time steps, as with direct encoding, and many, as in the paper.
const STEPS: [usize; 2] = [8, 100];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    encoder::<Flex>(&mut criterion, "CPU, Flex", Machine::measure());
    criterion.final_summary();
}

fn encoder<B: Backend>(criterion: &mut Criterion, device_name: &str, machine: Machine) {
    let device = B::Device::default();
    let size: usize = IMAGES.iter().product();
    let values = Seed(1).draws(Stream::Test, [0; 3]).normals(size);
    let images = Tensor::<B, 4>::from_data(TensorData::new(values, IMAGES), &device);
    let images = images.clamp(-1.0, 1.0);
    let samples: Vec<u32> = (0..IMAGES[0] as u32).collect();
    let pass = Pass::evaluate(Seed(1), &samples);
    let encoding = Encoding::Poisson(Poisson { range: PoissonRange::Signed });
    let mut group = criterion.benchmark_group(format!("encoder ({device_name})"));
    for steps in STEPS {
        group.throughput(Throughput::Elements((steps * size) as u64));
        // Only the written spikes count. The cost of drawing a number is not one of additions.
        let work = Work { additions: 0, bytes: (4 * steps * size) as u64 };
        machine.bench(&mut group, BenchmarkId::new("poisson", steps), work, || {
            let spikes = encoding.encode(images.clone(), 0, steps, &pass);
            B::sync(&device).unwrap_or_else(|error| panic!("the device failed: {error:?}"));
            spikes
        });
        group.bench_function(BenchmarkId::new("memory", steps), |bencher| {
            bencher.iter(|| black_box(vec![1.0f32; steps * size]));
        });
    }
    group.finish();
}
