//! What a built network promises: names, shapes, seeds, dropout.

use burn::tensor::{Tensor, TensorData};
use burn_flex::Flex;
use lasnn_core::{Architecture, Layer, Pass, Plan, Seed, Shape, Tap};
use lasnn_models::{Init, Network, zoo};
use lasnn_nn::Tapped;
use lasnn_nn::state::{self, StateDict};

use crate::zoo::plan;

type B = Flex;

fn build(plan: &Plan, seed: u32) -> Network<B> {
    Network::new(plan, Init::Kaiming, Seed(seed), &Default::default())
}

fn planned(layers: Vec<Layer>, input: [usize; 3], classes: usize) -> Plan {
    let [channels, height, width] = input;
    let architecture = Architecture { name: "test".into(), layers };
    architecture.plan(Shape { channels, height, width }, classes).unwrap()
}

fn ramp(shape: [usize; 4]) -> Tensor<B, 4> {
    let values: Vec<f32> =
        (0..shape.iter().product::<usize>()).map(|i| (i as f32 * 0.37).sin()).collect();
    Tensor::from_data(TensorData::new(values, shape), &Default::default())
}

fn values<const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().to_vec().unwrap()
}

fn block(channels: usize, stride: usize, batch_norm: bool, dropout: f64) -> Layer {
    Layer::Residual { channels, stride, batch_norm, dropout, tap: None }
}

/// One layer of every kind.
fn everything() -> Plan {
    let teacher_conv = Layer::Conv {
        channels: 4,
        kernel: 3,
        stride: 1,
        bias: true,
        batch_norm: true,
        activation: true,
        tap: Some(Tap::Low),
    };
    let plain_conv = Layer::Conv {
        channels: 2,
        kernel: 1,
        stride: 1,
        bias: false,
        batch_norm: false,
        activation: false,
        tap: None,
    };
    planned(
        vec![
            teacher_conv,
            Layer::MaxPool { size: 2 },
            block(4, 1, false, 0.0),
            block(6, 2, true, 0.0).tapped(Tap::Middle),
            Layer::Dense { units: 2, growth: 3, tap: None },
            Layer::Norm { tap: Some(Tap::High) },
            plain_conv,
            Layer::AveragePool { size: 2 },
            Layer::GlobalAveragePool {},
            Layer::Linear { features: 5, bias: true },
            Layer::Dropout { probability: 0.5 },
            Layer::Classifier { bias: true },
        ],
        [3, 8, 8],
        7,
    )
}

#[test]
fn every_named_network_has_its_parameters_and_its_maps() {
    for name in zoo::NAMES {
        let size = match name {
            "teacher-vgg16" => 32,
            "vgg9" | "vgg16" => 16,
            _ => 8,
        };
        let plan = plan(name, Shape { channels: 1, height: size, width: size });
        let network = build(&plan, 1);

        let tensors = state::save(&network);
        let trained = tensors.iter().filter(|(name, _)| !name.contains("running"));
        let parameters: usize = trained.map(|(_, data)| data.num_elements()).sum();
        assert_eq!(parameters, plan.parameters(), "{name}");

        let pass = Pass::evaluate(Seed(0), &[0, 1]);
        let features = network.features(ramp([2, 1, size, size]), &pass);
        assert_eq!(features.logits.dims(), [2, 10], "{name}");
        assert_eq!(features.taps.len(), 3, "{name}");
        for (tap, map) in &features.taps {
            let Shape { channels, height, width } = plan.tap(*tap).unwrap();
            assert_eq!(map.dims(), [2, channels, height, width], "{name} {tap}");
            let values = values(map.clone());
            assert!(values.iter().all(|&v| v >= 0.0), "{name} {tap}: not an activation");
            assert!(values.iter().any(|&v| v > 0.0), "{name} {tap}: silent");
        }
    }
}

#[test]
fn tensors_are_named_by_their_place() {
    let names: Vec<String> = state::save(&build(&everything(), 1)).into_keys().collect();
    let norm = |prefix: &str| {
        ["beta", "gamma", "running_mean", "running_var"].map(|n| format!("{prefix}.norm.{n}"))
    };
    let mut expected: Vec<String> = [
        "layers.0.conv.bias",
        "layers.0.conv.weight",
        "layers.2.first.conv.weight",
        "layers.2.second.conv.weight",
        "layers.3.first.conv.weight",
        "layers.3.second.conv.weight",
        "layers.3.shortcut.conv.weight",
        "layers.4.units.0.first.conv.weight",
        "layers.4.units.0.second.conv.weight",
        "layers.4.units.1.first.conv.weight",
        "layers.4.units.1.second.conv.weight",
        "layers.6.conv.weight",
        "layers.9.linear.bias",
        "layers.9.linear.weight",
        "layers.11.linear.bias",
        "layers.11.linear.weight",
    ]
    .map(String::from)
    .into();
    for prefix in ["0", "3.first", "3.second", "3.shortcut", "5"] {
        expected.extend(norm(&format!("layers.{prefix}")));
    }
    for unit in ["0.first", "0.second", "1.first", "1.second"] {
        expected.extend(norm(&format!("layers.4.units.{unit}")));
    }
    expected.sort();
    assert_eq!(names, expected);
}

#[test]
fn activations_are_named_by_their_place_and_taps_are_among_them() {
    let network = build(&everything(), 1);
    let pass = Pass::evaluate(Seed(0), &[0, 1]);
    let activations = network.activations(ramp([2, 3, 8, 8]), &pass);
    let found: Vec<_> =
        activations.iter().map(|(name, tensor)| (name.as_str(), tensor.dims())).collect();
    let expected = [
        ("layers.0", [2, 4, 8, 8]),
        ("layers.2.first", [2, 4, 4, 4]),
        ("layers.2.second", [2, 4, 4, 4]),
        ("layers.3.first", [2, 6, 2, 2]),
        ("layers.3.second", [2, 6, 2, 2]),
        ("layers.4.units.0.first", [2, 6, 2, 2]),
        ("layers.4.units.0.second", [2, 12, 2, 2]),
        ("layers.4.units.1.first", [2, 9, 2, 2]),
        ("layers.4.units.1.second", [2, 12, 2, 2]),
        ("layers.5", [2, 12, 2, 2]),
        ("layers.9", [2, 5, 1, 1]),
    ];
    assert_eq!(found, expected);

    let taps = network.features(ramp([2, 3, 8, 8]), &pass).taps;
    for (tap, name) in [(Tap::Low, 0), (Tap::Middle, 4), (Tap::High, 9)] {
        assert_eq!(values(taps[&tap].clone()), values(activations[name].1.clone()), "{tap}");
    }
}

#[test]
fn a_seed_fixes_every_weight() {
    let plan = everything();
    assert_eq!(state::save(&build(&plan, 1)), state::save(&build(&plan, 1)));
    let (one, two) = (state::save(&build(&plan, 1)), state::save(&build(&plan, 2)));
    for (name, data) in &one {
        let drawn = name.ends_with("weight");
        assert_eq!(data != &two[name], drawn, "{name}");
    }
    // Convolutions of the same shape do not get the same weights either.
    assert_ne!(one["layers.2.first.conv.weight"], one["layers.2.second.conv.weight"]);
}

#[test]
fn loaded_tensors_decide_what_the_network_computes() {
    let plan = everything();
    let pass = Pass::evaluate(Seed(0), &[0, 1]);
    let logits = |network: &Network<B>| values(network.features(ramp([2, 3, 8, 8]), &pass).logits);
    let (one, two) = (build(&plan, 1), build(&plan, 2));
    assert_ne!(logits(&one), logits(&two));
    let two = state::load(two, state::save(&one)).unwrap();
    assert_eq!(logits(&one), logits(&two));
}

#[test]
fn weights_have_the_documented_spread() {
    let plan = planned(
        vec![
            Layer::conv(64),
            block(128, 2, false, 0.0),
            Layer::Linear { features: 32, bias: true },
            Layer::Classifier { bias: true },
        ],
        [3, 8, 8],
        10,
    );
    let conv = |kernel: f64, outputs: f64| (2.0 / (kernel * kernel * outputs)).sqrt();
    let linear = |init, kaiming| if init == Init::Kaiming { kaiming } else { 0.01 };
    for init in [Init::Kaiming, Init::Hybrid] {
        let network = Network::<B>::new(&plan, init, Seed(5), &Default::default());
        let tensors = state::save(&network);
        for (name, expected) in [
            ("layers.0.conv.weight", conv(3.0, 64.0)),
            ("layers.1.first.conv.weight", conv(3.0, 128.0)),
            ("layers.1.shortcut.conv.weight", conv(1.0, 128.0)),
            ("layers.2.linear.weight", linear(init, (2.0 / 2048f64).sqrt())),
            ("layers.3.linear.weight", linear(init, (1.0 / 32f64).sqrt())),
        ] {
            let data = &tensors[name];
            let count = data.num_elements() as f64;
            let squares: f64 = data.iter::<f64>().map(|w| w * w).sum();
            let (found, allowed) = ((squares / count).sqrt(), 4.0 / (2.0 * count).sqrt());
            assert!((found / expected - 1.0).abs() < allowed, "{init:?} {name}: {found}");
        }
        for name in ["layers.2.linear.bias", "layers.3.linear.bias"] {
            assert!(tensors[name].iter::<f32>().all(|b| b == 0.0), "{name}");
        }
    }
}

/// Ones that went through the layers and came out of a convolution that changes nothing.
fn ones_through(mut layers: Vec<Layer>, pass: &Pass<'_>) -> Vec<f32> {
    let last = layers.len();
    layers.push(Layer::Conv {
        channels: 1,
        kernel: 1,
        stride: 1,
        bias: false,
        batch_norm: false,
        activation: true,
        tap: Some(Tap::Low),
    });
    layers.push(Layer::Classifier { bias: false });
    let plan = planned(layers, [1, 64, 64], 2);
    let mut tensors: StateDict = state::save(&build(&plan, 1));
    let weight = TensorData::ones::<f32, _>([1, 1, 1, 1]);
    tensors.insert(format!("layers.{last}.conv.weight"), weight);
    let network = state::load(build(&plan, 1), tensors).unwrap();
    let images = Tensor::ones([pass.samples.len(), 1, 64, 64], &Default::default());
    values(network.features(images, pass).taps[&Tap::Low].clone())
}

fn zeros(values: &[f32]) -> f32 {
    values.iter().filter(|&&v| v == 0.0).count() as f32 / values.len() as f32
}

#[test]
fn dropout_keeps_the_mean_and_acts_in_training_only() {
    let dropout = |probability| vec![Layer::Dropout { probability }];
    let samples = [4, 9, 2, 7];
    let pass = Pass::train(Seed(3), 0, &samples);
    let found = ones_through(dropout(0.3), &pass);
    assert!((zeros(&found) - 0.3).abs() < 0.02, "{}", zeros(&found));
    let mean = found.iter().sum::<f32>() / found.len() as f32;
    assert!((mean - 1.0).abs() < 0.02, "{mean}");

    assert_eq!(found, ones_through(dropout(0.3), &pass));
    assert_ne!(found, ones_through(dropout(0.3), &Pass::train(Seed(3), 1, &samples)));
    assert_ne!(found, ones_through(dropout(0.3), &Pass::train(Seed(4), 0, &samples)));
    // A sample's mask does not depend on the batch that it is in.
    let half = ones_through(dropout(0.3), &pass.slice(2..4));
    assert_eq!(found[found.len() / 2..], half);

    let measured = ones_through(dropout(0.3), &Pass::evaluate(Seed(3), &samples));
    assert!(measured.iter().all(|&v| v == 1.0));
}

#[test]
fn dropout_layers_of_one_network_have_masks_of_their_own() {
    let twice = vec![Layer::Dropout { probability: 0.5 }, Layer::Dropout { probability: 0.5 }];
    let found = zeros(&ones_through(twice, &Pass::train(Seed(3), 0, &[0, 1, 2, 3])));
    // One mask used twice would leave half of the ones.
    assert!((found - 0.75).abs() < 0.02, "{found}");
}

#[test]
fn dropout_within_a_residual_block_acts_between_its_convolutions() {
    let input = [1, 8, 8];
    let plan = |dropout| {
        planned(vec![block(4, 1, false, dropout), Layer::Classifier { bias: false }], input, 3)
    };
    let samples = [0, 1];
    let train = Pass::train(Seed(3), 0, &samples);
    let run =
        |dropout, pass: &Pass<'_>| build(&plan(dropout), 1).activations(ramp([2, 1, 8, 8]), pass);
    let (with, without) = (run(0.5, &train), run(0.0, &train));
    assert_eq!(values(with[0].1.clone()), values(without[0].1.clone()), "before the dropout");
    assert_ne!(values(with[1].1.clone()), values(without[1].1.clone()), "after the dropout");
    let measured = run(0.5, &Pass::evaluate(Seed(3), &samples));
    assert_eq!(values(measured[1].1.clone()), values(without[1].1.clone()), "not in training");
}

#[test]
#[should_panic(expected = "planned for other images")]
fn images_of_another_shape_are_refused() {
    build(&everything(), 1).features(ramp([1, 3, 8, 9]), &Pass::evaluate(Seed(0), &[0]));
}
