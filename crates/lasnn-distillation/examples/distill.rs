//! The losses of a spiking student with an ordinary teacher: cross-entropy, and the distance of
//! their attention maps at three depths.
//!
//! `cargo run -p lasnn-distillation --example distill`

#![allow(clippy::print_stdout)]

use std::error::Error;

use burn::backend::Autodiff;
use burn::tensor::{Distribution, Tensor};
use burn_flex::Flex;
use lasnn_core::{Architecture, Layer, Pass, Plan, Seed, Shape, Tap};
use lasnn_distillation::{LossConfig, StudentObjective, Subject, check};
use lasnn_models::{Init, Network};
use lasnn_nn::{Objective, state};
use lasnn_snn::{SpikingConfig, SpikingNetwork};

/// A backend with gradients, on which the student is trained.
type Train = Autodiff<Flex>;

/// The number of time steps of the student.
const TIME_STEPS: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let device = Default::default();
    // The teacher is wider than the student. Their taps must be at the same depths.
    let (teacher_plan, student_plan) = (plan("teacher", 32)?, plan("student", 8)?);
    let losses = LossConfig::paper();
    let ordinary_teacher = Some(Subject::ordinary(&teacher_plan));
    check(&losses, Subject::spiking(&student_plan, TIME_STEPS), ordinary_teacher)?;
    let teacher = Network::<Flex>::new(&teacher_plan, Init::Kaiming, Seed(1), &device);

    // The student gets the weights of an ordinary network of the same layers, by name.
    let config = SpikingConfig::default();
    let student = SpikingNetwork::<Train>::new(&student_plan, &config, TIME_STEPS, &device)?;
    let ordinary = Network::<Flex>::new(&student_plan, Init::Kaiming, Seed(2), &device);
    let mut tensors = state::save(&student);
    tensors.extend(state::save::<Flex, _>(&ordinary));
    let student = state::load(student, tensors)?;

    let images = Tensor::<Train, 4>::random([2, 3, 16, 16], Distribution::Default, &device);
    let labels = Tensor::from_data([3, 7], &device);
    let pass = Pass::train(Seed(1), 0, &[0, 1]);
    let objective = StudentObjective::new(&losses, Some(teacher), student.time_steps())?;
    let loss = objective.loss(&student, images, labels, &pass);

    for part in loss.parts {
        println!("{:16}  {:.4}", part.name, part.value.into_scalar());
    }
    println!("{:16}  {:.4}", "total", loss.total.clone().into_scalar());
    // `lasnn_training::fit` minimises this loss; one step of it begins with the gradients.
    loss.total.backward();
    Ok(())
}

fn plan(name: &str, channels: usize) -> Result<Plan, Box<dyn Error>> {
    let layers = vec![
        Layer::conv(channels).tapped(Tap::Low),
        Layer::AveragePool { size: 2 },
        Layer::conv(2 * channels).tapped(Tap::Middle),
        Layer::conv(2 * channels).tapped(Tap::High),
        Layer::GlobalAveragePool {},
        Layer::Classifier { bias: false },
    ];
    let image = Shape { channels: 3, height: 16, width: 16 };
    Ok(Architecture { name: name.into(), layers }.plan(image, 10)?)
}
