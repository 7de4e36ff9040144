//! The second layer of a spiking network, whose backward pass also computes the gradient of its
//! input spikes: a convolution, one with a stride, one after a pooling, two kinds of residual sums,
//! and a matrix.
//!
//! The first layer repeats the input spikes, so the benchmark sets the firing rate. In `f32` the
//! kernels work on lists of events. In `bf16` they use AMX tiles, if the processor has them.

mod numbers;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use lasnn_core::Precision;
use lasnn_gemm::memory;
use lasnn_spiking_kernels::{
    ForwardArgs, Gradients, Graph, LayerProbes, NetworkInput, NeuronLayer, NeuronOptions,
    NeuronParams, OutcomeGrad, PoolAndMask, Presynaptic, Projection, Shape, Synapse,
};

use crate::numbers::numbers;

const RATES: [f32; 3] = [0.02, 0.05, 0.2];
const BATCH: usize = 8;
const STEPS: usize = 8;

fn main() {
    let mut criterion = Criterion::default().configure_from_args().sample_size(20);
    let map = |channels, side| Shape { channels, height: side, width: side };
    let conv = |kernel, stride, weight| Synapse::Conv { kernel, stride, weight };
    let first = |synapse| Projection {
        presynaptic: Presynaptic::NeuronLayer(0),
        pooling: PoolAndMask::PLAIN,
        synapse,
    };
    let pooled =
        Projection { pooling: PoolAndMask { pool: [2, 2], mask: None }, ..first(conv(3, 1, 0)) };
    for (name, from, to, projections) in [
        ("128 to 128, 16x16", map(128, 16), map(128, 16), vec![first(conv(3, 1, 0))]),
        ("128 to 256, 16x16, stride 2", map(128, 16), map(256, 8), vec![first(conv(3, 2, 0))]),
        ("pooled 64 to 128, 32x32", map(64, 32), map(128, 16), vec![pooled]),
        (
            "residual sum of 3x3 and 1x1, 64 to 128, 16x16, stride 2",
            map(64, 16),
            map(128, 8),
            vec![first(conv(3, 2, 0)), first(conv(1, 2, 1))],
        ),
        (
            "residual sum of 3x3 and identity, 64, 16x16",
            map(64, 16),
            map(64, 16),
            vec![first(conv(3, 1, 0)), first(Synapse::Identity)],
        ),
        (
            "matrix 4096 to 4096",
            map(4096, 1),
            map(4096, 1),
            vec![first(Synapse::Linear { weight: 0 })],
        ),
    ] {
        graph(&mut criterion, name, from, to, projections);
    }
    criterion.final_summary();
}

/// Returns the memory of the gradients for the next step, as the training loop does.
fn give_back(gradients: Gradients) {
    gradients.params.into_iter().for_each(memory::give);
}

fn graph(
    criterion: &mut Criterion,
    name: &str,
    from: Shape,
    to: Shape,
    projections: Vec<Projection>,
) {
    let plain =
        |presynaptic, synapse| Projection { presynaptic, pooling: PoolAndMask::PLAIN, synapse };
    let sizes: Vec<usize> =
        projections.iter().filter_map(|projection| size(projection, from, to)).collect();
    // The weights come first, then the weights of the readout, two thresholds, and the leak.
    let first = sizes.len() + 1;
    let params = |layer| NeuronParams {
        threshold: first + layer,
        leak: first + 2,
        bias: None,
        initial_membrane: None,
    };
    let graph = Graph {
        input: from,
        layers: vec![
            NeuronLayer {
                shape: from,
                projections: vec![plain(Presynaptic::Input, Synapse::Identity)],
                params: params(0),
            },
            NeuronLayer { shape: to, projections, params: params(1) },
        ],
        readout: plain(Presynaptic::NeuronLayer(1), Synapse::Linear { weight: sizes.len() }),
        readout_bias: None,
        classes: 1,
    };
    let mut weights: Vec<Vec<f32>> = sizes.iter().map(|&size| numbers(size, -1.0)).collect();
    weights.push(vec![0.5; to.len()]);
    let neurons = [[1.0], [5.0], [1.0]].map(Vec::from);
    let params: Vec<&[f32]> = weights.iter().chain(&neurons).map(|param| &param[..]).collect();
    let trained: Vec<bool> = (0..params.len()).map(|param| param < first).collect();
    for rate in RATES {
        let draw = |number: f32| if number < rate { 1.0 } else { 0.0 };
        let spikes: Vec<f32> =
            numbers(from.len() * BATCH * STEPS, 0.0).into_iter().map(draw).collect();
        let input = NetworkInput::Spikes(&spikes[..]);
        let mut group = criterion.benchmark_group(format!("second layer, {name} (CPU)"));
        group.throughput(Throughput::Elements((BATCH * STEPS) as u64));
        let per_cent = format!("{} %", rate * 100.0);
        for (format, precision) in [("f32", Precision::F32), ("bf16", Precision::Bf16)] {
            let args = ForwardArgs {
                graph: &graph,
                neurons: &[NeuronOptions::default(); 2],
                params: &params,
                trained: &trained,
                masks: &[],
                batch: BATCH,
                packed_weights: None,
                precision,
            };
            let id = BenchmarkId::new(format!("recorded, {format}"), &per_cent);
            group.bench_function(id, |bencher| {
                bencher.iter(|| black_box(args.record(input, STEPS, LayerProbes::default())));
            });
            let (_, tape) = args.record(input, STEPS, LayerProbes::default());
            let grad = OutcomeGrad { readout: &[0.1; BATCH], ..Default::default() };
            let id =
                BenchmarkId::new(format!("backward to weights and spikes, {format}"), &per_cent);
            group.bench_function(id, |bencher| {
                bencher.iter(|| give_back(args.backward(&tape, grad)));
            });
        }
        group.finish();
    }
}

/// The number of weights of a projection; `None` if it has no weights.
fn size(projection: &Projection, from: Shape, to: Shape) -> Option<usize> {
    match projection.synapse {
        Synapse::Conv { kernel, .. } => Some(from.channels * to.channels * kernel * kernel),
        Synapse::Linear { .. } => Some(from.len() * to.len()),
        Synapse::Identity => None,
    }
}
