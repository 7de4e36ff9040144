//! One layer of a spiking network, forward and backward, at several firing rates.
//!
//! The event-driven kernels are measured in synaptic operations per second and as a share of the
//! machine's limit. For comparison there are two benchmarks that do not depend on the firing rate:
//! Burn's dense product alone, and the reference, which is that product and neurons made of Burn's
//! own tensor operations.
//!
//! The benchmark runs a whole graph: input spikes, one layer, and a readout with one class. The
//! readout adds one number for each event, which is a few per cent of the time.

mod limit;
mod numbers;

use std::hint::black_box;

use burn::backend::Autodiff;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData, module::conv2d, ops::ConvOptions};
use burn_flex::Flex;
use criterion::{BenchmarkId, Criterion, Throughput};
use lasnn_core::Precision;
use lasnn_gemm::memory;
use lasnn_neurons::{NeuronOptions, Reset, ScanParams, StepOrder, Surrogate, reference};
use lasnn_spiking_kernels::{
    ForwardArgs, Graph, LayerProbes, NetworkInput, NeuronLayer, NeuronParams, OutcomeGrad,
    PackedWeights, PoolAndMask, Presynaptic, Projection, Shape, SpikeStats, Synapse, WeightFormat,
};

use crate::limit::{Machine, Work};
use crate::numbers::numbers;

const RATES: [f32; 4] = [0.02, 0.05, 0.1, 0.2];
const BATCH: usize = 8;
const STEPS: usize = 8;

const THRESHOLD: f32 = 5.0;
const LEAK: f32 = 1.0;
/// The options of the neurons of [`layer`], for the reference.
const OPTIONS: NeuronOptions = NeuronOptions {
    reset: Reset::Subtract,
    step_order: StepOrder::IntegrateThenFire,
    surrogate: Surrogate::Linear { damping: 0.3 },
};

fn main() {
    let mut criterion = Criterion::default().configure_from_args().sample_size(20);
    let machine = Machine::measure();
    let map = |channels, side| Shape { channels, height: side, width: side };
    let conv = Synapse::Conv { kernel: 3, stride: 1, weight: 0 };
    for (name, shape, synapse) in [
        ("convolution 128 to 128, 16x16", map(128, 16), conv),
        ("convolution 512 to 512, 4x4", map(512, 4), conv),
        ("linear 4096 to 4096", map(4096, 1), Synapse::Linear { weight: 0 }),
    ] {
        layer(&mut criterion, name, shape, synapse, machine);
        dense(&mut criterion, name, shape, synapse);
    }
    criterion.final_summary();
}

/// A layer whose output has the shape of its input.
fn layer(criterion: &mut Criterion, name: &str, shape: Shape, synapse: Synapse, machine: Machine) {
    let weights = numbers(weight_shape(shape, synapse).iter().product(), -1.0);
    let projection =
        |presynaptic, synapse| Projection { presynaptic, pooling: PoolAndMask::PLAIN, synapse };
    let graph = Graph {
        input: shape,
        layers: vec![NeuronLayer {
            shape,
            projections: vec![projection(Presynaptic::Input, synapse)],
            params: NeuronParams { threshold: 2, leak: 3, bias: None, initial_membrane: None },
        }],
        readout: projection(Presynaptic::NeuronLayer(0), Synapse::Linear { weight: 1 }),
        readout_bias: None,
        classes: 1,
    };
    let readout = vec![0.5; shape.len()];
    let params = [&weights[..], &readout[..], &[THRESHOLD], &[LEAK]];
    let formats = [("forward", WeightFormat::F32), ("forward, int12", WeightFormat::Int12)];
    let formats = formats.map(|(name, format)| (name, PackedWeights::new(&graph, &params, format)));
    let rounded = PackedWeights::new(&graph, &params, WeightFormat::Bf16);
    let neurons = [OPTIONS];
    for rate in RATES {
        let spikes = spikes(shape.len(), rate);
        let input = NetworkInput::Spikes(&spikes[..]);
        let args = ForwardArgs {
            graph: &graph,
            neurons: &neurons,
            params: &params,
            trained: &[true, true, false, false],
            masks: &[],
            batch: BATCH,
            packed_weights: None,
            precision: Precision::F32,
        };
        let operations = synaptic_operations(&spikes, shape, synapse);
        let per_cent = format!("{} %", rate * 100.0);
        let mut group = criterion.benchmark_group(format!("{name} (CPU)"));
        group.throughput(Throughput::Elements(operations));
        // Every weight is read from memory at least once, or every gradient is written there.
        let work = Work { additions: operations, bytes: 4 * weights.len() as u64 };
        // A vector instruction adds twice as many integers of 16 bits, and a weight takes 12 bits.
        let small = Work { additions: work.additions / 2, bytes: work.bytes * 12 / 32 };
        // On a processor with AMX this is a dense product, to which no limit of additions applies.
        let call_of = |packed_weights| ForwardArgs { packed_weights: Some(packed_weights), ..args };
        group.bench_function(BenchmarkId::new("forward, bf16", &per_cent), |bencher| {
            let args = call_of(&rounded);
            bencher.iter(|| {
                black_box(args.advance(input, STEPS, &mut args.start(), LayerProbes::default()))
            });
        });
        for ((pass, packed_weights), work) in formats.iter().zip([work, small]) {
            let args = call_of(packed_weights);
            machine.bench(&mut group, BenchmarkId::new(*pass, &per_cent), work, || {
                args.advance(input, STEPS, &mut args.start(), LayerProbes::default())
            });
        }
        for (name, stats) in [
            ("no statistics", SpikeStats::Nothing),
            ("spike counts", SpikeStats::Counts),
            ("attention map", SpikeStats::Squares),
        ] {
            let id = BenchmarkId::new(format!("forward, recorded, {name}"), &per_cent);
            group.bench_function(id, |bencher| {
                bencher.iter(|| black_box(args.record(input, STEPS, LayerProbes::stats(&[stats]))));
            });
        }
        let (_, tape) = args.record(input, STEPS, LayerProbes::default());
        let grad = OutcomeGrad { readout: &[0.1; BATCH], ..Default::default() };
        let id = BenchmarkId::new("backward to weights", &per_cent);
        machine.bench(&mut group, id, work, || {
            // As in the training loop, the next step writes into the same memory.
            args.backward(&tape, grad).params.into_iter().for_each(memory::give);
        });
        let bf16 = ForwardArgs { precision: Precision::Bf16, ..args };
        let (_, tape) = bf16.record(input, STEPS, LayerProbes::default());
        let id = BenchmarkId::new("backward to weights, bf16", &per_cent);
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                bf16.backward(&tape, grad).params.into_iter().for_each(memory::give);
            });
        });
        group.finish();
    }
}

/// The same layer on dense `f32` numbers: Burn's product, and the reference forward and in both
/// passes.
fn dense(criterion: &mut Criterion, name: &str, shape: Shape, synapse: Synapse) {
    let mut group = criterion.benchmark_group(format!("{name} (CPU)"));
    let spikes = spikes(shape.len(), 0.05);
    let input_shape = match synapse {
        Synapse::Conv { .. } => [BATCH * STEPS, shape.channels, shape.height, shape.width],
        _ => [1, 1, BATCH * STEPS, shape.len()],
    };
    let weight_shape = weight_shape(shape, synapse);
    let weights = numbers(weight_shape.iter().product(), -1.0);
    let inputs = tensor::<Flex>(spikes.clone(), input_shape);
    let stock = tensor::<Flex>(weights.clone(), weight_shape);
    group.bench_function("dense, Flex", |bencher| {
        bencher.iter(|| black_box(product(inputs.clone(), stock.clone(), synapse)));
    });
    group.bench_function("reference, Flex, forward", |bencher| {
        bencher.iter(|| {
            let currents = product(inputs.clone(), stock.clone(), synapse);
            let currents = currents.reshape([STEPS as i64, -1]);
            black_box(reference::scan(currents, params(), OPTIONS))
        });
    });
    let inputs = tensor::<Autodiff<Flex>>(spikes, input_shape);
    let stock = tensor::<Autodiff<Flex>>(weights, weight_shape);
    group.bench_function("reference, Flex, forward and backward to weights", |bencher| {
        bencher.iter(|| {
            let weights = stock.clone().require_grad();
            let currents = product(inputs.clone(), weights.clone(), synapse);
            let currents = currents.reshape([STEPS as i64, -1]);
            let spikes = reference::differentiable_scan(currents, params(), OPTIONS);
            black_box(weights.grad(&spikes.sum().backward()))
        });
    });
    group.finish();
}

fn product<B: Backend>(
    inputs: Tensor<B, 4>,
    weights: Tensor<B, 4>,
    synapse: Synapse,
) -> Tensor<B, 4> {
    match synapse {
        Synapse::Conv { .. } => {
            conv2d(inputs, weights, None, ConvOptions::new([1, 1], [1, 1], [1, 1], 1))
        }
        _ => inputs.matmul(weights),
    }
}

fn tensor<B: Backend>(numbers: Vec<f32>, shape: [usize; 4]) -> Tensor<B, 4> {
    Tensor::from_data(TensorData::new(numbers, shape), &B::Device::default())
}

/// Neurons that start at rest.
fn params<B: Backend>() -> ScanParams<Tensor<B, 1>> {
    let numbers = ScanParams { membrane: 0.0, threshold: THRESHOLD, leak: LEAK };
    numbers.map(|number: f32| Tensor::from_data([number], &B::Device::default()))
}

fn weight_shape(shape: Shape, synapse: Synapse) -> [usize; 4] {
    match synapse {
        Synapse::Conv { kernel, .. } => [shape.channels, shape.channels, kernel, kernel],
        _ => [1, 1, shape.len(), shape.len()],
    }
}

/// The number of additions that the input spikes of a layer cause.
fn synaptic_operations(spikes: &[f32], shape: Shape, synapse: Synapse) -> u64 {
    // The number of outputs that one input reaches.
    let reached = |index: usize| match synapse {
        Synapse::Conv { .. } => {
            let position = index % shape.positions();
            let along = |at: usize, size: usize| {
                (at.saturating_sub(1)..=at + 1).filter(|&at| at < size).count()
            };
            let (y, x) = (position / shape.width, position % shape.width);
            along(y, shape.height) * along(x, shape.width) * shape.channels
        }
        _ => shape.len(),
    };
    let fired = spikes.iter().enumerate().filter(|(_, spike)| **spike > 0.0);
    fired.map(|(index, _)| reached(index) as u64).sum()
}

/// Input spikes of all steps and images.
fn spikes(neurons: usize, rate: f32) -> Vec<f32> {
    let draw = |number: f32| if number < rate { 1.0 } else { 0.0 };
    numbers(neurons * BATCH * STEPS, 0.0).into_iter().map(draw).collect()
}
