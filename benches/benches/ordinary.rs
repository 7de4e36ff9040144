//! The kernels of ordinary networks, with the layer sizes of teachers and intermediate networks.
//!
//! Convolutions and matrices are measured in multiply-adds per second. Batch norm and optimiser
//! steps are measured in numbers per second and as a share of the machine's limit.

mod limit;
mod numbers;

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use lasnn_core::Precision;
use lasnn_dense_kernels::conv::{self, ConvShape};
use lasnn_dense_kernels::conv_batch_norm::{
    self, ConvBatchNorm, Gradients, InputGrad, OutputGrad, Recorded,
};
use lasnn_dense_kernels::linear::{self, LinearShape};
use lasnn_dense_kernels::norm::{self, MapShape};
use lasnn_dense_kernels::optimizer::{self, AdamStep, SgdStep};

use crate::limit::{Machine, Work};
use crate::numbers::numbers;

const BATCH: usize = 64;
const FORMATS: [(&str, Precision); 2] = [("f32", Precision::F32), ("bf16", Precision::Bf16)];

fn main() {
    let mut criterion = Criterion::default().configure_from_args().sample_size(20);
    for [inputs, outputs, side, kernel, stride] in [
        [64, 128, 16, 3, 1],
        [128, 128, 16, 3, 1],
        [16, 16, 32, 3, 1],
        [64, 64, 8, 3, 1],
        [32, 64, 16, 3, 2],
        [32, 64, 16, 1, 2],
    ] {
        let padding = kernel / 2;
        let (batch, height, width) = (BATCH, side, side);
        let shape = ConvShape { batch, inputs, outputs, height, width, kernel, stride, padding };
        convolution(&mut criterion, shape);
        if [inputs, kernel, stride] == [outputs, 3, 1] {
            convolution_with_norm(&mut criterion, shape);
        }
    }
    for [inputs, outputs] in [[8192, 1024], [1024, 1024]] {
        matrix(&mut criterion, LinearShape { batch: BATCH, inputs, outputs });
    }
    let machine = Machine::measure();
    for [channels, side] in [[16, 32], [64, 8], [128, 8]] {
        batch_norm(&mut criterion, machine, channels, side);
    }
    for weights in [1 << 16, 8 << 20] {
        optimisers(&mut criterion, machine, weights);
    }
    criterion.final_summary();
}

fn convolution(criterion: &mut Criterion, shape: ConvShape) {
    let ConvShape { inputs, outputs, height, kernel, stride, .. } = shape;
    let name =
        format!("convolution {kernel}x{kernel}, {inputs} to {outputs}, {height}x{height}/{stride}");
    let mut group = criterion.benchmark_group(format!("ordinary {name} (CPU)"));
    let products = shape.batch * shape.output_image() * inputs * kernel * kernel;
    group.throughput(Throughput::Elements(products as u64));
    let (input, weights) = (signed(shape.batch * shape.image()), signed(shape.weights()));
    let grad = signed(shape.batch * shape.output_image());
    let (mut output, mut to_input, mut to_weights) = (grad.clone(), input.clone(), weights.clone());
    for (format, precision) in FORMATS {
        passes(
            &mut group,
            format,
            || conv::forward(shape, precision, &input, &weights, None, true, &mut output),
            || conv::input_grad(shape, precision, &grad, &weights, &mut to_input),
            || conv::weight_grad(shape, precision, &input, &grad, &mut to_weights),
        );
    }
    group.finish();
}

/// A convolution with its batch norm and ReLU, forward, and backward to input and weights.
fn convolution_with_norm(criterion: &mut Criterion, conv: ConvShape) {
    let ConvShape { inputs, outputs, height, kernel, .. } = conv;
    let name = format!("convolution {kernel}x{kernel} with norm, {inputs} to {outputs}");
    let mut group = criterion.benchmark_group(format!("ordinary {name}, {height}x{height} (CPU)"));
    group.throughput(Throughput::Elements((conv.batch * conv.output_image()) as u64));
    let (input, weights) = (signed(conv.batch * conv.image()), signed(conv.weights()));
    let (grad, scales) = (signed(conv.batch * conv.output_image()), signed(outputs));
    let (mut saved, mut output) = (grad.clone(), grad.clone());
    let (mut to_input, mut to_weights) = (input.clone(), weights.clone());
    for (format, precision) in FORMATS {
        let layer = ConvBatchNorm { conv, precision, epsilon: 1e-5, relu: true };
        let scales = [&scales[..]; 2];
        let inputs = [&input[..], &weights];
        let saved = &mut saved[..layer.saved_len()];
        group.bench_function(BenchmarkId::new("forward", format), |b| {
            b.iter(|| {
                conv_batch_norm::forward(layer, inputs, scales, None, [&mut *saved, &mut output])
            });
        });
        // Criterion may exclude the benchmark above, so it cannot leave these values.
        let statistics =
            conv_batch_norm::forward(layer, inputs, scales, None, [saved, &mut output]);
        let recorded =
            Recorded { input: &input, weights: &weights, scales, saved, statistics: &statistics };
        group.bench_function(BenchmarkId::new("backward", format), |b| {
            b.iter(|| {
                let input = Some(InputGrad { to: &mut to_input, adds: false });
                let to = Gradients { input, weights: &mut to_weights };
                conv_batch_norm::backward(layer, &recorded, OutputGrad::Whole(&grad), to)
            });
        });
    }
    group.finish();
}

fn matrix(criterion: &mut Criterion, shape: LinearShape) {
    let LinearShape { batch, inputs, outputs } = shape;
    let mut group =
        criterion.benchmark_group(format!("ordinary matrix {inputs} to {outputs} (CPU)"));
    group.throughput(Throughput::Elements((batch * inputs * outputs) as u64));
    let (input, weights) = (signed(batch * inputs), signed(inputs * outputs));
    let grad = signed(batch * outputs);
    let (mut output, mut to_input, mut to_weights) = (grad.clone(), input.clone(), weights.clone());
    for (format, precision) in FORMATS {
        passes(
            &mut group,
            format,
            || linear::forward(shape, precision, &input, &weights, None, true, &mut output),
            || linear::input_grad(shape, precision, &grad, &weights, &mut to_input),
            || linear::weight_grad(shape, precision, &input, &grad, &mut to_weights),
        );
    }
    group.finish();
}

/// The forward pass, the gradient of the input and the gradient of the weights.
fn passes(
    group: &mut BenchmarkGroup<'_, WallTime>,
    format: &str,
    mut forward: impl FnMut(),
    mut input_grad: impl FnMut(),
    mut weight_grad: impl FnMut(),
) {
    group.bench_function(BenchmarkId::new("forward", format), |b| b.iter(&mut forward));
    group.bench_function(BenchmarkId::new("input gradient", format), |b| b.iter(&mut input_grad));
    group.bench_function(BenchmarkId::new("weight gradient", format), |b| b.iter(&mut weight_grad));
}

fn batch_norm(criterion: &mut Criterion, machine: Machine, channels: usize, side: usize) {
    let shape = MapShape { batch: BATCH, channels, positions: side * side };
    let size = shape.elements();
    let mut group =
        criterion.benchmark_group(format!("batch norm {channels}, {side}x{side} (CPU)"));
    group.throughput(Throughput::Elements(size as u64));
    let (input, grad, gamma) = (signed(size), signed(size), signed(channels));
    let mut output = vec![0.0; size];
    // The input is read, and the output is written.
    let work = Work { additions: 0, bytes: 8 * size as u64 };
    machine.bench(&mut group, BenchmarkId::from_parameter("forward"), work, || {
        norm::forward(shape, &input, [&gamma, &gamma], 1e-5, true, &mut output)
    });
    let statistics = norm::forward(shape, &input, [&gamma, &gamma], 1e-5, true, &mut output);
    let layer = norm::Recorded {
        shape,
        input: &input,
        gamma: &gamma,
        statistics: &statistics,
        epsilon: 1e-5,
    };
    let mut input_grad = vec![0.0; size];
    // The input and the gradient of the output are read, and the gradient of the input is written.
    let work = Work { additions: 0, bytes: 12 * size as u64 };
    machine.bench(&mut group, BenchmarkId::from_parameter("backward"), work, || {
        norm::backward(&layer, Some(&gamma), &grad, &mut input_grad)
    });
    group.finish();
}

fn optimisers(criterion: &mut Criterion, machine: Machine, weights: usize) {
    let mut group = criterion.benchmark_group(format!("optimiser, {weights} weights (CPU)"));
    group.throughput(Throughput::Elements(weights as u64));
    let (mut parameter, gradient) = (signed(weights), signed(weights));
    let (mut mean, mut square) = (vec![0.0; weights], vec![0.0; weights]);
    let step = AdamStep {
        rate: 1e-8,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.0,
        decoupled: false,
        step: 1,
    };
    // Four arrays are read, and three are written.
    let work = Work { additions: 0, bytes: 28 * weights as u64 };
    machine.bench(&mut group, BenchmarkId::from_parameter("Adam"), work, || {
        optimizer::adam(&step, &mut parameter, &gradient, &mut mean, &mut square, None);
    });
    let step = SgdStep { rate: 1e-8, weight_decay: 5e-4, momentum: 0.9, nesterov: true };
    // Three arrays are read, and two are written.
    let work = Work { additions: 0, bytes: 20 * weights as u64 };
    machine.bench(&mut group, BenchmarkId::from_parameter("gradient descent"), work, || {
        optimizer::sgd(&step, &mut parameter, &gradient, Some(&mut mean));
    });
    let work = Work { additions: 0, bytes: 4 * weights as u64 };
    machine.bench(&mut group, BenchmarkId::from_parameter("sum of squares"), work, || {
        black_box(optimizer::sum_of_squares(&gradient))
    });
    group.finish();
}

/// `count` numbers between -1 and 1.
fn signed(count: usize) -> Vec<f32> {
    numbers(count, -1.0)
}
