//! Groups of parameters with learning rates and weight decays of their own, and the ranges of
//! parameters.

use std::sync::atomic::{AtomicBool, Ordering};

use burn::module::{AutodiffModule, Module, Param};
use burn::tensor::{Tensor, backend::Backend};
use burn_flex::Flex;
use lasnn_core::{BatchSource, Pass};
use lasnn_nn::{BatchTensors, Objective, StateDict, state};
use lasnn_training::{
    Adam, Checkpoint, CrossEntropy, Gradients, Group, Groups, LAST, Observer, Optimizer,
    OptimizerConfig, ParamKind, Sgd, StepInfo, TrainConfig, TrainError,
};

use crate::tiny::{SEED, TRAIN, Tiny, Train, bits, config, sgd, train, train_all};

fn adam() -> OptimizerConfig {
    OptimizerConfig::Adam(Adam::new(0.02))
}

fn rate(learning_rate: f64) -> Group {
    Group { learning_rate: Some(learning_rate), weight_decay: None }
}

/// The tensors after one step on the first batch.
fn stepped(rule: OptimizerConfig, groups: Groups, factor: f64) -> StateDict {
    let (model, device) = (Tiny::new(true, 0.0), Default::default());
    let batch = TRAIN.epoch(0, 0).next().unwrap();
    let pass = Pass::train(SEED, 0, &batch.samples);
    let targets = batch.targets::<Train>(&device);
    let loss = CrossEntropy.loss(&model, batch.images(&device), targets, &pass);
    let gradients = Gradients::collect::<Train, _>(&model, loss.total.backward());
    let mut optimizer = Optimizer::<Flex>::new(rule).with_groups(groups);
    let mut state = state::save(&optimizer.step(model, gradients, factor));
    state.retain(|name, _| !name.contains("running"));
    state
}

/// Each parameter gets the bits that an optimiser with the numbers of its group gives all of them.
#[test]
fn a_group_is_an_optimizer_of_its_own() {
    for rule in [sgd(0.01), adam()] {
        let kinds = [ParamKind::Weight, ParamKind::Bias, ParamKind::Norm];
        let rates = [0.03, 0.5, 0.0];
        let groups = kinds.into_iter().zip(rates.map(rate)).collect();
        let found = stepped(rule.clone(), groups, 0.1);
        for (kind, rate) in kinds.into_iter().zip(rates) {
            let decay = rule.weight_decay();
            let expected = stepped(rule.clone().with(rate, decay), Groups::default(), 0.1);
            for (name, tensor) in found.iter().filter(|(name, _)| ParamKind::of(name) == kind) {
                assert_eq!(tensor.as_bytes(), expected[name].as_bytes(), "{name}");
            }
        }
        let initial = state::save(&Tiny::new(true, 0.0));
        for (name, changes) in [("conv.weight", true), ("conv.bias", true), ("norm.gamma", false)] {
            assert_eq!(found[name].as_bytes() != initial[name].as_bytes(), changes, "{name}");
        }
    }
}

#[derive(Module, Debug)]
struct Neurons<B: Backend> {
    weight: Param<Tensor<B, 1>>,
    threshold: Param<Tensor<B, 1>>,
    leak: Param<Tensor<B, 1>>,
}

/// The parameters after a step in which all gradients are 0 and the weights decay by a tenth.
fn decayed(groups: Groups) -> Vec<f32> {
    let one = || Param::from_data([1.0f32], &Default::default());
    let model = Neurons::<Train> { weight: one(), threshold: one(), leak: one() };
    let sum = model.weight.val() + model.threshold.val() + model.leak.val();
    let gradients = Gradients::collect::<Train, _>(&model, (sum * 0.0).backward());
    let rule = OptimizerConfig::Sgd(Sgd { weight_decay: 0.1, ..Sgd::new(1.0) });
    let model = Optimizer::<Flex>::new(rule).with_groups(groups).step(model, gradients, 1.0);
    let values = [model.weight, model.threshold, model.leak];
    values.iter().flat_map(|param| param.val().into_data().to_vec::<f32>().unwrap()).collect()
}

#[test]
fn parameters_of_neurons_decay_only_if_their_group_says_so() {
    assert_eq!(decayed(Groups::default()), [0.9, 1.0, 1.0]);
    let half = Group { learning_rate: None, weight_decay: Some(0.5) };
    assert_eq!(decayed(Groups::from_iter([(ParamKind::Leak, half)])), [0.9, 1.0, 0.5]);
}

/// An observer that sets the stop flag after each step.
struct StopAtOnce<'a>(&'a AtomicBool);

impl Observer for StopAtOnce<'_> {
    fn step(&mut self, _: StepInfo) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A run that is interrupted after every step ends with the bits of one that is not. Groups and
/// ranges apply to each step.
#[test]
fn groups_and_ranges_are_kept_on_resuming() {
    const LARGEST: f32 = -0.25;
    let model = || Tiny::new(false, 0.3).with_largest_bias(f64::from(LARGEST));
    let biases = |state: &StateDict| state["conv.bias"].to_vec::<f32>().unwrap();
    let initial = biases(&state::save(&model()));
    assert!(initial.iter().any(|&bias| bias > LARGEST), "{initial:?}");
    for rule in [sgd(0.2), adam()] {
        let groups = Groups::from_iter([
            (ParamKind::Weight, rate(0.01)),
            (ParamKind::Bias, Group { learning_rate: Some(0.1), weight_decay: Some(0.0) }),
        ]);
        let config = TrainConfig { groups, ..config(rule) };
        let dir = tempfile::tempdir().unwrap();
        let expected = train_all(model(), &config, dir.path());
        let last = |dir: &std::path::Path| bits(&Checkpoint::load(&dir.join(LAST)).unwrap().state);
        let expected_last = last(dir.path());

        let dir = tempfile::tempdir().unwrap();
        let found = loop {
            let stop = AtomicBool::new(false);
            match train(model(), &config, dir.path(), true, &stop, &mut StopAtOnce(&stop)) {
                Err(TrainError::Interrupted { .. }) => {}
                other => break other.unwrap(),
            }
        };
        assert_eq!(last(dir.path()), expected_last);
        let [expected, found] = [expected, found].map(|fitted| state::save(&fitted.model.valid()));
        assert_eq!(bits(&found), bits(&expected));
        let biases = biases(&found);
        assert!(biases.iter().all(|&bias| bias <= LARGEST), "{biases:?}");
    }
}
