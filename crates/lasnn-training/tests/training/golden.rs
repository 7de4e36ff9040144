//! Optimisers, clipping and schedules against values from PyTorch (`tests/golden`).

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData, backend::Backend};
use burn_flex::Flex;
use lasnn_nn::state;
use lasnn_training::{Gradients, Optimizer, OptimizerConfig, Position, Schedule};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::tiny::Train;

#[derive(Deserialize)]
struct Array {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl From<&Array> for TensorData {
    fn from(array: &Array) -> Self {
        TensorData::new(array.data.clone(), array.shape.clone())
    }
}

#[derive(Deserialize)]
struct Case {
    name: String,
    optimizer: Value,
    max_norm: Option<f64>,
    gradient_norms: Option<Vec<f64>>,
    initial: [Array; 2],
    gradients: Vec<[Array; 2]>,
    parameters: Vec<[Array; 2]>,
}

#[derive(Module, Debug)]
struct Pair<B: Backend> {
    first: Param<Tensor<B, 1>>,
    second: Param<Tensor<B, 2>>,
}

impl Pair<Train> {
    fn new([first, second]: &[Array; 2]) -> Self {
        let device = Default::default();
        Self {
            first: Param::from_data(TensorData::from(first), &device),
            second: Param::from_data(TensorData::from(second), &device),
        }
    }

    /// The given gradients, by a loss that has them: the sum of each parameter times its gradient.
    fn gradients(&self, [first, second]: &[Array; 2]) -> Gradients<Flex> {
        let device = Default::default();
        let first = Tensor::<Train, 1>::from_data(TensorData::from(first), &device);
        let second = Tensor::<Train, 2>::from_data(TensorData::from(second), &device);
        let loss = (self.first.val() * first).sum() + (self.second.val() * second).sum();
        Gradients::collect::<Train, _>(self, loss.backward())
    }
}

/// The constants of the golden file, which have PyTorch's names, under our names.
fn rule(theirs: &Value) -> OptimizerConfig {
    let mut ours = theirs.as_object().unwrap().clone();
    assert_eq!(ours.remove("dampening").unwrap_or(json!(0.0)), json!(0.0));
    let learning_rate = ours.remove("lr").unwrap();
    ours.insert("learning_rate".into(), learning_rate);
    if let Some(epsilon) = ours.remove("eps") {
        ours.insert("epsilon".into(), epsilon);
    }
    serde_json::from_value(ours.into()).unwrap()
}

#[test]
fn optimizers_and_clipping_equal_pytorch() {
    #[derive(Deserialize)]
    struct Golden {
        cases: Vec<Case>,
    }
    let golden: Golden = serde_json::from_str(include_str!("../golden/optimizers.json")).unwrap();
    for case in golden.cases {
        let rule = rule(&case.optimizer);
        let mut optimizer = Optimizer::<Flex>::new(rule);
        let mut model = Pair::new(&case.initial);
        for (step, (given, expected)) in case.gradients.iter().zip(&case.parameters).enumerate() {
            let place = format!("{}, step {step}", case.name);
            let mut gradients = model.gradients(given);
            if let (Some(max_norm), Some(norms)) = (case.max_norm, &case.gradient_norms) {
                let norm = gradients.norm();
                gradients = gradients.clip(norm, max_norm);
                assert!((norm / norms[step] - 1.0).abs() < 1e-6, "{place}: norm {norm}");
            }
            model = optimizer.step(model, gradients, 1.0);

            let found = state::save(&model);
            for (name, expected) in ["first", "second"].iter().zip(expected) {
                let found = found[*name].to_vec::<f32>().unwrap();
                for (found, expected) in found.iter().zip(&expected.data) {
                    let error = (found - expected).abs();
                    // Two units in the last place of the largest values.
                    assert!(error <= 5e-7 * expected.abs().max(1.0), "{place}: {found} {expected}");
                }
            }
        }
    }
}

#[test]
fn schedules_equal_pytorch() {
    let golden: Value = serde_json::from_str(include_str!("../golden/schedules.json")).unwrap();
    for case in golden["cases"].as_array().unwrap() {
        let schedule = match case["kind"].as_str().unwrap() {
            "cosine" => Schedule::Cosine {},
            _ => Schedule::Steps {
                milestones: serde_json::from_value(case["shares"].clone()).unwrap(),
                factor: case["gamma"].as_f64().unwrap(),
            },
        };
        let whole = |key: &str| case[key].as_u64().unwrap_or(1) as usize;
        let (epochs, steps) = (whole("epochs") as u32, whole("steps"));
        let factors: Vec<f64> = serde_json::from_value(case["factors"].clone()).unwrap();
        assert_eq!(factors.len(), epochs as usize * steps);
        for (index, expected) in factors.into_iter().enumerate() {
            let at = Position { epoch: (index / steps) as u32, epochs, step: index % steps, steps };
            let found = schedule.factor(at);
            let error = (found - expected).abs();
            assert!(error < 1e-8, "{} {at:?}: {found} {expected}", case["name"]);
        }
    }
}
