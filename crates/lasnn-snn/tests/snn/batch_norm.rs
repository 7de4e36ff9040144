//! Spiking networks with a batch norm over images and time steps, against PyTorch's autograd.
//!
//! `tests/golden/make_batch_norm.py` made the values.

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::tensor::Tolerance;
use burn::tensor::backend::AutodiffBackend;
use burn_flex::Flex;
use burn_ndarray::NdArray;
use lasnn_neurons::SpikingBackend;
use lasnn_nn::state;

use crate::params::{Case, check, network};

fn every_parameter_has_the_gradient_of_pytorch<A: SpikingBackend + AutodiffBackend>()
where
    A::InnerBackend: SpikingBackend,
{
    let cases: Vec<Case> = serde_json::from_str(include_str!("../golden/batch_norm.json")).unwrap();
    assert_eq!(cases.len(), 8);
    for case in cases {
        let network = network::<A>(&case, &Default::default());
        assert!(network.layer_by_layer_because().unwrap().contains("batch norm"));
        check(&case, &network);
        let found = state::save(&network.valid());
        assert!(!case.running.is_empty());
        for (name, expected) in &case.running {
            let tolerance = Tolerance::rel_abs(1e-5, 1e-6);
            found[name].assert_approx_eq::<f32>(&expected.data(), tolerance);
        }
    }
}

#[test]
fn every_parameter_has_the_gradient_of_pytorch_on_flex() {
    every_parameter_has_the_gradient_of_pytorch::<Autodiff<Flex>>();
}

#[test]
fn every_parameter_has_the_gradient_of_pytorch_on_ndarray() {
    every_parameter_has_the_gradient_of_pytorch::<Autodiff<NdArray>>();
}

#[cfg(feature = "vulkan")]
#[test]
fn every_parameter_has_the_gradient_of_pytorch_on_vulkan() {
    every_parameter_has_the_gradient_of_pytorch::<Autodiff<burn::backend::Vulkan>>();
}
