//! The scan of spiking neurons over all time steps: our kernel and its backward pass beside the
//! reference, which is made of Burn's own tensor operations. The unit is neuron updates (neurons
//! times time steps) per second, and the share of the machine's limit.

mod limit;

use std::hint::black_box;

use burn::backend::Autodiff;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use burn_flex::Flex;
use criterion::{BenchmarkId, Criterion, Throughput};
use lasnn_core::{Seed, Stream};
use lasnn_neurons::{Lif, LifConfig, NeuronModel, SpikingBackend, reference};

use crate::limit::{Machine, Work};

/// The neurons of one layer for a small batch: 4 images, 64 channels, 16x16 positions.
const NEURONS: usize = 4 * 64 * 16 * 16;

/// Few time steps, as with direct encoding, and many, as in the paper.
const STEPS: [usize; 2] = [8, 100];

/// Currents with a standard normal distribution reach this threshold often enough, so the kernel
/// takes every branch.
const THRESHOLD: f32 = 1.0;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let machine = Machine::measure();
    forward::<Flex>(&mut criterion, "CPU, Flex", machine);
    backward::<Flex>(&mut criterion, "CPU, Flex", machine);
    criterion.final_summary();
}

fn forward<B: SpikingBackend>(criterion: &mut Criterion, device_name: &str, machine: Machine) {
    let device = B::Device::default();
    let neurons = Lif::<B>::new(&LifConfig::default(), THRESHOLD, &device);
    let mut group = criterion.benchmark_group(format!("scan forward ({device_name})"));
    for steps in STEPS {
        let currents = currents::<B>(steps, &device);
        group.throughput(Throughput::Elements((steps * NEURONS) as u64));
        // Additions: leak, current and reset. Memory: currents are read and spikes are written.
        let work = work(3, 2, steps);
        machine.bench(&mut group, BenchmarkId::new("kernel", steps), work, || {
            let spikes = neurons.forward(currents.clone(), steps);
            finish::<B>(black_box(spikes), &device);
        });
        group.bench_function(BenchmarkId::new("reference", steps), |bencher| {
            bencher.iter(|| {
                let params = neurons.scan_params([NEURONS]);
                let spikes = reference::scan(currents.clone(), params, neurons.options);
                finish::<B>(black_box(spikes), &device);
            });
        });
    }
    group.finish();
}

/// Forward and backward together, because training never runs one without the other.
fn backward<B: SpikingBackend>(criterion: &mut Criterion, device_name: &str, machine: Machine) {
    let device = B::Device::default();
    let neurons = Lif::<Autodiff<B>>::new(&LifConfig::default(), THRESHOLD, &device);
    let mut group = criterion.benchmark_group(format!("scan forward and backward ({device_name})"));
    // A hundred steps of the reference would take too much memory and time for a benchmark.
    let steps = STEPS[0];
    let currents = currents::<Autodiff<B>>(steps, &device);
    group.throughput(Throughput::Elements((steps * NEURONS) as u64));
    // In addition to the forward pass, the backward pass computes the membrane potentials again,
    // and then the surrogate and the gradient. It reads the currents and the gradient of the
    // spikes, and it writes the gradient of the currents.
    let work = work(3 + 6, 2 + 3, steps);
    machine.bench(&mut group, BenchmarkId::new("kernel", steps), work, || {
        let currents = currents.clone().require_grad();
        let spikes = neurons.forward(currents.clone(), steps);
        finish::<B>(gradient(&currents, spikes), &device);
    });
    group.bench_function(BenchmarkId::new("reference", steps), |bencher| {
        bencher.iter(|| {
            let currents = currents.clone().require_grad();
            let params = neurons.scan_params([NEURONS]);
            let spikes = reference::differentiable_scan(currents.clone(), params, neurons.options);
            finish::<B>(gradient(&currents, spikes), &device);
        });
    });
    group.finish();
}

/// The work of all neurons in all steps, from the additions and the read or written numbers of one
/// neuron in one step.
fn work(additions: u64, numbers: u64, steps: usize) -> Work {
    let updates = (steps * NEURONS) as u64;
    Work { additions: additions * updates, bytes: 4 * numbers * updates }
}

/// The gradient of the sum of all spikes with respect to the currents.
fn gradient<B: Backend>(
    currents: &Tensor<Autodiff<B>, 2>,
    spikes: Tensor<Autodiff<B>, 2>,
) -> Option<Tensor<B, 2>> {
    currents.grad(&spikes.sum().backward())
}

fn currents<B: Backend>(steps: usize, device: &B::Device) -> Tensor<B, 2> {
    let values = Seed(1).draws(Stream::Test, [0; 3]).normals(steps * NEURONS);
    Tensor::from_data(TensorData::new(values, [steps, NEURONS]), device)
}

/// Waits until the device has finished, so that the clock is read after that.
fn finish<B: Backend>(result: impl Sized, device: &B::Device) {
    B::sync(device).unwrap_or_else(|error| panic!("the device failed: {error:?}"));
    drop(black_box(result));
}
