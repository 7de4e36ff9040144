//! Which tensors an optimiser changes, and which state it saves.

use burn::module::AutodiffModule;
use burn_flex::Flex;
use lasnn_core::{BatchSource, Pass};
use lasnn_nn::{BatchTensors, Objective, StateDict, StateError, state};
use lasnn_training::{Adam, CrossEntropy, Gradients, Optimizer, OptimizerConfig};

use crate::tiny::{SEED, TRAIN, Tiny, Train, bits, sgd};

fn amsgrad() -> OptimizerConfig {
    OptimizerConfig::Adam(Adam { amsgrad: true, ..Adam::new(0.01) })
}

/// The gradients of the first batch of an epoch.
fn gradients(model: &Tiny<Train>, epoch: u32) -> Gradients<Flex> {
    let device = Default::default();
    let batch = TRAIN.epoch(epoch, 0).next().unwrap();
    let pass = Pass::train(SEED, epoch, &batch.samples);
    let loss =
        CrossEntropy.loss(model, batch.images(&device), batch.targets::<Train>(&device), &pass);
    Gradients::collect::<Train, _>(model, loss.total.backward())
}

fn step(model: Tiny<Train>, optimizer: &mut Optimizer<Flex>, epoch: u32) -> Tiny<Train> {
    let gradients = gradients(&model, epoch);
    optimizer.step(model, gradients, 1.0)
}

#[test]
fn only_parameters_with_a_gradient_change() {
    let model = Tiny::new(false, 0.0);
    let before = state::save(&model.valid());
    let mut optimizer = Optimizer::new(sgd(0.01));
    let model = step(model, &mut optimizer, 0);
    let after = state::save(&model.valid());
    let changed: Vec<&str> = before
        .iter()
        .filter(|(name, data)| data.as_bytes() != after[*name].as_bytes())
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(changed, ["classifier.bias", "classifier.weight", "conv.bias", "conv.weight"]);
    let state = optimizer.state();
    let names: Vec<&String> = state.keys().collect();
    assert_eq!(
        names,
        [
            "momentum.classifier.bias",
            "momentum.classifier.weight",
            "momentum.conv.bias",
            "momentum.conv.weight"
        ]
    );
    // The updated parameters have gradients at the next step.
    assert!(gradients(&model, 1).get("conv.weight").is_some());
    assert!(gradients(&model, 1).get("threshold").is_none());
}

/// A batch norm holds updates of its running statistics back until they are read. An optimiser's
/// step before that must not lose them.
#[test]
fn a_step_loses_no_running_statistics() {
    let statistics = |model: &Tiny<Train>| {
        let mut state = state::save(&model.valid());
        state.retain(|name, _| name.starts_with("norm.running"));
        assert_eq!(state.len(), 2);
        bits(&state)
    };
    let fresh = statistics(&Tiny::new(true, 0.0));

    let forward_only = Tiny::new(true, 0.0);
    drop(gradients(&forward_only, 0));
    let expected = statistics(&forward_only);
    assert_ne!(expected, fresh);

    for rule in [sgd(0.01), amsgrad()] {
        let stepped = step(Tiny::new(true, 0.0), &mut Optimizer::new(rule), 0);
        assert_eq!(statistics(&stepped), expected);
    }
}

#[test]
fn a_restored_optimizer_continues_with_the_same_bits() {
    for rule in [sgd(0.01), amsgrad()] {
        let mut optimizer = Optimizer::new(rule.clone());
        let mut model = Tiny::new(false, 0.0);
        for epoch in 0..3 {
            model = step(model, &mut optimizer, epoch);
        }
        let saved = optimizer.state();
        assert_eq!(saved[&format!("{}.conv.weight", kind(&rule))].shape.rank(), 4);
        let mut restored =
            Optimizer::restore(rule, optimizer.steps(), saved, &model, &Default::default())
                .unwrap();

        let on = step(model.clone(), &mut optimizer, 3);
        let again = step(model, &mut restored, 3);
        assert_eq!(bits(&state::save(&on)), bits(&state::save(&again)));
        assert_eq!(bits(&optimizer.state()), bits(&restored.state()));
        assert_eq!(restored.steps(), 4);
    }
}

fn kind(rule: &OptimizerConfig) -> &'static str {
    match rule {
        OptimizerConfig::Sgd(_) => "momentum",
        OptimizerConfig::Adam(_) => "max_exp_avg_sq",
    }
}

#[test]
fn a_state_that_does_not_fit_the_network_is_an_error() {
    let mut optimizer = Optimizer::new(sgd(0.01));
    let model = step(Tiny::new(false, 0.0), &mut optimizer, 0);
    let refuses = |rule: OptimizerConfig, state: StateDict| {
        Optimizer::<Flex>::restore(rule, 1, state, &model, &Default::default()).unwrap_err()
    };
    let unknown = |name: &str| StateError::Unknown { name: name.into() };
    assert_eq!(refuses(amsgrad(), optimizer.state()), unknown("momentum.classifier.bias"));

    let mut state = optimizer.state();
    let data = state.remove("momentum.conv.bias").unwrap();
    state.insert("momentum.conv.slope".into(), data.clone());
    assert_eq!(refuses(sgd(0.01), state), unknown("momentum.conv.slope"));

    let mut state = optimizer.state();
    state.insert("momentum.classifier.bias".into(), data);
    assert_eq!(
        refuses(sgd(0.01), state),
        StateError::WrongShape {
            name: "momentum.classifier.bias".into(),
            found: vec![4],
            expected: vec![3]
        }
    );
}
