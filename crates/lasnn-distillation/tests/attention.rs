//! Attention losses and gradients against PyTorch (`golden/make_golden.py`), and the objective that
//! sums them.

// All of this is a test, the helpers too.
#![allow(clippy::unwrap_used)]

use burn::backend::Autodiff;
use burn::tensor::{Int, Tensor, TensorData, Tolerance};
use burn_flex::Flex;
use lasnn_core::{Pass, Seed, Tap};
use lasnn_distillation::{
    AttentionConfig, Distance, Distillation, DistillationConfig, attention_distance, attention_map,
};
use lasnn_nn::{Features, Objective, Tapped};
use serde::Deserialize;

type B = Autodiff<Flex>;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    student: Array,
    teacher: Array,
    norm: Expected,
    mean_square: Expected,
}

#[derive(Deserialize)]
struct Expected {
    loss: f32,
    student_grad: Array,
}

#[derive(Deserialize)]
struct Array {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Array {
    fn data(&self) -> TensorData {
        TensorData::new(self.data.clone(), self.shape.clone())
    }

    fn tensor(&self) -> Tensor<B, 4> {
        Tensor::from_data(self.data(), &Default::default())
    }
}

fn check(case: &Case, distance: Distance, expected: &Expected) {
    let student = case.student.tensor().require_grad();
    let loss = self::distance(student.clone(), case.teacher.tensor(), distance);
    let gradients = loss.backward();
    let found = loss.into_scalar();
    let name = &case.name;
    assert!((found - expected.loss).abs() < 1e-5, "{name}: {found}, PyTorch {}", expected.loss);
    let gradient = student.grad(&gradients).unwrap().into_data();
    gradient.assert_approx_eq::<f32>(&expected.student_grad.data(), Tolerance::rel_abs(1e-4, 1e-6));
}

#[test]
fn losses_and_gradients_equal_pytorch() {
    let golden: Golden = serde_json::from_str(include_str!("golden/attention.json")).unwrap();
    assert_eq!(golden.cases.len(), 6);
    for case in &golden.cases {
        check(case, Distance::Norm, &case.norm);
        check(case, Distance::MeanSquare, &case.mean_square);
    }
}

#[test]
fn the_scale_of_a_map_does_not_matter() {
    let case = |scale: f32| {
        let golden: Golden = serde_json::from_str(include_str!("golden/attention.json")).unwrap();
        let student = golden.cases[0].student.tensor() * scale;
        let teacher = golden.cases[0].teacher.tensor();
        distance(student, teacher, Distance::Norm).into_scalar()
    };
    assert!((case(1.0) - case(1e-7)).abs() < 1e-5);
}

#[test]
fn equal_maps_have_no_distance_and_a_finite_gradient() {
    let features = Tensor::<B, 4>::ones([2, 3, 4, 4], &Default::default()).require_grad();
    let loss = distance(features.clone(), features.clone().detach(), Distance::Norm);
    let gradients = loss.backward();
    assert!(loss.into_scalar() < 1e-3);
    let gradient = features.grad(&gradients).unwrap().abs().sum().into_scalar();
    assert!(gradient.is_finite(), "{gradient}");
}

fn distance(student: Tensor<B, 4>, teacher: Tensor<B, 4>, distance: Distance) -> Tensor<B, 1> {
    attention_distance(attention_map(student), attention_map(teacher), distance)
}

/// A network that returns the same features for all images.
#[derive(Clone)]
struct Fixed<B: burn::tensor::backend::Backend>(Features<B>);

impl<B: burn::tensor::backend::Backend> Tapped<B> for Fixed<B> {
    fn features(&self, _: Tensor<B, 4>, _: &Pass<'_>) -> Features<B> {
        self.0.clone()
    }
}

fn fixed<B: burn::tensor::backend::Backend>(size: usize, slope: f32) -> Fixed<B> {
    let device = Default::default();
    let map = |height: usize| {
        let count = (2 * 3 * height * height) as i64;
        let ramp = Tensor::<B, 1, Int>::arange(0..count, &device).float() * slope + 1.0;
        ramp.sin().reshape([2, 3, height, height])
    };
    let logits = Tensor::from_data([[1.0, 2.0], [0.5, -1.0]], &device);
    let taps = [(Tap::Low, map(size)), (Tap::Middle, map(size / 2)), (Tap::High, map(size / 4))];
    Fixed(Features { logits, taps: taps.into() })
}

#[test]
fn the_total_is_the_weighted_sum_of_the_parts() {
    let config = AttentionConfig { weight: 0.5, ..Default::default() };
    let objective =
        Distillation::new(fixed::<Flex>(8, 0.3), &DistillationConfig::Attention(config));
    let device = Default::default();
    let images = Tensor::<B, 4>::zeros([2, 1, 8, 8], &device);
    let targets = Tensor::from_data([1, 0], &device);
    let pass = Pass::train(Seed(1), 0, &[0, 1]);
    let loss = objective.loss(&fixed::<B>(16, 0.7), images, targets, &pass);
    let names: Vec<&str> = loss.parts.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["cross_entropy", "attention_low", "attention_middle", "attention_high"]);
    let values: Vec<f32> = loss.parts.iter().map(|p| p.value.clone().into_scalar()).collect();
    assert!(values[1..].iter().all(|&value| value > 0.0), "{values:?}");
    let expected = values[0] + 0.5 * values[1..].iter().sum::<f32>();
    assert!((loss.total.into_scalar() - expected).abs() < 1e-5);
    // -log softmax, worked out: log(1 + e^-1) for the first image, log(1 + e^-1.5) for the second.
    let by_hand = ((-1f32).exp().ln_1p() + (-1.5f32).exp().ln_1p()) / 2.0;
    assert!((values[0] - by_hand).abs() < 1e-5, "{} {by_hand}", values[0]);
}
