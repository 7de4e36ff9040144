//! Losses of the student and their gradients against PyTorch (`golden/make_losses.py`).

// All of this is a test, the helpers too.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use burn::backend::Autodiff;
use burn::tensor::{Int, Tensor, TensorData};
use burn_flex::Flex;
use lasnn_core::Tap;
use lasnn_distillation::{LossConfig, LossInputs};
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
    loss: LossConfig,
    time_steps: usize,
    labels: Vec<i32>,
    student: Values,
    teacher: Values,
    value: f64,
    gradients: Values,
}

/// What a pass has returned, or the gradients with respect to it.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct Values {
    logits_by_step: Option<Array>,
    spike_counts: Vec<Array>,
    attention: BTreeMap<Tap, Array>,
    activation_maps: BTreeMap<Tap, Array>,
    gradient_maps: BTreeMap<Tap, Array>,
}

#[derive(Deserialize)]
struct Array {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Array {
    fn leaf<const D: usize>(&self) -> Tensor<B, D> {
        let data = TensorData::new(self.data.clone(), self.shape.clone());
        Tensor::from_data(data, &Default::default()).require_grad()
    }
}

fn leaves(maps: &BTreeMap<Tap, Array>) -> BTreeMap<Tap, Tensor<B, 4>> {
    maps.iter().map(|(&tap, map)| (tap, map.leaf())).collect()
}

impl Values {
    fn observations(&self, images: usize) -> Observations<B> {
        let by_step = self.logits_by_step.as_ref().map(Array::leaf::<3>);
        let logits = match &by_step {
            Some(logits) => logits.clone().mean_dim(0).squeeze_dim(0),
            None => Tensor::zeros([images, 2], &Default::default()),
        };
        Observations {
            logits_by_step: by_step,
            spike_counts: self.spike_counts.iter().map(Array::leaf).collect(),
            attention: leaves(&self.attention),
            activation_maps: leaves(&self.activation_maps),
            gradient_maps: leaves(&self.gradient_maps),
            ..Observations::new(logits)
        }
    }
}

#[track_caller]
fn close(name: &str, found: f64, expected: f64, scale: f64) {
    let error = (found - expected).abs();
    assert!(error <= 1e-4 * scale, "{name}: {found} instead of {expected}");
}

/// Compares gradients. Numbers are compared on the scale of the largest one.
#[track_caller]
fn check_gradient<const D: usize>(name: &str, found: Option<Tensor<Flex, D>>, expected: &Array) {
    let found: Vec<f64> = match found {
        Some(found) => found.into_data().iter().collect(),
        None => vec![0.0; expected.data.len()],
    };
    assert_eq!(found.len(), expected.data.len(), "{name}");
    let largest = expected.data.iter().fold(0.0f32, |max, x| max.max(x.abs()));
    for (found, &expected) in found.into_iter().zip(&expected.data) {
        close(&format!("{name}, gradient"), found, expected.into(), largest.max(1e-6).into());
    }
}

#[test]
fn losses_and_gradients_equal_pytorch() {
    let golden: Golden = serde_json::from_str(include_str!("golden/losses.json")).unwrap();
    assert!(!golden.cases.is_empty());
    for case in &golden.cases {
        let name = format!("{}, {:?}", case.name, case.loss);
        let student = case.student.observations(case.labels.len());
        let teacher = case.teacher.observations(case.labels.len());
        let labels = Tensor::<B, 1, Int>::from_ints(&case.labels[..], &Default::default());
        let inputs = LossInputs {
            student: &student,
            teacher: Some(&teacher),
            targets: &labels,
            time_steps: case.time_steps,
        };
        let parts = case.loss.as_loss::<B>().parts(&inputs);
        let [part] = &parts[..] else { panic!("{name}: one part") };
        assert_eq!(part.value.dims(), [1], "{name}");
        let gradients = part.value.backward();
        close(&name, part.value.clone().into_scalar().into(), case.value, case.value.abs());
        if let Some(expected) = &case.gradients.logits_by_step {
            let leaf = student.logits_by_step.as_ref().unwrap();
            check_gradient(&name, leaf.grad(&gradients), expected);
        }
        for (leaf, expected) in student.spike_counts.iter().zip(&case.gradients.spike_counts) {
            check_gradient(&name, leaf.grad(&gradients), expected);
        }
        for (tap, expected) in &case.gradients.attention {
            check_gradient(&name, student.attention[tap].grad(&gradients), expected);
        }
        for (tap, expected) in &case.gradients.activation_maps {
            check_gradient(&name, student.activation_maps[tap].grad(&gradients), expected);
        }
    }
}
