//! What a spiking network is built from, and the names of its tensors.

use burn_flex::Flex;
use lasnn_core::{Architecture, Layer, Plan, Shape};
use lasnn_neurons::LifConfig;
use lasnn_nn::state;
use lasnn_snn::{SpikingConfig, SpikingNetwork};

fn plan(layers: Vec<Layer>) -> Plan {
    let input = Shape { channels: 1, height: 8, width: 8 };
    Architecture { name: "net".into(), layers }.plan(input, 3).unwrap()
}

#[test]
fn a_state_names_weights_thresholds_and_leaks() {
    let plan = plan(vec![Layer::conv(2), Layer::Classifier { bias: false }]);
    let config = SpikingConfig::default();
    let network = SpikingNetwork::<Flex>::new(&plan, &config, 4, &Default::default()).unwrap();
    let names: Vec<String> = state::save::<Flex, _>(&network).into_keys().collect();
    let expected = [
        "layers.0.conv.weight",
        "layers.0.neurons.leak",
        "layers.0.neurons.threshold",
        "layers.1.linear.weight",
    ];
    assert_eq!(names, expected);
}

#[test]
fn errors_name_the_layer_or_the_number() {
    let error = |plan: &Plan, config: &SpikingConfig, time_steps| {
        let network = SpikingNetwork::<Flex>::new(plan, config, time_steps, &Default::default());
        network.unwrap_err().to_string()
    };
    let config = SpikingConfig::default();
    let pooled =
        plan(vec![Layer::conv(2), Layer::MaxPool { size: 2 }, Layer::Classifier { bias: false }]);
    let message = error(&pooled, &config, 4);
    assert!(message.contains("layer 1 (max-pool) cannot be made spiking"), "{message}");

    let plain = plan(vec![Layer::conv(2), Layer::Classifier { bias: false }]);
    assert_eq!(error(&plain, &config, 0), "time_steps is 0, expected at least 1");
    let neuron = LifConfig { leak: 2.0.into(), ..Default::default() }.into();
    let message = error(&plain, &SpikingConfig { neuron, ..config }, 4);
    assert!(message.contains("leak is 2"), "{message}");
}
