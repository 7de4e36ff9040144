//! Activation-based attention distillation at one tap, in images per second and as a share of the
//! machine's limit: the attention maps of student and teacher, their distance, and the gradient
//! with respect to the student's activations.

mod limit;

use burn::backend::Autodiff;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use burn_flex::Flex;
use criterion::{BenchmarkId, Criterion, Throughput};
use lasnn_core::{Seed, Stream};
use lasnn_distillation::{Distance, attention_distance, attention_map};
use std::hint::black_box;

use crate::limit::{Machine, Work};

/// The shape `[batch, channels, height, width]` of the student's firing rates.
const STUDENT: [usize; 4] = [32, 64, 16, 16];
/// The shape of the teacher's feature maps. They are larger, so their attention map is pooled.
const TEACHER: [usize; 4] = [32, 32, 32, 32];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    attention::<Flex>(&mut criterion, "CPU, Flex", Machine::measure());
    criterion.final_summary();
}

fn attention<B: Backend>(criterion: &mut Criterion, device_name: &str, machine: Machine) {
    let device = B::Device::default();
    let mut group = criterion.benchmark_group(format!("attention ({device_name})"));
    group.throughput(Throughput::Elements(STUDENT[0] as u64));

    let features = features::<B>(STUDENT, 0, &device);
    let [student, teacher] = [STUDENT, TEACHER].map(|shape| shape.iter().product::<usize>() as u64);
    // A multiplication and an addition per activation, which is read once.
    let work = Work { additions: 2 * student, bytes: 4 * student };
    let id = BenchmarkId::from_parameter("map");
    machine.bench(&mut group, id, work, || finish::<B>(attention_map(features.clone()), &device));
    // The same for the teacher. The student is read again, and its gradient is written.
    let work =
        Work { additions: 2 * (student + teacher) + student, bytes: 4 * (3 * student + teacher) };

    let student = Tensor::<Autodiff<B>, 4>::from_inner(features);
    let teacher = Tensor::<Autodiff<B>, 4>::from_inner(self::features::<B>(TEACHER, 1, &device));
    for (name, distance) in [("norm", Distance::Norm), ("mean-square", Distance::MeanSquare)] {
        machine.bench(&mut group, BenchmarkId::new("loss and gradient", name), work, || {
            let student = student.clone().require_grad();
            let maps = [student.clone(), teacher.clone()].map(attention_map);
            let [of_student, of_teacher] = maps;
            let loss = attention_distance(of_student, of_teacher, distance);
            finish::<B>(student.grad(&loss.backward()), &device);
        });
    }
    group.finish();
}

/// Activations after a ReLU: half of them are zero.
fn features<B: Backend>(shape: [usize; 4], key: u32, device: &B::Device) -> Tensor<B, 4> {
    let draws = Seed(1).draws(Stream::Test, [key, 0, 0]);
    let values = draws.normals(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), device).clamp_min(0.0)
}

/// Waits until the device has finished, so that the clock is read after that.
fn finish<B: Backend>(result: impl Sized, device: &B::Device) {
    B::sync(device).unwrap_or_else(|error| panic!("the device failed: {error:?}"));
    drop(black_box(result));
}
