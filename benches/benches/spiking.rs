//! One layer of a spiking network, forward and backward, over a sweep of firing rates: the
//! event-driven kernels in synaptic operations per second and as a fraction of what the machine can add
//! up, with Burn's dense convolution beside them.
//!
//! A layer here is a whole circuit: input spikes, one site, a readout with one class. The readout
//! lists events and adds a number each, some per cent of the time.

use std::hint::black_box;
use std::time::Instant;

use burn::tensor::{Tensor, TensorData, module::conv2d, ops::ConvOptions};
use burn_flex::Flex;
use criterion::{BenchmarkId, Criterion, Throughput};
use lasnn_kernels::Precision;
use lasnn_kernels::spiking::{
    Call, Circuit, Connection, Drive, Neurons, Origin, OutcomeGrad, Prepared, Reset, Shape, Site,
    Source, StepOrder, Surrogate, View, WeightFormat,
};

const RATES: [f32; 4] = [0.02, 0.05, 0.1, 0.2];
const BATCH: usize = 8;
const STEPS: usize = 8;

fn main() {
    let mut criterion = Criterion::default().configure_from_args().sample_size(20);
    let limit = additions_per_second();
    let map = |channels, side| Shape { channels, height: side, width: side };
    layer(&mut criterion, "convolution 128 to 128, 16x16", map(128, 16), Some(128), limit);
    layer(&mut criterion, "convolution 512 to 512, 4x4", map(512, 4), Some(512), limit);
    layer(&mut criterion, "linear 4096 to 4096", map(4096, 1), None, limit);
    dense(&mut criterion);
    criterion.final_summary();
}

/// `channels` outputs of a 3×3 convolution, or as many outputs of a matrix as inputs.
fn layer(criterion: &mut Criterion, name: &str, input: Shape, channels: Option<usize>, limit: f64) {
    let (shape, connection, weights) = match channels {
        Some(channels) => {
            let shape = Shape { channels, ..input };
            let connection = Connection::Conv { kernel: 3, stride: 1, weight: 0 };
            (shape, connection, numbers(channels * input.channels * 9, -1.0))
        }
        None => (input, Connection::Linear { weight: 0 }, numbers(input.neurons().pow(2), -1.0)),
    };
    let source = |origin, connection| Source { origin, view: View::PLAIN, connection };
    let circuit = Circuit {
        input,
        sites: vec![Site { shape, sources: vec![source(Origin::Input, connection)] }],
        readout: source(Origin::Site(0), Connection::Linear { weight: 1 }),
        classes: 1,
    };
    let readout = vec![0.5; shape.neurons()];
    let weights = [&weights[..], &readout[..]];
    let formats = [("forward", WeightFormat::F32), ("forward, int12", WeightFormat::Int12)];
    let formats = formats.map(|(name, format)| (name, Prepared::new(&circuit, &weights, format)));
    let neurons = [Neurons {
        threshold: 5.0,
        leak: 1.0,
        reset: Reset::Subtract,
        step_order: StepOrder::IntegrateThenFire,
        surrogate: Surrogate::Linear { damping: 0.3 },
    }];
    for rate in RATES {
        let spikes = spikes(input.neurons(), rate);
        let drive = Drive::Spikes(&spikes);
        let call = Call {
            circuit: &circuit,
            neurons: &neurons,
            weights: &weights,
            masks: &[],
            batch: BATCH,
            prepared: None,
            precision: Precision::F32,
        };
        let operations = synaptic_operations(&spikes, input, shape, connection);
        let per_cent = format!("{} %", rate * 100.0);
        let mut group = criterion.benchmark_group(format!("{name} (CPU)"));
        group.throughput(Throughput::Elements(operations));
        for (pass, prepared) in &formats {
            let call = Call { prepared: Some(prepared), ..call };
            let start = Instant::now();
            let mut runs = 0u32;
            group.bench_function(BenchmarkId::new(*pass, &per_cent), |bencher| {
                bencher.iter(|| {
                    runs += 1;
                    black_box(call.advance(drive, STEPS, &mut call.rest(), &[false]))
                });
            });
            // A filter may have left it out.
            if runs > 0 {
                let seconds = start.elapsed().as_secs_f64() / f64::from(runs);
                let share = 100.0 * operations as f64 / seconds / limit;
                eprintln!(
                    "{name}, {pass} at {per_cent}: about {share:.0} % of {limit:.2e} additions/s"
                );
            }
        }
        let (_, tape) = call.record(drive, STEPS, &[false]);
        let grad = OutcomeGrad { readout: &[0.1; BATCH], counts: &[None] };
        group.bench_function(BenchmarkId::new("backward to weights", &per_cent), |bencher| {
            bencher.iter(|| black_box(call.backward(&tape, grad)));
        });
        group.finish();
    }
}

/// The same convolution on dense floats: Burn's, on as many maps.
fn dense(criterion: &mut Criterion) {
    let device = Default::default();
    let tensor = |numbers: Vec<f32>, shape: [usize; 4]| {
        Tensor::<Flex, 4>::from_data(TensorData::new(numbers, shape), &device)
    };
    let rows = BATCH * STEPS;
    let input = tensor(spikes(128 * 256, 0.05), [rows, 128, 16, 16]);
    let weights = tensor(numbers(128 * 128 * 9, -1.0), [128, 128, 3, 3]);
    let mut group = criterion.benchmark_group("convolution 128 to 128, 16x16 (CPU)");
    group.bench_function("dense, Flex", |bencher| {
        bencher.iter(|| {
            let options = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
            black_box(conv2d(input.clone(), weights.clone(), None, options))
        });
    });
    group.finish();
}

/// How many additions a layer's input spikes cause.
fn synaptic_operations(spikes: &[f32], input: Shape, shape: Shape, connection: Connection) -> u64 {
    let reached = |index: usize| match connection {
        Connection::Conv { .. } => {
            let position = index % input.positions();
            let along = |at: usize, size: usize| {
                (at.saturating_sub(1)..=at + 1).filter(|&at| at < size).count()
            };
            let (y, x) = (position / input.width, position % input.width);
            along(y, input.height) * along(x, input.width) * shape.channels
        }
        _ => shape.neurons(),
    };
    let fired = spikes.iter().enumerate().filter(|(_, spike)| **spike > 0.0);
    fired.map(|(index, _)| reached(index) as u64).sum()
}

/// What all threads together can add up from their second-level caches, in additions per second.
fn additions_per_second() -> f64 {
    const NUMBERS: usize = 96 << 10;
    const ROUNDS: usize = 400;
    let threads = rayon::current_num_threads();
    let seconds = (0..5).map(|_| {
        let start = Instant::now();
        rayon::broadcast(|_| {
            let numbers = vec![1f32; NUMBERS];
            let mut sums = [0f32; 128];
            for _ in 0..ROUNDS {
                for row in black_box(&numbers).chunks_exact(128) {
                    for (sum, number) in sums.iter_mut().zip(row) {
                        *sum += number;
                    }
                }
            }
            black_box(sums)
        });
        start.elapsed().as_secs_f64()
    });
    let best = seconds.fold(f64::MAX, f64::min);
    (NUMBERS * ROUNDS * threads) as f64 / best
}

/// Input spikes of all steps and images.
fn spikes(neurons: usize, rate: f32) -> Vec<f32> {
    let draw = |number: f32| if number < rate { 1.0 } else { 0.0 };
    numbers(neurons * BATCH * STEPS, 0.0).into_iter().map(draw).collect()
}

/// Numbers between `from` and 1, the same every time.
fn numbers(count: usize, from: f32) -> Vec<f32> {
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    (0..count).map(|_| from + (1.0 - from) * next()).collect()
}
