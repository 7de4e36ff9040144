//! The names and shapes of a built network, and its weights as a function of the seed.

use burn::tensor::{Tensor, TensorData};
use burn_flex::Flex;
use lasnn_core::{Architecture, Layer, Pass, Plan, Probe, Probes, Seed, Shape, Tap};
use lasnn_models::{Init, Network, zoo};
use lasnn_nn::Observable;
use lasnn_nn::state;

use crate::zoo::plan;

pub type B = Flex;

pub fn build(plan: &Plan, seed: u32) -> Network<B> {
    Network::new(plan, Init::Kaiming, Seed(seed), &Default::default())
}

pub fn planned(layers: Vec<Layer>, input: [usize; 3], classes: usize) -> Plan {
    let [channels, height, width] = input;
    let architecture = Architecture { name: "test".into(), layers };
    architecture.plan(Shape { channels, height, width }, classes).unwrap()
}

/// Images of a sine wave.
pub fn wave(shape: [usize; 4]) -> Tensor<B, 4> {
    let values: Vec<f32> =
        (0..shape.iter().product::<usize>()).map(|i| (i as f32 * 0.37).sin()).collect();
    Tensor::from_data(TensorData::new(values, shape), &Default::default())
}

pub fn values<const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().to_vec().unwrap()
}

pub fn block(channels: usize, stride: usize, batch_norm: bool, dropout: f64) -> Layer {
    Layer::Residual { channels, stride, bias: false, batch_norm, dropout, tap: None }
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

/// The feature maps at all taps.
fn at_all_taps() -> Probes {
    Probes::from(Tap::ALL.map(Probe::Features))
}

#[test]
fn every_named_network_has_the_planned_parameters_and_feature_maps() {
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
        let observed = network.observe(wave([2, 1, size, size]), &pass, &at_all_taps());
        assert_eq!(observed.logits.dims(), [2, 10], "{name}");
        assert_eq!(observed.features.len(), 3, "{name}");
        for (tap, map) in &observed.features {
            let Shape { channels, height, width } = plan.tap(*tap).unwrap();
            assert_eq!(map.dims(), [2, channels, height, width], "{name} {tap}");
            let values = values(map.clone());
            assert!(
                values.iter().all(|&v| v >= 0.0),
                "{name} {tap}: negative values, so not after a ReLU"
            );
            assert!(values.iter().any(|&v| v > 0.0), "{name} {tap}: all values are zero");
        }
    }
}

#[test]
fn tensors_are_named_by_the_position_of_their_layer() {
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
fn activations_are_named_by_the_position_of_their_layer_and_include_the_taps() {
    let network = build(&everything(), 1);
    let pass = Pass::evaluate(Seed(0), &[0, 1]);
    let activations = network.activations(wave([2, 3, 8, 8]), &pass);
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

    let taps = network.observe(wave([2, 3, 8, 8]), &pass, &at_all_taps()).features;
    for (tap, name) in [(Tap::Low, 0), (Tap::Middle, 4), (Tap::High, 9)] {
        assert_eq!(values(taps[&tap].clone()), values(activations[name].1.clone()), "{tap}");
    }
}

#[test]
fn the_seed_determines_every_weight() {
    let plan = everything();
    assert_eq!(state::save(&build(&plan, 1)), state::save(&build(&plan, 1)));
    let (one, two) = (state::save(&build(&plan, 1)), state::save(&build(&plan, 2)));
    for (name, data) in &one {
        let drawn = name.ends_with("weight");
        assert_eq!(data != &two[name], drawn, "{name}");
    }
    // Convolutions of the same shape have different weights, too.
    assert_ne!(one["layers.2.first.conv.weight"], one["layers.2.second.conv.weight"]);
}

#[test]
fn a_network_computes_with_the_loaded_tensors() {
    let plan = everything();
    let pass = Pass::evaluate(Seed(0), &[0, 1]);
    let logits = |network: &Network<B>| values(network.logits(wave([2, 3, 8, 8]), &pass));
    let (one, two) = (build(&plan, 1), build(&plan, 2));
    assert_ne!(logits(&one), logits(&two));
    let two = state::load(two, state::save(&one)).unwrap();
    assert_eq!(logits(&one), logits(&two));
}

#[test]
fn weights_have_the_documented_standard_deviation() {
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

#[test]
#[should_panic(expected = "planned for images of another shape")]
fn images_of_another_shape_are_refused() {
    build(&everything(), 1).logits(wave([1, 3, 8, 9]), &Pass::evaluate(Seed(0), &[0]));
}
