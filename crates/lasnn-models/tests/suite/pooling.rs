//! The gradient of average pooling against finite differences. Several of Burn's backends had it
//! wrong (burn#5308, burn#5604).

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use burn::tensor::TensorData;
use burn_flex::Flex;
use lasnn_core::random::unit;
use lasnn_core::{Architecture, Layer, Pass, Seed, Shape, Stream};
use lasnn_models::{Init, Network};
use lasnn_nn::Observable;
use lasnn_nn::state;

type B = Autodiff<Flex>;

fn uniform(key: u32, shape: [usize; 4]) -> TensorData {
    let mut values = vec![0f32; shape.iter().product()];
    Seed(7).draws(Stream::Test, [key, 0, 0]).fill(&mut values, |bits| unit(bits) - 0.5);
    TensorData::new(values, shape)
}

#[track_caller]
fn check(size: usize, height: usize, width: usize) {
    let device = Default::default();
    let architecture = Architecture {
        name: "pool".into(),
        layers: vec![Layer::AveragePool { size }, Layer::Classifier { bias: false }],
    };
    let plan = architecture.plan(Shape { channels: 2, height, width }, 2).unwrap();
    let network = Network::<B>::new(&plan, Init::Kaiming, Seed(1), &device);
    assert_eq!(state::save(&network).len(), 1);
    let pass = Pass::evaluate(Seed(0), &[0, 1, 2]);
    // Every class and image has a different weight, so that the test detects misplaced gradients.
    let readout = Tensor::<B, 2>::from_data([[1.0, -2.0], [3.0, 0.5], [-1.5, 2.5]], &device);
    let output = |images| (network.logits(images, &pass) * readout.clone()).sum();

    let shape = [3, 2, height, width];
    let data = uniform(size as u32, shape);
    let images = Tensor::<B, 4>::from_data(data.clone(), &device).require_grad();
    let gradients = output(images.clone()).backward();
    let found = images.grad(&gradients).unwrap().into_data().to_vec::<f32>().unwrap();

    // The network is linear, so a large step has no truncation error and little rounding error.
    let step = 4.0;
    let values = data.to_vec::<f32>().unwrap();
    for index in 0..values.len() {
        let shifted = |by: f32| {
            let mut values = values.clone();
            values[index] += by;
            output(Tensor::from_data(TensorData::new(values, shape), &device)).into_scalar()
        };
        let expected = (shifted(step) - shifted(-step)) / (2.0 * step);
        let found = found[index];
        assert!(
            (found - expected).abs() < 1e-4,
            "size {size}, element {index} is {found}, expected {expected}"
        );
    }
}

#[test]
fn average_pooling_has_the_gradient_of_finite_differences() {
    check(2, 4, 4);
    check(2, 5, 7);
    check(3, 7, 3);
    check(4, 4, 8);
}
