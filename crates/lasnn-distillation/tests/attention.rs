//! The distance of attention maps and its gradient against PyTorch (`golden/make_golden.py`).

// All of this is a test, the helpers too.
#![allow(clippy::unwrap_used)]

use burn::backend::Autodiff;
use burn::tensor::{Tensor, TensorData, Tolerance};
use burn_flex::Flex;
use lasnn_distillation::{Distance, attention_distance, attention_map};
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
