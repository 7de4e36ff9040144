//! The objective: the weighted sum of losses, their names, and when the teacher runs.

// All of this is a test, the helpers too.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;

use burn::backend::Autodiff;
use burn::tensor::{Int, Tensor, backend::Backend};
use burn_flex::Flex;
use lasnn_core::{Mode, Pass, Probe, Probes, Seed, Tap};
use lasnn_distillation::{Attention, CrossEntropy, Logits, LossConfig, On, StudentObjective};
use lasnn_nn::{Loss, Objective, Observable, Observations, attention_map};

type B = Autodiff<Flex>;

const TIME_STEPS: usize = 4;

/// A network that returns the same values for all images, and remembers what was requested.
struct Fixed {
    size: usize,
    slope: f32,
    requested: RefCell<Vec<(Mode, Probes)>>,
}

impl Fixed {
    fn new(size: usize, slope: f32) -> Self {
        Self { size, slope, requested: RefCell::default() }
    }
}

impl<B: Backend> Observable<B> for Fixed {
    fn observe(&self, _: Tensor<B, 4>, pass: &Pass<'_>, probes: &Probes) -> Observations<B> {
        self.requested.borrow_mut().push((pass.mode, probes.clone()));
        let device = Default::default();
        let map = |height: usize| {
            let count = (2 * 3 * height * height) as i64;
            let ramp = Tensor::<B, 1, Int>::arange(0..count, &device).float() * self.slope + 1.0;
            attention_map(ramp.sin().reshape([2, 3, height, height]))
        };
        let logits = Tensor::from_floats([[1.0, 2.0], [0.5, -1.0]], &device);
        let mut observations = Observations::new(logits.clone());
        for (tap, height) in Tap::ALL.into_iter().zip([self.size, self.size / 2, self.size / 4]) {
            if probes.contains(Probe::Attention(tap)) {
                observations.attention.insert(tap, map(height));
            }
        }
        if probes.contains(Probe::LogitsByStep) {
            observations.logits_by_step = Some(logits.unsqueeze_dim(0).repeat_dim(0, TIME_STEPS));
        }
        observations
    }
}

fn run(losses: &[LossConfig], student: &Fixed, teacher: Option<&Fixed>) -> Loss<B> {
    struct Borrowed<'a>(&'a Fixed);
    impl<B: Backend> Observable<B> for Borrowed<'_> {
        fn observe(&self, x: Tensor<B, 4>, pass: &Pass<'_>, probes: &Probes) -> Observations<B> {
            self.0.observe(x, pass, probes)
        }
    }
    let objective = StudentObjective::new(losses, teacher.map(Borrowed), TIME_STEPS).unwrap();
    let device = Default::default();
    let images = Tensor::<B, 4>::zeros([2, 1, 8, 8], &device);
    let targets = Tensor::from_ints([1, 0], &device);
    objective.loss(student, images, targets, &Pass::train(Seed(1), 0, &[0, 1]))
}

fn names_and_values(loss: &Loss<B>) -> Vec<(&str, f32)> {
    loss.parts.iter().map(|part| (part.name.as_str(), part.value.clone().into_scalar())).collect()
}

fn cross_entropy(on: On, weight: f64) -> LossConfig {
    LossConfig::CrossEntropy(CrossEntropy { on, weight })
}

#[test]
fn the_total_is_the_weighted_sum_of_the_parts() {
    let attention = Attention { weight: 0.5, ..Default::default() };
    let losses = [cross_entropy(On::Mean, 2.0), LossConfig::Attention(attention)];
    let loss = run(&losses, &Fixed::new(16, 0.7), Some(&Fixed::new(8, 0.3)));
    let parts = names_and_values(&loss);
    let names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["cross_entropy", "attention_low", "attention_middle", "attention_high"]);
    let values: Vec<f32> = parts.iter().map(|(_, value)| *value).collect();
    assert!(values[1..].iter().all(|&value| value > 0.0), "{values:?}");
    let expected = 2.0 * values[0] + 0.5 * values[1..].iter().sum::<f32>();
    assert!((loss.total.into_scalar() - expected).abs() < 1e-5);
    // -log softmax, worked out: log(1 + e^-1) for the first image, log(1 + e^-1.5) for the second.
    let by_hand = ((-1f32).exp().ln_1p() + (-1.5f32).exp().ln_1p()) / 2.0;
    assert!((values[0] - by_hand).abs() < 1e-5, "{} {by_hand}", values[0]);
}

#[test]
fn the_second_loss_of_one_kind_has_a_name_of_its_own() {
    let attention = Attention { taps: vec![Tap::Low], ..Default::default() };
    let attention = LossConfig::Attention(attention);
    let losses = [
        cross_entropy(On::Mean, 1.0),
        attention.clone(),
        cross_entropy(On::Step, 1.0),
        attention.clone(),
        attention,
    ];
    let loss = run(&losses, &Fixed::new(16, 0.7), Some(&Fixed::new(8, 0.3)));
    let parts = names_and_values(&loss);
    let names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
    let low = ["attention_low", "attention_low_2", "attention_low_3"];
    assert_eq!(names, ["cross_entropy", low[0], "cross_entropy_2", low[1], low[2]]);
    // The logits of all steps are equal.
    assert!((parts[0].1 - parts[2].1).abs() < 1e-6, "{parts:?}");
}

#[test]
fn networks_return_only_what_the_losses_look_at() {
    let (student, teacher) = (Fixed::new(16, 0.7), Fixed::new(8, 0.3));
    let attention = Attention { taps: vec![Tap::High], ..Default::default() };
    let losses = [cross_entropy(On::Step, 1.0), LossConfig::Attention(attention)];
    run(&losses, &student, Some(&teacher));
    let high = Probe::Attention(Tap::High);
    let requested = [(Mode::Train, Probes::from([Probe::LogitsByStep, high]))];
    assert_eq!(student.requested.borrow()[..], requested);
    assert_eq!(teacher.requested.borrow()[..], [(Mode::Evaluate, Probes::from([high]))]);
}

#[test]
fn a_teacher_that_no_loss_needs_does_not_run() {
    let (student, teacher) = (Fixed::new(16, 0.7), Fixed::new(8, 0.3));
    run(&[cross_entropy(On::Sum, 1.0)], &student, Some(&teacher));
    assert!(teacher.requested.borrow().is_empty());
    assert_eq!(student.requested.borrow()[..], [(Mode::Train, Probes::NONE)]);
    run(&[LossConfig::Logits(Logits::default())], &student, Some(&teacher));
    assert_eq!(teacher.requested.borrow()[..], [(Mode::Evaluate, Probes::NONE)]);
}

#[test]
fn a_loss_without_its_teacher_is_an_error() {
    let error = StudentObjective::<Fixed>::new(&LossConfig::paper(), None, TIME_STEPS);
    let error = error.err().unwrap().to_string();
    assert!(error.contains("`losses[1]` (attention)"), "{error}");
}

#[test]
fn the_sum_is_the_mean_times_the_number_of_steps() {
    let student = Fixed::new(16, 0.7);
    let value = |on| run(&[cross_entropy(on, 1.0)], &student, None).total.into_scalar();
    let row = |difference: f32| (-difference).exp().ln_1p();
    let expected = (row(4.0) + row(6.0)) / 2.0;
    assert!((value(On::Sum) - expected).abs() < 1e-6, "{} {expected}", value(On::Sum));
    assert!(value(On::Mean) > value(On::Sum));
}
