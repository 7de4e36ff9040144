//! Networks whose surrogate follows from the time of the last spike.

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::tensor::{Tensor, TensorData, Tolerance};
use burn_flex::Flex;
use lasnn_core::surrogate::Surrogate;
use lasnn_core::{Architecture, Layer, Pass, Seed, Shape, Stream};
use lasnn_neurons::LifConfig;
use lasnn_nn::{Observable, state};
use lasnn_snn::{
    SpikingConfig, SpikingNetwork, layer_by_layer_because, trained_layer_by_layer_because,
};

use crate::golden::gradients;

/// The kernels have the forward pass only.
#[test]
fn a_surrogate_of_the_last_spike_is_trained_layer_by_layer() {
    let linear = Layer::Linear { features: 9, bias: false };
    let layers = vec![Layer::conv(4), linear, Layer::Classifier { bias: false }];
    let input = Shape { channels: 1, height: 8, width: 8 };
    let plan = Architecture { name: "net".into(), layers }.plan(input, 3).unwrap();
    let surrogate = Surrogate::SpikeTime { alpha: 0.3, beta: 0.01 };
    let neuron = LifConfig { surrogate, ..Default::default() }.into();
    let config = SpikingConfig { neuron, ..Default::default() };
    assert_eq!(layer_by_layer_because(&plan, &config), None);
    let why = trained_layer_by_layer_because(&plan, &config);
    assert_eq!(why.as_deref(), Some("no kernel for the surrogate `spike-time`"));

    let device = Default::default();
    let network = SpikingNetwork::<Autodiff<Flex>>::new(&plan, &config, 5, &device).unwrap();
    let filled = |data: TensorData| {
        let normals = Seed(5).draws(Stream::Test, [data.shape.num_elements() as u32, 0, 0]);
        TensorData::new(normals.normals(data.shape.num_elements()), data.shape)
    };
    let tensors = state::save(&network.valid()).into_iter().map(|(name, data)| {
        let data = if name.ends_with("weight") { filled(data) } else { data };
        (name, data)
    });
    let network = state::load(network, tensors.collect()).unwrap();
    let shape = [3, plan.input.channels, plan.input.height, plan.input.width];
    let images = filled(TensorData::zeros::<f32, _>(shape));
    let pass = Pass::train(Seed(1), 0, &[0, 1, 2]);
    let run = |network: &SpikingNetwork<Autodiff<Flex>>| {
        let logits = network.logits(Tensor::from_data(images.clone(), &device), &pass);
        let grads = (logits.clone() * logits.clone()).sum().backward();
        (logits.into_data(), gradients(network, &grads))
    };
    let (logits, found) = run(&network);
    let (expected_logits, expected) = run(&network.clone().layer_by_layer());
    assert_eq!((&logits, &found), (&expected_logits, &expected));
    assert!(found.values().any(|data| data.iter::<f32>().any(|gradient| gradient != 0.0)));
    // Without gradients, the same network is fused.
    let fused = network.valid().logits(Tensor::from_data(images.clone(), &device), &pass);
    fused.into_data().assert_approx_eq::<f32>(&logits, Tolerance::rel_abs(1e-5, 1e-5));
}
