//! The sizes of the named architectures against sizes that PyTorch computed from the published
//! definitions.

use std::collections::BTreeSet;

use lasnn_core::{ArchitectureError, Layer, Plan, Shape, Tap};
use lasnn_models::zoo;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    input: [usize; 3],
    classes: usize,
    parameters: usize,
    macs: usize,
    layers: Vec<GoldenLayer>,
    linears: Vec<[usize; 2]>,
}

#[derive(Deserialize)]
struct GoldenLayer {
    kind: String,
    shape: [usize; 3],
}

fn image(channels: usize, size: usize) -> Shape {
    Shape { channels, height: size, width: size }
}

pub fn plan(name: &str, input: Shape) -> Plan {
    zoo::named(name).unwrap().plan(input, 10).unwrap()
}

/// The layers as the golden file counts them: norms, dropout and the convolution of a transition
/// are part of their neighbours.
fn counted(plan: &Plan) -> Vec<(&'static str, [usize; 3])> {
    let mut in_transition = false;
    let mut counted = Vec::new();
    for planned in &plan.layers {
        let kind = match &planned.layer {
            Layer::Conv { kernel: 1, .. } => {
                in_transition = true;
                continue;
            }
            Layer::Conv { .. } => "conv",
            Layer::Residual { .. } => "block",
            Layer::Dense { .. } => "dense-block",
            Layer::AveragePool { .. } if in_transition => "transition",
            Layer::AveragePool { .. } | Layer::MaxPool { .. } => "pool",
            Layer::GlobalAveragePool {} => "global-pool",
            _ => continue,
        };
        in_transition = false;
        let Shape { channels, height, width } = planned.output;
        counted.push((kind, [channels, height, width]));
    }
    counted
}

#[test]
fn sizes_equal_those_of_the_published_networks() {
    let golden: Golden = serde_json::from_str(include_str!("../golden/networks.json")).unwrap();
    let covered: BTreeSet<&str> = golden.cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(covered, BTreeSet::from(zoo::NAMES));
    for case in &golden.cases {
        let what = format!("{} on {:?}", case.name, case.input);
        let [channels, height, width] = case.input;
        let input = Shape { channels, height, width };
        let plan = zoo::named(&case.name).unwrap().plan(input, case.classes).unwrap();
        assert_eq!(plan.name, case.name);
        assert_eq!(plan.parameters(), case.parameters, "{what}");
        assert_eq!(plan.macs(), case.macs, "{what}");
        let expected: Vec<_> = case.layers.iter().map(|l| (l.kind.as_str(), l.shape)).collect();
        assert_eq!(counted(&plan), expected, "{what}");
        let linears: Vec<_> = plan
            .layers
            .iter()
            .filter(|l| matches!(l.layer, Layer::Linear { .. } | Layer::Classifier { .. }))
            .map(|l| [l.input.len(), l.output.len()])
            .collect();
        assert_eq!(linears, case.linears, "{what}");
    }
}

#[test]
fn too_small_images_are_refused_with_the_name_of_the_network() {
    for name in zoo::NAMES {
        let smallest = match name {
            "teacher-vgg16" => 32,
            "vgg9" | "vgg16" => 16,
            _ => 8,
        };
        for size in 8..=64 {
            let planned = zoo::named(name).unwrap().plan(image(1 + 2 * (size % 2), size), 200);
            match planned {
                Ok(plan) => {
                    assert!(size >= smallest, "{name} at {size}");
                    assert_eq!(plan.layers.last().unwrap().output.channels, 200);
                }
                Err(ArchitectureError::TooSmall { network, .. }) => {
                    assert!(size < smallest && network == name, "{name} at {size}");
                }
                Err(other) => panic!("{name} at {size}: {other}"),
            }
        }
    }
    assert_eq!(zoo::named("vgg6"), None);
}

#[test]
fn networks_with_max_pooling_and_dense_blocks_cannot_be_made_spiking() {
    for name in zoo::NAMES {
        let spiking = zoo::named(name).unwrap().check_spiking();
        let cannot = ["teacher-vgg16", "teacher-densenet121"].contains(&name);
        assert_eq!(spiking.is_err(), cannot, "{name}: {spiking:?}");
    }
}

#[test]
fn taps_are_at_full_half_and_quarter_resolution() {
    for name in zoo::NAMES {
        let plan = plan(name, image(3, 32));
        let sizes = Tap::ALL.map(|tap| plan.tap(tap).unwrap().height);
        let expected = if name == "vgg5" { [32, 16, 16] } else { [32, 16, 8] };
        assert_eq!(sizes, expected, "{name}");
    }
}

#[test]
fn a_pooling_replaces_the_dropout_before_it() {
    let kinds = |name| {
        let layers = zoo::named(name).unwrap().layers;
        layers.iter().map(Layer::kind).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        kinds("vgg9"),
        "conv average-pool conv dropout conv average-pool conv dropout conv average-pool \
         conv average-pool conv dropout linear dropout classifier"
    );
    assert_eq!(
        kinds("vgg5"),
        "conv average-pool conv dropout conv average-pool linear dropout linear dropout classifier"
    );
}
