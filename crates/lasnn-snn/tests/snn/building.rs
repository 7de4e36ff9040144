//! What a spiking network is built from, and the names of its tensors.

use burn::backend::Autodiff;
use burn_flex::Flex;
use lasnn_core::{Architecture, Layer, Plan, Shape};
use lasnn_neurons::{LEAST_THRESHOLD, LifConfig, NeuronModel, ThresholdConfig};
use lasnn_nn::{Constrained, state};
use lasnn_snn::{SpikingConfig, SpikingNetwork, layer_by_layer_because};

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

#[test]
fn all_layers_of_trained_neurons_are_moved_into_their_ranges() {
    let block = Layer::Residual {
        channels: 2,
        stride: 1,
        bias: false,
        batch_norm: false,
        dropout: 0.0,
        tap: None,
    };
    let linear = Layer::Linear { features: 3, bias: false };
    let plan = plan(vec![Layer::conv(2), block, linear, Layer::Classifier { bias: false }]);
    for train in [true, false] {
        let threshold = ThresholdConfig { train, ..Default::default() };
        let neuron = LifConfig { threshold, ..Default::default() }.into();
        let config = SpikingConfig { neuron, ..Default::default() };
        assert_eq!(layer_by_layer_because(&plan, &config), None);
        let device = Default::default();
        let network = SpikingNetwork::<Autodiff<Flex>>::new(&plan, &config, 4, &device).unwrap();
        let network =
            network.with_neurons(&config.neuron, &[[-1.0], [0.0], [2.0], [-3.0]], &device);
        let network = network.constrained();
        let found: Vec<f32> =
            network.neurons().iter().map(|(_, neurons)| neurons.threshold_value()).collect();
        match train {
            true => assert_eq!(found, [LEAST_THRESHOLD, LEAST_THRESHOLD, 2.0, LEAST_THRESHOLD]),
            false => assert_eq!(found, [-1.0, 0.0, 2.0, -3.0]),
        }
    }
}

#[test]
fn a_plan_that_the_kernels_do_not_cover_is_known_before_the_network_is_built() {
    let dropout = || Layer::Dropout { probability: 0.1 };
    let layers = vec![Layer::conv(2), dropout(), dropout(), Layer::Classifier { bias: false }];
    let (plan, config) = (plan(layers), SpikingConfig::default());
    let reason = layer_by_layer_because(&plan, &config).unwrap();
    assert_eq!(reason, "layer 2: dropout follows dropout");
    let network = SpikingNetwork::<Flex>::new(&plan, &config, 4, &Default::default()).unwrap();
    assert_eq!(network.layer_by_layer_because(), Some(&*reason));
}
