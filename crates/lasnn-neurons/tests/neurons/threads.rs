//! Backward passes on two threads at the same time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use burn_flex::Flex;
use lasnn_neurons::{
    InitialMembraneConfig, InitialMembranePer, LifConfig, NeuronKind, NeuronModel,
};

type A = Autodiff<Flex>;

/// Burn frees nodes of other threads' graphs in a backward pass, if it takes them for unused.
#[test]
fn a_backward_pass_of_another_thread_loses_no_gradient() {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                let x = Tensor::<A, 1>::ones([1], &Default::default()).require_grad();
                x.powi_scalar(2).backward();
            }
        });
        // Each neuron has a potential of its own, which is repeated for the images of a batch. So
        // the scan's parent is the result of an operation, and not the parameter.
        let per = InitialMembranePer::Neuron;
        let initial = InitialMembraneConfig { value: 0.5, train: true, per };
        let config = LifConfig { initial_membrane: initial, ..Default::default() };
        let neurons = config.init::<A>(1.0, [4, 32, 32], &Default::default());
        let membrane = neurons.initial_membrane.as_ref().map(|membrane| membrane.val()).unwrap();
        let lost = (0..200).filter(|_| {
            let currents = Tensor::<A, 4>::full([16, 4, 32, 32], 0.3, &Default::default());
            let gradients = neurons.forward(currents, 8).sum().backward();
            membrane.grad(&gradients).is_none()
        });
        let lost = lost.count();
        is_done.store(true, Ordering::Relaxed);
        assert_eq!(lost, 0, "of 200 gradients");
    });
}
