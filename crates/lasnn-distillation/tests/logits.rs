//! The losses on logits and their gradients against formulas in double precision
//! (`golden/make_logits.py`).

// All of this is a test, the helpers too.
#![allow(clippy::unwrap_used)]

use burn::backend::Autodiff;
use burn::tensor::{Int, Tensor, TensorData};
use burn_flex::Flex;
use lasnn_distillation::{CrossEntropy, Logits, LossConfig, LossInputs, On};
use lasnn_nn::Observations;
use serde::Deserialize;

type B = Autodiff<Flex>;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    temperature: f64,
    student: Array,
    teacher: Array,
    labels: Vec<i32>,
    cross_entropy: Variants,
    logits: Variants,
}

#[derive(Deserialize)]
struct Variants {
    mean: Expected,
    sum: Expected,
    step: Expected,
}

impl Variants {
    fn all(&self) -> [(On, &Expected); 3] {
        [(On::Mean, &self.mean), (On::Sum, &self.sum), (On::Step, &self.step)]
    }
}

#[derive(Deserialize)]
struct Expected {
    loss: f64,
    student_grad: Array,
}

#[derive(Deserialize)]
struct Array {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Array {
    fn tensor<const D: usize>(&self) -> Tensor<B, D> {
        let data = TensorData::new(self.data.clone(), self.shape.clone());
        Tensor::from_data(data, &Default::default())
    }
}

#[track_caller]
fn close(name: &str, found: f64, expected: f64) {
    let error = (found - expected).abs();
    assert!(error <= 1e-5 * expected.abs().max(1.0), "{name}: {found} instead of {expected}");
}

/// The loss and its gradient with respect to the student's logits of each step.
fn check(case: &Case, loss: &LossConfig, expected: &Expected) {
    let by_step = case.student.tensor::<3>().require_grad();
    let mean = by_step.clone().mean_dim(0).squeeze_dim::<2>(0);
    let student = Observations { logits_by_step: Some(by_step.clone()), ..Observations::new(mean) };
    let teacher = Observations::new(case.teacher.tensor::<2>());
    let labels = Tensor::<B, 1, Int>::from_ints(&case.labels[..], &Default::default());
    let inputs = LossInputs {
        student: &student,
        teacher: Some(&teacher),
        targets: &labels,
        time_steps: case.student.shape[0],
    };
    let name = format!("{}, {loss:?}", case.name);
    let [part] = &loss.as_loss::<B>().parts(&inputs)[..] else { panic!("{name}: one part") };
    assert_eq!(part.value.dims(), [1], "{name}");
    let gradients = part.value.backward();
    close(&name, part.value.clone().into_scalar().into(), expected.loss);
    let found: Vec<f64> = by_step.grad(&gradients).unwrap().into_data().iter().collect();
    assert_eq!(found.len(), expected.student_grad.data.len(), "{name}");
    for (found, expected) in found.into_iter().zip(&expected.student_grad.data) {
        close(&name, found, f64::from(*expected));
    }
}

#[test]
fn losses_and_gradients_equal_the_formulas() {
    let golden: Golden = serde_json::from_str(include_str!("golden/logits.json")).unwrap();
    assert_eq!(golden.cases.len(), 4);
    for case in &golden.cases {
        for (on, expected) in case.cross_entropy.all() {
            let loss = CrossEntropy { on, ..CrossEntropy::default() };
            check(case, &LossConfig::CrossEntropy(loss), expected);
        }
        for (on, expected) in case.logits.all() {
            let loss = Logits { on, temperature: case.temperature, ..Logits::default() };
            check(case, &LossConfig::Logits(loss), expected);
        }
    }
}

/// The difference of two softmaxes stays finite where probabilities round to 0.
#[test]
fn large_logits_give_finite_values() {
    let device = Default::default();
    let logits = Tensor::<B, 2>::from_floats([[5000.0, -5000.0, 0.0]], &device).require_grad();
    let student = Observations::new(logits.clone());
    let teacher = Observations::new(Tensor::from_floats([[-5000.0, 5000.0, 0.0]], &device));
    let labels = Tensor::<B, 1, Int>::from_ints([1], &device);
    let (teacher, targets) = (Some(&teacher), &labels);
    let inputs = LossInputs { student: &student, teacher, targets, time_steps: 8 };
    let loss = LossConfig::Logits(Logits { temperature: 1.0, ..Logits::default() });
    let value = loss.as_loss::<B>().parts(&inputs)[0].value.clone();
    let gradients = value.backward();
    close("divergence", value.into_scalar().into(), 1e4);
    let gradient: Vec<f32> = logits.grad(&gradients).unwrap().into_data().iter().collect();
    assert_eq!(gradient, [1.0, -1.0, 0.0]);
}
